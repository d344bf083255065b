"""Blocks that repeat are walked once: a network of sixty like blocks is foreseen in the time of one.

A block is like another when its layers have the same classes, settings and weights' shapes, and its inputs the same
shapes. The answer of the second is then made from what the first left: the shapes of its outputs, what was alive in it
at most, and its computing. What a block keeps beside its outputs, or gives of its inputs in another shape, makes it
one that is walked each time, so that the numbers are those of the whole walk.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch.utils._pytree import TreeSpec, tree_flatten, tree_unflatten

# Which block of its list a layer is, or what it is called: no matter for its shapes.
_NUMBERS = ("idx", "index", "layer_id", "block_id", "name")


class Counter(Protocol):
    """What is alive, the most that was, and the computing so far."""

    now: int
    peak: int
    flops: float


@dataclass(frozen=True)
class _Storage:
    size: int
    dtype: torch.dtype


@dataclass(frozen=True)
class _Output:
    """A tensor that a block gives: one of its inputs, or a view of a new storage."""

    given: int = -1
    storage: int = -1
    shape: tuple[int, ...] = ()
    strides: tuple[int, ...] = ()
    offset: int = 0
    dtype: torch.dtype = torch.bfloat16


@dataclass(frozen=True)
class _Left:
    """What a walked block left behind."""

    spec: TreeSpec
    outputs: tuple[Any, ...]
    storages: tuple[_Storage, ...]
    above: int
    flops: float


@contextmanager
def walked_once(blocks: Iterable[torch.nn.Module], counter: Counter) -> Iterator[None]:
    """While inside, each of `blocks` that is like one called before, with like inputs, answers without being walked."""
    known: dict[Hashable, _Left | None] = {}
    wrapped = [(block, vars(block).get("forward")) for block in blocks]
    for block, _ in wrapped:
        block.forward = _Once(block.forward, _likeness(block), known, counter)
    try:
        yield
    finally:
        for block, before in wrapped:
            if before is None:
                del block.forward
            else:
                block.forward = before


class _Once:
    def __init__(self, forward: Any, likeness: Hashable, known: dict[Hashable, _Left | None], counter: Counter) -> None:
        self._forward, self._likeness, self._known, self._counter = forward, likeness, known, counter

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        given, spec = tree_flatten((args, kwargs))
        key = self._likeness, str(spec), tuple(_told(value) for value in given)
        left = self._known.get(key)
        if left is not None:
            return self._again(left, given)
        if key in self._known:
            return self._forward(*args, **kwargs)
        counter = self._counter
        start, highest, flops = counter.now, counter.peak, counter.flops
        counter.peak = start
        out = self._forward(*args, **kwargs)
        above, counter.peak = counter.peak - start, max(highest, counter.peak)
        self._known[key] = _left(out, given, counter.now - start, above, counter.flops - flops)
        return out

    def _again(self, left: _Left, given: list[Any]) -> Any:
        counter = self._counter
        counter.peak = max(counter.peak, counter.now + left.above)
        counter.flops += left.flops
        made = [torch.empty(one.size, dtype=one.dtype, device="meta") for one in left.storages]
        outputs = [self._output(one, given, made) if isinstance(one, _Output) else one for one in left.outputs]
        return tree_unflatten(outputs, left.spec)

    @staticmethod
    def _output(one: _Output, given: list[Any], made: list[torch.Tensor]) -> Any:
        if one.given >= 0:
            return given[one.given]
        whole = made[one.storage]
        return (whole if whole.dtype == one.dtype else whole.view(one.dtype)).as_strided(
            one.shape, one.strides, one.offset
        )


def _left(out: Any, given: list[Any], more: int, above: int, flops: float) -> _Left | None:
    """What a call left; None when another could not be answered from it."""
    values, spec = tree_flatten(out)
    inputs = {id(value): place for place, value in enumerate(given) if isinstance(value, torch.Tensor)}
    theirs = {value.untyped_storage()._cdata for value in given if isinstance(value, torch.Tensor)}
    outputs: list[Any] = []
    places: dict[int, int] = {}
    storages: list[_Storage] = []
    size = 0
    for value in values:
        if not isinstance(value, torch.Tensor):
            outputs.append(value)
            continue
        if id(value) in inputs:
            outputs.append(_Output(inputs[id(value)]))
            continue
        storage = value.untyped_storage()
        if storage._cdata in theirs or not value.is_meta:
            return None
        if storage._cdata not in places:
            places[storage._cdata] = len(storages)
            storages.append(_Storage(storage.nbytes() // value.element_size(), value.dtype))
            size += storage.nbytes()
        outputs.append(
            _Output(
                -1, places[storage._cdata], tuple(value.shape), value.stride(), int(value.storage_offset()), value.dtype
            )
        )  # fmt: skip
    return _Left(spec, tuple(outputs), tuple(storages), above, flops) if size == more else None


def _told(value: Any) -> Hashable:
    """What matters of an input."""
    if isinstance(value, torch.Tensor):
        return tuple(value.shape), value.dtype, value.stride(), value.device.type
    return value if isinstance(value, (int, float, str, bool, type(None))) else repr(value)


def _likeness(block: torch.nn.Module) -> Hashable:
    """Equal for blocks whose forwards do the same to the shapes of their inputs."""
    return tuple((name, _alike(layer)) for name, layer in block.named_modules())


def _alike(layer: torch.nn.Module) -> Hashable:
    settings = tuple(
        (name, value if isinstance(value, (int, float, str, bool, type(None))) else type(value).__name__)
        for name, value in sorted(vars(layer).items())
        if not name.startswith("_") and name != "forward" and not name.endswith(_NUMBERS)
    )
    tensors = (*layer._parameters.items(), *layer._buffers.items())
    shapes = tuple((name, tuple(value.shape), value.dtype) for name, value in tensors if value is not None)
    return type(layer).__name__, settings, shapes
