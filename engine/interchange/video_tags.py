"""The texts that video containers keep beside their streams, read without a decoder.

MP4, MOV   moov/udta/meta/ilst (or moov/meta/ilst): items by four letters (©cmt), by the numbers of a `keys` box (what
           ffmpeg's use_metadata_tags writes), or by the name inside a "----" item
MKV, WebM  Segment/Tags/Tag/SimpleTag

Only the boxes on that way are read; streams are skipped, whatever their size. Nothing here trusts a length.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator
from typing import BinaryIO

MAX_TEXT = 16 * 2**20  # bytes of one text
MAX_TEXTS = 64 * 2**20  # bytes of all texts of one file
MAX_ELEMENTS = 200_000  # boxes looked at in one file

_LETTERS = {
    b"\xa9cmt": "comment", b"\xa9nam": "title", b"\xa9des": "description", b"desc": "description",
    b"\xa9too": "encoder",
}  # fmt: skip
_UNKNOWN = -1


def looks_like_video(head: bytes) -> bool:
    """Whether a file that starts with these bytes (16 are enough) is one of the containers read here."""
    return head[4:8] in (b"ftyp", b"moov") or head[:4] == b"\x1a\x45\xdf\xa3"


def read_video_tags(file: BinaryIO) -> dict[str, str]:
    """Every text by its key (matroska's in lower case). Total: a damaged or foreign file gives what could be read."""
    size = file.seek(0, os.SEEK_END)
    file.seek(0)
    head = file.read(16)
    reader = _Reader(file, size)
    if head[:4] == b"\x1a\x45\xdf\xa3":
        reader.matroska(0, size)
    elif looks_like_video(head):
        reader.boxes(0, size)
    return reader.texts


class _Reader:
    def __init__(self, file: BinaryIO, size: int) -> None:
        self.file, self.size = file, size
        self.texts: dict[str, str] = {}
        self.left = MAX_TEXTS
        self.elements = MAX_ELEMENTS

    def _at(self, place: int, count: int) -> bytes:
        if place < 0 or count <= 0 or place >= self.size:
            return b""
        self.file.seek(place)
        return self.file.read(min(count, self.size - place))

    def _keep(self, key: str, place: int, count: int) -> None:
        if not key or not 0 < count <= min(MAX_TEXT, self.left):
            return
        data = self._at(place, count)
        self.left -= len(data)
        try:
            self.texts.setdefault(key, data.decode("utf-8").rstrip("\0"))
        except UnicodeDecodeError:
            return  # a cover picture or a number

    # MP4 -------------------------------------------------------------------------------------------------------------

    def _children(self, start: int, end: int) -> Iterator[tuple[bytes, int, int]]:
        """(kind, start of its content, its end) of each box."""
        place = start
        while place + 8 <= end and self.elements > 0:
            self.elements -= 1
            head = self._at(place, 16)
            if len(head) < 8:
                return
            length = struct.unpack_from(">I", head)[0]
            content = place + 8
            if length == 1 and len(head) == 16:
                length = struct.unpack_from(">Q", head, 8)[0]
                content = place + 16
            elif length == 0:
                length = end - place
            if length < content - place:
                return
            stop = min(place + length, end)
            yield head[4:8], content, stop
            place += length

    def boxes(self, start: int, end: int) -> None:
        for kind, content, stop in self._children(start, end):
            if kind == b"moov":
                for inner, inside, inner_stop in self._children(content, stop):
                    if inner == b"meta":
                        self._meta(inside, inner_stop)
                    elif inner == b"udta":
                        self._udta(inside, inner_stop)
            elif kind == b"meta":
                self._meta(content, stop)

    def _udta(self, start: int, end: int) -> None:
        for kind, content, stop in self._children(start, end):
            if kind == b"meta":
                self._meta(content, stop)

    def _meta(self, start: int, end: int) -> None:
        if self._at(start + 4, 4) != b"hdlr":
            start += 4  # ISO files give the box a version; QuickTime's have none
        names: list[str] = []
        for kind, content, stop in self._children(start, end):
            if kind == b"keys":
                names = self._key_names(content, stop)
            elif kind == b"ilst":
                for item, inside, inner_stop in self._children(content, stop):
                    self._item(item, names, inside, inner_stop)

    def _key_names(self, start: int, end: int) -> list[str]:
        """After a version and a count: size, namespace, name."""
        return [
            self._at(content, min(stop - content, 1024)).decode("utf-8", "replace")
            for _, content, stop in self._children(start + 8, end)
        ]

    def _item(self, kind: bytes, names: list[str], start: int, end: int) -> None:
        number = int.from_bytes(kind, "big")
        key = names[number - 1] if 0 < number <= len(names) else _LETTERS.get(kind, "")
        for part, content, stop in self._children(start, end):
            if part == b"name" and kind == b"----":
                key = self._at(content + 4, min(stop - content - 4, 1024)).decode("utf-8", "replace")
            elif part == b"data":
                self._keep(key, content + 8, stop - content - 8)  # after its type and its language

    # Matroska --------------------------------------------------------------------------------------------------------

    def _number(self, place: int, *, keep_marker: bool) -> tuple[int, int]:
        """(value, bytes it takes) of a number of variable length; (0, 0) when there is none."""
        head = self._at(place, 8)
        if not head or head[0] == 0:
            return 0, 0
        length = 9 - head[0].bit_length()
        if len(head) < length:
            return 0, 0
        value = int.from_bytes(head[:length], "big")
        if keep_marker:
            return value, length
        value &= (1 << 7 * length) - 1
        return (_UNKNOWN if value == (1 << 7 * length) - 1 else value), length

    def _elements(self, start: int, end: int) -> Iterator[tuple[int, int, int]]:
        """(id, start of its content, its end). One of unknown length is walked into: its children follow it."""
        place = start
        while place < end and self.elements > 0:
            self.elements -= 1
            kind, width = self._number(place, keep_marker=True)
            length, more = self._number(place + width, keep_marker=False) if width else (0, 0)
            if not width or not more:
                return
            content = place + width + more
            if length == _UNKNOWN:
                yield kind, content, content
                place = content
                continue
            yield kind, content, min(content + length, end)
            place = content + length

    def matroska(self, start: int, end: int) -> None:
        for kind, content, stop in self._elements(start, end):
            if kind == 0x18538067:  # Segment; of unknown length, its children come next at this level
                self.matroska(content, stop)
            elif kind == 0x1254C367:  # Tags
                for tag, inside, inner_stop in self._elements(content, stop):
                    if tag == 0x7373:  # Tag
                        self._simple_tags(inside, inner_stop)

    def _simple_tags(self, start: int, end: int) -> None:
        for kind, content, stop in self._elements(start, end):
            if kind != 0x67C8:  # SimpleTag
                continue
            name, text = "", (0, 0)
            for part, inside, inner_stop in self._elements(content, stop):
                if part == 0x45A3:  # TagName
                    name = self._at(inside, min(inner_stop - inside, 1024)).decode("utf-8", "replace").rstrip("\0")
                elif part == 0x4487:  # TagString
                    text = (inside, inner_stop - inside)
            self._keep(name.lower(), *text)
