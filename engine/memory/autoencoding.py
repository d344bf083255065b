"""Between pictures and latents on a card: in tiles where that is planned before, or where memory runs out after all."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

import torch

from engine.graph.numerics import note
from engine.memory import tiling
from engine.memory.recovery import is_out_of_memory, refused

TILES = (1024, 768, 512, 256, 128)  # edges in pixels

_Whole: TypeAlias = Callable[[torch.Tensor], torch.Tensor]
_Cut: TypeAlias = Callable[..., torch.Tensor]


def decoded(ctx: Any, family: Any, samples: torch.Tensor) -> torch.Tensor:
    """`family.decode` of latents [B, C, h, w], in tiles where the plan says so or memory runs out.

    Raises OutOfMemory.
    """
    factor = family.latent_space.factor
    size = (samples.shape[-1] * factor, samples.shape[-2] * factor)
    return _carried_through(ctx, family, samples, size, family.decode, tiling.decode, "decoded")


def encoded(ctx: Any, family: Any, pixels: torch.Tensor) -> torch.Tensor:
    """`family.encode` of pixels [B, 3, H, W], in tiles where the plan says so or memory runs out.

    Raises OutOfMemory.
    """
    size = (pixels.shape[-1], pixels.shape[-2])
    return _carried_through(ctx, family, pixels, size, family.encode, tiling.encode, "encoded")


def _carried_through(
    ctx: Any, family: Any, source: torch.Tensor, size: tuple[int, int], whole: _Whole, cut: _Cut, done: str
) -> torch.Tensor:
    """`size` is the picture's, (width, height) in pixels."""
    memory = getattr(ctx.session, "memory", None)
    if memory is None:
        return whole(source)
    plans = getattr(ctx.session, "plans", None)
    planned = plans.tile_for(family, *size) if plans is not None else 0
    smaller = (edge for edge in TILES if edge < (planned or max(size)))
    ways = (planned if planned < max(size) else 0, *smaller)
    for place, edge in enumerate(ways):
        try:
            with memory.telling(lambda text: ctx.log(text, "warning")):
                if not edge:
                    made = whole(source)
                else:
                    made = cut(family, source, edge, check=ctx.check_cancelled, progress=ctx.progress)
            if edge:
                note("vae_tile", edge)
            return made
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
        # Outside the except block: the exception held the tensors.
        memory.make_bare()
        if place + 1 < len(ways):
            ctx.log(f"Memory ran out; the picture is {done} in tiles of {ways[place + 1]} pixels.", "warning")
    raise refused(memory)
