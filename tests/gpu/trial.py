"""Real-size networks with random weights, run as the studio runs them, and measured.

Everything here runs on any device with any configuration: tests/gpu/test_paths.py runs it on the processor with small
ones, so that it works when a card is there.
"""

from __future__ import annotations

import contextlib
import copy
import gc
import statistics
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch

from engine.memory.blueprint import Blueprint
from engine.memory.compiled import compile_blocks, repeated_blocks
from engine.memory.device import Card
from engine.memory.estimate import _denoiser, _module
from engine.memory.footprint import GIB, Footprint, ModelFootprint
from engine.memory.inputs import denoiser_inputs
from engine.memory.machine import Machine, preset
from engine.memory.measure import bytes_in, streamed_blocks
from engine.memory.planner import RUNGS, Phase, Plan, plans
from engine.memory.planner import Residency as Kept
from engine.memory.request import Request
from engine.memory.residency import Residency, Treatment
from engine.memory.video import PARTS, SVD_FRAMES

CHUNK = 1 << 20


@dataclass(frozen=True)
class Subject:
    """A model to measure: its denoiser at `request`. `whole`: also from prompt to picture, with `cfg`."""

    name: str
    model: Blueprint
    request: Request
    cfg: float = 1.0
    whole: bool = True

    @property
    def part(self) -> str:
        return PARTS[self.model.family].denoiser

    def build(self) -> torch.nn.Module:
        """The denoiser on the meta device, in bfloat16; a new one."""
        made: torch.nn.Module = copy.deepcopy(_module(self.model, self.part))
        return made.requires_grad_(False)

    def inputs(self) -> Mapping[str, Any]:
        """Of one call, without memory."""
        return denoiser_inputs(self.model.family, self.model.config(self.part), self.request)

    def footprint(self) -> Footprint:
        """What the denoiser's plans are made from."""
        return _denoiser(self.model, self.request)


# SVD has no family here, so there is no whole run of it.
SUBJECTS: Mapping[str, Subject] = {
    subject.name: subject
    for subject in (
        Subject("sdxl", Blueprint("sdxl", "base"), Request(steps=3), cfg=7.0),
        Subject("z_image", Blueprint("z_image"), Request(guidance=False, steps=3)),
        Subject("flux", Blueprint("flux", "dev"), Request(guidance=False, steps=3)),
        Subject("svd", Blueprint("svd"), Request(1024, 576, guidance=False, frames=SVD_FRAMES), whole=False),
        Subject("qwen_image", Blueprint("qwen_image"), Request(guidance=False, steps=3), cfg=4.0),
    )
}


def filled(module: torch.nn.Module) -> torch.nn.Module:
    """A network of the meta device with small random weights in main memory; one random run is repeated, for speed."""
    drawn = torch.randn(CHUNK, generator=torch.Generator().manual_seed(0)) * 0.02
    module.to_empty(device="cpu")
    for tensor in (*module.parameters(), *module.buffers()):
        flat = tensor.data.view(-1)
        for at in range(0, flat.numel(), CHUNK):
            piece = flat[at : at + CHUNK]
            piece.copy_(drawn[: piece.numel()])
    return module


def real(value: Any, device: torch.device) -> Any:
    """What stands on the meta device, with random numbers on a device."""
    if isinstance(value, torch.Tensor):
        if not value.is_meta:
            return value.to(device)
        if value.is_floating_point():
            return torch.rand(value.shape, dtype=value.dtype, device=device)
        return torch.ones(value.shape, dtype=value.dtype, device=device)
    if isinstance(value, Mapping):
        return {name: real(item, device) for name, item in value.items()}
    if isinstance(value, (list, tuple)):
        return type(value)(real(item, device) for item in value)
    return value


def plan_for(found: Footprint, machine: Machine) -> Plan | None:
    """The plan of a denoiser alone on a machine."""
    nothing = Footprint("vae", "vae", 0, 0, (), 0, 0, 0.0)
    model = ModelFootprint("", "", (found, nothing), {}, 1, found.peak, 1)
    fitting = plans(model, Request(steps=2), machine)
    return fitting[0] if fitting else None


def plan_of(residency: Kept, pinned: int = 0) -> Plan:
    """A plan that says only how weights are kept."""
    return Plan(RUNGS[residency], residency, 16, pinned, 0, False, (Phase("denoise", 0, 0.0),), 0, 0.0, False)


@dataclass(frozen=True)
class Measured:
    """`peak`: bytes in use at most; 0 where the device does not tell. `step`: seconds, the median of those after the
    first. `said`: what the residency told of memory that ran out. `failed`: the error that nothing caught, "" for none.
    """

    peak: int
    step: float
    said: tuple[str, ...] = ()
    failed: str = ""


