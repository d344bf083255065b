"""The tiled sampler on flow families: tiny Flux and Z-Image, with ControlNets, masks, places and a guide."""

from __future__ import annotations

import warnings
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch.nn import functional as F  # noqa: N812 - the field's own name for it

from engine.contracts.errors import InvalidRequest
from engine.contracts.references import ModelRef
from engine.graph.values import ControlHandle, LatentValue
from engine.nodes.condition.region import entity
from engine.nodes.control.apply import control
from engine.nodes.latent.empty import empty
from engine.nodes.latent.picture import encode_image, set_noise_mask
from engine.nodes.sample.k_sampler import k_sampler
from engine.nodes.sample.tiled import tiled_sampler
from tests.families import room

NETS = {"flux": "plain", "z_image": "edges"}
SETTINGS: dict[str, Any] = {"seed": 7, "cfg": 3.0, "sampler": "euler", "scheduler": "normal"}
WINDOWS = {"tile_size": 64, "overlap": 32}


@pytest.fixture(scope="module", params=sorted(NETS))
def tiny(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> room.Tiny:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of diffusers, about itself
        folder = room.family_module(request.param).tiny(tmp_path_factory.mktemp(request.param) / "model")
    return room.Tiny(folder, request.param)


def _tiled(tiny: room.Tiny, latent: LatentValue, positive: Any = None, **more: Any) -> torch.Tensor:
    words, negative = room.prompts(tiny, room.Ours())
    how = {**SETTINGS, **WINDOWS, "steps": 1, **more}
    return tiled_sampler(tiny.ctx, tiny.handles()[0], positive or words, negative, latent, **how).samples


def _plain(tiny: room.Tiny, latent: LatentValue, positive: Any = None, **more: Any) -> torch.Tensor:
    words, negative = room.prompts(tiny, room.Ours())
    how = {**SETTINGS, "steps": 3, **more}
    return k_sampler(tiny.ctx, tiny.handles()[0], positive or words, negative, latent, **how).samples


def _hint(tiny: room.Tiny, picture: room.Picture) -> Any:
    words, _ = room.prompts(tiny, room.Ours())
    handle = ControlHandle(ModelRef(kind="controlnet", name=NETS[tiny.name]), tiny.name)
    return control(tiny.ctx, words, handle, picture, strength=0.7)


def _wide(tiny: room.Tiny) -> LatentValue:
    """128 × 64: windows of 8 cells at 0, 4 and 8, so that what is beyond cell 12 is seen by the last alone."""
    return empty(tiny.ctx, 128, 64, 1)


def test_one_window_is_the_plain_sampler(tiny: room.Tiny) -> None:
    latent = empty(tiny.ctx, 64, 64, 1)
    torch.testing.assert_close(_tiled(tiny, latent, steps=3), _plain(tiny, latent), atol=1e-4, rtol=0)
    steered = _hint(tiny, room.picture())
    torch.testing.assert_close(_tiled(tiny, latent, steered, steps=3), _plain(tiny, latent, steered), atol=1e-4, rtol=0)


@pytest.mark.parametrize("weights", ["gaussian", "even"])
def test_windows_leave_no_line_where_they_begin_and_end(tiny: room.Tiny, weights: str) -> None:
    """Between neighbouring cells there is no larger step at a window's border than elsewhere."""
    made = _tiled(tiny, empty(tiny.ctx, 128, 128, 2), steps=3, weights=weights)
    assert bool(made.isfinite().all())
    steps = made.diff(dim=-1).abs().mean(dim=(0, 1, 2))  # between column i and i + 1
    borders = [3, 7, 11]
    inside = [place for place in range(15) if place not in borders]
    assert float(steps[borders].mean()) < 1.15 * float(steps[inside].mean())


def test_a_guide_pulls_the_large_picture_to_the_small_one(tiny: room.Tiny) -> None:
    small = replace(empty(tiny.ctx, 64, 64, 1), samples=_plain(tiny, empty(tiny.ctx, 64, 64, 1)),
                    space=tiny.family.latent_space.id)  # fmt: skip
    free, guided = (
        _tiled(tiny, empty(tiny.ctx, 128, 128, 1), steps=3, guide=guide, guide_strength=1.0) for guide in (None, small)
    )
    # But for its outermost cells, which say that the picture ends there.
    gaps = [(F.avg_pool2d(made, 2) - small.samples)[..., 1:-1, 1:-1] for made in (free, guided)]
    assert float(gaps[1].abs().mean()) < 0.3 * float(gaps[0].abs().mean())


def test_a_control_picture_steers_the_windows_that_it_touches(tiny: room.Tiny) -> None:
    picture = np.concatenate([room.picture(seed=3), room.picture(seed=4)], axis=2)
    other = picture.copy()
    other[:, :, :32] = 1 - other[:, :, :32]
    one, two = (_tiled(tiny, _wide(tiny), _hint(tiny, hint)) for hint in (picture, other))
    torch.testing.assert_close(one[..., 12:], two[..., 12:], atol=1e-6, rtol=0)
    assert float((one[..., :4] - two[..., :4]).abs().mean()) > 1e-4


def test_a_prompt_with_a_place_holds_in_the_windows_that_it_touches(tiny: room.Tiny) -> None:
    words, other = room.prompts(tiny, room.Ours(prompt="a red circle", negative="a blue square"))
    placed = tuple(replace(entry, area=(0.0, 0.0, 0.25, 1.0)) for entry in other)
    with_it, without = (_tiled(tiny, _wide(tiny), side) for side in ((*words, *placed), words))
    torch.testing.assert_close(with_it[..., 12:], without[..., 12:], atol=1e-6, rtol=0)
    assert float((with_it[..., :4] - without[..., :4]).abs().mean()) > 1e-4


def test_an_entity_is_read_where_it_stands(tiny: room.Tiny) -> None:
    words, other = room.prompts(tiny, room.Ours(prompt="a red circle", negative="a blue square"))
    mask = np.zeros((1, 64, 128), np.float32)
    mask[:, :, :32] = 1
    held = entity(tiny.ctx, words, other, mask)
    if tiny.name == "z_image":
        with pytest.raises(InvalidRequest, match="which place reads which words"):
            _tiled(tiny, _wide(tiny), held)
        return
    with_it, without = (_tiled(tiny, _wide(tiny), side) for side in (held, words))
    torch.testing.assert_close(with_it[..., 12:], without[..., 12:], atol=1e-6, rtol=0)
    assert float((with_it[..., :4] - without[..., :4]).abs().mean()) > 1e-5


def test_what_a_mask_leaves_out_stays_in_every_window(tiny: room.Tiny) -> None:
    picture = np.concatenate([room.picture(seed=3), room.picture(seed=4)], axis=2)
    mask = np.zeros((1, 64, 128), np.float32)
    mask[:, :, 32:96] = 1
    start = set_noise_mask(tiny.ctx, encode_image(tiny.ctx, tiny.handles()[2], picture), mask)
    made = _tiled(tiny, start, steps=3)
    torch.testing.assert_close(made[..., :4], start.samples[..., :4], atol=1e-5, rtol=0)
    torch.testing.assert_close(made[..., 12:], start.samples[..., 12:], atol=1e-5, rtol=0)
    assert float((made[..., 4:12] - start.samples[..., 4:12]).abs().mean()) > 0.05
