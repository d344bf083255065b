"""The general image nodes: exact pixels, whole batches, alpha kept, nothing changed in place."""

from __future__ import annotations

import io
import math
import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image as Pillow

from engine.contracts.errors import InvalidRequest
from engine.media.images import encode
from engine.nodes.image.arrange import flip, grid, rotate, stitch
from engine.nodes.image.batch import combine_batches, from_batch, repeat, size
from engine.nodes.image.blend_modes import MODES, blend
from engine.nodes.image.blur import blur, sharpen
from engine.nodes.image.canny import canny
from engine.nodes.image.channels import flatten, join_alpha, merge_channels, split_alpha, split_channels
from engine.nodes.image.composite import composite
from engine.nodes.image.crop_by_mask import crop_by_mask
from engine.nodes.image.folder import folder_of_images
from engine.nodes.image.generate import gradient, solid
from engine.nodes.image.hue import greyscale, hue_saturation
from engine.nodes.image.noise import add_noise
from engine.nodes.image.scale import scale_longest
from engine.nodes.image.text_overlay import text_overlay, watermark
from engine.nodes.image.tone import brightness_contrast, curves, levels
from tests.unit.media_room import Floats, Room, frozen, noise

ROOM = Room()


def pixel(*values: float) -> Floats:
    """One pixel, or several with as many values as there are, as [1, 1, 1, C]."""
    return np.array([[[values]]], np.float32)


def test_levels_stretch_bend_and_limit() -> None:
    picture = pixel(0.1, 0.5, 0.9)
    np.testing.assert_allclose(levels(ROOM, picture, 0.1, 0.9), pixel(0, 0.5, 1), atol=1e-6)
    np.testing.assert_allclose(levels(ROOM, picture, gamma=2.0), np.sqrt(picture), atol=1e-6)
    np.testing.assert_allclose(levels(ROOM, picture, out_black=1.0, out_white=0.0), 1 - picture, atol=1e-6)
    np.testing.assert_allclose(levels(ROOM, picture, 0.1, 0.5, channel="blue"), pixel(0.1, 0.5, 1), atol=1e-6)
    with pytest.raises(InvalidRequest, match="white point"):
        levels(ROOM, picture, 0.5, 0.5)


def test_curves_go_through_their_points_and_never_overshoot() -> None:
    picture = noise(1, 8, 8, 4)
    np.testing.assert_allclose(curves(ROOM, frozen(picture), "0,0; 1,1"), picture, atol=1e-6)
    made = curves(ROOM, pixel(0.0, 0.25, 0.5), "0,0.1; 0.25,0.6; 0.5,0.6; 1,1")
    np.testing.assert_allclose(made, pixel(0.1, 0.6, 0.6), atol=1e-6)
    ramp = np.linspace(0, 1, 999, dtype=np.float32).reshape(1, 1, 333, 3)
    bent = curves(ROOM, ramp, "0,0; 0.1,0.9; 0.2,0.9; 1,1").ravel()
    assert (np.diff(bent) >= -1e-7).all()
    np.testing.assert_array_equal(curves(ROOM, picture, "0,1; 1,0", "red")[..., 1:], picture[..., 1:])
    for points in ("", "0,0", "a,b; 1,1", "0,0; 0,1", "0,0; 2,1", "0,0,0; 1,1", "nan,0; 1,1"):
        with pytest.raises(InvalidRequest):
            curves(ROOM, picture, points)


def test_brightness_and_contrast() -> None:
    picture = pixel(0.25, 0.5, 0.75)
    np.testing.assert_allclose(brightness_contrast(ROOM, picture, 0.25), pixel(0.5, 0.75, 1.0), atol=1e-6)
    np.testing.assert_allclose(brightness_contrast(ROOM, picture, 0, 1), pixel(0, 0.5, 1), atol=1e-6)
    np.testing.assert_allclose(brightness_contrast(ROOM, picture, 0, -1), pixel(0.5, 0.5, 0.5), atol=1e-6)
    assert brightness_contrast(ROOM, picture) is picture


