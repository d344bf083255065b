"""Blocks of a network brought to the card as they are needed, the next one on its way while one computes.

Each block's tensors lie together in main memory, in one locked buffer, so that a block is one copy. On CUDA two streams
copy, one for each buffer on the card; elsewhere the same copies are made in place, so every path runs on any machine.
Nothing is copied back: the masters never left. What comes after a block is learnt in the first pass.
"""

from __future__ import annotations

import logging
import weakref
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch

from engine.graph import interruption
from engine.memory.device import Card
from engine.memory.quantise import Quantised, quantise
from engine.memory.recovery import is_out_of_memory
from engine.memory.slots import Slot, leave, restore

log = logging.getLogger(__name__)

ALIGN = 256


@dataclass(frozen=True)
class _Place:
    """Where a tensor lies in a buffer; `scale` is that of a quantised one."""

    begin: int
    shape: tuple[int, ...]
    stride: tuple[int, ...]
    dtype: torch.dtype

    def view(self, buffer: torch.Tensor) -> torch.Tensor:
        count = 1
        for edge in self.shape:
            count *= edge
        numbers = buffer[self.begin : self.begin + count * self.dtype.itemsize].view(self.dtype)
        return numbers.as_strided(self.shape, self.stride)

    @property
    def end(self) -> int:
        count = self.dtype.itemsize
        for edge in self.shape:
            count *= edge
        return self.begin + count


@dataclass(eq=False)
class _Block:
    """A block's slots, where each lies in its buffer, and the buffer in main memory (None before the first use, and
    where none is `kept`)."""

    slots: list[Slot]
    bits: int
    kept: bool
    places: list[tuple[_Place, _Place | None]] = field(default_factory=list)
    size: int = 0
    packed: torch.Tensor | None = None
    masters: list[torch.Tensor] = field(default_factory=list)  # what `packed` was made from
    forms: list[tuple[torch.Size, torch.dtype]] = field(default_factory=list)

    def lay(self) -> None:
        """Say where everything lies. Called once, with masters in the slots."""
        at = 0
        for slot in self.slots:
            tensor = slot.tensor
            self.forms.append((tensor.shape, tensor.dtype))
            if slot.lifted is None:
                whole = _place(tensor, at)
                self.places.append((whole, None))
                at = _aligned(whole.end)
            else:
                less = quantise(torch.empty(tensor.shape, dtype=tensor.dtype, device="meta"), self.bits)
                data = _place(less.data, at)
                scale = _place(less.scale, _aligned(data.end))
                self.places.append((data, scale))
                at = _aligned(scale.end)
        self.size = at

    def pack(self, into: torch.Tensor, known: list[torch.Tensor]) -> list[torch.Tensor]:
        """Write what differs from `known` into a buffer in main memory; what is in it now."""
        masters = [slot.tensor for slot in self.slots]
        for place, master in enumerate(masters):
            if (known and known[place] is master) or self._other(place, master):
                continue
            at, scale = self.places[place]
            if scale is None:
                at.view(into).copy_(master)
            else:
                less = quantise(master, self.bits)
                at.view(into).copy_(less.data)
                scale.view(into).copy_(less.scale)
        return masters

    def _other(self, place: int, master: torch.Tensor) -> bool:
        """Whether a tensor has no place in the buffer: a table with more rows, whole weights for eight-bit ones."""
        return (master.shape, master.dtype) != self.forms[place]

    def enter(self, buffer: torch.Tensor, card: Card) -> list[tuple[Slot, torch.Tensor]]:
        """Put what is in the buffer in place; what has none there is brought by itself."""
        masters = [(slot, slot.tensor) for slot in self.slots]
        apart = {i: card.place(master) for i, (_, master) in enumerate(masters) if self._other(i, master)}
        for i, (slot, (at, scale)) in enumerate(zip(self.slots, self.places, strict=True)):
            held = apart[i] if i in apart else at.view(buffer)
            slot.give(held if scale is None or i in apart else Quantised(held, scale.view(buffer)))
        return masters


def _place(tensor: torch.Tensor, at: int) -> _Place:
    like = torch.empty_like(tensor, device="meta")  # its own order of axes where it is dense
    return _Place(at, tuple(like.shape), like.stride(), like.dtype)


