"""A weight file mapped into memory, to be read only: brought in ahead in chunks, let go of again once it was copied."""

from __future__ import annotations

import contextlib
import ctypes
import mmap
import os
import warnings
from collections.abc import Callable, Iterable
from functools import lru_cache
from pathlib import Path

import torch

from engine.contracts.errors import MissingModel
from engine.graph import interruption

PAGE = 4096
CHUNK = 4 * 2**20  # from a slow disk, 100 MB/s, a chunk takes 40 ms
KEPT = 16 * 2**20  # copied bytes that may stay mapped: letting go of every small tensor costs more than it gives


class Mapped:
    """The bytes of a file from `start` on, mapped when first asked for."""

    def __init__(self, path: Path, start: int) -> None:
        self._path, self._start = path, start
        self._map: mmap.mmap | None = None
        self._bytes: torch.Tensor | None = None
        self._tells = False
        self._copied = self._there = (0, 0)

    def bytes(self, begin: int, end: int) -> torch.Tensor:
        """uint8 [end − begin], a view of the file. Raises MissingModel when the file can't be read."""
        if self._bytes is None:
            try:
                with self._path.open("rb") as file:
                    self._map = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
                # Of others' files Linux says that every page is there: who may not write it is not to learn.
                self._tells = os.access(self._path, os.W_OK)
            except (OSError, ValueError) as error:
                raise MissingModel(
                    "it can't be read", where=str(self._path), fix="Check the file and its permissions"
                ) from error
            with warnings.catch_warnings():
                # Read-only, since the system counts private pages against its memory; nothing here writes to them.
                warnings.filterwarnings("ignore", message="The given buffer is not writable")
                self._bytes = torch.frombuffer(self._map, dtype=torch.uint8)
        return self._bytes[self._start + begin : self._start + end]

    def read_ahead(self, spans: Iterable[tuple[int, int]]) -> None:
        """Bring byte ranges into the system's memory; a cancelled job stops between chunks."""
        for begin, end in spans:
            for at in range(begin, end, CHUNK):
                interruption.check()
                last = min(end, at + CHUNK)
                if self._has(at, last):
                    continue  # mapping it is left to what copies it, which does so on every core
                self._advise("MADV_WILLNEED", at, min(end, at + 2 * CHUNK))
                self.bytes(at, last)[::PAGE].sum()  # one byte of each page: that maps it, and copies nothing

    def _has(self, begin: int, end: int) -> bool:
        """Whether the system has a range in its memory already. Asked for a chunk at a time: tensors lie in order."""
        first, last = self._there
        if first <= begin and end <= last:
            return True
        piece = self.bytes(begin, max(end, begin + CHUNK))
        if not (self._tells and _is_there(piece)):
            return False
        self._there = (begin, begin + piece.numel())
        return True

    def release(self, begin: int, end: int) -> None:
        """Let go of the pages of a range that was copied; asked for again, they are read again."""
        first, last = self._copied
        if not 0 <= begin - last < PAGE:
            self.release_rest()
            first = begin
        self._copied = (first, end)
        if end - first >= KEPT:
            self.release_rest()

    def release_rest(self) -> None:
        """Let go of what `release` still keeps mapped."""
        first, last = (self._start + at for at in self._copied)
        self._copied = (self._copied[1], self._copied[1])
        self._advise("MADV_DONTNEED", -(-first // PAGE) * PAGE - self._start, last // PAGE * PAGE - self._start)

    def _advise(self, name: str, begin: int, end: int) -> None:
        advice = getattr(mmap, name, None)  # Windows has none
        first = (self._start + begin) // PAGE * PAGE
        if self._map is not None and advice is not None and end - begin > 0:
            with contextlib.suppress(OSError, ValueError):
                self._map.madvise(advice, first, self._start + end - first)


def _is_there(piece: torch.Tensor) -> bool:
    """Whether every page of a mapped range is in the system's memory already; False where that can't be asked."""
    ask = _mincore()
    if ask is None:
        return False
    first = piece.data_ptr() // mmap.PAGESIZE * mmap.PAGESIZE
    length = piece.data_ptr() + piece.numel() - first
    pages = ctypes.create_string_buffer(-(-length // mmap.PAGESIZE))
    return ask(first, length, pages) == 0 and pages.raw.count(b"\1") == len(pages.raw)


@lru_cache(maxsize=1)
def _mincore() -> Callable[[int, int, ctypes.Array[ctypes.c_char]], int] | None:
    if os.name != "posix":
        return None
    found = getattr(ctypes.CDLL(None), "mincore", None)
    if found is not None:
        found.argtypes, found.restype = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_char_p), ctypes.c_int
    return found
