"""What tiles are told of the whole picture, so that its tone is the same in all of them: the mean and variance of every
group norm, keys and values of every attention.

A norm's statistics depend on those of the norms before it, so they can't be found apart from one another. They are
found as multigrid methods solve such systems (full approximation scheme):

- a small copy of the picture is seen whole, where every norm finds its own statistics;
- larger copies, and at last the picture itself, are swept tile by tile with the statistics known so far, and what each
  norm gets is counted, every place once. Where that differs from what the small copy gives under the same statistics,
  the small copy is told the difference and seen whole again: its norms, corrected, are the new statistics. So a change
  of an early norm is carried on through all later ones, which counting alone would need a sweep a norm for.

Attention is told the keys and values of the largest copy that was swept. Of more than `MOST_KEYS` places an even
selection is taken, since a softmax over it has the same mean.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, TypeAlias

from engine.memory.cutting import Grid, Piece, Span, nothing

if TYPE_CHECKING:
    import torch

    Moments: TypeAlias = tuple[torch.Tensor, torch.Tensor]  # mean and variance, float64 [1, groups]
    KeysValues: TypeAlias = tuple[torch.Tensor, torch.Tensor]
    Network: TypeAlias = Callable[[torch.Tensor], torch.Tensor]
    # A norm's place in the order and what it gets in this tile, None where that is not counted → what it goes by.
    _Norms: TypeAlias = Callable[[int, Moments | None], Moments]

MOST_KEYS = 16_384  # as many places as the middle block sees in a picture of 1024²
MOST_SWEEPS = 40
# In standard deviations of a norm: what a sweep finds else than was known. A correction leaves about a tenth of it, or
# a third in pictures whose copies are little like them; beyond MUCH that would show.
AT_REST, MUCH = 1e-5, 0.05
_LEAST = 1e-10  # variance: less is none


@dataclass
class Told:
    """In the order in which the network asks: statistics of its norms, keys and values of its attentions."""

    norms: list[Moments] = field(default_factory=list)
    attentions: list[KeysValues] = field(default_factory=list)

    def __bool__(self) -> bool:
        return bool(self.norms or self.attentions)


def gathered(
    network: Network, source: torch.Tensor, grid: Grid, sweeps: int | None,
    check: Callable[[], object], tell: Callable[[], object],
) -> Told:  # fmt: skip
    """What tiles of one picture [1, C, rows · scale, columns · scale] are told; empty where the network asks nothing.

    sweeps  over the picture itself, and one more where the last still found much else than was known; 0 until
            statistics rest, None for none: from smaller copies only
    check   called before every tile, `tell` after each
    """
    halvings = _halvings(grid)
    small, cells = _copy(source, grid, 2**halvings)
    whole = Span(0, cells.rows, 0, cells.rows), Span(0, cells.columns, 0, cells.columns)

    def looked(norms: _Norms) -> _Listening:
        check()
        seen = _Listening(whole, norms)
        seen.run(network, small)
        return seen

    first = looked(_own)
    told = Told(first.moments(), first.keys_and_values())
    if not told:
        return told

    def corrected(counted: _Listening) -> Told:
        was = looked(_given(told)).moments()
        gap = [_gap(found, before) for found, before in zip(counted.moments(), was, strict=True)]
        return Told(looked(_shifted(gap)).used, counted.keys_and_values())

    for level in range(halvings - 1, 0, -1):
        told = corrected(_swept(network, *_copy(source, grid, 2**level), told, check, tell))
    if sweeps is None:
        return told
    for done in range(1, (sweeps + 1 if sweeps else MOST_SWEEPS) + 1):
        asked = not sweeps or done <= sweeps
        counted = _swept(network, source, grid, told, check, tell if asked else nothing)
        moved = _apart(counted.moments(), told.norms)
        if not sweeps and moved < AT_REST:
            return Told(told.norms, counted.keys_and_values())
        told = corrected(counted)
        if sweeps and done >= sweeps and moved < MUCH:
            break
    return told


def tiles_of(grid: Grid, sweeps: int | None) -> int:
    """How often `gathered` tells, where it is said beforehand how many sweeps it makes."""
    copies = (_smaller(grid, 2**level) for level in range(_halvings(grid) - 1, 0, -1))
    return sum(len(copy.pieces()) for copy in copies) + (sweeps or 0) * len(grid.pieces())


def informed(told: Told, piece: Piece, network: Network, part: torch.Tensor) -> torch.Tensor:
    """Run `network` on a tile whose norms and attentions go by what was told of the whole."""
    return _Listening(piece, _given(told), told.attentions, counts=False).run(network, part)


def _swept(
    network: Network, source: torch.Tensor, grid: Grid, told: Told, check: Callable[[], object],
    tell: Callable[[], object],
) -> _Listening:  # fmt: skip
    """What norms and attentions get over all tiles."""
    stride = math.isqrt(max(grid.rows * grid.columns - 1, 0) // MOST_KEYS) + 1
    counted: _Listening | None = None
    for piece, part in grid.parts(source):
        check()
        one = _Listening(piece, _given(told), told.attentions, stride)
        one.run(network, part)
        if counted is None:
            counted = one
        else:
            counted.join(one)
        tell()
    assert counted is not None
    return counted


# The small copies -----------------------------------------------------------------------------------------------------


def _halvings(grid: Grid) -> int:
    return max(0, math.ceil(math.log2(max(grid.rows, grid.columns) / grid.tile)))


def _smaller(grid: Grid, share: int) -> Grid:
    rows, columns = (max(4, -(-edge // share)) for edge in (grid.rows, grid.columns))
    return replace(grid, rows=rows, columns=columns)


def _copy(source: torch.Tensor, grid: Grid, share: int) -> tuple[torch.Tensor, Grid]:
    """A copy `share` times smaller with the spread of the whole, and its cut."""
    import torch
    import torch.nn.functional as F  # noqa: N812 - the field's own name for it

    cut = _smaller(grid, share)
    small = F.interpolate(source, size=(cut.rows * grid.scale, cut.columns * grid.scale), mode="nearest-exact")
    spread, mean = torch.var_mean(source.flatten(2), dim=-1, correction=0)
    own, middle = torch.var_mean(small.flatten(2), dim=-1, correction=0)
    axes = (..., None, None)
    return (small - middle[axes]) * (spread / own.clamp(min=1e-12)).sqrt()[axes] + mean[axes], cut


# Differences between statistics ---------------------------------------------------------------------------------------


def _gap(found: Moments, before: Moments) -> Moments:
    """How far a mean is from another in standard deviations, and how many times larger its variance is."""
    spread = before[1] + _LEAST
    return (found[0] - before[0]) / spread.sqrt(), (found[1] + _LEAST) / spread


def _moved(own: Moments, gap: Moments) -> Moments:
    return own[0] + gap[0] * (own[1] + _LEAST).sqrt(), own[1] * gap[1]


def _apart(one: list[Moments], other: list[Moments]) -> float:
    """The largest difference in standard deviations."""
    most = 0.0
    for (mean, variance), (before, was) in zip(one, other, strict=True):
        spread = variance.sqrt().clamp(min=1e-12)
        most = max(most, float(((mean - before).abs() / spread).max()), float((was.sqrt() / spread - 1).abs().max()))
    return most


def _own(place: int, own: Moments | None) -> Moments:
    assert own is not None
    return own


def _given(told: Told) -> _Norms:
    return lambda place, own: told.norms[place]


def _shifted(gap: list[Moments]) -> _Norms:
    return lambda place, own: _moved(_own(place, own), gap[place])


# One run of the network -----------------------------------------------------------------------------------------------


class _Listening:
    """One tile's run: norms go by what `norms` says, attentions by `attentions` or their own, and what they get in the
    kept part is counted.

    They are met where they are called, so that it does not matter what lies around the modules (streaming, watching)
    nor what they are called.
    """

    def __init__(
        self, piece: Piece, norms: _Norms, attentions: list[KeysValues] | None = None,
        stride: int = 1, *, counts: bool = True,
    ) -> None:  # fmt: skip
        self._down, self._along = piece
        self._norms, self._attentions, self._stride, self._counts = norms, attentions, stride, counts
        self._sums: list[tuple[float, torch.Tensor, torch.Tensor]] = []
        self._kept: list[list[KeysValues]] = []
        self.used: list[Moments] = []
        self._asked = [0, 0]

    def run(self, network: Network, part: torch.Tensor) -> torch.Tensor:
        import torch.nn.functional as F  # noqa: N812 - the field's own name for it
        from torch.overrides import TorchFunctionMode

        answers = {F.group_norm: self._group_norm, F.scaled_dot_product_attention: self._attention}

        class Met(TorchFunctionMode):
            def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
                return answers.get(func, func)(*args, **(kwargs or {}))

        with Met():
            return network(part)

    def join(self, other: _Listening) -> None:
        """Count what another tile got too."""
        self._sums = [
            (a[0] + b[0], a[1] + b[1], a[2] + b[2]) for a, b in zip(self._sums, other._sums, strict=True)
        ]  # fmt: skip
        for mine, more in zip(self._kept, other._kept, strict=True):
            mine.extend(more)

    def moments(self) -> list[Moments]:
        """Of each norm, over the kept parts of all tiles."""
        found = []
        for count, total, squares in self._sums:
            mean = total / count
            found.append((mean, (squares / count - mean * mean).clamp(min=0)))
        return found

    def keys_and_values(self) -> list[KeysValues]:
        import torch

        return [
            (torch.cat([k for k, _ in parts], dim=-2), torch.cat([v for _, v in parts], dim=-2)) for parts in self._kept
        ]

    def _inside(self, values: torch.Tensor, rows: int, columns: int) -> torch.Tensor:
        """The kept part of a tile's [..., rows, columns] at whatever level of the network."""
        tall, wide = self._down.high - self._down.low, self._along.high - self._along.low
        top, bottom = ((at - self._down.low) * rows // tall for at in (self._down.first, self._down.last))
        left, right = ((at - self._along.low) * columns // wide for at in (self._along.first, self._along.last))
        return values[..., top:bottom, left:right]

    def _next(self, kind: int) -> int:
        self._asked[kind] += 1
        return self._asked[kind] - 1

    def _counted(self, values: torch.Tensor, groups: int) -> Moments:
        import torch

        inner = self._inside(values, values.shape[-2], values.shape[-1]).float()
        grouped = inner.reshape(inner.shape[0], groups, -1)
        both = torch.stack(torch.var_mean(grouped, dim=-1, correction=0)).double().cpu()
        variance, mean = both[0], both[1]
        count = grouped.shape[-1]
        self._sums.append((count, mean * count, (variance + mean * mean) * count))
        return mean, variance

    def _group_norm(
        self, values: torch.Tensor, groups: int, weight: torch.Tensor | None = None, bias: torch.Tensor | None = None,
        eps: float = 1e-5,
    ) -> torch.Tensor:  # fmt: skip
        import torch

        own = self._counted(values, groups) if self._counts else None
        mean, variance = self._norms(self._next(0), own)
        self.used.append((mean, variance))
        batch, channels = values.shape[:2]
        each = channels // groups
        scale = (variance + eps).rsqrt().repeat_interleave(each, 1)
        shift = -mean.repeat_interleave(each, 1) * scale
        scale, shift = (moment.to(values.device, torch.float32) for moment in (scale, shift))
        if weight is not None:
            scale, shift = scale * weight.float(), shift * weight.float()
        if bias is not None:
            shift = shift + bias.float()
        form = (batch, channels, *[1] * (values.ndim - 2))
        if values.dtype == torch.float32:
            return torch.addcmul(shift.reshape(form), values, scale.reshape(form))
        return torch.addcmul(shift.reshape(form), values.float(), scale.reshape(form)).to(values.dtype)

    def _attention(self, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, *args: Any, **kwargs: Any) -> Any:
        import torch.nn.functional as F  # noqa: N812 - the field's own name for it

        tall, wide = self._down.high - self._down.low, self._along.high - self._along.low
        tokens = query.shape[-2]
        if tokens % (tall * wide) or key.shape[-2] != tokens:
            return F.scaled_dot_product_attention(query, key, value, *args, **kwargs)
        # Tokens stand for one cell each, or, where an autoencoder folds its latents, for an equal share of one.
        fold = math.isqrt(tokens // (tall * wide))
        place = self._next(1)
        if self._counts:
            kept = []
            for side in (key, value):
                grid = side.transpose(-1, -2).reshape(*side.shape[:-2], side.shape[-1], tall * fold, wide * fold)
                chosen = self._inside(grid, tall * fold, wide * fold)[..., :: self._stride, :: self._stride]
                kept.append(chosen.flatten(-2).transpose(-1, -2).contiguous().cpu())
            self._kept.append([(kept[0], kept[1])])
        if self._attentions is None:
            return F.scaled_dot_product_attention(query, key, value, *args, **kwargs)
        keys, values = (side.to(query.device) for side in self._attentions[place])
        return F.scaled_dot_product_attention(query, keys, values, *args, **kwargs)
