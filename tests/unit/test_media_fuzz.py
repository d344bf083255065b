"""Broken and hostile files: whatever is done to a real file, reading gives pixels or one InvalidImage sentence."""

from __future__ import annotations

import contextlib
import functools
import io
import struct
import zlib
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image as Pillow

from engine.contracts.errors import InvalidImage
from engine.interchange import infotext
from engine.interchange.image_metadata import metadata_for, metadata_of, read_metadata
from engine.media import exif
from engine.media.embedded_text import TextBomb, read_texts
from engine.media.images import decode, encode, probe, thumbnail
from tests.unit.media_room import a_spec, noise

KINDS = ("PNG", "PNG16", "JPEG", "WEBP", "GIF", "BMP", "TIFF", "AVIF", "PNG-P", "TIFF-LZW")
OURS = ("png", "webp", "jpeg")
FUZZ = settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow], database=None)


@functools.cache
def real_file(kind: str) -> bytes:
    pixels = (noise(24, 24, 3) * 255).astype(np.uint8)
    out = io.BytesIO()
    tags = Pillow.Exif()
    tags[0x0112] = 6
    if kind == "PNG16":
        Pillow.fromarray(pixels[..., 0].astype(np.uint16) * 257).save(out, "PNG")
    elif kind == "PNG-P":
        Pillow.fromarray(pixels).quantize(16).save(out, "PNG", transparency=3, exif=tags)
    elif kind == "TIFF-LZW":
        Pillow.fromarray(pixels).save(out, "TIFF", compression="tiff_lzw")
    elif kind in ("GIF", "BMP"):
        Pillow.fromarray(pixels).save(out, kind)
    else:
        Pillow.fromarray(pixels).save(out, kind, exif=tags)
    return out.getvalue()


@functools.cache
def our_file(file_format: str) -> bytes:
    return encode(noise(16, 16, 3), file_format, 90, metadata_for(a_spec(), infotext.write(a_spec()), 1))


mutations = st.lists(
    st.tuples(
        st.sampled_from(("set", "flip", "cut", "insert", "repeat", "drop", "number")),
        st.floats(0, 1),
        st.binary(min_size=1, max_size=8),
    ),
    min_size=1,
    max_size=6,
)


def mutated(data: bytes, steps: list[tuple[str, float, bytes]]) -> bytes:
    """The file with each step done to it at its place (a fraction of its length)."""
    body = bytearray(data)
    for action, fraction, payload in steps:
        at = min(int(fraction * fraction * len(body)), max(0, len(body) - 1))  # headers are hit more often
        if action == "set":
            body[at : at + len(payload)] = payload
        elif action == "flip" and body:
            body[at] ^= payload[0] or 1
        elif action == "cut":
            del body[at + 1 :]
        elif action == "insert":
            body[at:at] = payload
        elif action == "repeat":
            body[at:at] = body[at : at + 64]
        elif action == "drop":
            del body[at : at + len(payload)]
        elif action == "number":
            body[at : at + 4] = struct.pack(">I", (0xFFFFFFFF, 0x7FFFFFFF, 0, 0x10000)[payload[0] % 4])
    return bytes(body)


def with_good_sums(png: bytes) -> bytes:
    """A PNG with the check sum of each chunk put right, so that mutations reach beyond it."""
    body, at = bytearray(png), 8
    while at + 12 <= len(body):
        length = struct.unpack_from(">I", body, at)[0]
        if at + 12 + length > len(body):
            break
        struct.pack_into(">I", body, at + 8 + length, zlib.crc32(body[at + 4 : at + 8 + length]))
        at += 12 + length
    return bytes(body)


def attempt(read: Callable[[bytes, str], object], data: bytes) -> tuple[object, str | None]:
    """(what was read, None) or (None, the sentence of the refusal)."""
    try:
        return read(data, "fuzz"), None
    except InvalidImage as error:
        return None, str(error)


def read_all(data: bytes) -> None:
    """Everything that reads a file: each either works or says InvalidImage in one line."""
    for read in (probe, decode, lambda d, n: thumbnail(d, 16, n)):
        found, sentence = attempt(read, data)
        if sentence is not None:
            assert sentence.startswith("“fuzz”: ")
            assert "\n" not in sentence
        elif isinstance(found, np.ndarray) and found.dtype == np.float32:
            assert found.ndim == 3
            assert found.shape[-1] in (3, 4)
            assert float(found.min()) >= 0
            assert float(found.max()) <= 1
    read_metadata(data)


@pytest.mark.parametrize("kind", KINDS)
@FUZZ
@given(steps=mutations)
def test_mutated_real_files_never_raise_anything_but_invalid_image(
    kind: str, steps: list[tuple[str, float, bytes]]
) -> None:
    data = mutated(real_file(kind), steps)
    read_all(data)
    if kind.startswith("PNG"):
        read_all(with_good_sums(data))


@pytest.mark.parametrize("file_format", OURS)
@FUZZ
@given(steps=mutations)
def test_mutated_metadata_is_read_as_far_as_it_goes(file_format: str, steps: list[tuple[str, float, bytes]]) -> None:
    data = mutated(our_file(file_format), steps)
    read_all(data)
    with contextlib.suppress(TextBomb):
        metadata_of(read_texts(data))


@FUZZ
@given(
    st.binary(max_size=200),
    st.sampled_from([b"", b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff\xe1", b"GIF89a", b"BM", b"II*\0"]),
)
def test_any_bytes_are_refused_in_one_sentence(body: bytes, start: bytes) -> None:
    read_all(start + body)


@FUZZ
@given(
    st.binary(max_size=300), st.sampled_from([b"II*\0\x08\0\0\0", b"MM\0*\0\0\0\x08", b"Exif\0\0MM\0*\0\0\0\x08", b""])
)
def test_exif_reading_is_total(body: bytes, start: bytes) -> None:
    found = exif.read(start + body)
    for value in found.values():
        if isinstance(value, bytes):
            exif.comment_text(value)
            exif.plain_text(value)


@FUZZ
@given(
    st.dictionaries(st.sampled_from([0x010E, 0x010F, 0x0110, 0x0131]), st.binary(min_size=1, max_size=40)),
    st.dictionaries(st.sampled_from([0x927C, 0x9286]), st.binary(min_size=1, max_size=40)),
)
def test_exif_written_is_exif_read(tags: dict[int, bytes], inner: dict[int, bytes]) -> None:
    assert exif.read(exif.write(tags, inner)) == {**tags, **inner}


def test_exif_entries_that_all_point_at_the_same_bytes_are_bounded() -> None:
    block = b"MM\0*\0\0\0\x08" + struct.pack(">H", 500)
    block += b"".join(struct.pack(">HHII", tag, 7, 8 * 2**20, 0) for tag in range(500))
    found = exif.read(block + b"x" * (8 * 2**20))
    assert sum(len(value) for value in found.values() if isinstance(value, bytes)) <= 64 * 2**20


@pytest.mark.parametrize("kind", KINDS)
def test_every_shorter_length_of_a_file_is_handled(kind: str) -> None:
    whole = real_file(kind)
    for length in [*range(min(80, len(whole))), *range(80, len(whole), max(1, len(whole) // 60))]:
        read_all(whole[:length])