def test_hue_turns_saturation_fades_lightness_ends_in_white() -> None:
    red = pixel(1, 0, 0)
    np.testing.assert_allclose(hue_saturation(ROOM, red, 120), pixel(0, 1, 0), atol=1e-4)
    np.testing.assert_allclose(hue_saturation(ROOM, red, -120), pixel(0, 0, 1), atol=1e-4)
    np.testing.assert_allclose(hue_saturation(ROOM, red, 0, -1), pixel(0.5, 0.5, 0.5), atol=1e-4)
    np.testing.assert_allclose(hue_saturation(ROOM, red, 0, 0, 1), pixel(1, 1, 1), atol=1e-4)
    np.testing.assert_allclose(hue_saturation(ROOM, red, 0, 0, -1), pixel(0, 0, 0), atol=1e-4)
    picture = noise(2, 5, 5, 4)
    np.testing.assert_array_equal(hue_saturation(ROOM, frozen(picture), 30)[..., 3], picture[..., 3])
    np.testing.assert_allclose(greyscale(ROOM, red), pixel(*[0.2126] * 3), atol=1e-6)


def test_blur_spreads_a_point_by_a_gaussian_and_keeps_its_sum() -> None:
    point = np.zeros((1, 21, 21, 3), np.float32)
    point[0, 10, 10] = 1
    out = blur(ROOM, frozen(point), 6, 1.5)
    assert out.sum() == pytest.approx(3, abs=1e-4)
    assert out[0, 10, 11, 0] / out[0, 10, 10, 0] == pytest.approx(math.exp(-1 / (2 * 1.5**2)), abs=1e-4)
    assert blur(ROOM, point, 0) is point
    flat = np.full((2, 9, 9, 4), 0.5, np.float32)
    np.testing.assert_allclose(blur(ROOM, flat, 4), flat, atol=1e-6)


def test_blur_gives_visible_pixels_no_invisible_colour() -> None:
    picture = np.zeros((1, 9, 9, 4), np.float32)
    picture[:, :, :4] = (1, 0, 0, 1)
    out = blur(ROOM, picture, 3)
    np.testing.assert_allclose(out[..., 0][out[..., 3] > 0.01], 1, atol=1e-4)


def test_sharpening_adds_what_blurring_takes() -> None:
    picture = 0.25 + 0.5 * noise(1, 12, 12, 3)
    soft = blur(ROOM, picture, 2)
    np.testing.assert_allclose(
        sharpen(ROOM, frozen(picture), 2, 0, 0.3), np.clip(picture + 0.3 * (picture - soft), 0, 1), atol=1e-6
    )
    np.testing.assert_array_equal(sharpen(ROOM, picture, 2, 0, 0.3, threshold=1.0), picture)
    assert sharpen(ROOM, picture, amount=0.0) is picture


def test_noise_repeats_by_seed_and_item_by_item() -> None:
    flat = np.full((3, 64, 64, 3), 0.5, np.float32)
    batch = add_noise(ROOM, frozen(flat), 0.1, 7)
    np.testing.assert_array_equal(batch, add_noise(ROOM, flat, 0.1, 7))
    np.testing.assert_array_equal(batch[2:], add_noise(ROOM, flat[:1], 0.1, 9))
    assert abs(float((batch - flat).std()) - 0.1) < 0.002
    even = add_noise(ROOM, flat, 0.1, 7, "uniform", coloured=False)
    np.testing.assert_array_equal(even[..., 0], even[..., 2])
    assert np.abs(even - flat).max() <= 0.1001
    assert add_noise(ROOM, flat, 0.0) is flat


