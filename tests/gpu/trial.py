"""Real-size networks with random weights, run as the studio runs them, and measured.

Everything here runs on any device with any configuration: tests/gpu/test_paths.py runs it on the processor with small
ones, so that it works when a card is there.
"""

from __future__ import annotations

import contextlib
import gc
import statistics
import time
import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch

from engine.memory.blueprint import Blueprint
from engine.memory.device import Card
from engine.memory.footprint import GIB, Footprint, ModelFootprint
from engine.memory.inputs import denoiser_inputs
from engine.memory.machine import Machine, preset
from engine.memory.measure import bytes_in, empty, largest_leaves, streamed_blocks, walk
from engine.memory.planner import Phase, Plan, plans
from engine.memory.request import Request
from engine.memory.residency import Residency, Treatment
from engine.models.family_parts import FAMILY_PARTS

CHUNK = 1 << 20


@dataclass(frozen=True)
class Subject:
    """A denoiser to measure: `build` makes it on the meta device in its type, `inputs` its inputs without memory."""

    name: str
    build: Callable[[], torch.nn.Module]
    inputs: Callable[[], Mapping[str, Any]]


def of_family(family: str, variant: str = "", request: Request | None = None, folder: str = "") -> Subject:
    """A family's denoiser at its usual size, or as in a diffusers folder."""
    asked = request or Request(guidance=False)
    model = Blueprint(family, variant, folder)
    part = FAMILY_PARTS[family].denoiser

    def build() -> torch.nn.Module:
        import diffusers

        config = model.config(part)
        with warnings.catch_warnings(), torch.device("meta"):
            warnings.simplefilter("ignore")
            made: torch.nn.Module = getattr(diffusers, config["_class_name"]).from_config(config)
        return made.to(torch.bfloat16).eval().requires_grad_(False)

    return Subject(family, build, lambda: denoiser_inputs(family, model.config(part), asked))


def svd(frames: int = 14, width: int = 1024, height: int = 576) -> Subject:
    """Stable Video Diffusion's network with diffusers' own configuration."""

    def build() -> torch.nn.Module:
        import diffusers

        with warnings.catch_warnings(), torch.device("meta"):
            warnings.simplefilter("ignore")
            made: torch.nn.Module = diffusers.UNetSpatioTemporalConditionModel(num_attention_heads=(5, 10, 20, 20))
        # A few of its numbers are made on the processor whatever is asked.
        return made.to("meta", torch.bfloat16).eval().requires_grad_(False)

    def inputs() -> Mapping[str, Any]:
        return {
            "sample": empty(1, frames, 8, height // 8, width // 8), "timestep": empty(1, dtype=torch.float32),
            "encoder_hidden_states": empty(1, 1, 1024), "added_time_ids": empty(1, 3),
        }  # fmt: skip

    return Subject("svd", build, inputs)


SUBJECTS: dict[str, Callable[[], Subject]] = {
    "sdxl": lambda: of_family("sdxl", "base", Request(guidance=True)),
    "flux": lambda: of_family("flux", "dev"),
    "qwen_image": lambda: of_family("qwen_image"),
    "z_image": lambda: of_family("z_image"),
    "svd": svd,
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


def footprint(subject: Subject) -> Footprint:
    """What the plan is made from: the denoiser walked on the meta device."""
    module = subject.build()
    inputs = subject.inputs()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        walked = walk(module, lambda: module(**real_meta(inputs), return_dict=False))
    blocks = tuple(bytes_in(block) for _, block in streamed_blocks(module))
    weights = bytes_in(module)
    return Footprint(
        "transformer",
        "denoiser",
        weights,
        weights - sum(blocks),
        blocks,
        largest_leaves(module),
        walked.peak,
        walked.flops,
    )


def real_meta(value: Any) -> Any:
    """A new tensor for each, still without memory: so that inputs count."""
    if isinstance(value, torch.Tensor):
        return torch.empty_like(value)
    if isinstance(value, Mapping):
        return {name: real_meta(item) for name, item in value.items()}
    if isinstance(value, (list, tuple)):
        return type(value)(real_meta(item) for item in value)
    return value


def plan_for(found: Footprint, machine: Machine) -> Plan | None:
    """The plan of a denoiser alone on a machine."""
    nothing = Footprint("vae", "vae", 0, 0, (), 0, 0, 0.0)
    model = ModelFootprint("", "", (found, nothing), {}, 1, found.peak, 1)
    fitting = plans(model, Request(steps=2), machine)
    return fitting[0] if fitting else None


def plan_of(residency: str, pinned: int = 0) -> Plan:
    """A plan that says only how weights are kept."""
    from engine.memory.planner import RUNGS

    return Plan(RUNGS[residency], residency, 16, pinned, 0, False, (Phase("denoise", 0, 0.0),), 0, 0.0, False)  # type: ignore[index, arg-type]


@dataclass(frozen=True)
class Measured:
    """`peak`: bytes allocated at most; 0 where the device does not tell. `step`: seconds, the median. `said`: what the

    residency told of memory that ran out. `failed`: the error that nothing caught, "" for none.
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
    peak = torch.cuda.max_memory_allocated(card.device) if card.device.type == "cuda" else 0
    forget(module, memory)
    return Measured(peak, statistics.median(seconds) if seconds else 0.0, tuple(said), failed)


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
    return Measured(peak, statistics.median(seconds))


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
    return Measured(peak, statistics.median(seconds))


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
def imitating(card: Card, size: int) -> Iterator[Machine]:
    """While inside, the device gives out no more than a card of `size` bytes would; the machine to plan for."""
    machine = preset(size, 128 * GIB)
    if card.device.type != "cuda":
        yield machine
        return
    _, total = torch.cuda.mem_get_info(card.device)
    torch.cuda.set_per_process_memory_fraction(min(size / total, 1.0), card.device)
    try:
        yield machine
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0, card.device)


__all__ = ["SUBJECTS", "Measured", "Subject", "Treatment", "bare", "filled", "footprint", "measured", "plan_for"]
