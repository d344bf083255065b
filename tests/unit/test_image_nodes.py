"""The image and mask nodes that the main job uses: exact pixels, nothing changed in place, whole batches."""

from __future__ import annotations

import io

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image as Pillow

from engine.contracts.errors import InvalidRequest
from engine.interchange import infotext
from engine.interchange.image_metadata import read_metadata
from engine.media.images import decode, encode
from engine.nodes.image.composite import composite
from engine.nodes.image.crop import crop, pad
from engine.nodes.image.invert import invert
from engine.nodes.image.load import load_image
from engine.nodes.image.save import preview_image, save_image
from engine.nodes.image.scale import scale, scale_by, scale_to_megapixels
from engine.nodes.mask.from_image import from_colour, from_image, to_image
from tests.unit.media_room import Floats, Room, a_spec, frozen, noise


def test_an_opaque_picture_loads_with_an_empty_mask() -> None:
    room, picture = Room(), noise(5, 7, 3)
    image, mask = load_image(room, room.write(encode(picture), "image/png", "a.png"))
    np.testing.assert_array_equal(image, picture[None])
    np.testing.assert_array_equal(mask, np.zeros((1, 5, 7), np.float32))


def test_transparency_loads_as_a_mask_that_is_1_where_transparent() -> None:
    room, picture = Room(), noise(5, 7, 4)
    image, mask = load_image(room, room.write(encode(picture), "image/png"))
    np.testing.assert_array_equal(image, picture[None, ..., :3])
    np.testing.assert_array_equal(mask, 1 - picture[None, ..., 3])


def test_loading_an_animation_says_that_only_its_first_frame_is_used() -> None:
    room, out = Room(), io.BytesIO()
    frames = [Pillow.new("RGB", (4, 4), colour) for colour in ("red", "blue", "lime")]
    frames[0].save(out, "GIF", save_all=True, append_images=frames[1:])
    image, _ = load_image(room, room.write(out.getvalue(), "image/gif", "a.gif"))
    assert room.logs == ["It is animated; only the first of its 3 frames is used."]
    np.testing.assert_array_equal(image[0, 0, 0], [1, 0, 0])


@pytest.mark.parametrize(("file_format", "quality"), [("png", 90), ("webp", 100)])
def test_saved_pictures_hold_their_pixels_the_job_and_their_own_seed(file_format: str, quality: int) -> None:
    spec, batch = a_spec(seed=40), noise(3, 8, 6, 3)
    room = Room(spec)
    save_image(room, frozen(batch), "%model%-%seed%-%index%", file_format, quality)
    assert [a.name for a in room.artifacts] == [
        f"starter-{40 + i}-{i}{'.png' if file_format == 'png' else '.webp'}" for i in range(3)
    ]
    for index, artifact in enumerate(room.artifacts):
        np.testing.assert_array_equal(decode(artifact.data), batch[index])
        found = read_metadata(artifact.data)
        assert found.spec == spec
        assert found.item == index
        assert found.settings is not None
        assert found.settings.seed == 40 + index
        assert infotext.parse(found.parameters).fields["Seed"] == str(40 + index)
        assert dict(artifact.facts) == {"seed": 40 + index, "parameters": found.parameters}
        assert (artifact.width, artifact.height, artifact.index) == (6, 8, index)


def test_jpeg_holds_the_job_and_says_what_it_is() -> None:
    spec = a_spec()
    room = Room(spec)
    save_image(room, noise(1, 16, 16, 3), "x", "jpeg", 95)
    (artifact,) = room.artifacts
    assert (artifact.media_type, artifact.name) == ("image/jpeg", "x.jpg")
    assert read_metadata(artifact.data).spec == spec


def test_saving_twice_gives_the_same_bytes() -> None:
    first, second = Room(a_spec()), Room(a_spec())
    for room in (first, second):
        save_image(room, noise(2, 9, 9, 3))
    assert [a.data for a in first.artifacts] == [a.data for a in second.artifacts]


def test_a_preview_is_marked_as_one() -> None:
    room = Room()
    preview_image(room, noise(2, 4, 4, 3))
    assert [dict(a.facts)["preview"] for a in room.artifacts] == [True, True]


def test_hostile_names_stay_one_name() -> None:
    room = Room(a_spec(prompt="../../etc/passwd"))
    save_image(room, noise(1, 4, 4, 3), "/root/%prompt%/../CON")
    assert "/" not in room.artifacts[0].name
    assert "\\" not in room.artifacts[0].name
    assert ".." not in room.artifacts[0].name


