"""What makes a card faster without changing what is computed, chosen by what is there.

attention       diffusers' own dispatch by default (PyTorch's fused kernels); a package that is installed and asked for
                by name instead. Sage attention computes in eight bits, so it is never taken by itself.
accumulation    products of float16 summed in float16 on GeForce cards, where PyTorch offers it: twice the rate there
channels last   kernels of convolutions in the order that tensor cores read, for U-Nets and autoencoders
compile         the blocks of a network that repeat, compiled once for all of them
"""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Literal, TypeAlias

import torch

from engine.memory.residency import Kind

Attention: TypeAlias = Literal["auto", "native", "flash", "sage", "xformers"]
_PACKAGES: Mapping[str, str] = MappingProxyType(
    {"flash": "flash_attn", "sage": "sageattention", "xformers": "xformers"}
)
# What compiling costs, for the person who switches it on (seconds on the cards it was published for).
COMPILE_COST = "the first picture of each size takes from ten seconds to two minutes longer"


@dataclass(frozen=True)
class Speed:
    """attention  see above; half_sums: float16 sums on GeForce; compiled: regional compilation"""

    attention: Attention = "auto"
    half_sums: bool = True
    compiled: bool = False


def installed() -> tuple[str, ...]:
    """The attention kernels that can be asked for on this machine."""
    found = [name for name, package in _PACKAGES.items() if importlib.util.find_spec(package) is not None]
    return ("auto", "native", *found)


def prepare_card(device: torch.device, speed: Speed, name: str = "") -> tuple[str, ...]:
    """Set what holds for the whole process; what was set. Nothing on the processor. `name` is the card's."""
    if device.type != "cuda":
        return ()
    done = []
    matmul = torch.backends.cuda.matmul
    if speed.half_sums and "geforce" in name.lower() and hasattr(matmul, "allow_fp16_accumulation"):
        matmul.allow_fp16_accumulation = True
        done.append("float16 sums")
    return tuple(done)


def prepare_part(module: Any, part: str, device: torch.device, speed: Speed, kind: Kind = "whole") -> tuple[str, ...]:
    """Set one loaded part up, its masters in place; what was done. Nothing on the processor.

    Compilation holds for the blocks that repeat; where blocks are streamed each is compiled inside its stream.
    """
    if device.type != "cuda" or not isinstance(module, torch.nn.Module):
        return ()
    return arranged(module, part, speed, kind)


def arranged(module: torch.nn.Module, part: str, speed: Speed, kind: Kind = "whole") -> tuple[str, ...]:
    """`prepare_part` whatever the device."""
    done = []
    if part in ("unet", "vae", "controlnet"):
        module.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        done.append("channels last")
    setter = getattr(module, "set_attention_backend", None)
    if part in ("unet", "transformer") and setter is not None and speed.attention != "auto":
        try:
            setter(speed.attention)
            done.append(f"{speed.attention} attention")
        except (ValueError, RuntimeError, ImportError, NotImplementedError):
            pass  # the package is there and this card or this network can't use it: PyTorch's own stays
    compiling = getattr(module, "compile_repeated_blocks", None)
    if speed.compiled and part in ("unet", "transformer") and compiling is not None and kind != "leaves":
        try:
            compiling(dynamic=True)
            done.append("compiled")
        except (ValueError, RuntimeError):
            pass  # a network without repeated blocks
    return tuple(done)
