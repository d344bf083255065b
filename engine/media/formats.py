"""Which kind of file some bytes are, from the bytes alone: a file's extension is never believed.

Only the formats of `READABLE` are ever handed to a decoder, and only to the decoder of that format.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

from engine.contracts.errors import InvalidImage, clip

READABLE = ("PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF", "AVIF")

MAX_PIXELS = 120_000_000  # a 100-megapixel camera back passes; a float32 RGBA copy is then 1.9 GB
MAX_EDGE = 65_535
MAX_FILE_BYTES = 512 * 2**20
MAX_SCANS = 200  # of a progressive JPEG; ten are usual

USE_INSTEAD = "Use a PNG, WebP or JPEG picture"


@dataclass(frozen=True)
class Identified:
    """format: one of READABLE; width, height: as the header says, before any EXIF rotation, or 0 when it is deeper."""

    format: str
    width: int = 0
    height: int = 0


def place(name: str) -> str:
    """How a file is named in a sentence."""
    return f"“{clip(name)}”" if name else "the picture"


def refuse(what: str, name: str, fix: str = USE_INSTEAD) -> InvalidImage:
    """The one sentence for a picture that can't be used."""
    return InvalidImage(what, where=place(name), fix=fix)


def identify(data: bytes, name: str = "") -> Identified:
    """The picture format of `data`, with the size its header declares.

    Raises InvalidImage when it is empty, too large a file, not a picture, a format that is not read, or declares more
    than MAX_PIXELS pixels or an edge beyond MAX_EDGE.
    """
    if not data:
        raise refuse("the file is empty", name, "Choose another picture")
    if len(data) > MAX_FILE_BYTES:
        raise refuse(f"the file is larger than {MAX_FILE_BYTES // 2**20} MB", name)
    found = _readable(data)
    if found is None:
        raise refuse(_what_else(data), name)
    check_size(found.width, found.height, name)
    if found.format == "JPEG" and (scans := data.count(b"\xff\xda")) > MAX_SCANS:
        raise refuse(f"it is drawn in {scans:,} passes, which only serves to keep a reader busy", name)
    return found


def check_size(width: int, height: int, name: str) -> None:
    """Raises InvalidImage when a picture of this many pixels is not opened. 0 × 0 is "not known yet"."""
    if width > MAX_EDGE or height > MAX_EDGE or width * height > MAX_PIXELS:
        raise refuse(
            f"its header says {width}×{height} pixels; at most {MAX_PIXELS // 10**6} megapixels are opened",
            name,
            "Scale it down first",
        )


def _readable(data: bytes) -> Identified | None:
    try:
        if data.startswith(b"\x89PNG\r\n\x1a\n"):
            width, height = struct.unpack_from(">II", data, 16) if data[12:16] == b"IHDR" else (0, 0)
            return Identified("PNG", width, height)
        if data.startswith(b"\xff\xd8\xff"):
            return Identified("JPEG", *_jpeg_size(data))
        if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
            return Identified("WEBP", *_webp_size(data))
        if data[:6] in (b"GIF87a", b"GIF89a"):
            return Identified("GIF", *struct.unpack_from("<HH", data, 6))
        if data[:2] == b"BM" and len(data) >= 26 and data[6:10] == b"\0\0\0\0":
            width, height = struct.unpack_from("<ii", data, 18)
            return Identified("BMP", abs(width), abs(height))
        if data[:4] in (b"II*\0", b"MM\0*"):
            return Identified("TIFF")
        if data[4:8] == b"ftyp" and data[8:12] in (b"avif", b"avis"):
            return Identified("AVIF", *_avif_size(data))
    except (struct.error, IndexError):  # the header itself is cut off: the decoder will say so
        return Identified(_short_format(data))
    return None


def _short_format(data: bytes) -> str:
    for start, name in (
        (b"\x89PNG", "PNG"),
        (b"\xff\xd8", "JPEG"),
        (b"RIFF", "WEBP"),
        (b"GIF8", "GIF"),
        (b"BM", "BMP"),
    ):
        if data.startswith(start):
            return name
    return "AVIF"


