"""Control pictures made without weights: lines lie on the edges, colours and normals are right, skeletons are exact."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from engine.contracts.errors import InvalidRequest
from engine.control import colours, edges
from engine.control.skeleton import BODY_COLOURS, Pose, draw_pose, read_pose, write_pose
from engine.nodes.control import hints

Picture = npt.NDArray[np.float32]
CTX: Any = None


@pytest.fixture(scope="module")
def disc() -> Picture:
    """A red disc of radius 40 in the middle of a blue square of 128."""
    y, x = np.mgrid[:128, :128]
    inside = (x - 63.5) ** 2 + (y - 63.5) ** 2 < 40**2
    picture = np.where(inside[..., None], (0.9, 0.1, 0.1), (0.1, 0.2, 0.8))
    return np.asarray(picture[None], np.float32)


@pytest.fixture(scope="module")
def distance() -> Picture:
    """How far each pixel is from the disc's edge."""
    y, x = np.mgrid[:128, :128]
    far: Picture = np.abs(np.hypot(x - 63.5, y - 63.5) - 40).astype(np.float32)
    return far


@pytest.mark.parametrize("draw", [hints.soft_edges, hints.scribble])
def test_edges_are_light_where_the_picture_changes_and_black_elsewhere(draw: Any, disc: Any, distance: Any) -> None:
    drawn = draw(CTX, disc)
    assert drawn.shape == (1, 128, 128, 3)
    assert drawn.dtype == np.float32
    assert float(drawn[0, ..., 0][distance < 0.8].mean()) > 0.6
    assert float(drawn[0, ..., 0][distance > 9].max()) < 0.05
    assert np.array_equal(drawn[..., 0], drawn[..., 2])


@pytest.mark.parametrize("draw", [hints.soft_edges, hints.scribble, hints.line_art])
def test_a_plain_picture_has_no_lines(draw: Any) -> None:
    grey = np.full((2, 40, 48, 3), 0.37, np.float32) + np.random.default_rng(0).normal(0, 0.002, (2, 40, 48, 3))
    assert float(draw(CTX, grey.astype(np.float32)).max()) < 0.3
    assert draw(CTX, grey.astype(np.float32)).shape == (2, 40, 48, 3)


def test_a_scribble_is_black_and_white_and_as_wide_as_asked(disc: Picture) -> None:
    thin, wide = (hints.scribble(CTX, disc, width=width)[..., 0] for width in (1, 5))
    assert set(np.unique(wide)) == {0.0, 1.0}
    assert 2.5 < float(wide.sum() / thin.sum()) < 6


def test_line_art_draws_what_is_darker_than_its_surroundings() -> None:
    page = np.ones((1, 64, 64, 3), np.float32)
    page[:, 30:33, 8:56] = 0.1
    drawn = hints.line_art(CTX, page)[0, ..., 0]
    assert float(drawn[31, 12:52].min()) > 0.35
    assert float(drawn[50:].max()) < 0.02
    assert not hints.line_art(CTX, 1 - page)[0, 31, 12:52].any()  # a light line is none


def test_a_tile_keeps_colours_and_loses_detail() -> None:
    noisy = np.random.default_rng(1).random((1, 64, 96, 3), dtype=np.float32)
    soft = hints.tile(CTX, noisy, 8.0)
    assert soft.shape == noisy.shape
    assert abs(float(soft.mean() - noisy.mean())) < 0.01
    assert float(soft.std()) < 0.25 * float(noisy.std())
    assert np.array_equal(hints.tile(CTX, noisy, 1.0), noisy)


def test_a_colour_grid_is_the_mean_of_each_square() -> None:
    noisy = np.random.default_rng(2).random((1, 64, 64, 3), dtype=np.float32)
    grid = hints.colour(CTX, noisy, 32)
    mean = noisy[0, :32, 32:].mean(axis=(0, 1))
    np.testing.assert_allclose(grid[0, :32, 32:].reshape(-1, 3), [mean] * 32 * 32, atol=1e-3)


def test_segments_find_the_surfaces(disc: Picture, distance: Picture) -> None:
    flat = hints.segments(CTX, disc, count=6)
    np.testing.assert_allclose(flat[0][distance > 3], disc[0][distance > 3], atol=0.01)
    named = hints.segments(CTX, disc, count=2, colours_of="palette")[0]
    assert len(np.unique(named.reshape(-1, 3), axis=0)) == 2
    assert np.array_equal(hints.segments(CTX, disc), flat)
    palette = colours.distinct_colours(12)
    gaps = np.abs(palette[:, None] - palette[None]).sum(-1) + np.eye(12)
    assert float(gaps.min()) > 0.15


