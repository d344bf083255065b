"""Where, when and how strongly a prompt holds."""

from __future__ import annotations

from dataclasses import replace
from typing import cast

import numpy as np
import pytest
import torch

from engine.contracts.errors import InvalidRequest
from engine.graph.node import NodeContext
from engine.graph.values import ConditioningEntry, LatentValue
from engine.nodes.condition import shape
from engine.sampling.guidance import mixed, region_weight

CTX = cast(NodeContext, None)
LIKE = torch.zeros(1, 4, 8, 8)


def prompt(value: float, tokens: int = 3, width: int = 5) -> tuple[ConditioningEntry, ...]:
    return (ConditioningEntry(torch.full((1, tokens, width), value), pooled=torch.full((1, width), value)),)


def test_an_area_in_pixels_holds_in_its_cells_only() -> None:
    (entry,) = shape.set_area(CTX, prompt(1), width=32, height=16, x=16, y=8)
    weight = region_weight(entry, LIKE)[0, 0]
    assert weight[1:3, 2:6].eq(1).all()
    assert weight.sum().item() == 8


def test_an_area_in_fractions_holds_in_the_same_part_at_any_size() -> None:
    (entry,) = shape.set_area_fraction(CTX, prompt(1), width=0.5, height=1.0, x=0.5)
    assert region_weight(entry, LIKE)[0, 0, :, 4:].eq(1).all()
    assert region_weight(entry, torch.zeros(1, 4, 4, 4)).sum().item() == 8


def test_two_regions_put_each_prompt_in_its_place() -> None:
    left = shape.set_area_fraction(CTX, prompt(1), width=0.5)
    right = shape.set_area_fraction(CTX, prompt(2), width=0.5, x=0.5)
    out = mixed((*left, *right), 0.0, LIKE, lambda e: torch.full_like(LIKE, float(e.embedding[0, 0, 0])))
    assert out[..., :4].eq(1).all()
    assert out[..., 4:].eq(2).all()


def test_masks_strengths_and_steps_weigh_the_mixture() -> None:
    mask = np.zeros((1, 8, 8), np.float32)
    mask[:, :4] = 1
    top = shape.set_mask(CTX, prompt(3), mask)
    everywhere = shape.set_strength(CTX, prompt(1), 3.0)
    early = shape.set_steps(CTX, prompt(9), 0.0, 0.5)

    def run(entries: tuple[ConditioningEntry, ...], fraction: float) -> torch.Tensor:
        return mixed(entries, fraction, LIKE, lambda e: torch.full_like(LIKE, float(e.embedding[0, 0, 0])))

    out = run((*top, *everywhere), 0.0)
    assert out[0, 0, 0, 0].item() == pytest.approx((3 + 3 * 1) / 4)
    assert out[0, 0, 7, 0].item() == 1
    assert run((*early, *everywhere), 0.75)[0, 0, 0, 0].item() == 1
    with pytest.raises(InvalidRequest, match="Swap"):
        shape.set_steps(CTX, prompt(1), 0.5, 0.1)


def test_joining_averaging_and_zeroing() -> None:
    joined = shape.concat(CTX, prompt(1), prompt(2, tokens=2))
    assert joined[0].embedding.shape == (1, 5, 5)
    assert joined[0].embedding[0, 3:].eq(2).all()
    between = shape.average(CTX, prompt(1), prompt(3), 0.25)
    assert between[0].embedding.eq(2.5).all()
    assert between[0].pooled is not None
    assert between[0].pooled.eq(2.5).all()
    assert shape.average(CTX, prompt(4), prompt(2, tokens=1), 0.5)[0].embedding[0, 1:].eq(2).all()  # padded with zeros
    assert shape.zero_out(CTX, prompt(7))[0].embedding.eq(0).all()
    with pytest.raises(InvalidRequest, match="wide"):
        shape.concat(CTX, prompt(1), prompt(1, width=6))


def test_guidance_and_references_are_kept_for_families_that_read_them() -> None:
    entries = shape.guidance(CTX, shape.guidance(CTX, prompt(1), 2.0), 3.5)
    assert dict(entries[0].extras) == {"guidance": 3.5}
    latent = LatentValue(torch.ones(1, 4, 2, 2), "sd15")
    twice = shape.reference_latent(CTX, shape.reference_latent(CTX, entries, latent), latent)
    assert len(dict(twice[0].extras)["references"]) == 2
    assert shape.reference_latent(CTX, entries) is entries
    assert replace(entries[0], extras=()).strength == 1.0
