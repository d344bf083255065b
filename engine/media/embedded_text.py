"""Texts kept inside picture files: PNG text chunks, JPEG and WebP EXIF. Reading and writing, without decoding pixels.

PNG     one tEXt chunk for each key, iTXt where the text is not Latin-1
EXIF    `parameters` in UserComment ("UNICODE" + UTF-16) as A1111 does; `prompt` and `workflow` in Model and Make, as
        "prompt:…" and "workflow:…", as ComfyUI does; every other key in MakerNote as "TESSERA\\0" + a JSON object
JPEG    EXIF is at most 64 KB there; what does not fit stands in APP10 segments "TESSERA\\0" + number + count + part of
        the zlib-packed JSON object of all keys
"""

from __future__ import annotations

import json
import struct
import zlib
from collections.abc import Iterator, Mapping

from engine.media import exif

MAX_TEXT = 16 * 2**20  # one text, unpacked
MAX_TEXTS = 64 * 2**20  # all texts of one file, unpacked
_MAX_CHUNKS = 65_536
_TAG = b"TESSERA\0"
_SEGMENT = 65_000
_JPEG_EXIF_LIMIT = 65_500


class TextBomb(Exception):
    """A text chunk unpacks beyond MAX_TEXT, or all of them beyond MAX_TEXTS. str() is the chunk's key."""


# Reading ------------------------------------------------------------------------------------------------------------


def read_texts(data: bytes) -> dict[str, str]:
    """Every text in a PNG, JPEG or WebP by key, in file order; {} for anything else. Never raises but TextBomb."""
    if data.startswith(b"\x89PNG\r\n\x1a\n"):
        return _png_texts(data)
    if data.startswith(b"\xff\xd8\xff"):
        return _jpeg_texts(data)
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return _webp_texts(data)
    return {}


