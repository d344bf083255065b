"""What is kept in main memory between jobs: the least recently used goes first, never what is in use.

Views of a mapped file take no memory of their own (the system lets go of their pages by itself), so they are counted
apart and the budget is not held against them: it is for copies, those that streaming makes among them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import torch

Key: TypeAlias = tuple[str, ...]


@dataclass(frozen=True)
class Held:
    """Bytes of tensors: `copies` of their own, `mapped` views of a file."""

    copies: int = 0
    mapped: int = 0

    @property
    def total(self) -> int:
        return self.copies + self.mapped


def held_by(thing: Any) -> Held:
    """What a loaded part, a table of tensors or a whole pipeline takes."""
    copies: dict[int, int] = {}
    mapped: dict[int, int] = {}
    for tensor in _tensors(thing):
        storage = tensor.untyped_storage()
        if storage.resizable():
            copies[storage.data_ptr()] = storage.nbytes()
        else:  # memory that torch did not give out itself: the file's
            mapped[tensor.data_ptr()] = tensor.nbytes
    return Held(sum(copies.values()), sum(mapped.values()))


def _tensors(thing: Any, depth: int = 0) -> Iterator[torch.Tensor]:
    if isinstance(thing, torch.Tensor):
        if not thing.is_meta:
            yield thing
    elif isinstance(thing, torch.nn.Module):
        yield from thing.parameters()
        yield from thing.buffers()
    elif hasattr(type(thing), "components"):  # a whole pipeline
        for part in thing.components.values():
            yield from _tensors(part, depth)
    elif isinstance(thing, Mapping):
        for item in thing.values():
            yield from _tensors(item, depth)
    elif isinstance(thing, Sequence) and not isinstance(thing, (str, bytes)):
        for item in thing:
            yield from _tensors(item, depth)
    elif depth < 3 and type(thing).__module__.startswith("engine.") and hasattr(thing, "__dict__"):  # an adapter
        for item in vars(thing).values():
            yield from _tensors(item, depth + 1)


@dataclass(eq=False)
class _Kept:
    thing: Any
    held: Held
    beside: Callable[[], int]

    @property
    def copies(self) -> int:
        return self.held.copies + self.beside()


class Shelf:
    """Loaded things by key, whose copies take `budget` bytes at most. One thread changes it, others may count."""

    def __init__(self, budget: int) -> None:
        self.budget = budget
        self._kept: dict[Key, _Kept] = {}  # the least recently used first
        self._used: set[Key] = set()

    @property
    def copies(self) -> int:
        """Bytes that the budget is for."""
        return sum(kept.copies for kept in self._all())

    @property
    def mapped(self) -> int:
        """Bytes that are views of files."""
        return sum(kept.held.mapped for kept in self._all())

    @property
    def total(self) -> int:
        """Bytes of what was loaded, copies and views."""
        return sum(kept.held.total for kept in self._all())

    def _all(self) -> list[_Kept]:
        """Everything kept now. Taken at once, since the window's thread asks how much there is."""
        return list(self._kept.values())

    def begin(self) -> None:
        """A new use begins: what was asked for before may go from now on."""
        self._used.clear()
        self.tidy()

    def get(self, key: Key) -> Any:
        """What is kept under a key, which is in use from now on; None where nothing is."""
        kept = self._kept.get(key)
        if kept is None:
            return None
        self._kept[key] = self._kept.pop(key)
        self._used.add(key)
        return kept.thing

    def put(self, key: Key, thing: Any, beside: Callable[[], int] = lambda: 0) -> None:
        """Keep a thing that is in use now. `beside` says how many bytes stand beside it in main memory because of it
        (a stream's copies of its blocks)."""
        self._kept[key] = _Kept(thing, held_by(thing), beside)
        self._used.add(key)
        self.tidy()

    def tidy(self) -> None:
        """Let go of the least recently used until the budget holds, or only what is in use is left."""
        over = self.copies - self.budget
        latest = next(reversed(self._kept), None)
        for key in list(self._kept):
            if over <= 0:
                break
            kept = self._kept[key]
            mapped_only = kept.held.mapped and not kept.copies
            if key in self._used or key == latest or mapped_only:
                continue
            over -= kept.copies
            del self._kept[key]

    def clear(self) -> None:
        self._kept.clear()
        self._used.clear()

    def __len__(self) -> int:
        return len(self._kept)

    def items(self) -> Iterator[tuple[Key, Any]]:
        """(key, thing), the least recently used first."""
        return ((key, kept.thing) for key, kept in self._kept.items())
