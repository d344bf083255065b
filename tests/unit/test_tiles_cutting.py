"""Cutting: every place is kept once, with what it is to see around it."""

from __future__ import annotations

from functools import partial
from itertools import pairwise
from typing import Any

import pytest
import torch
from hypothesis import assume, example, given
from hypothesis import strategies as st
from torch import nn

from engine.contracts.errors import Cancelled
from engine.memory.cutting import Grid, narrowest, nothing, ramp, spans
from engine.memory.tile_statistics import gathered, tiles_of
from engine.memory.tiling import Tiling, decode, encode
from engine.sampling.windows import starts


@example(41, 16, 0, 8)
@example(17, 8, 0, 8)
@given(st.integers(1, 700), st.integers(1, 160), st.integers(0, 60), st.sampled_from((1, 2, 8)))
def test_kept_parts_cover_every_place_once_with_what_is_around_it(
    length: int, tile: int, context: int, multiple: int
) -> None:
    assume(length <= tile or (tile - 2 * context) // multiple >= 1)
    parts = spans(length, tile, context, multiple)
    assert [part.first for part in parts] == [0, *(part.last for part in parts[:-1])]
    assert parts[-1].last == length
    for part in parts:
        assert part.high - part.low == min(tile, length)
        assert part.first < part.last
        assert part.first - part.low >= context or part.low == part.first == 0
        assert part.high - part.last >= context or part.high == part.last == length
        assert part.low % multiple == 0 or part.high == length
    if length > tile:
        band = min(context, (tile - 2 * context) // 2, narrowest(parts))
        total = torch.zeros(length * 2)
        for part in parts:
            total[part.low * 2 : part.high * 2] += ramp(part, band, length, 2)
        torch.testing.assert_close(total, torch.ones(length * 2))


@example(7, 2, 2)
@given(st.integers(1, 500), st.integers(2, 64), st.integers(0, 60))
def test_windows_cover_every_place_and_share_what_was_asked_for(length: int, half: int, overlap: int) -> None:
    size = 2 * half
    assume(overlap <= size * 3 // 4)
    places = starts(length, size, overlap)
    assert places[0] == 0
    assert places[-1] == max(0, length - size)
    for place, after in pairwise(places):
        assert place < after <= place + max(size - overlap, 2) + 1
        assert place % 2 == 0


@given(st.sampled_from((128, 256, 512, 768, 1024)), st.sampled_from((4, 8, 16)))
def test_the_planners_tiles_keep_something_and_see_enough(tile: int, factor: int) -> None:
    cells, context, band = Tiling(tile).cells(factor)
    assert cells * factor == tile
    assert 40 <= context * factor <= 80
    assert 0 < band <= cells - 2 * context


class _Halves(nn.Module):
    """An encoder and a decoder in small, 2 pixels a cell, whose norms take the tone out of what they get."""

    latent_space = type("Space", (), {"factor": 2})()

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.down, self.norm, self.up = nn.Conv2d(3, 8, 3, 2, 1), nn.GroupNorm(4, 8), nn.Conv2d(8, 12, 3, 1, 1)
        self.requires_grad_(False)
        self.widest = 0

    def encode(self, pixels: torch.Tensor) -> torch.Tensor:
        self.widest = max(self.widest, *pixels.shape[-2:])
        return nn.functional.silu(self.norm(self.down(pixels)))

    def decode(self, samples: torch.Tensor) -> torch.Tensor:
        self.widest = max(self.widest, *(2 * edge for edge in samples.shape[-2:]))
        return nn.functional.pixel_shuffle(self.up(nn.functional.silu(self.norm(samples))), 2)


def _picture(batch: int, rows: int, columns: int) -> torch.Tensor:
    slope = torch.linspace(-1, 1, columns) * torch.linspace(0.2, 1, rows)[:, None]
    noise = torch.randn((batch, 3, rows, columns), generator=torch.Generator().manual_seed(rows))
    return slope + 0.1 * noise + torch.arange(batch)[:, None, None, None]


def test_any_shape_and_any_batch_comes_out_as_the_whole() -> None:
    model: Any = _Halves()
    for batch, rows, columns in ((1, 64, 66), (3, 70, 50), (2, 8, 512), (1, 500, 4), (1, 34, 34), (1, 2, 400)):
        pixels = _picture(batch, rows, columns)
        latent = model.encode(pixels)
        whole = model.decode(latent)
        cut = Tiling(32, 6)
        model.widest = 0
        torch.testing.assert_close(encode(model, pixels, cut), latent, atol=2e-4, rtol=0)
        torch.testing.assert_close(decode(model, latent, cut), whole, atol=2e-4, rtol=0)
        assert model.widest <= 32


def test_both_ways_can_be_stopped_before_any_tile_and_tell_ever_more() -> None:
    model: Any = _Halves()
    pixels = _picture(2, 64, 64)
    for run, source in ((encode, pixels), (decode, model.encode(pixels))):
        told: list[tuple[int, int]] = []
        checks = [0]

        def check(stop: int = 1 << 30, checks: list[int] = checks) -> None:
            checks[0] += 1
            if checks[0] > stop:
                raise Cancelled

        def tell(done: int, total: int, told: list[tuple[int, int]] = told) -> None:
            told.append((done, total))

        run(model, source, Tiling(32, 6), check=check, progress=tell)
        shares = [done / total for done, total in told]
        assert shares == sorted(shares)
        assert shares[-1] == 1.0
        every, seen = checks[0], len(told)
        assert every >= seen
        for stop in range(0, every, 7):
            checks[0] = 0
            with pytest.raises(Cancelled):
                run(model, source, Tiling(32, 6), check=partial(check, stop))


def test_statistics_are_those_of_the_whole_after_two_sweeps() -> None:
    model: Any = _Halves()
    pixels = _picture(1, 60, 100)
    grid = Grid(30, 50, 16, 3, 2)
    counted = [0]

    def tell() -> None:
        counted[0] += 1

    told = gathered(model.encode, pixels, grid, 2, nothing, tell)
    assert counted[0] == tiles_of(grid, 2)
    own = model.down(pixels).reshape(1, 4, -1)
    spread, mean = torch.var_mean(own, dim=-1, correction=0)
    torch.testing.assert_close(told.norms[0][0].float(), mean, atol=1e-4, rtol=0)
    torch.testing.assert_close(told.norms[0][1].float(), spread, atol=1e-4, rtol=0)
