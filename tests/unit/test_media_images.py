"""Pictures from files: every kind that is read, every kind that is refused with its sentence, and back to files."""

from __future__ import annotations

import io
import struct
import zlib
from typing import Any

import numpy as np
import pytest
from PIL import Image as Pillow
from PIL import ImageCms, ImageOps

from engine.contracts.errors import InvalidImage, InvalidRequest, UnknownChoice
from engine.media.embedded_text import read_texts
from engine.media.images import decode, encode, probe, strip, thumbnail, to_bytes, to_float
from tests.unit.media_room import noise


def saved(picture: Pillow.Image, kind: str, **options: Any) -> bytes:
    out = io.BytesIO()
    picture.save(out, kind, **options)
    return out.getvalue()


def chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def png_with(extra: bytes, *, after: int = 33) -> bytes:
    png = encode(noise(4, 4, 3))
    return png[:after] + extra + png[after:]


PHOTO = to_bytes(noise(12, 20, 3))
GRADIENT = np.linspace(0, 255, 40 * 60 * 3).reshape(40, 60, 3).astype(np.uint8)


@pytest.mark.parametrize("kind", ["PNG", "BMP", "TIFF"])
def test_lossless_formats_give_v_over_255_exactly(kind: str) -> None:
    data = saved(Pillow.fromarray(PHOTO), kind)
    np.testing.assert_array_equal(decode(data), PHOTO.astype(np.float32) / np.float32(255))
    info = probe(data)
    assert (info.width, info.height, info.format, info.bits, info.has_alpha) == (20, 12, kind, 8, False)


@pytest.mark.parametrize(("file_format", "quality"), [("png", 90), ("webp", 100)])
def test_all_256_values_survive_a_file_byte_for_byte(file_format: str, quality: int) -> None:
    values = np.arange(256, dtype=np.uint8)
    square = np.stack([values, values[::-1], np.roll(values, 99), values], -1).reshape(16, 16, 4)
    for pixels in (square, np.ascontiguousarray(square[..., :3])):
        again = decode(encode(to_float(pixels), file_format, quality))
        np.testing.assert_array_equal(to_bytes(again), pixels)
        np.testing.assert_array_equal(again, to_float(pixels))


@pytest.mark.parametrize("kind", ["JPEG", "WEBP", "AVIF"])
def test_lossy_formats_decode_as_their_library_does(kind: str) -> None:
    data = saved(Pillow.fromarray(GRADIENT), kind, quality=90)
    np.testing.assert_array_equal(to_bytes(decode(data)), np.asarray(Pillow.open(io.BytesIO(data)).convert("RGB")))
    assert probe(data).format == kind


def test_16_bits_are_kept() -> None:
    import cv2

    values = (np.arange(6 * 5 * 3, dtype=np.uint32) * 700).astype(np.uint16).reshape(6, 5, 3)
    png = bytes(cv2.imencode(".png", values[..., ::-1])[1].tobytes())
    np.testing.assert_array_equal(decode(png), values.astype(np.float32) / np.float32(65535))
    assert probe(png).bits == 16
    alpha = np.concatenate([values, values[..., :1]], -1)
    png = bytes(cv2.imencode(".png", alpha[..., [2, 1, 0, 3]])[1].tobytes())
    np.testing.assert_array_equal(decode(png), alpha.astype(np.float32) / np.float32(65535))
    grey = saved(Pillow.fromarray(values[..., 0]), "PNG")
    np.testing.assert_array_equal(decode(grey)[..., 1], values[..., 0].astype(np.float32) / np.float32(65535))
    tiff = bytes(cv2.imencode(".tiff", values[..., ::-1])[1].tobytes())
    np.testing.assert_array_equal(decode(tiff), values.astype(np.float32) / np.float32(65535))


def test_a_float_picture_is_clipped_to_0_1() -> None:
    data = saved(Pillow.fromarray(np.array([[-1, 0.25, 2, np.nan]], np.float32)), "TIFF")
    np.testing.assert_array_equal(decode(data)[0, :, 0], [0, 0.25, 1, 0])


