"""Tiles: autoencoders told of the whole picture, upscalers at their receptive field, windows of the sampler."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from engine.contracts.errors import BadInput, Cancelled, InvalidRequest, UnsafeModel
from engine.enhance.tiled import upscaled
from engine.enhance.upscalers import Upscaler, load_upscaler
from engine.families.protocol import BindRequest
from engine.graph.values import ConditioningEntry, LatentValue, ModelHandle
from engine.memory.cutting import ramp, spans
from engine.memory.tiling import Tiling, decode
from engine.nodes.latent.empty import empty
from engine.nodes.sample.k_sampler import k_sampler
from engine.nodes.sample.tiled import tiled_sampler
from engine.sampling.windows import Windows, cropped, starts
from tests.failure_room import write_upscaler
from tests.unit.sampling_room import Recorder, handles

CPU = torch.device("cpu")


class _Decoder(nn.Module):
    """A decoder in small: convolutions, norms and, in the middle, attention over all places; 2 pixels a cell."""

    def __init__(self, attention: bool) -> None:
        super().__init__()
        self.attention = attention
        self.first, self.second, self.last = (nn.Conv2d(a, b, 3, padding=1) for a, b in ((4, 8), (8, 8), (8, 3)))
        self.norms = nn.ModuleList(nn.GroupNorm(2, 8) for _ in range(2))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.norms[0](self.first(x))
        if self.attention:
            tokens = x.flatten(2).transpose(1, 2)[:, None]
            seen = nn.functional.scaled_dot_product_attention(tokens, tokens, tokens)
            x = x + seen[:, 0].transpose(1, 2).reshape(x.shape)
        x = nn.functional.interpolate(nn.functional.silu(x), scale_factor=2.0)
        made: torch.Tensor = self.last(nn.functional.silu(self.norms[1](self.second(x))))
        return made


class _Autoencoder:
    latent_space = type("Space", (), {"factor": 2})()

    def __init__(self, attention: bool = False) -> None:
        torch.manual_seed(0)
        self.network = _Decoder(attention).requires_grad_(False)
        self.seen: list[int] = []

    def decode(self, samples: torch.Tensor) -> torch.Tensor:
        self.seen.append(max(samples.shape[-2:]))
        made: torch.Tensor = self.network(samples)
        return made


def _latent() -> torch.Tensor:
    """Not alike from place to place, as pictures are."""
    slope = torch.linspace(-2, 2, 60)[None, None, None]
    return torch.randn((1, 4, 44, 60), generator=torch.Generator().manual_seed(1)) * 0.3 + slope


@pytest.mark.parametrize("attention", [False, True])
def test_tiles_equal_the_whole_once_statistics_rest(attention: bool) -> None:
    model: Any = _Autoencoder(attention)
    latent = _latent()
    whole = model.decode(latent)
    model.seen.clear()
    cut = Tiling(48, 10, "swept", 0)
    assert float((decode(model, latent, cut) - whole).abs().max()) < 2e-4
    assert max(model.seen) == 24
    own = decode(model, latent, Tiling(48, 10, "own"))
    guessed = decode(model, latent, Tiling(48, 10, "estimated"))
    assert float((own - whole).abs().mean()) > 2 * float((guessed - whole).abs().mean())


def test_kept_parts_cover_once_and_weights_add_up_to_one() -> None:
    for length, tile, context, multiple in (
        (96, 32, 6, 1),
        (97, 32, 6, 1),
        (512, 64, 8, 8),
        (70, 32, 8, 8),
        (20, 32, 4, 1),
    ):
        parts = spans(length, tile, context, multiple)
        assert [p.first for p in parts] == [0, *(p.last for p in parts[:-1])]
        assert parts[-1].last == length
        for part in parts:
            assert part.first - part.low >= context or part.low == 0
            assert part.high - part.last >= context or part.high == length
        for band in (0, min(context, (tile - 2 * context) // 2)):
            total = torch.zeros(length * 2)
            for part in parts:
                total[part.low * 2 : part.high * 2] += ramp(part, band, length, 2)
            torch.testing.assert_close(total, torch.ones(length * 2))
    with pytest.raises(ValueError, match="keep nothing"):
        spans(100, 16, 8)


def test_decoding_stops_between_tiles() -> None:
    model: Any = _Autoencoder()
    calls = []

    def check() -> None:
        calls.append(1)
        if len(calls) == 4:
            raise Cancelled

    with pytest.raises(Cancelled):
        decode(model, _latent(), Tiling(32, 8), check=check)
    assert len(model.seen) == 3


@pytest.fixture(scope="module")
def upscaler_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_upscaler(tmp_path_factory.mktemp("upscaler"))


def test_an_upscaler_in_tiles_equals_the_whole(upscaler_file: Path) -> None:
    upscaler = load_upscaler(upscaler_file, CPU, torch.float32)
    assert (upscaler.scale, upscaler.context, upscaler.local) == (2, 6, True)
    picture = np.random.default_rng(0).random((1, 75, 131, 3), dtype=np.float32)
    whole = upscaled(upscaler, picture, 512)
    assert whole.shape == (1, 150, 262, 3)
    assert float(whole.std()) > 0.1
    assert float(np.abs(upscaled(upscaler, picture, 32) - whole).max()) < 1e-5
    in_file = upscaled(upscaler, picture, 32, in_memory=0)
    assert isinstance(in_file, np.memmap)
    assert float(np.abs(in_file - whole).max()) < 1e-5


def test_upscaling_stops_between_tiles_and_tells(upscaler_file: Path) -> None:
    upscaler = load_upscaler(upscaler_file, CPU, torch.float32)
    told: list[tuple[int, int]] = []

    def check() -> None:
        if len(told) == 3:
            raise Cancelled

    with pytest.raises(Cancelled):
        upscaled(upscaler, np.zeros((1, 64, 64, 3), np.float32), 32, check=check,
                 progress=lambda done, total: told.append((done, total)))  # fmt: skip
    assert told == [(0, 9), (1, 9), (2, 9)]


def test_a_network_that_sees_everything_is_not_called_local() -> None:
    class Whole(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x + x.mean()

    upscaler = Upscaler(Whole(), 1, "whole")
    assert (upscaler.context, upscaler.local) == (64, False)


def test_only_tensors_of_upscalers_are_read(tmp_path: Path) -> None:
    from safetensors.torch import save_file

    torch.save({"a": torch.zeros(1)}, tmp_path / "x.pth")
    with pytest.raises(UnsafeModel, match="not a safetensors file"):
        load_upscaler(tmp_path / "x.pth", CPU, torch.float32)
    save_file({"nothing.weight": torch.zeros(3)}, tmp_path / "y.safetensors")
    with pytest.raises(BadInput, match="no upscaler that is known"):
        load_upscaler(tmp_path / "y.safetensors", CPU, torch.float32)


def test_windows_cover_evenly_at_even_cells() -> None:
    for length, size, overlap in ((48, 16, 8), (1024, 128, 32), (50, 16, 4), (16, 16, 4)):
        places = starts(length, size, overlap)
        assert places[0] == 0
        assert places[-1] == length - size
        assert all(place % 2 == 0 for place in places[:-1])
        steps = np.diff(places)
        assert all(0 < step <= size - overlap + 2 for step in steps)


def test_prompts_hold_in_the_windows_that_they_touch() -> None:
    left = ConditioningEntry(torch.zeros(1, 1, 4), area=(0.0, 0.0, 0.5, 1.0))
    mask = np.zeros((8, 8), np.float32)
    mask[:4] = 1
    top = ConditioningEntry(torch.ones(1, 1, 4), mask=mask)
    hole = torch.arange(32 * 64).float().reshape(1, 1, 32, 64)
    request = BindRequest((left, top), (), 1.0, (1, 4, 32, 64), inpaint=(hole, hole))
    here = cropped(request, (0, 16, 16, 48))
    assert here.shape == (1, 4, 16, 32)
    assert [entry.area for entry in here.positive] == [(0, 0, 16, 16), None]
    assert here.positive[1].mask is not None
    assert here.positive[1].mask.shape == (4, 4)
    assert here.inpaint is not None
    torch.testing.assert_close(here.inpaint[0], hole[..., :16, 16:48])
    # Neither touches the lower right: the first then holds all over it, as mixing has it.
    assert [entry.area for entry in cropped(request, (16, 32, 32, 64)).positive] == [None]


SETTINGS: dict[str, Any] = {"seed": 7, "steps": 2, "cfg": 4.0, "sampler": "ddim", "scheduler": "simple"}


@pytest.fixture(scope="module")
def starter() -> tuple[Any, Any, Any, Any, LatentValue]:
    ctx: Any = Recorder()
    model, _, positive, negative = handles(ctx)
    return (
        ctx,
        model,
        positive,
        negative,
        k_sampler(ctx, model, positive, negative, empty(ctx, 128, 128, 1), **SETTINGS),
    )


def test_one_window_is_the_plain_sampler(starter: tuple[Any, ...]) -> None:
    ctx, model, positive, negative, small = starter
    latent = empty(ctx, 128, 128, 1)
    made = tiled_sampler(ctx, model, positive, negative, latent, tile_size=128, overlap=32, **SETTINGS)
    torch.testing.assert_close(made.samples, small.samples, atol=1e-4, rtol=0)


def test_a_guide_makes_the_large_picture_resemble_the_small_one(starter: tuple[Any, ...]) -> None:
    ctx, model, positive, negative, small = starter
    how = {**SETTINGS, "tile_size": 128, "overlap": 64}
    free, guided = (
        tiled_sampler(ctx, model, positive, negative, empty(ctx, 256, 256, 1), guide, **how).samples
        for guide in (None, small)
    )
    apart = [float((nn.functional.avg_pool2d(made, 2) - small.samples).abs().mean()) for made in (free, guided)]
    assert apart[1] < 0.5 * apart[0]


def test_windows_stop_in_the_midst_of_a_step(starter: tuple[Any, ...]) -> None:
    ctx, model, positive, negative, _ = starter
    ctx.steps.clear()
    ctx.cancel_after = 2
    try:
        with pytest.raises(Cancelled):
            tiled_sampler(
                ctx, model, positive, negative, empty(ctx, 256, 256, 1), tile_size=128, overlap=64, **SETTINGS
            )
    finally:
        ctx.cancel_after = None
    assert max(done for done, _ in ctx.steps) < 1
    with pytest.raises(InvalidRequest, match="can't share 128"):
        tiled_sampler(ctx, model, positive, negative, empty(ctx, 256, 256, 1), tile_size=128, overlap=128)


def test_windows_are_what_the_denoiser_sees(starter: tuple[Any, ...]) -> None:
    from engine.sampling.windows import WindowedFamily

    ctx, model, positive, negative, _ = starter
    assert isinstance(model, ModelHandle)
    family = ctx.session.denoiser(model)
    shapes: list[tuple[int, ...]] = []

    class Watching:
        def __getattr__(self, name: str) -> Any:
            return getattr(family, name)

        def bind(self, request: BindRequest) -> Any:
            shapes.append(request.shape)
            return family.bind(request)

    windowed = WindowedFamily(Watching(), Windows(16, 4), lambda: None)
    request = BindRequest(positive, negative, 4.0, (1, 4, 40, 40))
    windowed.bind(request).predict(torch.zeros(1, 4, 40, 40), torch.tensor(500.0), 0.5)
    assert shapes == [(1, 4, 16, 16)]  # bound once, as all windows are alike
    shapes.clear()
    placed = replace(request, positive=(replace(positive[0], area=(0.0, 0.0, 1.0, 0.5)),))
    windowed.bind(placed).predict(torch.zeros(1, 4, 40, 40), torch.tensor(500.0), 0.5)
    assert shapes == [(1, 4, 16, 16)] * 9
