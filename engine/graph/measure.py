"""How many bytes a value holds, and sealing its arrays against change, in one walk."""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Mapping
from typing import Any

import numpy as np

Buffers = dict[int, int]  # identity of a buffer → its bytes, so that a buffer shared by several values counts once

_PLAIN = frozenset({int, float, bool, type(None)})
_PLAIN_BYTES = 32


def seal(value: Any, buffers: Buffers) -> int:
    """Set every array in `value` read-only. Returns the bytes of what is no array; arrays and tensors go to `buffers`.

    Tensors can't be sealed; nodes keep the rule that values are never changed (docs/values.md).
    """
    if value.__class__ in _PLAIN:
        return _PLAIN_BYTES
    total = 0
    stack = [value]
    seen: set[int] = set()
    while stack:
        item = stack.pop()
        kind = item.__class__
        if kind in _PLAIN:
            total += _PLAIN_BYTES
        elif kind is str or kind is bytes:
            total += sys.getsizeof(item)
        elif isinstance(item, np.ndarray):
            item.setflags(write=False)
            owner = item
            while isinstance(owner.base, np.ndarray):
                owner = owner.base
            buffers[id(owner)] = owner.nbytes
        elif hasattr(item, "untyped_storage"):
            storage = item.untyped_storage()
            buffers[storage.data_ptr()] = storage.nbytes()
        elif id(item) in seen:
            continue
        elif isinstance(item, (tuple, list, set, frozenset)):
            seen.add(id(item))
            total += _PLAIN_BYTES + 8 * len(item)
            stack.extend(item)
        elif isinstance(item, Mapping):
            seen.add(id(item))
            total += _PLAIN_BYTES + 16 * len(item)
            stack.extend(item.keys())
            stack.extend(item.values())
        elif dataclasses.is_dataclass(item):
            seen.add(id(item))
            total += _PLAIN_BYTES
            stack.extend(getattr(item, f.name) for f in dataclasses.fields(item))
        else:
            total += _PLAIN_BYTES
    return total