def _aligned(size: int) -> int:
    return -(-size // ALIGN) * ALIGN


@dataclass(eq=False)
class _Line:
    """One buffer on the card: which block is in it, made from which masters, and the events of its copies and uses."""

    buffer: torch.Tensor
    staging: torch.Tensor | None = None
    block: int = -1
    masters: list[torch.Tensor] = field(default_factory=list)
    arrived: torch.cuda.Event | None = None
    free: torch.cuda.Event | None = None


class BlockStream:
    """Streams `blocks`. With `from_disk` only the first `kept` of them have a copy in main memory: the masters of the
    others, views of a mapped file, are read from it each time. All are, and it is told, where main memory runs out."""

    def __init__(
        self, card: Card, modules: list[torch.nn.Module], slots: list[list[Slot]], bits: int = 16, *,
        from_disk: bool = False, kept: int = 0, tell: Callable[[str], object] = log.info,
    ) -> None:  # fmt: skip
        self._card, self._tell = card, tell
        self._blocks = [_Block(mine, bits, kept=not from_disk or at < kept) for at, mine in enumerate(slots)]
        for block in self._blocks:
            block.lay()
        self._largest = max((block.size for block in self._blocks), default=0)
        self._lines: list[_Line] = []
        self._after: dict[int, int] = {}
        self._last = -1
        self._modules = [weakref.ref(module) for module in modules]
        self.copied = 0  # bytes, for measuring
        for index, module in enumerate(modules):
            module.forward = _Streamed(module, self, index)

    @property
    def bytes(self) -> int:
        """On the card now."""
        return sum(line.buffer.nbytes for line in self._lines)

    @property
    def host_bytes(self) -> int:
        return sum(block.packed.nbytes for block in self._blocks if block.packed is not None)

    def remove(self) -> None:
        """Give the blocks their own forward again and let go of every buffer."""
        self.drop()
        for ref in self._modules:
            module = ref()
            if module is not None:
                streamed = vars(module).get("forward")
                if isinstance(streamed, _Streamed):
                    restore(module, streamed.before)
        self._blocks = []

    def drop(self) -> None:
        """Let go of what is on the card."""
        self._card.settle()
        self._lines = []
        self._last = -1

    def run(self, index: int, forward: Any, args: Any, kwargs: Any) -> Any:
        """One block's forward with its weights on the card."""
        interruption.check()
        self._make_lines()
        if self._last >= 0:
            self._after[self._last] = index
        self._last = index
        line = self._line_of(index)
        if line is None:
            line = self._lines[0] if self._lines[0].block != self._after.get(index) else self._lines[1]
            self._bring(line, index)
        if line.arrived is not None:
            torch.cuda.current_stream(self._card.device).wait_event(line.arrived)
        self._prefetch(index, line)
        masters = self._blocks[index].enter(line.buffer, self._card)
        try:
            return forward(*args, **kwargs)
        finally:
            leave(masters)
            if self._card.streams:
                line.free = torch.cuda.current_stream(self._card.device).record_event()

    def _line_of(self, index: int) -> _Line | None:
        """The buffer that this block is in, as it is now."""
        for line in self._lines:
            if line.block == index and all(
                slot.tensor is known for slot, known in zip(self._blocks[index].slots, line.masters, strict=True)
            ):
                return line
        return None

    def _prefetch(self, index: int, busy: _Line) -> None:
        following = self._after.get(index, index + 1)
        if following == index or following >= len(self._blocks) or self._line_of(following) is not None:
            return
        self._bring(next(line for line in self._lines if line is not busy), following)

    def _bring(self, line: _Line, index: int) -> None:
        """Copy a block to a buffer; on CUDA it is on its way when this returns."""
        line.block = -1
        block = self._blocks[index]
        source = self._source(block, line)[: block.size]
        if self._card.streams:
            stream = self._card.streams[self._lines.index(line)]
            if line.free is not None:
                stream.wait_event(line.free)
            with torch.cuda.stream(stream):
                line.buffer[: block.size].copy_(source, non_blocking=True)
                line.arrived = stream.record_event()
        else:
            line.buffer[: block.size].copy_(source)
        self.copied += block.size
        line.block, line.masters = index, [slot.tensor for slot in block.slots]

    def _source(self, block: _Block, line: _Line) -> torch.Tensor:
        """The block in main memory, as its slots have it now."""
        with self._card.beside():
            if block.kept:
                try:
                    return self._gathered(block)
                except (RuntimeError, MemoryError) as error:
                    if not is_out_of_memory(error):
                        raise
                # Main memory has no room for all blocks a second time: each comes from where its masters are.
                self._card.settle()
                for each in self._blocks:
                    each.packed, each.masters, each.kept = None, [], False
                self._tell("Main memory ran out; the blocks of the model are gathered anew each time they are needed.")
            if line.staging is None:
                line.staging = self._card.host(self._largest)
            elif line.arrived is not None:
                line.arrived.synchronize()
            block.pack(line.staging, [])
            return line.staging

    def _gathered(self, block: _Block) -> torch.Tensor:
        """A block in the buffer that is kept for it."""
        if block.packed is None:
            block.packed, block.masters = self._card.host(block.size), []
        elif any(slot.tensor is not known for slot, known in zip(block.slots, block.masters, strict=True)):
            self._card.settle()  # it may still be read
        known, block.masters = block.masters, []  # half-written, should this be left half-way
        block.masters = block.pack(block.packed, known)
        return block.packed

    def _make_lines(self) -> None:
        if not self._lines:
            made = [_Line(self._card.buffer(self._largest)) for _ in range(min(2, len(self._blocks)))]
            for stream in self._card.streams:  # the memory may have been something else's a moment ago
                stream.wait_stream(torch.cuda.current_stream(self._card.device))
            self._lines = made


class _Streamed:
    """A block's forward that has its weights brought first. It holds the block weakly, as a circle would keep it."""

    def __init__(self, module: torch.nn.Module, stream: BlockStream, index: int) -> None:
        self.before = vars(module).get("forward")
        self._module, self._stream, self._index = weakref.ref(module), stream, index

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self._stream.run(self._index, self._own, args, kwargs)

    def _own(self, *args: Any, **kwargs: Any) -> Any:
        module: Any = self._module()
        return (
            self.before(*args, **kwargs) if self.before is not None else type(module).forward(module, *args, **kwargs)
        )

    def __deepcopy__(self, memo: dict[int, Any]) -> Any:
        copied = memo[id(self._module())]
        return type(copied).forward.__get__(copied)
