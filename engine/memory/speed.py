"""What makes a card faster, chosen by what is there and by what the person allows.

attention       PyTorch's fused kernels by default; see engine.memory.attention
half sums       products of float16 summed in float16 on GeForce cards, where PyTorch offers it: twice the rate there.
                It changes pictures a little, so it is for runs that may go fast, or where the person says always
channels last   kernels of convolutions in the order that tensor cores read, for U-Nets and autoencoders
compile         the blocks of a network that repeat, compiled once for all of them
step cache      for runs that may go fast, where the person says so; see engine.sampling.step_cache
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import torch

from engine.graph.numerics import note
from engine.memory.attention import Attention, arrange
from engine.memory.compiled import compile_blocks
from engine.memory.residency import Kind

HalfSums: TypeAlias = Literal["fast", "always", "never"]
# What compiling costs, for the person who switches it on (seconds on the cards it was published for).
COMPILE_COST = "the first picture of each size takes from ten seconds to two minutes longer"


@dataclass(frozen=True)
class Speed:
    """attention   see above
    half_sums   when float16 is summed in float16: in runs that may go fast, always or never
    compiled    regional compilation, by `compiler` as torch.compile knows it
    fast_cache  whether runs that may go fast leave out steps
    """

    attention: Attention = "auto"
    half_sums: HalfSums = "fast"
    compiled: bool = False
    fast_cache: bool = False
    compiler: Any = "inductor"


def may_halve_sums(device: torch.device, name: str) -> bool:
    """Whether a card, `name` as its driver calls it, gains by float16 sums, and PyTorch offers them."""
    return (
        device.type == "cuda" and "geforce" in name.lower()
        and hasattr(torch.backends.cuda.matmul, "allow_fp16_accumulation")
    )  # fmt: skip


def prepare_card(device: torch.device, speed: Speed, name: str = "") -> tuple[str, ...]:
    """Set what holds for the whole process; what was set. Nothing on the processor. `name` is the card's."""
    if not may_halve_sums(device, name):
        return ()
    always = speed.half_sums == "always"
    torch.backends.cuda.matmul.allow_fp16_accumulation = always
    return ("float16 sums",) if always else ()


@contextmanager
def summing(speed: Speed, device: torch.device, name: str, dtype: torch.dtype, *, fast: bool) -> Iterator[None]:
    """While inside, a run of a model in `dtype`, `fast` or not, sums as the settings say; its record is told."""
    wanted = speed.half_sums == "always" or (fast and speed.half_sums == "fast")
    if not wanted or dtype != torch.float16 or not may_halve_sums(device, name):
        yield
        return
    matmul = torch.backends.cuda.matmul
    before, matmul.allow_fp16_accumulation = matmul.allow_fp16_accumulation, True
    note("sums", "float16")
    try:
        yield
    finally:
        matmul.allow_fp16_accumulation = before


def prepare_part(module: Any, part: str, device: torch.device, speed: Speed, kind: Kind = "whole") -> tuple[str, ...]:
    """Set one loaded part up, its masters in place; what was done.

    On the processor only a kernel of attention that was asked for by name. Compilation holds for the blocks that
    repeat; where blocks are streamed each is compiled inside its stream.
    """
    if not isinstance(module, torch.nn.Module):
        return ()
    if device.type != "cuda":
        return _attending(module, part, speed)
    return arranged(module, part, speed, kind)


def arranged(module: torch.nn.Module, part: str, speed: Speed, kind: Kind = "whole") -> tuple[str, ...]:
    """`prepare_part` of a card, whatever the device."""
    done = []
    if part in ("unet", "vae", "controlnet"):
        module.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        done.append("channels last")
    done += _attending(module, part, speed)
    wanted = speed.compiled and part in ("unet", "transformer") and kind != "leaves"
    if wanted and compile_blocks(module, speed.compiler):
        done.append("compiled")
    return tuple(done)


def _attending(module: torch.nn.Module, part: str, speed: Speed) -> tuple[str, ...]:
    if part in ("unet", "transformer", "controlnet") and arrange(module, speed.attention):
        return (f"{speed.attention} attention",)
    return ()
