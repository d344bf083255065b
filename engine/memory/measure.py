"""How many bytes a network's forward needs beside its weights, told by walking it once on the meta device.

Nothing is computed and no card is needed. Attention counts as flash-like: its output, no matrix of tokens by tokens.
Checked against published peaks (docs/memory.md).
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

from engine.memory.repeats import walked_once
from engine.memory.request import Kernel

# Lists of blocks in the networks of diffusers and transformers: what streaming moves at a time.
BLOCK_LISTS = frozenset(
    {
        "down_blocks", "up_blocks", "resnets", "attentions", "downsamplers", "upsamplers", "transformer_blocks",
        "single_transformer_blocks", "layers", "noise_refiner", "context_refiner", "blocks", "block",
    }
)  # fmt: skip


@dataclass(frozen=True)
class Walked:
    """peak   bytes alive at once beside the weights, inputs counted
    flops  multiply-adds counted twice, as everywhere
    """

    peak: int
    flops: float


class _Alive(TorchDispatchMode):  # type: ignore[no-untyped-call]  # torch leaves its base untyped
    """Counts the storages that operations make and that are still alive, and the computing. `known` are the weights',
    not counted."""

    def __init__(self, known: Iterable[torch.Tensor]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._known = {tensor.untyped_storage()._cdata for tensor in known}
        self._alive: set[int] = set()
        self.now = self.peak = 0
        self.flops = 0.0

    def add(self, tensor: torch.Tensor) -> None:
        storage = tensor.untyped_storage()
        key = storage._cdata
        if key in self._known or key in self._alive:
            return
        self._alive.add(key)
        size = storage.nbytes()
        self.now += size
        self.peak = max(self.peak, self.now)
        weakref.finalize(storage, self._gone, key, size)

    def _gone(self, key: int, size: int) -> None:
        self._alive.discard(key)
        self.now -= size

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        for item in out if isinstance(out, (tuple, list)) else (out,):
            if isinstance(item, torch.Tensor):
                self.add(item)
        work = flop_registry.get(func._overloadpacket)
        if work is not None:
            self.flops += work(*args, **(kwargs or {}), out_val=out)
        return out


class _Attention(TorchFunctionMode):
    """Attention as the kernel has it. "flash": fused, the answer alone is kept. "plain": PyTorch's own mathematics, in
    float32, with the matrix of tokens by tokens twice (its numbers, and their softmax)."""

    def __init__(self, counter: _Alive, kernel: Kernel) -> None:
        super().__init__()
        self._counter, self._plain = counter, kernel == "plain"

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func is not torch.nn.functional.scaled_dot_product_attention:
            return func(*args, **kwargs)
        named = dict(zip(("query", "key", "value"), args, strict=False)) | kwargs
        query, key, value = named["query"], named["key"], named["value"]
        if self._plain:
            return _plain(query, key, value)
        *lead, tokens, width = query.shape
        pairs = tokens * key.shape[-2]
        for count in lead:
            pairs *= count
        self._counter.flops += 2.0 * pairs * (width + value.shape[-1])
        return torch.empty(*lead, tokens, value.shape[-1], dtype=query.dtype, device=query.device)


def _plain(query: torch.Tensor, key: torch.Tensor, value: torch.Tensor) -> torch.Tensor:
    groups = query.shape[-3] // key.shape[-3]  # heads that share keys
    if groups > 1:
        key, value = key.repeat_interleave(groups, -3), value.repeat_interleave(groups, -3)
    scores = torch.matmul(query.float(), key.float().transpose(-2, -1))
    weights = torch.softmax(scores, -1)
    del scores
    return torch.matmul(weights, value.float()).to(query.dtype)


def walk(run: Callable[[], object], *modules: torch.nn.Module, kernel: Kernel = "flash") -> Walked:
    """One forward of a module on the meta device, or of several one after another. `run` makes their inputs and calls
    them, so that they count too. Blocks that repeat are walked once (engine.memory.repeats)."""
    alive = _Alive(tensor for module in modules for tensor in (*module.parameters(), *module.buffers()))
    blocks = [block for module in modules for _, block in streamed_blocks(module)]
    with torch.no_grad(), walked_once(blocks, alive), alive, _Attention(alive, kernel):
        run()
    return Walked(alive.peak, alive.flops)


def in_type(module: Any, dtype: torch.dtype = torch.bfloat16) -> Any:
    """A module of the meta device with numbers of a type, to be run. diffusers' own `to` would warn."""
    torch.nn.Module.to(module, device="meta")  # a few networks make numbers on the processor whatever is asked
    for holder in (*module.parameters(), *module.buffers()):
        if holder.is_floating_point():
            holder.data = holder.data.to(dtype)
    return module.eval()


def bytes_in(module: torch.nn.Module) -> int:
    """The bytes of a module's parameters and buffers."""
    return sum(t.numel() * t.element_size() for t in (*module.parameters(), *module.buffers()))


def streamed_blocks(module: torch.nn.Module) -> Iterator[tuple[str, torch.nn.Module]]:
    """(name, module) of what streaming moves at a time, in the order of the network; they don't overlap.

    A block that itself has lists of blocks (a level of a U-Net) is gone into.
    """
    yield from _blocks(module, "")


def _blocks(module: torch.nn.Module, prefix: str) -> Iterator[tuple[str, torch.nn.Module]]:
    for name, child in module.named_children():
        if isinstance(child, torch.nn.ModuleList) and name in BLOCK_LISTS:
            listed: Sequence[torch.nn.Module | None] = list(child)
            for index, item in enumerate(listed):
                if item is None:  # a level of a U-Net without attention
                    continue
                inner = list(_blocks(item, f"{prefix}{name}.{index}."))
                yield from inner or [(f"{prefix}{name}.{index}", item)]
        elif not isinstance(child, torch.nn.ModuleList):
            yield from _blocks(child, f"{prefix}{name}.")


def largest_leaves(module: torch.nn.Module) -> int:
    """Bytes of the two largest layers: what streaming by leaves holds at once."""
    sizes = sorted((sum(p.numel() * p.element_size() for p in leaf.parameters(recurse=False))
                    for leaf in module.modules()), reverse=True)  # fmt: skip
    return sum(sizes[:2])


def empty(*shape: int, dtype: torch.dtype = torch.bfloat16) -> torch.Tensor:
    """A tensor of this shape without memory."""
    return torch.empty(*shape, dtype=dtype, device="meta")


Inputs = Mapping[str, Any]