def test_nearest_scaling_doubles_each_pixel() -> None:
    picture = noise(2, 3, 4, 3)
    out = scale(Room(), frozen(picture), 8, 6, "nearest")
    np.testing.assert_array_equal(out, picture.repeat(2, axis=1).repeat(2, axis=2))


def test_area_scaling_is_the_mean_of_what_it_covers() -> None:
    picture = noise(1, 4, 6, 3)
    out = scale(Room(), picture, 3, 2, "area")
    np.testing.assert_allclose(out, picture.reshape(1, 2, 2, 3, 2, 3).mean(axis=(2, 4)), atol=1e-6)


@pytest.mark.parametrize("method", ["nearest", "nearest-exact", "bilinear", "bicubic", "area", "lanczos"])
def test_scaling_keeps_a_flat_colour_and_its_range(method: str) -> None:
    flat = np.full((1, 13, 9, 4), 0.25, np.float32)
    np.testing.assert_allclose(scale(Room(), flat, 21, 5, method), np.full((1, 5, 21, 4), 0.25), atol=1e-5)
    hard = scale(Room(), (noise(1, 16, 16, 3) > 0.5).astype(np.float32), 37, 37, method)
    assert hard.min() >= 0
    assert hard.max() <= 1


def test_scaling_does_not_bleed_invisible_colours() -> None:
    picture = np.zeros((1, 8, 8, 4), np.float32)
    picture[:, :, :4] = (1, 0, 0, 1)  # red, opaque; the right half is black, invisible
    out = scale(Room(), picture, 5, 5, "bilinear")
    np.testing.assert_allclose(out[..., 0][out[..., 3] > 0.01], 1, atol=1e-4)


def test_a_size_of_0_keeps_the_shape_and_center_cuts_the_long_edge() -> None:
    picture = noise(1, 6, 12, 3)
    assert scale(Room(), picture, 6, 0).shape == (1, 3, 6, 3)
    assert scale(Room(), picture, 0, 3).shape == (1, 3, 6, 3)
    np.testing.assert_array_equal(scale(Room(), picture, 6, 6, "lanczos", "center"), picture[:, :, 3:9])


def test_scaling_by_a_factor_and_to_megapixels() -> None:
    assert scale_by(Room(), noise(1, 10, 20, 3), 1.5).shape == (1, 15, 30, 3)
    assert scale_to_megapixels(Room(), noise(1, 50, 100, 3), 0.01, multiple=8).shape == (1, 72, 144, 3)
    with pytest.raises(InvalidRequest, match="megapixels"):
        scale(Room(), noise(1, 2, 2, 3), 16384, 16384)


def test_a_crop_is_that_rectangle_and_never_empty() -> None:
    picture = noise(2, 6, 8, 3)
    np.testing.assert_array_equal(crop(Room(), frozen(picture), 2, 1, 3, 99), picture[:, 1:, 2:5])
    with pytest.raises(InvalidRequest, match="lies outside the picture of 8×6 pixels"):
        crop(Room(), picture, 8, 0, 2, 2)


def test_padding_keeps_the_picture_and_masks_the_rest() -> None:
    picture = noise(2, 4, 5, 3)
    out, mask = pad(Room(), frozen(picture), left=3, top=1, right=0, bottom=2, feather=0)
    assert out.shape == (2, 7, 8, 3)
    np.testing.assert_array_equal(out[:, 1:5, 3:], picture)
    assert (out[:, 0] == 0.5).all()
    expected = np.ones((1, 7, 8), np.float32)
    expected[:, 1:5, 3:] = 0
    np.testing.assert_array_equal(mask, expected)


def test_the_padding_mask_fades_from_extended_edges_only() -> None:
    _, mask = pad(Room(), noise(1, 20, 20, 3), left=4, feather=10)
    np.testing.assert_allclose(mask[0, 10, 4:15], np.append(((10 - np.arange(10)) / 10) ** 2, 0), atol=1e-6)
    assert (mask[0, :, 14:] == 0).all()


def test_padding_with_the_edge_draws_it_out() -> None:
    picture = noise(1, 4, 5, 3)
    out, _ = pad(Room(), picture, left=2, fill="edge")
    np.testing.assert_array_equal(out[:, :, 0], picture[:, :, 0])


