"""How a large picture is cut into tiles, and how they are joined. Torch-free at import."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    import torch


def nothing(*_: object) -> None:
    """For callers that neither cancel nor want progress."""


@dataclass(frozen=True)
class Span:
    """One tile along one edge: [low, high) is computed and [first, last) of it is kept, in cells."""

    low: int
    high: int
    first: int
    last: int


Piece: TypeAlias = tuple[Span, Span]  # down, along


def places(room: int, most: int, multiple: int = 1) -> list[int]:
    """Where tiles begin, from 0 to `room`: at multiples of `multiple` (but the last, where `room` is none), each after
    the one before and at most `most` (`multiple` at least) behind it.

    Spread evenly: none is much nearer to its neighbour than others, so that three tiles don't meet in a blend.
    """
    step = most // multiple * multiple
    more = -(-room // step)
    even = [0, *(room * place // more // multiple * multiple for place in range(1, more)), room]
    if all(0 < after - one <= most for one, after in pairwise(even)):
        return even
    # Rounding left a gap: the last but one begins later, late enough for the last one's odd place.
    before = max(room * (more - 1) // more // multiple, -(-(room - most) // multiple), more - 1)
    return [0, *(-(-before * place // (more - 1)) * multiple for place in range(1, more)), room]


def spans(length: int, tile: int, context: int, multiple: int = 1) -> tuple[Span, ...]:
    """Tiles of `tile` cells over `length`, all of one size, whose kept parts cover it once.

    Every kept cell has `context` cells around it, or the picture's edge. Tiles begin at multiples of `multiple`; only
    the last may not, where `length` is none. Raises ValueError when nothing would be kept.
    """
    if length <= tile:
        return (Span(0, length, 0, length),)
    most = tile - 2 * context
    if most < multiple:
        raise ValueError(f"tiles of {tile} keep nothing with {context} around it")
    starts = places(length - tile, most, multiple)
    kept = [0, *(start + context for start in starts[1:]), length]
    return tuple(
        Span(start, start + tile, first, last)
        for start, first, last in zip(starts, kept[:-1], kept[1:], strict=True)
    )  # fmt: skip


def narrowest(parts: Sequence[Span]) -> int:
    """Cells of the narrowest kept part: a blend that is wider would reach a third tile."""
    return min(part.last - part.first for part in parts)


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
class Grid:
    """How one source is cut: [..., rows · scale, columns · scale] in tiles of `tile` cells that see `context` around
    what is kept of them."""

    rows: int
    columns: int
    tile: int
    context: int
    scale: int

    def pieces(self) -> tuple[Piece, ...]:
        return tuple(
            (down, along)
            for down in spans(self.rows, self.tile, self.context)
            for along in spans(self.columns, self.tile, self.context)
        )

    def parts(self, source: torch.Tensor) -> Iterator[tuple[Piece, torch.Tensor]]:
        """Every tile with what goes into it."""
        for down, along in self.pieces():
            yield (down, along), source[..., down.low * self.scale : down.high * self.scale,
                                        along.low * self.scale : along.high * self.scale]  # fmt: skip