def test_one_bit_and_grey_become_three_channels() -> None:
    stripes = Pillow.fromarray(np.array([[0, 255, 255, 0]], np.uint8)).convert("1")
    data = saved(stripes, "PNG")
    assert probe(data).bits == 1
    np.testing.assert_array_equal(decode(data), np.array([[[0] * 3, [1] * 3, [1] * 3, [0] * 3]], np.float32))
    grey = saved(Pillow.fromarray(PHOTO[..., 0]), "PNG")
    np.testing.assert_array_equal(to_bytes(decode(grey)), PHOTO[..., :1].repeat(3, -1))


def test_a_palette_is_resolved_with_its_transparency() -> None:
    picture = Pillow.new("P", (3, 1))
    picture.putpalette([255, 0, 0, 0, 255, 0, 0, 0, 255])
    picture.putdata([0, 1, 2])
    plain = decode(saved(picture, "PNG"))
    np.testing.assert_array_equal(plain[0], np.eye(3))
    clear = decode(saved(picture, "PNG", transparency=bytes([255, 0, 51])))
    np.testing.assert_array_equal(clear[0, :, :3], np.eye(3))
    np.testing.assert_allclose(clear[0, :, 3], [1, 0, 0.2], atol=1e-7)
    np.testing.assert_array_equal(decode(saved(picture, "GIF", transparency=1))[0, :, 3], [1, 0, 1])


def test_a_transparent_colour_becomes_alpha() -> None:
    data = saved(Pillow.fromarray(np.array([[[1, 2, 3], [4, 5, 6]]], np.uint8)), "PNG", transparency=(4, 5, 6))
    np.testing.assert_array_equal(decode(data)[0, :, 3], [1, 0])
    assert probe(data).has_alpha


def test_grey_with_alpha() -> None:
    data = saved(Pillow.merge("LA", (Pillow.fromarray(PHOTO[..., 0]), Pillow.fromarray(PHOTO[..., 1]))), "PNG")
    np.testing.assert_array_equal(to_bytes(decode(data)), PHOTO[..., [0, 0, 0, 1]])


def test_cmyk_becomes_rgb() -> None:
    cyan = Pillow.new("CMYK", (8, 8), (255, 0, 0, 0))
    red, green, blue = decode(saved(cyan, "JPEG", quality=100))[4, 4]
    assert red < 0.05
    assert green > 0.95
    assert blue > 0.95
    assert decode(saved(cyan, "TIFF")).shape == (8, 8, 3)


def test_an_embedded_profile_is_taken_to_srgb() -> None:
    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    swapped = srgb.replace("sRGB".encode("utf-16-be"), "xRGB".encode("utf-16-be"))
    for one, other in ((b"rXYZ", b"tmpX"), (b"bXYZ", b"rXYZ"), (b"tmpX", b"bXYZ")):
        swapped = swapped.replace(one, other, 1)
    red = Pillow.new("RGBA", (2, 2), (255, 0, 0, 100))
    shown = to_bytes(decode(saved(red, "PNG", icc_profile=swapped)))[0, 0]  # its "red" is sRGB's blue
    assert shown[0] < 10
    assert shown[2] > 245
    assert shown[3] == 100


def test_a_profile_that_says_nothing_new_changes_nothing() -> None:
    lab = ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB")).tobytes()
    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    for profile in (srgb, lab, b"not a profile"):  # already sRGB, of another space, broken
        np.testing.assert_array_equal(
            to_bytes(decode(saved(Pillow.fromarray(PHOTO), "PNG", icc_profile=profile))), PHOTO
        )


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF"])
def test_exif_rotation_is_applied(kind: str, orientation: int) -> None:
    picture = Pillow.fromarray(np.kron(PHOTO[:2, :3], np.ones((16, 16, 1), np.uint8)))
    exif = Pillow.Exif()
    exif[0x0112] = orientation
    data = saved(picture, kind, exif=exif, **({"lossless": True} if kind == "WEBP" else {}))
    upright = np.asarray(ImageOps.exif_transpose(Pillow.open(io.BytesIO(data))).convert("RGB"))
    np.testing.assert_array_equal(to_bytes(decode(data)), upright)
    info = probe(data)
    assert (info.width, info.height) == upright.shape[1::-1]
    assert thumbnail(data, 24).shape == ((24, 16, 3) if orientation >= 5 else (16, 24, 3))