def test_a_grid_puts_each_picture_in_its_place() -> None:
    pictures = noise(5, 4, 6, 3)
    out = grid(ROOM, frozen(pictures), 0, 2, "#ff0000")
    assert out.shape == (1, 10, 22, 3)
    for i in range(5):
        y, x = i // 3 * 6, i % 3 * 8
        np.testing.assert_array_equal(out[0, y : y + 4, x : x + 6], pictures[i])
    np.testing.assert_array_equal(out[0, 4:6], np.broadcast_to([1, 0, 0], (2, 22, 3)))
    assert grid(ROOM, pictures, 99).shape == (1, 4, 30, 3)


@pytest.mark.parametrize("direction", ["right", "down", "left", "up"])
def test_stitching(direction: str) -> None:
    a, b = noise(1, 4, 6, 3, seed=1), noise(2, 4, 6, 3, seed=2)
    out = stitch(ROOM, frozen(a), frozen(b), direction, spacing=3, spacing_colour="black")
    first, second = (a, b) if direction in ("right", "down") else (b, a)
    if direction in ("right", "left"):
        assert out.shape == (2, 4, 15, 3)
        np.testing.assert_array_equal(out[1, :, :6], first[-1])
        np.testing.assert_array_equal(out[1, :, 9:], second[-1])
        assert (out[:, :, 6:9] == 0).all()
    else:
        assert out.shape == (2, 11, 6, 3)
        np.testing.assert_array_equal(out[1, :4], first[-1])
        np.testing.assert_array_equal(out[1, 7:], second[-1])


def test_stitching_different_sizes() -> None:
    a, b = noise(1, 4, 6, 3), noise(1, 8, 8, 4)
    assert stitch(ROOM, a, b).shape == (1, 4, 10, 4)
    out = stitch(ROOM, a, b, match_size=False, spacing_colour="#ffffff")
    assert out.shape == (1, 8, 14, 4)
    np.testing.assert_array_equal(out[0, 2:6, :6, :3], a[0])
    np.testing.assert_array_equal(out[0, :2, :6], np.ones((2, 6, 4)))
    assert stitch(ROOM, a) is a


def test_flipping_and_turning_move_pixels_only() -> None:
    picture = noise(2, 3, 4, 3)
    np.testing.assert_array_equal(flip(ROOM, frozen(picture)), picture[:, :, ::-1])
    np.testing.assert_array_equal(flip(ROOM, picture, "vertical"), picture[:, ::-1])
    np.testing.assert_array_equal(rotate(ROOM, picture)[0], np.rot90(picture[0], -1))
    np.testing.assert_array_equal(rotate(ROOM, rotate(ROOM, picture, "90 degrees"), "270 degrees"), picture)
    np.testing.assert_array_equal(rotate(ROOM, picture, "180 degrees"), picture[:, ::-1, ::-1])


def test_channels_come_apart_and_together() -> None:
    picture = noise(2, 3, 4, 4)
    parts = split_channels(ROOM, frozen(picture))
    np.testing.assert_array_equal(merge_channels(ROOM, *parts), picture)
    np.testing.assert_array_equal(merge_channels(ROOM, *parts[:3]), picture[..., :3])
    with pytest.raises(InvalidRequest, match="4×3, 4×3, 5×3"):
        merge_channels(ROOM, parts[0], parts[1], np.zeros((1, 3, 5), np.float32))


def test_alpha_comes_apart_and_together() -> None:
    picture = noise(2, 3, 4, 4)
    colours, mask = split_alpha(ROOM, frozen(picture))
    np.testing.assert_array_equal(colours, picture[..., :3])
    np.testing.assert_array_equal(mask, 1 - picture[..., 3])
    np.testing.assert_allclose(join_alpha(ROOM, colours, mask), picture, atol=1e-7)
    np.testing.assert_array_equal(split_alpha(ROOM, colours)[1], np.zeros((2, 3, 4)))


def test_flattening() -> None:
    np.testing.assert_allclose(flatten(ROOM, pixel(1, 0, 0, 0.25), "#0000ff"), pixel(0.25, 0, 0.75), atol=1e-7)
    opaque = noise(1, 3, 3, 3)
    assert flatten(ROOM, opaque) is opaque


