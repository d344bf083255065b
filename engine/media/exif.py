"""EXIF reduced to what metadata needs: a bounded reader of any bytes and a writer whose bytes are always the same.

Exif 2.3 is a TIFF file of directories (IFDs) of tagged values. Only texts, undefined bytes and small numbers are read.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping

IMAGE_DESCRIPTION = 0x010E
MAKE = 0x010F
MODEL = 0x0110
ORIENTATION = 0x0112
SOFTWARE = 0x0131
EXIF_IFD = 0x8769
MAKER_NOTE = 0x927C
USER_COMMENT = 0x9286

_UNICODE = b"UNICODE\0"
_ASCII = b"ASCII\0\0\0"
_MAX_ENTRIES = 512
_MAX_BYTES = 64 * 2**20
_WIDTHS = {1: 1, 2: 1, 3: 2, 4: 4, 7: 1}  # BYTE, ASCII, SHORT, LONG, UNDEFINED


def read(data: bytes) -> dict[int, bytes | int]:
    """Tags of the first directory and its Exif directory: texts and bytes as bytes, numbers as int.

    Total: any bytes give what can be read of them, at worst nothing. A leading "Exif\\0\\0" is skipped.
    """
    if data.startswith(b"Exif\0\0"):
        data = data[6:]
    if data[:4] not in (b"II*\0", b"MM\0*"):
        return {}
    order = "<" if data[:2] == b"II" else ">"
    try:
        found = _read_directory(data, order, struct.unpack_from(order + "I", data, 4)[0])
    except struct.error:
        return {}
    inner = found.pop(EXIF_IFD, 0)
    if isinstance(inner, int) and inner:
        found = {**found, **_read_directory(data, order, inner)}
    return found


def _read_directory(data: bytes, order: str, at: int) -> dict[int, bytes | int]:
    found: dict[int, bytes | int] = {}
    total = 0  # many entries may point at the same bytes
    if at + 2 > len(data):
        return found
    count = min(struct.unpack_from(order + "H", data, at)[0], _MAX_ENTRIES, (len(data) - at - 2) // 12)
    for index in range(count):
        tag, kind, length = struct.unpack_from(order + "HHI", data, at + 2 + 12 * index)
        width = _WIDTHS.get(kind)
        if width is None or total + width * length > _MAX_BYTES:
            continue
        total += width * length
        here = at + 10 + 12 * index
        start = here if width * length <= 4 else struct.unpack_from(order + "I", data, here)[0]
        value = data[start : start + width * length]
        if kind in (3, 4):
            if length == 1 and len(value) == width:
                found[tag] = struct.unpack(order + ("H" if kind == 3 else "I"), value)[0]
        else:
            found[tag] = value
    return found


def write(tags: Mapping[int, bytes], exif_tags: Mapping[int, bytes]) -> bytes:
    """A big-endian TIFF block: `tags` as ASCII in the first directory, `exif_tags` as undefined bytes in the Exif one.

    The same tags give the same bytes. Without the "Exif\\0\\0" that JPEG puts before it.
    """
    size = 8 + 2 + 12 * (len(tags) + 1) + 4
    first_body = b"".join(_padded(value) for _, value in sorted(tags.items()) if len(value) > 4)
    inner_at = size + len(first_body)
    entries = [_entry(tag, 2, value) for tag, value in sorted(tags.items())]
    entries.append((EXIF_IFD, struct.pack(">HHI", EXIF_IFD, 4, 1), struct.pack(">I", inner_at), b""))
    first = _directory(sorted(entries, key=lambda entry: entry[0]), size)
    inner = [_entry(tag, 7, value) for tag, value in sorted(exif_tags.items())]
    return b"MM\0*" + struct.pack(">I", 8) + first + _directory(inner, inner_at + 2 + 12 * len(inner) + 4)


_Entry = tuple[int, bytes, bytes, bytes]  # tag, head, value or empty when it stands in the body, body


def _entry(tag: int, kind: int, value: bytes) -> _Entry:
    head = struct.pack(">HHI", tag, kind, len(value))
    return (tag, head, value.ljust(4, b"\0"), b"") if len(value) <= 4 else (tag, head, b"", value)


def _directory(entries: list[_Entry], body_at: int) -> bytes:
    head, body = struct.pack(">H", len(entries)), b""
    for _, start, value, long_value in entries:
        head += start + (value or struct.pack(">I", body_at + len(body)))
        body += _padded(long_value)
    return head + b"\0\0\0\0" + body


def _padded(value: bytes) -> bytes:
    return value + b"\0" * (len(value) % 2)


def comment_bytes(text: str) -> bytes:
    """A UserComment as A1111 writes it: "UNICODE\\0" and UTF-16, big-endian."""
    return _UNICODE + text.encode("utf-16-be", "surrogatepass")


def comment_text(value: bytes) -> str:
    """The text of a UserComment in any of the forms seen: UTF-16 of either order, ASCII, or UTF-8 with no code."""
    if value.startswith(_UNICODE):
        body = value[8:]
        if body[:2] in (b"\xff\xfe", b"\xfe\xff"):
            return body.decode("utf-16", "replace").rstrip("\0")
        # The order is not said: Latin letters have their zero bytes first when it is big-endian.
        big = body[0::2].count(0) >= body[1::2].count(0)
        return body.decode("utf-16-be" if big else "utf-16-le", "replace").rstrip("\0")
    if value.startswith((_ASCII, b"\0" * 8)):
        value = value[8:]
    return plain_text(value)


def plain_text(value: bytes) -> str:
    """An EXIF text: UTF-8 where it is that, else Latin-1; trailing zeros dropped."""
    value = value.rstrip(b"\0")
    try:
        return value.decode("utf-8")
    except UnicodeDecodeError:
        return value.decode("latin-1")