def test_normals_of_a_slope_and_of_a_wall() -> None:
    ramp = np.repeat(np.linspace(1, 0, 64, dtype=np.float32)[None, None, :, None], 64, axis=1).repeat(3, axis=-1)
    red, green, blue = hints.normal(CTX, ramp, strength=4.0)[0, 32, 32] * 2 - 1
    assert red == pytest.approx(np.sqrt(0.5), abs=0.02)  # nearest on the left, one width deep: it faces right by 45°
    assert green == pytest.approx(0, abs=0.01)
    assert blue == pytest.approx(np.sqrt(0.5), abs=0.02)
    up = hints.normal(CTX, np.ascontiguousarray(ramp.transpose(0, 2, 1, 3)[:, ::-1]))[0, 32, 32] * 2 - 1
    assert up[1] == pytest.approx(np.sqrt(0.5), abs=0.02)  # nearest below: it faces up
    wall = hints.normal(CTX, np.full((1, 32, 32, 3), 0.5, np.float32))
    np.testing.assert_allclose(wall.reshape(-1, 3), [(0.5, 0.5, 1.0)] * 32 * 32, atol=1e-6)
    hidden = hints.normal(CTX, ramp, background=1.0)[0, 32, 32]
    np.testing.assert_allclose(hidden, [0.5, 0.5, 1.0], atol=1e-6)


def body(**places: tuple[float, float]) -> list[float]:
    names = ("nose", "neck", "right_shoulder", "right_elbow")
    values = [0.0] * 54
    for name, (x, y) in places.items():
        values[3 * names.index(name) : 3 * names.index(name) + 3] = [x, y, 1.0]
    return values


def document(**more: Any) -> str:
    person = {"pose_keypoints_2d": body(neck=(100, 60), right_shoulder=(40, 60))}
    return json.dumps({"people": [person], "canvas_width": 200, "canvas_height": 120, **more})


def test_a_skeleton_has_its_limbs_and_joints_where_they_were_put() -> None:
    drawn = hints.skeleton_picture(CTX, document(), 400, 240)[0] * 255
    assert drawn.shape == (240, 400, 3)
    np.testing.assert_array_equal(drawn[120, 200], BODY_COLOURS[1])
    np.testing.assert_array_equal(drawn[120, 80], BODY_COLOURS[2])
    np.testing.assert_array_equal(drawn[120, 140], [153, 0, 0])  # the first limb, darker than the joints
    assert not drawn[:100].any()
    assert not drawn[:, 220:].any()


def test_shares_of_the_canvas_and_pixels_mean_the_same() -> None:
    shares = json.dumps({"people": [{"pose_keypoints_2d": body(neck=(0.5, 0.5), right_shoulder=(0.2, 0.5))}]})
    assert np.array_equal(
        hints.skeleton_picture(CTX, shares, 200, 120), hints.skeleton_picture(CTX, document(), 200, 120)
    )


def test_25_points_are_the_18_of_the_same_person() -> None:
    eighteen = np.random.default_rng(3).uniform(10, 90, (18, 3)).astype(np.float32)
    twenty_five = np.insert(np.vstack([eighteen, np.full((6, 3), 50)]), 8, 77, axis=0)
    texts = [
        json.dumps({"people": [{"pose_keypoints_2d": points.ravel().tolist()}]}) for points in (eighteen, twenty_five)
    ]
    first, second = (draw_pose(read_pose(text, 100, 100), 100, 100) for text in texts)
    assert first.any()
    assert np.array_equal(first, second)


def test_hands_and_faces_are_drawn_when_wanted_and_a_pose_survives_being_written() -> None:
    rng = np.random.default_rng(4)
    hand, face = ([*np.insert(rng.uniform(20, 80, (n, 2)), 2, 1, axis=1).ravel()] for n in (21, 70))
    person = {"hand_left_keypoints_2d": hand, "face_keypoints_2d": face, "pose_keypoints_2d": []}
    pose = read_pose(json.dumps([{"people": [person], "canvas_width": 100, "canvas_height": 100}]))
    whole, bare = draw_pose(pose, 128, 128), draw_pose(pose, 128, 128, hands=False, face=False)
    assert whole.any()
    assert not bare.any()
    assert (draw_pose(pose, 128, 128, hands=False) == 1).all(-1).any()
    np.testing.assert_allclose(draw_pose(read_pose(write_pose(pose)), 128, 128), whole)
    assert not draw_pose(Pose((), 8, 8), 16, 16).any()


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("{", "it is not JSON"), ("[" * 100_000, "it is not JSON"), ("[]", "no list"), ('{"people": 3}', "no list"),
        ('{"people": [4], "canvas_width": 9, "canvas_height": 9}', "not an object"),
        (document(canvas_width=0), "how large"), (document(canvas_width=1e9), "how large"),
        (document(people=[{"pose_keypoints_2d": [1, 2]}]), "2 numbers, not 54 or 75"),
        (document(people=[{"pose_keypoints_2d": ["a"] * 54}]), "not lists of numbers"),
        (document(people=[{}] * 101), "at most 100"),
    ],
)  # fmt: skip
def test_what_is_no_pose_is_one_sentence(text: str, why: str) -> None:
    with pytest.raises(InvalidRequest, match=f"the pose can't be read: .*{why}"):
        read_pose(text)


def test_canny_is_the_same_as_the_picture_nodes(disc: Picture, distance: Picture) -> None:
    drawn = edges.canny(disc[..., :1], 0.1, 0.3)[0, ..., 0]  # red alone: the two colours are equally bright
    assert set(np.unique(drawn)) == {0.0, 1.0}
    assert float(distance[drawn > 0].max()) < 2.0
    assert int(drawn.sum()) > 180