def reference(mode: str, b: float, o: float) -> float:
    """The formulas as W3C Compositing and Blending Level 1 writes them, for one value."""
    match mode:
        case "normal":
            return o
        case "multiply":
            return b * o
        case "screen":
            return b + o - b * o
        case "overlay":
            return reference("hard_light", o, b)
        case "hard_light":
            return 2 * b * o if o <= 0.5 else reference("screen", b, 2 * o - 1)
        case "soft_light":
            d = ((16 * b - 12) * b + 4) * b if b <= 0.25 else math.sqrt(b)
            return b - (1 - 2 * o) * b * (1 - b) if o <= 0.5 else b + (2 * o - 1) * (d - b)
        case "difference":
            return abs(b - o)
        case "add":
            return min(1, b + o)
        case "subtract":
            return max(0, b - o)
        case "darken":
            return min(b, o)
        case "lighten":
            return max(b, o)
        case "dodge":
            return 0 if b == 0 else 1 if o == 1 else min(1, b / (1 - o))
        case "burn":
            return 1 if b == 1 else 0 if o == 0 else 1 - min(1, (1 - b) / o)
    raise AssertionError(mode)


@pytest.mark.parametrize("mode", MODES)
def test_blend_modes_follow_their_formulas(mode: str) -> None:
    steps = np.linspace(0, 1, 21, dtype=np.float32)
    b, o = np.meshgrid(steps, steps)
    expected = np.vectorize(lambda x, y: reference(mode, float(x), float(y)), otypes=[np.float64])(b, o)
    base, layer = (np.repeat(v[None, ..., None], 3, -1) for v in (b, o))
    out = blend(ROOM, frozen(base), frozen(layer), mode, 1.0)
    np.testing.assert_allclose(out[0, ..., 0], expected, atol=2e-6)
    half = blend(ROOM, base, layer, mode, 0.5)
    np.testing.assert_allclose(half[0, ..., 1], (b + expected) / 2, atol=2e-6)


def test_blending_keeps_what_nothing_covers() -> None:
    base, layer, mask = noise(1, 6, 6, 4, seed=1), noise(2, 3, 3, 3, seed=2), np.zeros((1, 6, 6), np.float32)
    mask[0, :3] = 1
    out = blend(ROOM, frozen(base), frozen(layer), "multiply", 1.0, frozen(mask))
    assert out.shape == (2, 6, 6, 4)
    assert out[1, 3:].tobytes() == base[0, 3:].tobytes()
    np.testing.assert_array_equal(out[..., 3], np.repeat(base[..., 3], 2, axis=0))
    np.testing.assert_array_equal(blend(ROOM, base, layer, "screen", 0.0)[0], base[0])


def test_one_colour_and_gradients() -> None:
    out = solid(ROOM, 4, 3, 2, "#ff8000")
    np.testing.assert_array_equal(out, np.broadcast_to(np.array([255, 128, 0], np.float32) / 255, (2, 3, 4, 3)))
    assert solid(ROOM, 1, 1, 1, "#ff000080").shape == (1, 1, 1, 4)
    ramp = gradient(ROOM, 5, 2, "black", "white")
    np.testing.assert_allclose(ramp[0, 0, :, 0], [0, 0.25, 0.5, 0.75, 1], atol=1e-6)
    np.testing.assert_allclose(
        gradient(ROOM, 2, 5, "black", "white", angle=90)[0, :, 0, 0], ramp[0, 0, :, 0], atol=1e-6
    )
    round_ = gradient(ROOM, 41, 41, "white", "black", "radial")
    assert round_[0, 20, 20, 0] == 1
    np.testing.assert_allclose(round_, round_[:, ::-1, ::-1], atol=1e-6)
    assert gradient(ROOM, 3, 3, "#f000", "#f00f").shape[-1] == 4
    with pytest.raises(InvalidRequest, match="megapixels"):
        solid(ROOM, 16384, 16384)


