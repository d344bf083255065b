"""The card that networks run on, and the main memory beside it.

Everything the residency allocates is asked for here, so that tests can put a card of any size in its place
(tests/memory_room.py).
"""

from __future__ import annotations

import gc
import time
from contextlib import AbstractContextManager, nullcontext, suppress
from dataclasses import dataclass

import torch

from engine.memory.here import main_room
from engine.memory.machine import Machine, real_card
from engine.memory.request import Kernel

PROBE = 64 << 20  # bytes copied to measure the line
STAGE = 32 << 20  # bytes of each of the two locked buffers that plain memory crosses by
DIRECT = 256 << 10  # bytes; smaller tensors gain nothing by them


@dataclass(eq=False)
class _Stage:
    """A locked buffer that weights in plain memory cross by, and the end of its last copy to the card."""

    buffer: torch.Tensor
    sent: torch.cuda.Event | None = None


class Card:
    """`budget`: bytes of the card that may be used, as far as they are free; None: all that is free. What is free is
    asked when the card is first asked about, and again for each plan.

    `leave`: bytes of it left to other programs.
    """

    def __init__(self, device: torch.device | str, budget: int | None = None, leave: int = 0) -> None:
        self.device = torch.device(device)
        self._chosen, self._leave = budget, leave
        self._budget = budget if self.device.type != "cuda" else None
        self._streams: tuple[torch.cuda.Stream, ...] | None = None
        self._bandwidth = 0.0
        self._stages: list[_Stage] = []
        if self.device.type == "cuda":
            _lock_no_more_than_asked()

    @property
    def name(self) -> str:
        return torch.cuda.get_device_name(self.device) if self.device.type == "cuda" else self.device.type

    @property
    def budget(self) -> int:
        """Bytes that may be used, this process's own included."""
        if self._budget is None:
            free, _ = torch.cuda.mem_get_info(self.device)
            room = free + torch.cuda.memory_reserved(self.device)
            self._budget = min(self._chosen, room) if self._chosen else room
        return max(self._budget - self._leave, 0)

    @property
    def total(self) -> int:
        """Bytes of the whole card."""
        if self.device.type == "cuda":
            return int(torch.cuda.get_device_properties(self.device).total_memory)
        return self.budget

    def watch(self) -> None:
        """From here on `highest` counts anew."""
        if self.device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(self.device)

    def highest(self) -> int:
        """Bytes that were in use at most since `watch`; 0 where the device does not tell."""
        return torch.cuda.max_memory_allocated(self.device) if self.device.type == "cuda" else 0

    def kernel(self, dtype: torch.dtype) -> Kernel:
        """How attention runs here in a type: PyTorch's fused kernels know bfloat16 from compute capability 8 on."""
        old = self.device.type == "cuda" and torch.cuda.get_device_capability(self.device) < (8, 0)
        return "plain" if old and dtype == torch.bfloat16 else "flash"

    @property
    def streams(self) -> tuple[torch.cuda.Stream, ...]:
        """Two lines for copies beside the one that computes; none where copies don't run by themselves."""
        if self._streams is None:
            two = self.device.type == "cuda"
            self._streams = tuple(_stream(self.device) for _ in range(2)) if two else ()
        return self._streams

    def place(self, tensor: torch.Tensor) -> torch.Tensor:
        """A copy on the card, in the layout of the original."""
        plain = self.device.type == "cuda" and tensor.device.type == "cpu" and tensor.nbytes > DIRECT
        return self.staged(tensor) if plain else tensor.detach().to(self.device, copy=True)

    def staged(self, tensor: torch.Tensor, piece: int = STAGE) -> torch.Tensor:
        """`place` by way of two locked buffers of `piece` bytes: one is filled while the other is on its way.

        Plain memory, such as a mapped file's, would cross by the driver's own small ones, at about half the speed.
        """
        source = tensor.detach()
        if not _dense(source):
            return source.to(self.device, copy=True)
        if not self._stages:
            self._stages = [_Stage(self.host(piece)) for _ in range(2)]
        placed = torch.empty_like(source, device=self.device)
        from_, to = _bytes(source), _bytes(placed)
        for begin in range(0, len(from_), piece):
            stage = self._stages.pop(0)
            self._stages.append(stage)
            if stage.sent is not None:
                stage.sent.synchronize()
            part = from_[begin : begin + piece]
            held = stage.buffer[: len(part)]
            held.copy_(part)
            to[begin : begin + piece].copy_(held, non_blocking=True)
            if self.device.type == "cuda":
                stage.sent = torch.cuda.current_stream(self.device).record_event()
        return placed

    def buffer(self, size: int) -> torch.Tensor:
        """uint8 [size] on the card, what is in it undefined."""
        return torch.empty(size, dtype=torch.uint8, device=self.device)

    def host(self, size: int) -> torch.Tensor:
        """uint8 [size] in main memory that the card can read by itself; plain memory where there is no more of that."""
        if self.device.type == "cuda":
            try:
                return torch.empty(size, dtype=torch.uint8, pin_memory=True)
            except RuntimeError:  # the system gives out no more locked pages: slower, but it works
                pass
        return torch.empty(size, dtype=torch.uint8)

    def beside(self) -> AbstractContextManager[object]:
        """While inside, what is made is in main memory. The card of tests does not count it."""
        return nullcontext()

    def settle(self) -> None:
        """Wait for every copy under way."""
        for stream in self._streams or ():
            stream.synchronize()

    def clean(self) -> None:
        """Let go of all memory that nothing uses. Call it outside the `except` block: the exception holds tensors."""
        gc.collect()
        if self.device.type == "cuda":
            torch.cuda.empty_cache()

    def bandwidth(self) -> float:
        """Bytes a second from locked main memory to the card, measured once."""
        if not self._bandwidth:
            self._bandwidth = self._measured() if self.device.type == "cuda" else 10e9
        return self._bandwidth

    def _measured(self) -> float:
        source, target = self.host(PROBE), self.buffer(PROBE)
        best = float("inf")
        for _ in range(3):
            torch.cuda.synchronize(self.device)
            start = time.perf_counter()
            target.copy_(source, non_blocking=True)
            torch.cuda.synchronize(self.device)
            best = min(best, time.perf_counter() - start)
        return PROBE / best

    def machine(self) -> Machine:
        """What plans are made for. The computing rate is that of a common card of its size."""
        if self.device.type == "cuda":
            self._budget = None  # other programs may have come or gone since the last plan
        fused = self.kernel(torch.bfloat16) == "flash"
        return real_card(self.budget, self.total, main_room(), self.name, self.bandwidth(), fused=fused)


def _dense(tensor: torch.Tensor) -> bool:
    """Whether its numbers lie together, in whatever order of axes."""
    orders = {4: torch.channels_last, 5: torch.channels_last_3d}
    order = orders.get(tensor.ndim)
    return tensor.is_contiguous() or (order is not None and tensor.is_contiguous(memory_format=order))


def _bytes(tensor: torch.Tensor) -> torch.Tensor:
    """uint8 [bytes] of a dense tensor, the same memory."""
    return tensor.as_strided((tensor.numel(),), (1,)).view(torch.uint8)


def _lock_no_more_than_asked() -> None:
    """PyTorch rounds locked memory up to a power of two, up to as much again, and keeps it. Only below 1 MiB then."""
    known = torch._C._accelerator_getAllocatorSettings()
    ours = "pinned_max_round_threshold_mb:1,pinned_max_cached_size_mb:1"
    if ours in known:
        return
    with suppress(RuntimeError, ValueError):  # an older PyTorch has no such settings
        torch._C._accelerator_setAllocatorSettings(f"{known},{ours}" if known else ours)


def _stream(device: torch.device) -> torch.cuda.Stream:
    made: torch.cuda.Stream = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]  # torch leaves it untyped
    return made