def _jpeg_size(data: bytes) -> tuple[int, int]:
    at = 2
    while at + 4 <= len(data):
        if data[at] != 0xFF:
            at += 1
            continue
        marker = data[at + 1]
        if 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):
            height, width = struct.unpack_from(">HH", data, at + 5)
            return width, height
        if marker == 0xDA:
            break
        if marker in (0xFF, 0x00, 0x01) or 0xD0 <= marker <= 0xD8:
            at += 1 if marker == 0xFF else 2
            continue
        at += 2 + max(2, int(struct.unpack_from(">H", data, at + 2)[0]))
    return 0, 0


def _webp_size(data: bytes) -> tuple[int, int]:
    kind = data[12:16]
    if kind == b"VP8X":
        return 1 + int.from_bytes(data[24:27], "little"), 1 + int.from_bytes(data[27:30], "little")
    if kind == b"VP8L":
        bits = struct.unpack_from("<I", data, 21)[0]
        return 1 + (bits & 0x3FFF), 1 + ((bits >> 14) & 0x3FFF)
    if kind == b"VP8 ":
        width, height = struct.unpack_from("<HH", data, 26)
        return width & 0x3FFF, height & 0x3FFF
    return 0, 0


def _avif_size(data: bytes) -> tuple[int, int]:
    at = data.find(b"ispe", 0, 65_536)
    width, height = struct.unpack_from(">II", data, at + 8) if at > 0 else (0, 0)
    return width, height


_OTHERS: tuple[tuple[int, bytes, str], ...] = (
    (0, b"8BPS", "it is a Photoshop document, which is not read"),
    (0, b"\0\0\1\0", "it is an icon file (ICO), which is not read"),
    (0, b"\0\0\2\0", "it is a cursor file (CUR), which is not read"),
    (0, b"%PDF", "it is a PDF document, not a picture"),
    (0, b"%!PS", "it is a PostScript document, not a picture"),
    (0, b"gimp xcf", "it is a GIMP document, which is not read"),
    (0, b"\0\0\0\x0cjP  ", "it is a JPEG 2000 picture, which is not read"),
    (0, b"\xff\x4f\xff\x51", "it is a JPEG 2000 picture, which is not read"),
    (0, b"\xff\x0a", "it is a JPEG XL picture, which is not read"),
    (0, b"\0\0\0\x0cJXL ", "it is a JPEG XL picture, which is not read"),
    (4, b"ftypheic", "it is a HEIC picture, which is not read"),
    (4, b"ftypheix", "it is a HEIC picture, which is not read"),
    (4, b"ftypmif1", "it is a HEIF picture, which is not read"),
    (4, b"ftyp", "it is a video, not a picture"),
    (0, b"\x1aE\xdf\xa3", "it is a video (Matroska or WebM), not a picture"),
    (0, b"v/1\x01", "it is an OpenEXR picture, which is not read"),
    (0, b"#?RADIANCE", "it is a Radiance HDR picture, which is not read"),
    (0, b"II+\0", "it is a BigTIFF picture, which is not read"),
    (0, b"MM\0+", "it is a BigTIFF picture, which is not read"),
    (0, b"PK\3\4", "it is a ZIP archive, not a picture"),
    (0, b"\x1f\x8b", "it is a compressed archive, not a picture"),
    (0, b"Rar!", "it is an archive, not a picture"),
    (0, b"7z\xbc\xaf", "it is an archive, not a picture"),
    (0, b"MZ", "it is a program, not a picture"),
    (0, b"\x7fELF", "it is a program, not a picture"),
)


def _what_else(data: bytes) -> str:
    for at, magic, sentence in _OTHERS:
        if data[at : at + len(magic)] == magic:
            return sentence
    if data[:4] == b"RIFF":
        return "it is a sound or video file, not a picture"
    if data[:12].find(b"{") > 0 and data[8:9] == b"{" and data[:1] != b"{":
        return "it is a model file (safetensors), not a picture"
    head = data[:4096].lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    if b"<svg" in head and head.startswith(b"<"):
        return "it is an SVG drawing, which is not read"
    if head.startswith((b"<!doctype html", b"<html")):
        return "it is a web page, not a picture"
    if head.startswith((b"{", b"[")):
        return "it is a JSON document, not a picture"
    if head and all(byte >= 32 or byte in b"\t\r\n\f" for byte in head):
        return "it is a text file, not a picture"
    return "it is not a picture of a known format"