def test_batches() -> None:
    a, b = noise(2, 4, 6, 3, seed=1), noise(1, 8, 12, 4, seed=2)
    joined = combine_batches(ROOM, frozen(a), frozen(b))
    assert joined.shape == (3, 4, 6, 4)
    np.testing.assert_array_equal(joined[:2, ..., :3], a)
    np.testing.assert_array_equal(from_batch(ROOM, joined, 1, 1), joined[1:2])
    np.testing.assert_array_equal(from_batch(ROOM, joined, -1, 5), joined[2:])
    with pytest.raises(InvalidRequest, match="no picture 3 in a batch of 3"):
        from_batch(ROOM, joined, 3)
    np.testing.assert_array_equal(repeat(ROOM, a, 2), np.concatenate([a, a]))
    assert size(ROOM, joined) == (6, 4, 3)
    assert scale_longest(ROOM, a, 12).shape == (2, 8, 12, 3)


def test_cropping_by_a_mask_and_pasting_back() -> None:
    picture, mask = noise(2, 40, 50, 3), np.zeros((1, 40, 50), np.float32)
    mask[0, 10:15, 20:29] = 1
    part, cut, x, y = crop_by_mask(ROOM, frozen(picture), frozen(mask), padding=2, multiple=8)
    assert (part.shape, cut.shape, x, y) == ((2, 16, 16, 3), (1, 16, 16), 17, 5)
    np.testing.assert_array_equal(part, picture[:, y : y + 16, x : x + 16])
    assert cut.sum() == mask.sum()
    np.testing.assert_array_equal(
        composite(ROOM, picture, 1 - part, cut, x, y)[:, 10:15, 20:29], 1 - picture[:, 10:15, 20:29]
    )
    with pytest.raises(InvalidRequest, match="the mask is empty"):
        crop_by_mask(ROOM, picture, np.zeros((1, 40, 50), np.float32))


@pytest.mark.parametrize(("where", "expected"), [(0, (0, 8)), (39, (32, 8)), (20, (17, 8))])
def test_cropping_at_the_edge_still_keeps_the_multiple(where: int, expected: tuple[int, int]) -> None:
    mask = np.zeros((1, 40, 40), np.float32)
    mask[0, where, where] = 1
    part, _, x, y = crop_by_mask(ROOM, noise(1, 40, 40, 3), mask, padding=2, multiple=8)
    assert (x, part.shape[2]) == expected
    assert (y, part.shape[1]) == expected


def test_text_covers_its_place_only() -> None:
    picture = noise(2, 60, 120, 3)
    out = text_overlay(ROOM, frozen(picture), "Hg", 20, "#ff0000", "bottom right", 4)
    changed = (out != picture).any(axis=(0, 3))
    rows, columns = np.flatnonzero(changed.any(axis=1)), np.flatnonzero(changed.any(axis=0))
    assert rows[-1] == 60 - 4 - 1
    assert columns[-1] >= 120 - 4 - 2
    assert rows[0] > 30
    assert columns[0] > 80
    assert (out[0] == np.array([1, 0, 0], np.float32)).all(axis=-1).sum() > 20
    assert text_overlay(ROOM, picture, "  ") is picture
    np.testing.assert_array_equal(text_overlay(ROOM, picture, "x", opacity=0.0), picture)
    with pytest.raises(InvalidRequest, match="2,001 letters"):
        text_overlay(ROOM, picture, "x" * 2001)


def test_text_on_transparency_becomes_visible() -> None:
    out = text_overlay(ROOM, np.zeros((1, 40, 40, 4), np.float32), "W", 30, place="middle")
    assert out[..., 3].max() == 1
    assert (out[..., 3] > 0).sum() < 1000