@pytest.mark.parametrize("kind", ["GIF", "WEBP", "PNG", "TIFF"])
def test_of_an_animation_the_first_frame_is_used_and_said_so(kind: str) -> None:
    frames = [Pillow.new("RGB", (6, 5), colour) for colour in ("red", "blue", "lime")]
    options = {"lossless": True} if kind == "WEBP" else {}
    data = saved(frames[0], kind, save_all=True, append_images=frames[1:], **options)
    np.testing.assert_array_equal(decode(data), np.broadcast_to(np.array([1, 0, 0], np.float32), (5, 6, 3)))
    note = probe(data).note
    expected = "It is animated; only the first of its 3 frames is used."
    assert note == ("It holds several pages; only the first is used." if kind == "TIFF" else expected)
    assert probe(saved(frames[0], kind)).note == ""


@pytest.mark.parametrize(
    ("data", "sentence"),
    [
        (b"", "“a.png”: the file is empty. Choose another picture."),
        (b"hello there", "it is a text file, not a picture"),
        (b"  <svg xmlns='http://www.w3.org/2000/svg'/>", "it is an SVG drawing, which is not read"),
        (b"<?xml version='1.0'?><!-- x --><svg/>", "it is an SVG drawing, which is not read"),
        (b"<!DOCTYPE html><html>", "it is a web page, not a picture"),
        (b'{"nodes": []}', "it is a JSON document, not a picture"),
        (b"\0\0\1\0\1\0\x10\x10", "it is an icon file (ICO), which is not read"),
        (b"8BPS\0\1", "it is a Photoshop document, which is not read"),
        (b"%PDF-1.7", "it is a PDF document, not a picture"),
        (b"PK\3\4rest", "it is a ZIP archive, not a picture"),
        (b"\0\0\0\x18ftypheic", "it is a HEIC picture, which is not read"),
        (b"\0\0\0\x18ftypisom", "it is a video, not a picture"),
        (b"\x1aE\xdf\xa3\x01", "it is a video (Matroska or WebM), not a picture"),
        (b"RIFF\0\0\0\0AVI LIST", "it is a sound or video file, not a picture"),
        (struct.pack("<Q", 20) + b'{"__metadata__":{}}', "it is a model file (safetensors), not a picture"),
        (b"MZ\x90\0\3", "it is a program, not a picture"),
        (b"\x80\x02}q\0.", "it is not a picture of a known format"),
        (b"\x89PNG\r\n\x1a\n", "it begins like a PNG file and is damaged"),
        (b"\xff\xd8\xff", "damaged"),
        (b"GIF89a", "damaged"),
        (b"RIFF\x04\0\0\0WEBP", "damaged"),
        (b"BM" + b"\0" * 40, "damaged"),
        (b"II*\0\x08\0\0\0\0\0", "damaged"),
    ],
)
def test_what_is_no_picture_is_named_in_one_sentence(data: bytes, sentence: str) -> None:
    for read in (decode, probe, lambda d, n: thumbnail(d, 32, n)):
        with pytest.raises(InvalidImage) as caught:
            read(data, "a.png")
        text = str(caught.value)
        assert text.startswith("“a.png”: ")
        assert sentence in text
        assert text.endswith(".")
        assert "Traceback" not in text
        assert "\n" not in text
        assert caught.value.exit_code == 2


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF", "AVIF"])
def test_truncated_files_are_refused(kind: str) -> None:
    whole = saved(Pillow.fromarray(to_bytes(noise(64, 64, 3))), kind)
    for part in (0.1, 0.3, 0.5, 0.8):
        with pytest.raises(InvalidImage, match="“cut”"):
            decode(whole[: int(len(whole) * part)], "cut")


def test_a_png_cut_off_says_so() -> None:
    with pytest.raises(InvalidImage, match="the PNG data is cut off"):
        decode(encode(noise(64, 64, 3))[:-400], "x")


def test_a_wrong_extension_does_not_matter() -> None:
    np.testing.assert_array_equal(to_bytes(decode(saved(Pillow.fromarray(PHOTO), "BMP"), "photo.jpg")), PHOTO)


