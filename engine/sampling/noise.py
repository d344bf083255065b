"""The studio's one source of noise, so that a seed means the same on every device and in every batch.

Item i of a batch has a generator of its own: `torch.Generator("cpu")` (Mersenne Twister) seeded with
(seed + i) mod 2⁶⁴. Its first draw is the item's whole starting noise, standard normal float32 [1, C, h, w]; stochastic
samplers draw the same shape again at each of their steps, in order. Noise is drawn on the CPU before any tiling or
splitting, and then moved. These are the numbers diffusers draws from a list of such generators.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch

SEED_RANGE = 2**64


def generators_for(seed: int, indices: Sequence[int]) -> tuple[torch.Generator, ...]:
    """One generator for each batch item; `indices` say which item of its batch each sample is."""
    return tuple(torch.Generator("cpu").manual_seed((seed + index) % SEED_RANGE) for index in indices)


def draw(generators: Sequence[torch.Generator], like: torch.Tensor) -> torch.Tensor:
    """Standard normal noise, float32, of the shape and on the device of `like` [B, C, h, w]."""
    shape = (1, *like.shape[1:])
    items = [torch.randn(shape, generator=generator, dtype=torch.float32) for generator in generators]
    return (items[0] if len(items) == 1 else torch.cat(items)).to(like.device)