def png_chunks(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    """(kind, body) of each whole chunk up to IEND, without checking sums."""
    at = 8
    for _ in range(_MAX_CHUNKS):
        if at + 12 > len(data):
            return
        length = struct.unpack_from(">I", data, at)[0]
        kind = data[at + 4 : at + 8]
        if kind == b"IEND" or at + 12 + length > len(data):
            return
        yield kind, data[at + 8 : at + 8 + length] if kind != b"IDAT" else b""
        at += 12 + length


def _png_texts(data: bytes) -> dict[str, str]:
    found: dict[str, str] = {}
    total = 0
    for kind, body in png_chunks(data):
        if kind not in (b"tEXt", b"zTXt", b"iTXt", b"eXIf"):
            continue
        if kind == b"eXIf":
            for key, text in _exif_texts(body).items():
                found.setdefault(key, text)
            continue
        key, value = _png_text(kind, body)
        total += len(value)
        if total > MAX_TEXTS:
            raise TextBomb(key)
        if key:
            found.setdefault(key, value)
    return found


def _png_text(kind: bytes, body: bytes) -> tuple[str, str]:
    head, _, rest = body.partition(b"\0")
    key = head[:79].decode("latin-1")
    if kind == b"tEXt":
        return key, rest.decode("latin-1")
    if kind == b"zTXt":
        return key, _unpack(rest[1:], key).decode("latin-1")
    packed = rest[:1] == b"\1"
    parts = rest[2:].split(b"\0", 2)  # language, translated key, text
    if len(parts) < 3:
        return key, ""
    return key, (_unpack(parts[2], key) if packed else parts[2]).decode("utf-8", "replace")


def _unpack(packed: bytes, key: str) -> bytes:
    unpacker = zlib.decompressobj()
    try:
        text = unpacker.decompress(packed, MAX_TEXT)
    except zlib.error:
        return b""
    if unpacker.unconsumed_tail:
        raise TextBomb(key)
    return text


def _jpeg_texts(data: bytes) -> dict[str, str]:
    found: dict[str, str] = {}
    parts: dict[int, bytes] = {}
    for marker, body in jpeg_segments(data):
        if marker == 0xE1 and body.startswith(b"Exif\0\0"):
            found = {**_exif_texts(body), **found}
        elif marker == 0xEA and body.startswith(_TAG) and len(body) >= 12:
            parts[struct.unpack_from(">H", body, 8)[0]] = body[12:]
        elif marker == 0xFE:
            found.setdefault("comment", exif.plain_text(body))
    if parts:
        found.update(_json_texts(_unpack(b"".join(parts[i] for i in sorted(parts)), "tessera")))
    return found


def jpeg_segments(data: bytes) -> Iterator[tuple[int, bytes]]:
    """(marker, body) of each segment before the picture data."""
    at = 2
    for _ in range(_MAX_CHUNKS):
        if at + 4 > len(data) or data[at] != 0xFF:
            return
        marker = data[at + 1]
        length = struct.unpack_from(">H", data, at + 2)[0]
        if marker in (0xDA, 0xD9) or length < 2 or at + 2 + length > len(data):
            return
        yield marker, data[at + 4 : at + 2 + length]
        at += 2 + length


def _webp_texts(data: bytes) -> dict[str, str]:
    at = 12
    for _ in range(_MAX_CHUNKS):
        if at + 8 > len(data):
            break
        kind, length = data[at : at + 4], struct.unpack_from("<I", data, at + 4)[0]
        if kind == b"EXIF":
            return _exif_texts(data[at + 8 : at + 8 + length])
        at += 8 + length + length % 2
    return {}


def _exif_texts(block: bytes) -> dict[str, str]:
    found: dict[str, str] = {}
    for tag, value in exif.read(block).items():
        if not isinstance(value, bytes) or len(value) > MAX_TEXT:
            continue
        if tag == exif.USER_COMMENT:
            found["parameters"] = exif.comment_text(value)
        elif tag == exif.MAKER_NOTE:
            if value.startswith(_TAG):
                found.update(_json_texts(value[len(_TAG) :]))
            elif value.rstrip(b"\0") in (b"fooocus", b"a1111"):
                found["fooocus_scheme"] = exif.plain_text(value)
        elif tag in (exif.MAKE, exif.MODEL, exif.IMAGE_DESCRIPTION):
            text = exif.plain_text(value)
            key, colon, rest = text.partition(":")
            if colon and key.lower() in ("prompt", "workflow"):
                found[key.lower()] = rest
            elif tag == exif.IMAGE_DESCRIPTION and text:
                found["Description"] = text
        elif tag == exif.SOFTWARE:
            found["Software"] = exif.plain_text(value)
    return found


def _json_texts(body: bytes) -> dict[str, str]:
    try:
        parsed = json.loads(body)
    except (ValueError, RecursionError):
        return {}
    if not isinstance(parsed, dict):
        return {}
    return {key: value for key, value in parsed.items() if isinstance(value, str)}


# Writing ------------------------------------------------------------------------------------------------------------


def clean_text(text: str) -> str:
    """`text` without what no container can hold: zero characters and lone surrogates."""
    return text.replace("\0", "").encode("utf-8", "replace").decode("utf-8")


def png_with_texts(png: bytes, texts: Mapping[str, str]) -> bytes:
    """A PNG with one text chunk for each key, after its header."""
    chunks = b"".join(_png_text_chunk(key, clean_text(value)) for key, value in texts.items())
    return png[:33] + chunks + png[33:]  # signature 8 + IHDR 25


def _png_text_chunk(key: str, text: str) -> bytes:
    name = key.encode("latin-1", "replace")[:79]
    try:
        kind, body = b"tEXt", name + b"\0" + text.encode("latin-1")
    except UnicodeEncodeError:
        kind, body = b"iTXt", name + b"\0\0\0\0\0" + text.encode("utf-8")
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def exif_block(texts: Mapping[str, str]) -> bytes:
    """The EXIF block that holds `texts` (see the module), b"" when there are none."""
    if not texts:
        return b""
    tags = {exif.SOFTWARE: b"Tessera Studio\0"}
    for key, tag in (("prompt", exif.MODEL), ("workflow", exif.MAKE)):
        if key in texts:
            tags[tag] = f"{key}:{clean_text(texts[key])}".encode() + b"\0"
    inner = {}
    if "parameters" in texts:
        inner[exif.USER_COMMENT] = exif.comment_bytes(clean_text(texts["parameters"]))
    rest = {key: clean_text(text) for key, text in texts.items() if key not in ("parameters", "prompt", "workflow")}
    if rest:
        inner[exif.MAKER_NOTE] = _TAG + json.dumps(rest, ensure_ascii=False).encode()
    return exif.write(tags, inner)


def jpeg_with_texts(jpeg: bytes, texts: Mapping[str, str]) -> bytes:
    """A JPEG with `texts` in EXIF, and in APP10 segments where EXIF is too small for them."""
    if not texts:
        return jpeg
    block = exif_block(texts)
    segments = b""
    if len(block) > _JPEG_EXIF_LIMIT:
        # Other programs still find the parameters in EXIF when they alone fit.
        alone = exif_block({key: texts[key] for key in ("parameters",) if key in texts})
        block = alone if len(alone) <= _JPEG_EXIF_LIMIT else b""
        packed = zlib.compress(json.dumps({k: clean_text(v) for k, v in texts.items()}, ensure_ascii=False).encode(), 9)
        parts = [packed[at : at + _SEGMENT] for at in range(0, len(packed), _SEGMENT)]
        segments = b"".join(
            _jpeg_segment(0xEA, _TAG + struct.pack(">HH", index, len(parts)) + part) for index, part in enumerate(parts)
        )
    first = _jpeg_segment(0xE1, b"Exif\0\0" + block) if block else b""
    return jpeg[:2] + first + segments + jpeg[2:]


def _jpeg_segment(marker: int, body: bytes) -> bytes:
    return bytes((0xFF, marker)) + struct.pack(">H", len(body) + 2) + body