def huge_headers() -> list[bytes]:
    png = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", 60_000, 60_000, 8, 2, 0, 0, 0))
    gif = b"GIF89a" + struct.pack("<HHBBB", 65_535, 65_535, 0, 0, 0) + b";"
    bmp = b"BM" + struct.pack("<IHHI", 100, 0, 0, 54) + struct.pack("<IiiHHIIiiII", 40, 50_000, 50_000, 1, 24, *[0] * 6)
    webp = b"RIFF" + struct.pack("<I", 30) + b"WEBPVP8X" + struct.pack("<I", 10) + b"\0" * 4
    webp += (16_000).to_bytes(3, "little") * 2
    jpeg = bytearray(saved(Pillow.fromarray(GRADIENT), "JPEG"))
    at = jpeg.find(b"\xff\xc0")
    jpeg[at + 5 : at + 9] = struct.pack(">HH", 65_000, 65_000)
    return [png, gif, bmp, webp, bytes(jpeg)]


@pytest.mark.parametrize("data", huge_headers(), ids=["png", "gif", "bmp", "webp", "jpeg"])
def test_huge_sizes_in_the_header_are_refused_before_anything_is_unpacked(data: bytes) -> None:
    for read in (decode, probe):
        with pytest.raises(InvalidImage, match=r"at most 120 megapixels are opened\. Scale it down first\."):
            read(data, "bomb")


def test_a_huge_tiff_is_refused() -> None:
    tiff = bytearray(saved(Pillow.fromarray(GRADIENT), "TIFF"))
    directory = struct.unpack_from("<I", tiff, 4)[0]
    for entry in range(struct.unpack_from("<H", tiff, directory)[0]):
        at = directory + 2 + 12 * entry
        if struct.unpack_from("<H", tiff, at)[0] in (256, 257):
            tiff[at + 2 : at + 12] = struct.pack("<HII", 4, 1, 40_000)
    with pytest.raises(InvalidImage, match="megapixels"):
        decode(bytes(tiff), "bomb")


def test_a_jpeg_of_endless_passes_is_refused() -> None:
    data = saved(Pillow.fromarray(GRADIENT), "JPEG", progressive=True)
    at = data.rfind(b"\xff\xda")
    assert decode(data).shape == (40, 60, 3)
    with pytest.raises(InvalidImage, match="passes"):
        decode(data[:-2] + data[at:-2] * 500 + data[-2:])


BOMB = zlib.compress(b"A" * (40 * 2**20), 9)


@pytest.mark.parametrize(
    "extra",
    [
        chunk(b"zTXt", b"parameters\0\0" + BOMB),
        chunk(b"iTXt", b"parameters\0\1\0\0\0" + BOMB),
    ],
)
def test_text_bombs_are_refused_before_and_after_the_pixels(extra: bytes) -> None:
    assert len(extra) < 50_000
    for data in (png_with(extra), png_with(extra, after=len(png_with(b"")) - 12)):
        with pytest.raises(InvalidImage, match="its text chunk “parameters” unpacks beyond all bounds"):
            decode(data, "a")


def test_many_texts_together_are_a_bomb_too() -> None:
    fifteen = zlib.compress(b"A" * (15 * 2**20), 9)
    extra = b"".join(chunk(b"zTXt", b"k%d\0\0" % i + fifteen) for i in range(8))
    with pytest.raises(InvalidImage, match="beyond all bounds"):
        decode(png_with(extra), "a")


def test_an_ordinary_long_text_is_no_bomb() -> None:
    prompt = "word " * 400_000  # 2 MB, above Pillow's own limit of 1 MB
    data = png_with(chunk(b"zTXt", b"parameters\0\0" + zlib.compress(prompt.encode())))
    assert decode(data).shape == (4, 4, 3)
    assert read_texts(data)["parameters"] == prompt


def test_a_profile_bomb_is_refused_or_ignored() -> None:
    data = png_with(chunk(b"iCCP", b"x\0\0" + BOMB))
    with pytest.raises(InvalidImage):
        decode(data, "a")


@pytest.mark.parametrize("file_format", ["png", "webp", "jpeg"])
def test_texts_come_back_and_bytes_repeat(file_format: str) -> None:
    texts = {
        "parameters": "a fox, “snow” 漢字 🦊\nSteps: 1",
        "tessera": '{"a": "ü"}',
        "prompt": '{"1": {}}',
        "workflow": "{}",
        "x": "plain",
    }
    picture = noise(9, 7, 3)
    data = encode(picture, file_format, 90, texts)
    assert {key: read_texts(data)[key] for key in texts} == texts
    assert encode(picture, file_format, 90, dict(texts)) == data
    assert Pillow.open(io.BytesIO(data)).size == (7, 9)