def test_a_composite_is_byte_identical_outside_the_mask() -> None:
    destination, source = noise(1, 16, 16, 3, seed=1), noise(2, 16, 16, 3, seed=2)
    mask = np.zeros((1, 16, 16), np.float32)
    mask[0, 4:8, 4:8] = 1
    mask[0, 8, 4:8] = 0.5
    out = composite(Room(), frozen(destination), frozen(source), frozen(mask))
    assert out.shape == (2, 16, 16, 3)
    for i in range(2):
        outside = mask[0] == 0
        assert out[i][outside].tobytes() == destination[0][outside].tobytes()
        assert encode_bytes(out[i])[outside].tobytes() == encode_bytes(destination[0])[outside].tobytes()
        np.testing.assert_array_equal(out[i, 4:8, 4:8], source[i, 4:8, 4:8])
        np.testing.assert_allclose(out[i, 8, 4:8], (destination[0, 8, 4:8] + source[i, 8, 4:8]) / 2, atol=1e-6)


def encode_bytes(image: Floats) -> npt.NDArray[np.uint8]:
    return np.asarray(Pillow.open(io.BytesIO(encode(image))))


def test_a_composite_can_hang_over_every_edge() -> None:
    below, over = np.zeros((1, 4, 4, 3), np.float32), noise(1, 3, 3, 3)
    np.testing.assert_array_equal(composite(Room(), below, over, None, -1, -2)[0, :1, :2], over[0, 2:, 1:])
    np.testing.assert_array_equal(composite(Room(), below, over, None, 3, 3)[0, 3:, 3:], over[0, :1, :1])
    np.testing.assert_array_equal(composite(Room(), below, over, None, 4, 0), below)


def test_the_source_can_be_scaled_to_the_destination() -> None:
    below, over = noise(1, 8, 6, 3, seed=1), np.full((1, 4, 4, 3), 0.25, np.float32)
    out = composite(Room(), below, over, resize_source=True)
    np.testing.assert_allclose(out, np.full((1, 8, 6, 3), 0.25), atol=1e-6)


def test_a_transparent_source_covers_by_its_alpha() -> None:
    below, over = noise(1, 4, 4, 3, seed=1), noise(1, 4, 4, 4, seed=2)
    over[..., 3] = np.array([0, 1, 0, 1], np.float32)
    out = composite(Room(), below, over)
    np.testing.assert_array_equal(out[:, :, ::2], below[:, :, ::2])
    np.testing.assert_array_equal(out[:, :, 1::2], over[:, :, 1::2, :3])


def test_inverting_keeps_alpha() -> None:
    picture = noise(2, 3, 3, 4)
    out = invert(Room(), frozen(picture))
    np.testing.assert_array_equal(out[..., :3], 1 - picture[..., :3])
    np.testing.assert_array_equal(out[..., 3], picture[..., 3])


@pytest.mark.parametrize(("channel", "index"), [("red", 0), ("green", 1), ("blue", 2), ("alpha", 3)])
def test_a_mask_is_one_channel(channel: str, index: int) -> None:
    picture = noise(2, 3, 4, 4)
    np.testing.assert_array_equal(from_image(Room(), frozen(picture), channel), picture[..., index])


def test_alpha_of_an_opaque_picture_is_1_and_luminance_is_rec_709() -> None:
    picture = np.zeros((1, 1, 3, 3), np.float32)
    picture[0, 0] = np.eye(3)
    np.testing.assert_array_equal(from_image(Room(), picture, "alpha"), np.ones((1, 1, 3)))
    np.testing.assert_allclose(from_image(Room(), picture, "luminance")[0, 0], [0.2126, 0.7152, 0.0722], atol=1e-6)


def test_a_colour_is_found_exactly_or_within_the_tolerance() -> None:
    picture = np.array([[[[255, 136, 0], [255, 137, 0], [0, 0, 0]]]], np.float32) / np.float32(255)
    np.testing.assert_array_equal(from_colour(Room(), picture, "#ff8800"), [[[1, 0, 0]]])
    np.testing.assert_array_equal(from_colour(Room(), picture, "f80", 0.01), [[[1, 1, 0]]])
    with pytest.raises(InvalidRequest, match="“octarine” is no colour"):
        from_colour(Room(), picture, "octarine")


def test_a_mask_shows_as_grey() -> None:
    mask = noise(2, 3, 4)
    np.testing.assert_array_equal(to_image(Room(), frozen(mask)), np.stack([mask] * 3, -1))