def test_a_watermark_lies_in_its_corner_with_its_opacity() -> None:
    picture, mark = noise(1, 50, 100, 3), np.ones((1, 4, 8, 4), np.float32)
    out = watermark(ROOM, frozen(picture), frozen(mark), None, "top left", 0.2, 5, 0.5)
    np.testing.assert_allclose(out[0, 5:15, 5:25], (picture[0, 5:15, 5:25] + 1) / 2, atol=1e-6)
    outside = np.ones((50, 100), bool)
    outside[5:15, 5:25] = False
    assert out[0][outside].tobytes() == picture[0][outside].tobytes()
    clear = watermark(ROOM, picture, mark, np.ones((1, 4, 8), np.float32))
    np.testing.assert_array_equal(clear, picture)


def test_canny_draws_the_edge_of_a_square() -> None:
    picture = np.zeros((2, 32, 32, 3), np.float32)
    picture[:, 8:24, 8:24] = 1
    out = canny(ROOM, frozen(picture))
    assert set(np.unique(out)) == {0.0, 1.0}
    assert (out[0, 12:20, 12:20] == 0).all()
    assert (out[0, 12:20, 6:10] == 1).any(axis=(1, 2)).all()


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    folder = tmp_path / "in"
    (folder / "deeper").mkdir(parents=True)
    for name in ("b10.png", "b9.png", "a.png", "deeper/c.png"):
        (folder / name).write_bytes(encode(noise(4, 5, 3, seed=len(name))))
    (folder / "clear.png").write_bytes(encode(noise(3, 3, 4)))
    (folder / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\nxx")
    (folder / "note.txt").write_text("hello")
    (tmp_path / "secret.png").write_bytes(encode(noise(2, 2, 3)))
    os.symlink(tmp_path / "secret.png", folder / "link.png")
    return folder


def test_a_folder_gives_its_own_pictures_in_order(pictures: Path) -> None:
    room = Room()
    images, masks, names = folder_of_images(room, str(pictures))
    assert names == ["a", "b9", "b10", "clear"]
    assert [i.shape for i in images] == [(1, 4, 5, 3)] * 3 + [(1, 3, 3, 3)]
    assert masks[3].max() > 0
    assert len(room.logs) == 1
    assert "“broken.png”" in room.logs[0]
    assert folder_of_images(room, str(pictures), "b*.png")[2] == ["b9", "b10"]
    assert folder_of_images(room, str(pictures), "b*.png", 1, 1)[2] == ["b10"]


@pytest.mark.parametrize("pattern", ["../*", "/etc/*", "..", "", "deeper/*", "a\\b", "a\0"])
def test_a_pattern_never_leaves_the_folder(pictures: Path, pattern: str) -> None:
    with pytest.raises(InvalidRequest, match="no pattern of file names"):
        folder_of_images(Room(), str(pictures), pattern)


def test_a_folder_is_a_whole_path_that_exists(pictures: Path) -> None:
    for folder in ("", "in", f"{pictures}/../in", "~", "\0"):
        with pytest.raises(InvalidRequest, match="not the whole path"):
            folder_of_images(Room(), folder)
    with pytest.raises(InvalidRequest, match="can't be read"):
        folder_of_images(Room(), str(pictures / "nowhere"))
    with pytest.raises(InvalidRequest, match="no picture called"):
        folder_of_images(Room(), str(pictures), "z*")


def test_a_changed_folder_is_noticed(pictures: Path) -> None:
    definition = folder_of_images.__node__  # type: ignore[attr-defined]
    assert definition.schema.effects.local_only
    before = definition.changed(folder=str(pictures), pattern="*")
    assert before == definition.changed(folder=str(pictures), pattern="*")
    out = io.BytesIO()
    Pillow.new("RGB", (2, 2)).save(out, "PNG")
    (pictures / "new.png").write_bytes(out.getvalue())
    assert definition.changed(folder=str(pictures), pattern="*") != before
