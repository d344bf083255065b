"""What layers remember of what they computed, kept with them instead of with their class."""

from __future__ import annotations

import inspect
import weakref
from functools import cache
from typing import Any

import torch

MOST = 8  # answers; of Qwen-Image's, some MiB each


class Remembered:
    """A method whose class keeps its answers for every layer there is, and so the layers (diffusers' rotary positions
    of Qwen-Image): this keeps those of one layer, as long as it lives and until they are to leave the card."""

    def __init__(self, layer: torch.nn.Module, name: str) -> None:
        self._layer, self._name = weakref.ref(layer), name
        self._bare = inspect.unwrap(getattr(type(layer), name))
        self._known: dict[tuple[Any, ...], Any] = {}

    def __call__(self, *args: Any) -> Any:
        if args not in self._known:
            if len(self._known) >= MOST:
                self._known.clear()
            self._known[args] = self._bare(self._layer(), *args)
        return self._known[args]

    def forget(self) -> None:
        self._known.clear()

    def __deepcopy__(self, memo: dict[int, Any]) -> Any:
        return Remembered(memo[id(self._layer())], self._name)


def own_memories(module: torch.nn.Module) -> list[Remembered]:
    """Put one in the place of each such method of a network's layers."""
    made = []
    for layer in module.modules():
        kind: Any = type(layer)
        for name in _remembering(kind):
            own = Remembered(layer, name)
            setattr(layer, name, own)
            made.append(own)
    return made


@cache
def _remembering(kind: Any) -> tuple[str, ...]:
    """The methods of a class whose answers functools keeps."""
    found = []
    for name, method in vars(kind).items():
        cells = [cell.cell_contents for cell in getattr(method, "__closure__", None) or ()]
        if any(hasattr(item, "cache_clear") for item in (method, *cells)):
            found.append(name)
    return tuple(found)
