"""Regional compilation: the blocks of a network that repeat are compiled once for each of their classes.

What is compiled is a class's forward, given the block: weights are its inputs, so that all blocks share the code, and
so do a block whose weights are streamed to the card and one whose weights an adapter changed. The checks for a
cancelled job, which stand before each layer elsewhere, stand before each block here.
"""

from __future__ import annotations

import logging
import weakref
from collections import Counter
from collections.abc import Callable
from typing import Any

import torch

from engine.graph import interruption
from engine.graph.numerics import note
from engine.memory.measure import streamed_blocks
from engine.memory.recovery import is_out_of_memory
from engine.models.interruptible import unwatch_layers

log = logging.getLogger(__name__)


def repeated_blocks(module: torch.nn.Module) -> list[torch.nn.Module]:
    """The blocks that diffusers names as repeated; of a network that names none, those of its lists of blocks."""
    names = getattr(module, "_repeated_blocks", None) or ()
    if names:
        return [block for block in module.modules() if type(block).__name__ in names]
    blocks = [block for _, block in streamed_blocks(module)]
    often = Counter(type(block) for block in blocks)
    return [block for block in blocks if often[type(block)] > 1]


def compile_blocks(module: torch.nn.Module, backend: Any) -> int:
    """Have the repeated blocks compiled when they are first run, for sizes that change; how many there are.

    backend  as torch.compile takes it
    """
    blocks = repeated_blocks(module)
    shared: dict[type[torch.nn.Module], Callable[..., Any]] = {}
    for block in blocks:
        kind = type(block)
        if kind not in shared:
            shared[kind] = torch.compile(kind.forward, dynamic=True, backend=backend)
        unwatch_layers(block)
        block.forward = _Compiled(block, shared[kind])
    return len(blocks)


def pause(module: torch.nn.Module, paused: bool) -> None:
    """Have compiled blocks run as they are, or compiled again: what brings layers one by one can't be compiled."""
    for layer in module.modules():
        forward = vars(layer).get("forward")
        if isinstance(forward, _Compiled):
            forward.paused = paused


class _Compiled:
    """A block's forward, compiled. It holds the block weakly: see engine.models.interruptible."""

    __slots__ = ("_block", "_forward", "paused")

    def __init__(self, block: torch.nn.Module, forward: Callable[..., Any]) -> None:
        self._block, self._forward = weakref.ref(block), forward
        self.paused = False

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        interruption.check()
        block: Any = self._block()
        if self.paused:
            return type(block).forward(block, *args, **kwargs)
        try:
            found = self._forward(block, *args, **kwargs)
            note("compiled", self._forward is not type(block).forward)
            return found
        except Exception as error:
            if not type(error).__module__.startswith(("torch._dynamo", "torch._inductor")) or is_out_of_memory(error):
                raise
            log.warning("%s can't be compiled here and runs as it is: %s", type(block).__name__, error)
        self._forward = type(block).forward
        return self._forward(block, *args, **kwargs)

    def __deepcopy__(self, memo: dict[int, Any]) -> _Compiled:
        return _Compiled(memo[id(self._block())], self._forward)  # a copied block computes with its own weights
