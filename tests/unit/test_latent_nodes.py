"""The latent nodes: exact values for what is exact, and the same noise for the same place."""

from __future__ import annotations

from typing import cast

import numpy as np
import pytest
import torch

from engine.contracts.errors import InvalidRequest
from engine.graph.node import NodeContext
from engine.graph.values import LatentValue
from engine.nodes.latent import combine, resize

CTX = cast(NodeContext, None)


def latent(batch: int = 1, rows: int = 4, columns: int = 6, seed: int = 0, space: str = "sd15") -> LatentValue:
    generator = torch.Generator().manual_seed(seed)
    samples = torch.randn(batch, 4, rows, columns, generator=generator)
    return LatentValue(samples, space, indices=tuple(range(batch)))


def test_scaling_gives_the_asked_size_and_follows_a_missing_edge() -> None:
    assert resize.scale(CTX, latent(), "bilinear", 96, 64).samples.shape == (1, 4, 8, 12)
    assert resize.scale(CTX, latent(), "area", 96, 0).samples.shape == (1, 4, 8, 12)
    assert resize.scale_by(CTX, latent(), "nearest-exact", 2.0).samples.shape == (1, 4, 8, 12)
    cropped = resize.scale(CTX, latent(), "nearest-exact", 32, 32, "center")
    assert torch.equal(cropped.samples, latent().samples[..., 1:5])


def test_bislerp_keeps_the_length_of_vectors_where_bilinear_shortens_them() -> None:
    samples = torch.zeros(1, 4, 1, 2)
    samples[0, 0, 0, 0], samples[0, 1, 0, 1] = 1.0, 1.0  # two unit vectors at a right angle
    middle = resize.bislerp(samples, 1, 8)[0, :, 0].norm(dim=0)
    plain = resize.resample(samples, 1, 8, "bilinear")[0, :, 0].norm(dim=0)
    assert torch.allclose(middle, torch.ones(8), atol=1e-5)
    assert plain.min() < 0.8


def test_bislerp_to_the_same_size_changes_nothing() -> None:
    value = latent()
    assert torch.allclose(resize.bislerp(value.samples, 4, 6), value.samples, atol=1e-5)


def test_crop_flip_and_rotate_move_cells_exactly() -> None:
    value = latent()
    assert torch.equal(resize.crop(CTX, value, 16, 16, 8, 8).samples, value.samples[..., 1:3, 1:3])
    assert torch.equal(resize.flip(CTX, value, "y-axis: horizontally").samples, value.samples.flip(-1))
    turned = resize.rotate(CTX, value, "90 degrees")
    assert turned.samples.shape == (1, 4, 6, 4)
    assert torch.equal(turned.samples[..., 0, -1], value.samples[..., 0, 0])  # upper left goes to upper right


def test_the_mask_goes_along_with_the_samples() -> None:
    mask = torch.zeros(1, 1, 4, 6)
    mask[..., 0, 0] = 1
    value = LatentValue(latent().samples, "sd15", noise_mask=mask)
    flipped = resize.flip(CTX, value, "x-axis: vertically").noise_mask
    assert flipped is not None
    assert flipped[..., 3, 0].item() == 1
    assert flipped.sum().item() == 1


def test_composite_lays_the_source_and_leaves_the_rest() -> None:
    base, layer = latent(seed=1, rows=8, columns=8), latent(seed=2, rows=3, columns=3)
    out = combine.composite(CTX, base, layer, x=16, y=8).samples
    assert torch.equal(out[..., 1:4, 2:5], layer.samples)
    outside = torch.ones(8, 8, dtype=torch.bool)
    outside[1:4, 2:5] = False
    assert torch.equal(out[..., outside], base.samples[..., outside])
    assert torch.equal(base.samples, latent(seed=1, rows=8, columns=8).samples)  # inputs are never written


def test_feathering_fades_only_inner_edges() -> None:
    zeros = LatentValue(torch.zeros(1, 4, 8, 8), "sd15")
    ones = LatentValue(torch.ones(1, 4, 4, 4), "sd15")
    out = combine.composite(CTX, zeros, ones, x=0, y=16, feather=16).samples[0, 0]
    assert out[3, 0].item() == 1.0  # two rows from the top edge on, at the left border
    assert out[2, 0].item() == pytest.approx(0.5)
    assert out[3, 3].item() == pytest.approx(0.5)


def test_masked_composite_follows_the_mask() -> None:
    base, layer = latent(seed=1, rows=4, columns=4), latent(seed=2, rows=4, columns=4)
    mask = np.zeros((1, 4, 4), np.float32)
    mask[0, :, :2] = 1
    out = combine.composite_masked(CTX, base, layer, mask=mask).samples
    assert torch.equal(out[..., :2], layer.samples[..., :2])
    assert torch.equal(out[..., 2:], base.samples[..., 2:])


def test_arithmetic() -> None:
    a, b = latent(seed=1), latent(seed=2)
    assert torch.equal(combine.add(CTX, a, b).samples, a.samples + b.samples)
    assert torch.equal(combine.subtract(CTX, a, b).samples, a.samples - b.samples)
    assert torch.equal(combine.multiply(CTX, a, 2.0).samples, a.samples * 2)
    assert torch.allclose(combine.blend(CTX, a, b, 0.25).samples, a.samples * 0.25 + b.samples * 0.75)
    assert torch.allclose(combine.interpolate(CTX, a, b, 1.0).samples, a.samples, atol=1e-5)


def test_taking_from_a_batch_keeps_each_item_its_noise() -> None:
    value = latent(batch=3)
    picked = combine.from_batch(CTX, value, 1, 2)
    assert picked.indices == (1, 2)
    assert torch.equal(combine.noise(CTX, value, 5, 1.0).samples[1:], combine.noise(CTX, picked, 5, 1.0).samples)
    with pytest.raises(InvalidRequest, match="Use 0 to 2"):
        combine.from_batch(CTX, value, 3)


def test_repeating_gives_every_copy_its_own_place() -> None:
    repeated = combine.repeat(CTX, latent(batch=2), 3)
    assert repeated.samples.shape[0] == 6
    assert len(set(repeated.indices)) == 6


def test_latents_of_two_families_do_not_mix() -> None:
    with pytest.raises(InvalidRequest, match="sd15"):
        combine.add(CTX, latent(), latent(space="flux"))
    assert combine.add(CTX, latent(), latent(space="any")).space == "sd15"
