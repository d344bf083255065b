"""The general mask nodes: exact values, whole batches, nothing changed in place."""

from __future__ import annotations

import numpy as np
import pytest

from engine.contracts.errors import InvalidRequest
from engine.media.images import encode
from engine.nodes.mask.combine import combine, crop_mask, scale_mask
from engine.nodes.mask.feather import feather
from engine.nodes.mask.load import load_mask
from engine.nodes.mask.make import from_alpha, preview_mask, rectangle, solid_mask, to_alpha
from engine.nodes.mask.shape import (
    blur_mask,
    feather_edges,
    fill_holes,
    grow,
    invert_mask,
    shrink,
    threshold,
)
from tests.unit.media_room import Floats, Room, frozen, noise

ROOM = Room()


def dot(edge: int = 21) -> Floats:
    mask = np.zeros((2, edge, edge), np.float32)
    mask[0, edge // 2, edge // 2] = 1
    return frozen(mask)


def test_growing_a_dot_gives_a_disc_or_a_square() -> None:
    rows, columns = np.mgrid[-10:11, -10:11]
    disc = (np.hypot(rows, columns) <= 5).astype(np.float32)
    out = grow(ROOM, dot(), 5)
    np.testing.assert_array_equal(out[0], disc)
    assert (out[1] == 0).all()
    square = ((abs(rows) <= 5) & (abs(columns) <= 5)).astype(np.float32)
    np.testing.assert_array_equal(grow(ROOM, dot(), 5, round=False)[0], square)


def test_shrinking_undoes_growing_and_spares_the_edges_of_the_picture() -> None:
    grown = grow(ROOM, dot(), 5, round=False)
    np.testing.assert_array_equal(shrink(ROOM, grown, 5, round=False), dot())
    np.testing.assert_array_equal(grow(ROOM, grown, -5, round=False), dot())
    full = np.ones((1, 8, 8), np.float32)
    np.testing.assert_array_equal(shrink(ROOM, full, 3), full)
    np.testing.assert_array_equal(shrink(ROOM, full, 3, round=False), full)


def test_soft_masks_grow_by_their_largest_value() -> None:
    soft = dot() * np.float32(0.5)
    out = grow(ROOM, frozen(soft), 4)
    assert set(np.unique(out)) == {0.0, 0.5}
    assert out[0, 10, 6] == 0.5
    assert out[0, 10, 5] == 0
    assert grow(ROOM, soft, 0) is soft


def test_holes_are_filled_and_bays_are_not() -> None:
    mask = np.zeros((2, 9, 9), np.float32)
    mask[0, 2:7, 2:7] = 0.8
    mask[0, 4, 4] = 0.1  # a hole
    mask[1, 2:7, 2:7] = 1
    mask[1, 4, 4:] = 0  # a bay, open to the right
    out = fill_holes(ROOM, frozen(mask))
    expected = mask.copy()
    expected[0, 4, 4] = 1
    np.testing.assert_array_equal(out, expected)


def test_blurring_keeps_the_sum() -> None:
    out = blur_mask(ROOM, dot(), 4)
    assert out[0].sum() == pytest.approx(1, abs=1e-4)
    assert blur_mask(ROOM, dot(), 0).max() == 1


def test_feathering_goes_inwards_only() -> None:
    mask = np.zeros((2, 40, 40), np.float32)
    mask[0, 8:32, 8:32] = 1
    mask[1] = 1
    out = feather(ROOM, frozen(mask), 5)
    assert (out[mask == 0] == 0).all()
    assert (out[0, 14:26, 14:26] == 1).all()
    assert (np.diff(out[0, 20, 7:15]) > 0).sum() == 6
    np.testing.assert_array_equal(out[1], mask[1])
    np.testing.assert_array_equal(feather(ROOM, mask, 0), mask)


def test_edges_fade_linearly() -> None:
    out = feather_edges(ROOM, frozen(np.ones((2, 6, 8), np.float32)), left=4, bottom=2)
    np.testing.assert_allclose(out[0, 0], [0.25, 0.5, 0.75, 1, 1, 1, 1, 1])
    np.testing.assert_allclose(out[1, :, 7], [1, 1, 1, 1, 1, 0.5])
    assert feather_edges(ROOM, np.ones((1, 2, 2), np.float32), left=99).shape == (1, 2, 2)


def test_threshold_is_above_the_value_and_inverting_turns_round() -> None:
    mask = np.array([[[0.0, 0.5, 0.51, 1.0]]], np.float32)
    np.testing.assert_array_equal(threshold(ROOM, frozen(mask), 0.5), [[[0, 0, 1, 1]]])
    np.testing.assert_array_equal(invert_mask(ROOM, mask), 1 - mask)


@pytest.mark.parametrize(
    ("operation", "expected"),
    [
        ("add", [0, 1, 1, 1]),
        ("subtract", [0, 0, 1, 0]),
        ("multiply", [0, 0, 0, 1]),
        ("and", [0, 0, 0, 1]),
        ("or", [0, 1, 1, 1]),
        ("xor", [0, 1, 1, 0]),
    ],
)
def test_combining(operation: str, expected: list[int]) -> None:
    a, b = np.array([[[0, 0, 1, 1]]], np.float32), np.array([[[0, 1, 0, 1]]], np.float32)
    np.testing.assert_array_equal(combine(ROOM, frozen(a), frozen(b), operation=operation), [[expected]])


def test_combining_at_an_offset_keeps_the_rest() -> None:
    base = noise(1, 6, 6)
    out = combine(ROOM, frozen(base), np.ones((2, 3, 3), np.float32), 4, -1, "or")
    assert out.shape == (2, 6, 6)
    assert (out[:, :2, 4:] == 1).all()
    np.testing.assert_array_equal(out[1, 2:], base[0, 2:])
    np.testing.assert_array_equal(combine(ROOM, base, np.ones((1, 3, 3), np.float32), 6, 0), base)


def test_cutting_scaling_and_making() -> None:
    mask = noise(2, 6, 8)
    np.testing.assert_array_equal(crop_mask(ROOM, frozen(mask), 1, 2, 3, 99), mask[:, 2:, 1:4])
    with pytest.raises(InvalidRequest, match="outside the mask of 8×6 pixels"):
        crop_mask(ROOM, mask, 8, 0, 1, 1)
    np.testing.assert_array_equal(scale_mask(ROOM, mask, 16, 12, "nearest"), mask.repeat(2, 1).repeat(2, 2))
    np.testing.assert_array_equal(solid_mask(ROOM, 0.25, 3, 2), np.full((1, 2, 3), 0.25))
    box = rectangle(ROOM, 8, 6, 2, 1, 3, 99, 0.5)
    expected = np.zeros((1, 6, 8), np.float32)
    expected[:, 1:, 2:5] = 0.5
    np.testing.assert_array_equal(box, expected)


def test_transparency_in_and_out() -> None:
    picture = noise(2, 3, 4, 4)
    np.testing.assert_array_equal(from_alpha(ROOM, frozen(picture)), 1 - picture[..., 3])
    made = to_alpha(ROOM, frozen(noise(1, 3, 4)), picture)
    np.testing.assert_array_equal(made[..., 3], np.repeat(1 - noise(1, 3, 4), 2, axis=0))
    np.testing.assert_array_equal(made[..., :3], picture[..., :3])


def test_a_mask_loads_from_a_channel() -> None:
    room, picture = Room(), noise(3, 4, 4)
    ref = room.write(encode(picture), "image/png")
    np.testing.assert_array_equal(load_mask(room, ref)[0], 1 - picture[..., 3])
    np.testing.assert_array_equal(load_mask(room, ref, "green")[0], picture[..., 1])
    opaque = room.write(encode(noise(3, 4, 3)), "image/png")
    np.testing.assert_array_equal(load_mask(room, opaque), np.zeros((1, 3, 4)))


def test_a_mask_preview_is_grey() -> None:
    room = Room()
    preview_mask(room, noise(2, 3, 4))
    assert [(a.width, a.height, dict(a.facts)["preview"]) for a in room.artifacts] == [(4, 3, True)] * 2