def test_other_programs_find_the_parameters_where_they_look() -> None:
    picture, text = noise(8, 8, 3), "a fox 漢\nSteps: 1"
    png = Pillow.open(io.BytesIO(encode(picture, "png", 90, {"parameters": text})))
    assert png.info["parameters"] == text
    for file_format in ("jpeg", "webp"):
        data = encode(picture, file_format, 90, {"parameters": text})
        comment = Pillow.open(io.BytesIO(data)).getexif().get_ifd(0x8769)[0x9286]
        assert comment == b"UNICODE\0" + text.encode("utf-16-be")


def test_what_is_too_long_for_a_jpegs_exif_is_kept_whole() -> None:
    texts = {"parameters": "short", "tessera": "".join(chr(97 + i * i % 26) for i in range(300_000))}
    data = encode(noise(8, 8, 3), "jpeg", 90, texts)
    found = read_texts(data)
    assert {key: found[key] for key in texts} == texts
    long = {"parameters": "漢" * 50_000, "tessera": "{}"}
    found = read_texts(encode(noise(8, 8, 3), "jpeg", 90, long))
    assert {key: found[key] for key in long} == long
    assert Pillow.open(io.BytesIO(data)).size == (8, 8)


def test_encoding_clips_rounds_and_has_no_nan() -> None:
    values = np.array([[[-1, 0.5, 2], [np.nan, np.inf, -np.inf]]], np.float32)
    np.testing.assert_array_equal(to_bytes(decode(encode(values))), [[[0, 128, 255], [0, 255, 0]]])


def test_jpeg_shows_transparency_on_white() -> None:
    clear = np.zeros((16, 16, 4), np.float32)
    np.testing.assert_array_equal(decode(encode(clear, "jpeg", 100)), np.ones((16, 16, 3), np.float32))


def test_quality_makes_smaller_files_and_webp_is_smaller_than_png() -> None:
    picture = to_float(GRADIENT)
    assert len(encode(picture, "jpeg", 40)) < len(encode(picture, "jpeg", 95))
    assert len(encode(picture, "webp", 40)) < len(encode(picture, "png"))


def test_what_can_not_be_encoded_is_said() -> None:
    with pytest.raises(UnknownChoice, match="no picture format “bmp”"):
        encode(noise(2, 2, 3), "bmp")
    with pytest.raises(InvalidRequest, match=r"\[2, 2\]"):
        encode(noise(2, 2), "png")
    with pytest.raises(InvalidRequest, match="WEBP ends at 16383"):
        encode(np.zeros((1, 20_000, 3), np.float32), "webp")


def test_thumbnails_fit_and_never_grow() -> None:
    data = encode(noise(40, 100, 3))
    assert thumbnail(data, 50).shape == (20, 50, 3)
    assert thumbnail(noise(40, 100, 4), 50).shape == (20, 50, 4)
    assert thumbnail(data, 500).shape == (40, 100, 3)
    assert thumbnail(saved(Pillow.fromarray(np.zeros((300, 3), np.uint16)), "PNG"), 30).shape == (30, 1, 3)
    np.testing.assert_array_equal(thumbnail(np.full((8, 8, 3), 77, np.uint8), 2), np.full((2, 2, 3), 77))


def test_stripping_leaves_upright_pixels_and_nothing_else() -> None:
    exif = Pillow.Exif()
    exif[0x0112] = 6
    exif[0x010F] = "Camera of Ann"
    exif[0x8825] = {1: "N", 2: (51.0, 30.0, 0.0)}
    photo = Pillow.fromarray(GRADIENT)
    for kind in ("JPEG", "WEBP", "PNG", "TIFF"):
        options = {"comment": b"secret"} if kind == "JPEG" else {}
        if kind == "TIFF":
            del exif[0x8825]  # Pillow can't write it there
        data = saved(photo, kind, exif=exif, icc_profile=b"Ann's monitor", **options)
        clean = strip(data)
        opened = Pillow.open(io.BytesIO(clean))
        assert opened.size == (40, 60)
        assert dict(opened.getexif()) == {}
        assert set(opened.info) <= {"jfif", "jfif_version", "jfif_unit", "jfif_density", "loop", "background"}
        assert b"Ann" not in clean
        assert b"secret" not in clean
        assert opened.format == ("PNG" if kind == "TIFF" else kind)
        if kind != "JPEG":
            np.testing.assert_array_equal(decode(clean), decode(data))
