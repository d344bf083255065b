"""Large pictures through an autoencoder a tile at a time, as if it had seen them whole.

Three things make a tile differ from the same place of the whole picture, and each has its answer:

- convolutions see only the tile: tiles reach `context` beyond what is kept of them. From the receptive field on (see
  `RECEPTIVE_FIELD`) what is kept is equal to rounding; with less, neighbours are blended over a short band;
- group norms take their mean and variance from the tile, which shifts its tone: they are given those of the whole
  picture. A first guess comes from a small copy of it; each sweep over all tiles then counts what the norms really get,
  every place once, so that after n sweeps the first n norms are exact and the others nearer than before;
- attention in the middle block sees only the tile: it is given keys and values of the whole picture, gathered in the
  same sweep. Of more than `MOST_KEYS` places an even selection is taken, since a softmax over it has the same mean.

Finished tiles leave the card: what is on it does not grow with the picture.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

if TYPE_CHECKING:
    import torch

    from engine.families.protocol import Autoencoder

Statistics: TypeAlias = Literal["swept", "estimated", "own"]
STATISTICS: tuple[Statistics, ...] = ("swept", "estimated", "own")

# Pixels to either side that a place of the picture depends on, of decoders and encoders with blocks as Stable
# Diffusion's, the widest in use: in latent cells of 8 pixels 1 + 4 + 6 (middle and first level), 7/2, 7/4 and 8/8.
RECEPTIVE_FIELD = 144
COPY_SWEEPS = 1  # over each smaller copy: a second one measured worse (1.59 against 1.17 of 255, 99.9th percentile)
MOST_KEYS = 16_384  # as many places as the middle block sees in a picture of 1024²


def nothing(*_: object) -> None:
    """For callers that neither cancel nor want progress."""


@dataclass(frozen=True)
class Span:
    """One tile along one edge: [low, high) is computed and [first, last) of it is kept, in cells."""

    low: int
    high: int
    first: int
    last: int


def spans(length: int, tile: int, context: int, multiple: int = 1) -> tuple[Span, ...]:
    """Tiles of `tile` cells over `length`, all of one size, whose kept parts cover it once.

    Every kept cell has `context` cells around it, or the picture's edge. Tiles begin at multiples of `multiple`; only
    the last may not, where `length` is none. Raises ValueError when nothing would be kept.
    """
    if length <= tile:
        return (Span(0, length, 0, length),)
    step = (tile - 2 * context) // multiple * multiple
    if step < 1:
        raise ValueError(f"tiles of {tile} keep nothing with {context} around it")
    more, room = -(-(length - tile) // step), length - tile
    # Spread evenly: kept parts are never much narrower than others, so that three tiles don't meet in a blend.
    starts = [0, *(room * place // more // multiple * multiple for place in range(1, more)), room]
    kept = [0, *(start + context for start in starts[1:]), length]
    return tuple(
        Span(start, start + tile, first, last)
        for start, first, last in zip(starts, kept[:-1], kept[1:], strict=True)
    )  # fmt: skip


def ramp(span: Span, band: int, length: int, scale: int) -> torch.Tensor:
    """The weight of a tile along one edge, [(high − low) · scale]: 1 inside, falling over `band` cells at each border
    of its kept part that is not the picture's. Neighbours' weights add up to 1."""
    import torch

    at = (torch.arange((span.high - span.low) * scale) + 0.5) / scale + span.low
    if not band:
        return ((at > span.first) & (at < span.last)).float()
    weight = torch.ones_like(at)
    if span.first > 0:
        weight = weight.minimum(((at - span.first) / band + 0.5).clamp(0, 1))
    if span.last < length:
        weight = weight.minimum(((span.last - at) / band + 0.5).clamp(0, 1))
    return weight


@dataclass(frozen=True)
class Tiling:
    """How a picture is cut. Pixels.

    tile        edge of a tile, with what it sees around what is kept
    context     what it sees to either side; None: an eighth of the tile. From RECEPTIVE_FIELD on tiles equal the whole
    statistics  whose group norms: of the whole picture ("swept" or only "estimated"), or each tile's "own"
    sweeps      how often they are counted; 0 with "swept": until they rest
    """

    tile: int = 512
    context: int | None = None
    statistics: Statistics = "estimated"
    sweeps: int = 1

    def cells(self, factor: int) -> tuple[int, int, int]:
        """(tile, context, band over which neighbours blend) in latent cells of `factor` pixels."""
        tile = max(self.tile // factor, 4)
        wanted = self.tile // 8 if self.context is None else self.context
        context = min(-(-wanted // factor), (tile - 1) // 2)
        return tile, context, 0 if context * factor >= RECEPTIVE_FIELD else min(context, (tile - 2 * context) // 2)


def decode(
    autoencoder: Autoencoder, samples: torch.Tensor, tile: int | Tiling = 512, *,
    check: Callable[[], object] = nothing, progress: Callable[[int, int], object] = nothing,
) -> torch.Tensor:  # fmt: skip
    """Latents [B, C, h, w] → float32 [B, 3, H, W] in about −1..1 on the CPU, as `autoencoder.decode` gives them.

    tile      edge in pixels (a Plan's vae_tile), or how to cut; 0 decodes whole
    check     called before every tile; may raise to stop
    progress  told how many tiles of how many are done, those of the sweeps included
    """
    factor = autoencoder.latent_space.factor
    return run_tiles(autoencoder.decode, samples, _tiling(tile), 1, factor, check, progress)


def encode(
    autoencoder: Autoencoder, pixels: torch.Tensor, tile: int | Tiling = 512, *,
    check: Callable[[], object] = nothing, progress: Callable[[int, int], object] = nothing,
) -> torch.Tensor:  # fmt: skip
    """float32 [B, 3, H, W] in −1..1, whole cells both ways → latents, as `autoencoder.encode` gives them."""
    factor = autoencoder.latent_space.factor
    return run_tiles(autoencoder.encode, pixels, _tiling(tile), factor, 1, check, progress)


def _tiling(tile: int | Tiling) -> Tiling:
    return tile if isinstance(tile, Tiling) else Tiling(tile)


_Network: TypeAlias = "Callable[[torch.Tensor], torch.Tensor]"
_Piece: TypeAlias = tuple[Span, Span]


def run_tiles(
    network: _Network, source: torch.Tensor, tiling: Tiling, scale_in: int, scale_out: int,
    check: Callable[[], object], progress: Callable[[int, int], object],
) -> torch.Tensor:  # fmt: skip
    """`network` over tiles of `source`, which has `scale_in` pixels for each cell and gives `scale_out`.

    One of the two is 1 and the other the latent's factor, by which pixels of `tiling` become cells.
    """
    import torch

    factor = scale_in * scale_out

    rows, columns = source.shape[-2] // scale_in, source.shape[-1] // scale_in
    tile, context, band = tiling.cells(factor)
    if not tiling.tile or max(rows, columns) <= tile:
        check()
        whole = network(source)
        progress(1, 1)
        return whole
    pieces = len(spans(rows, tile, context)) * len(spans(columns, tile, context))
    total = pieces * ((tiling.sweeps if tiling.statistics == "swept" else 0) + 1) * source.shape[0]
    out: torch.Tensor | None = None
    done = 0

    def tell() -> None:
        nonlocal done
        done += 1
        progress(min(done, total - 1), total)

    for index in range(source.shape[0]):
        one = source[index : index + 1]
        shared = _statistics(network, one, tiling, factor, scale_in, (rows, columns), check, tell)
        for (down, along), part in _parts(one, (rows, columns), tile, context, scale_in):
            check()
            made = network(part) if shared is None else _with(shared, "use", (down, along), network, part)
            if out is None:
                out = torch.zeros(source.shape[0], made.shape[1], rows * scale_out, columns * scale_out)
            weight = ramp(down, band, rows, scale_out)[:, None] * ramp(along, band, columns, scale_out)[None, :]
            window = out[index, :, down.low * scale_out : down.high * scale_out,
                         along.low * scale_out : along.high * scale_out]  # fmt: skip
            window += made[0].float().cpu() * weight
            tell()
    assert out is not None
    progress(total, total)
    return out


@dataclass
class _Moments:
    """Sums over the groups of one norm, float64 [B, groups]."""

    count: float = 0.0
    total: Any = 0.0
    squares: Any = 0.0

    def add(self, values: torch.Tensor, groups: int) -> None:
        grouped = values.float().reshape(values.shape[0], groups, -1)
        count = grouped.shape[-1]
        spread, mean = (moment.double().cpu() for moment in _var_mean(grouped))
        self.count += count
        self.total = self.total + mean * count
        self.squares = self.squares + (spread + mean * mean) * count

    def mean_and_variance(self) -> tuple[torch.Tensor, torch.Tensor]:
        mean = self.total / self.count
        return mean, (self.squares / self.count - mean * mean).clamp(min=0)


def _var_mean(grouped: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    import torch

    spread, mean = torch.var_mean(grouped, dim=-1, correction=0)
    return spread, mean


@dataclass
class _Shared:
    """What tiles are told of the whole picture: statistics of its norms, keys and values of its attentions, in the
    order in which the network asks for them."""

    norms: list[tuple[torch.Tensor, torch.Tensor]] = field(default_factory=list)
    attentions: list[tuple[torch.Tensor, torch.Tensor]] = field(default_factory=list)
    counted: list[_Moments] = field(default_factory=list)
    gathered: list[list[tuple[torch.Tensor, torch.Tensor]]] = field(default_factory=list)
    stride: int = 1

    def turn(self) -> float:
        """Put what was counted in force: how far a statistic moved, in standard deviations of its norm."""
        import torch

        fresh = [moments.mean_and_variance() for moments in self.counted]
        moved = 0.0
        for (mean, variance), (before, was) in zip(fresh, self.norms, strict=False):
            spread = variance.sqrt().clamp(min=1e-12)
            moved = max(moved, float(((mean - before).abs() / spread).max()),
                        float((was.sqrt() / spread - 1).abs().max()))  # fmt: skip
        self.norms = fresh
        self.attentions = [
            (torch.cat([k for k, _ in parts], dim=-2), torch.cat([v for _, v in parts], dim=-2))
            for parts in self.gathered
        ]
        self.counted, self.gathered = [], []
        return moved


MOST_SWEEPS = 40
AT_REST = 1e-5


def _statistics(
    network: _Network, source: torch.Tensor, tiling: Tiling, factor: int, scale_in: int, cells: tuple[int, int],
    check: Callable[[], object], tell: Callable[[], object],
) -> _Shared | None:  # fmt: skip
    """What tiles of one picture are told, or None where each goes by its own."""
    if tiling.statistics == "own":
        return None
    tile, context, _ = tiling.cells(factor)
    shared = _Shared()
    halvings = max(0, math.ceil(math.log2(max(cells) / tile)))
    for level in range(halvings, 0, -1):
        small, rows, columns = _small(source, scale_in, 2**level)
        for _ in range(1 if level == halvings else COPY_SWEEPS):
            _sweep(network, small, (rows, columns), tile, context, scale_in, shared, check, nothing)
    if tiling.statistics == "estimated" or not (shared.norms or shared.attentions):
        return shared
    for sweep in range(tiling.sweeps or MOST_SWEEPS):
        moved = _sweep(network, source, cells, tile, context, scale_in, shared, check, tell)
        if moved < AT_REST and sweep and not tiling.sweeps:
            break
    return shared


def _sweep(
    network: _Network, source: torch.Tensor, cells: tuple[int, int], tile: int, context: int, scale_in: int,
    shared: _Shared, check: Callable[[], object], tell: Callable[[], object],
) -> float:  # fmt: skip
    """Count what norms and attentions get over all tiles of [1, C, H, W]; how far they moved. See _Shared.turn."""
    shared.stride = math.isqrt(max(cells[0] * cells[1] - 1, 0) // MOST_KEYS) + 1
    for piece, part in _parts(source, cells, tile, context, scale_in):
        check()
        _with(shared, "count", piece, network, part)
        tell()
    return shared.turn()


def _parts(
    source: torch.Tensor, cells: tuple[int, int], tile: int, context: int, scale_in: int
) -> Iterator[tuple[_Piece, torch.Tensor]]:
    for down in spans(cells[0], tile, context):
        for along in spans(cells[1], tile, context):
            yield (
                (down, along),
                source[..., down.low * scale_in : down.high * scale_in, along.low * scale_in : along.high * scale_in],
            )


def _small(source: torch.Tensor, scale_in: int, share: int) -> tuple[torch.Tensor, int, int]:
    """A copy `share` times smaller with the spread of the whole, and its rows and columns in cells."""
    import torch.nn.functional as F  # noqa: N812 - the field's own name for it

    rows, columns = (max(4, -(-edge // (scale_in * share))) for edge in source.shape[-2:])
    small = F.interpolate(source, size=(rows * scale_in, columns * scale_in), mode="nearest-exact")
    spread, mean = _var_mean(source.flatten(2))
    own, middle = _var_mean(small.flatten(2))
    axes = (..., None, None)
    return (small - middle[axes]) * (spread / own.clamp(min=1e-12)).sqrt()[axes] + mean[axes], rows, columns


def _with(
    shared: _Shared, task: Literal["count", "use"], piece: _Piece, network: _Network, part: torch.Tensor
) -> torch.Tensor:
    """Run `network` on a tile whose norms and attentions go by `shared`; "count" also counts what they get.

    They are met where they are called, so that it does not matter what lies around the modules (streaming, watching)
    nor what they are called.
    """
    import torch
    import torch.nn.functional as F  # noqa: N812 - the field's own name for it
    from torch.overrides import TorchFunctionMode

    down, along = piece
    seen = {"norm": 0, "attention": 0}

    class Told(TorchFunctionMode):
        def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            kwargs = kwargs or {}
            if func is F.group_norm:
                return _group_norm(*args, **kwargs)
            if func is F.scaled_dot_product_attention:
                return _attention(*args, **kwargs)
            return func(*args, **kwargs)

    def inside(values: torch.Tensor, rows: int, columns: int) -> torch.Tensor:
        """The kept part of a tile's [..., rows, columns] at whatever level of the network."""
        tall, wide = down.high - down.low, along.high - along.low
        top, bottom = ((at - down.low) * rows // tall for at in (down.first, down.last))
        left, right = ((at - along.low) * columns // wide for at in (along.first, along.last))
        return values[..., top:bottom, left:right]

    def _group_norm(
        values: torch.Tensor, groups: int, weight: torch.Tensor | None = None, bias: torch.Tensor | None = None,
        eps: float = 1e-5,
    ) -> torch.Tensor:  # fmt: skip
        place = seen["norm"]
        seen["norm"] += 1
        if task == "count":
            if place == len(shared.counted):
                shared.counted.append(_Moments())
            shared.counted[place].add(inside(values, values.shape[-2], values.shape[-1]), groups)
            if place >= len(shared.norms):
                return F.group_norm(values, groups, weight, bias, eps)
        mean, variance = shared.norms[place]
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

    def _attention(query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, *args: Any, **kwargs: Any) -> Any:
        tall, wide = down.high - down.low, along.high - along.low
        tokens = query.shape[-2]
        if tokens % (tall * wide) or key.shape[-2] != tokens:
            return F.scaled_dot_product_attention(query, key, value, *args, **kwargs)
        # Tokens stand for one cell each, or, where an autoencoder folds its latents, for an equal share of one.
        fold = math.isqrt(tokens // (tall * wide))
        place = seen["attention"]
        seen["attention"] += 1
        if task == "count":
            if place == len(shared.gathered):
                shared.gathered.append([])
            kept = []
            for side in (key, value):
                grid = side.transpose(-1, -2).reshape(*side.shape[:-2], side.shape[-1], tall * fold, wide * fold)
                chosen = inside(grid, tall * fold, wide * fold)[..., :: shared.stride, :: shared.stride]
                kept.append(chosen.flatten(-2).transpose(-1, -2).contiguous().cpu())
            shared.gathered[place].append((kept[0], kept[1]))
            if place >= len(shared.attentions):
                return F.scaled_dot_product_attention(query, key, value, *args, **kwargs)
        keys, values = (side.to(query.device) for side in shared.attentions[place])
        return F.scaled_dot_product_attention(query, keys, values, *args, **kwargs)

    with Told():
        return network(part)


def seams(length: int, tile: int, context: int) -> Sequence[int]:
    """Where neighbours meet along one edge, in cells: the lines a person would look for."""
    return [span.first for span in spans(length, tile, context)[1:]]