@torch.no_grad()
def measured(module: torch.nn.Module, inputs: Mapping[str, Any], card: Card, plan: Plan, steps: int = 3) -> Measured:
    """Steps of a network under a plan."""
    memory = Residency(card)
    memory.adopt(module, "transformer", "network")
    memory.hold_to(plan)
    said: list[str] = []
    seconds: list[float] = []
    failed = ""
    _reset(card)
    try:
        with memory.telling(said.append):
            given = real(inputs, card.device)
            for _ in range(steps):
                seconds.append(timed(partial(module, **given, return_dict=False), card))  # noqa: PERF401
            del given
    except (RuntimeError, MemoryError) as error:
        failed = f"{type(error).__name__}: {error}"
    peak = max(memory.peaks.values(), default=0)
    forget(module, memory)
    return Measured(peak, median(seconds), tuple(said), failed)


def median(seconds: list[float]) -> float:
    """Of all but the first, which loads and compiles; 0 for none."""
    return statistics.median(seconds[1:] or seconds) if seconds else 0.0


def forget(module: torch.nn.Module, memory: Residency) -> None:
    """The network as it was before it was measured."""
    memory.free()
    vars(module).pop("forward", None)


@torch.no_grad()
def bare(module: torch.nn.Module, inputs: Mapping[str, Any], card: Card, steps: int = 3) -> Measured:
    """The same network as diffusers runs it, whole on the device."""
    _reset(card)
    given = real(inputs, card.device)
    there = module.to(card.device)
    seconds = [timed(partial(there, **given, return_dict=False), card) for _ in range(steps)]
    peak = torch.cuda.max_memory_allocated(card.device) if card.device.type == "cuda" else 0
    module.to("cpu")
    return Measured(peak, median(seconds))


@torch.no_grad()
def offloaded_by_diffusers(module: Any, inputs: Mapping[str, Any], card: Card, steps: int = 3) -> Measured:
    """diffusers' own group offloading by blocks, with its stream where there is one."""
    stream = card.device.type == "cuda"
    module.enable_group_offload(
        onload_device=card.device, offload_device=torch.device("cpu"), offload_type="block_level",
        num_blocks_per_group=1, use_stream=stream, record_stream=stream,
    )  # fmt: skip
    _reset(card)
    given = real(inputs, card.device)
    seconds = [timed(partial(module, **given, return_dict=False), card) for _ in range(steps)]
    peak = torch.cuda.max_memory_allocated(card.device) if card.device.type == "cuda" else 0
    return Measured(peak, median(seconds))


def streamed_bytes(module: torch.nn.Module) -> int:
    """Bytes that one step brings when every block is streamed."""
    return sum(bytes_in(block) for _, block in streamed_blocks(module))


def timed(run: Callable[[], object], card: Card) -> float:
    """Seconds of one call, to its end on the device."""
    settle(card)
    start = time.perf_counter()
    run()
    settle(card)
    return time.perf_counter() - start


def settle(card: Card) -> None:
    if card.device.type == "cuda":
        torch.cuda.synchronize(card.device)


def _reset(card: Card) -> None:
    gc.collect()
    if card.device.type == "cuda":
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats(card.device)


@contextlib.contextmanager
def imitating(card: Card, size: int) -> Iterator[tuple[Card, Machine]]:
    """While inside, the device gives out no more than a card of `size` bytes would: the card and the machine to plan
    for.

    What counts there is what PyTorch's allocator holds (its reserved memory). A small card has its driver's context on
    it as well, which this process has outside the limit: so that much less is given out.
    """
    if card.device.type != "cuda":
        yield Card(card.device, size), preset(size, 128 * GIB)
        return
    free, total = torch.cuda.mem_get_info(card.device)
    context = max(total - free - torch.cuda.memory_reserved(card.device), 0)
    room = size - min(context, GIB)
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats(card.device)
    torch.cuda.set_per_process_memory_fraction(room / card.total, card.device)
    try:
        limited = Card(card.device, room)
        yield limited, limited.machine()
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0, card.device)
        gc.collect()
        torch.cuda.empty_cache()


@contextlib.contextmanager
def compiled(module: Any, card: Card) -> Iterator[None]:
    """While inside, the blocks that repeat run compiled; on the processor traced alone, which is soon done. Raises what
    compiling raises."""
    compile_blocks(module, "inductor" if card.device.type == "cuda" else "eager")
    try:
        yield
    finally:
        for block in repeated_blocks(module):
            vars(block).pop("forward", None)
        torch.compiler.reset()


__all__ = ["SUBJECTS", "Measured", "Subject", "Treatment", "bare", "filled", "measured", "plan_for"]
