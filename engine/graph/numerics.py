"""What was computed otherwise than whole and exactly, noted where it happens and handed on with the values.

A node's notes are its own and those of every node whose values it was given. They are kept with its value, so that a
picture whose latent came from a cache, perhaps made in another session, still says what it was made with.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterable, Iterator
from typing import TypeAlias

Noted: TypeAlias = str | int | bool
Notes: TypeAlias = tuple[tuple[str, Noted], ...]


class _Open(threading.local):
    notes: dict[str, Noted] | None = None


_open = _Open()


def note(name: str, value: Noted) -> None:
    """Say of the node that runs on this thread: `name` as records know it (engine.contracts.results.NumericsPlan).

    Said twice, the one that is farther from exact counts. Nothing where no node runs.
    """
    if _open.notes is not None:
        _add(_open.notes, name, value)


@contextlib.contextmanager
def noting(notes: dict[str, Noted]) -> Iterator[None]:
    """While this lasts, what is noted on this thread is added to `notes`."""
    before, _open.notes = _open.notes, notes
    try:
        yield
    finally:
        _open.notes = before


def noted() -> dict[str, Noted]:
    """What the node that runs on this thread has noted, or was given, so far."""
    return dict(_open.notes or {})


def together(each: Iterable[Iterable[tuple[str, Noted]]]) -> Notes:
    """The notes of several values in one."""
    found: dict[str, Noted] = {}
    for notes in each:
        for name, value in notes:
            _add(found, name, value)
    return tuple(found.items())


def _add(notes: dict[str, Noted], name: str, value: Noted) -> None:
    known = notes.get(name, value)
    if known == value:
        notes[name] = value
    elif isinstance(known, str) and isinstance(value, str):
        notes[name] = min(known, value, key=_bits) if name == "quantisation" else _both(known, value)
    else:
        numbers = [int(item) for item in (known, value) if not isinstance(item, str) and item]
        notes[name] = True if isinstance(value, bool) else min(numbers, default=0)


def _bits(kind: str) -> int:
    """ "int8" → 8."""
    digits = "".join(letter for letter in kind if letter.isdigit())
    return int(digits) if digits else 16


def _both(known: str, value: str) -> str:
    parts = known.split(" and ")
    return known if value in parts else f"{known} and {value}"
