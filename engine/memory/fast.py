"""“Go fast” where there is no card to plan for: the denoiser runs with the eight-bit weights that a card would use.

A card gains memory and time by them; the processor gains neither, since each layer is made whole as it is used. What it
gains is the very picture that those weights make, so that what they change can be seen on any machine.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch

from engine.memory.device import Card
from engine.memory.slots import Resident, leave, restore, slots_of, unlift

BITS = 8


@contextmanager
def in_eight_bits(module: torch.nn.Module) -> Iterator[None]:
    """While inside, the matrices of a network's linear layers have eight bits, those that an adapter merged too."""
    slots = [slot for slot in slots_of(module, BITS) if slot.lifted is not None]
    kept = Resident(Card("cpu"), slots, BITS)
    before = vars(module).get("forward")
    plain = module.forward

    def forward(*args: Any, **kwargs: Any) -> Any:
        # Entered for each call: during it a slot holds what an adapter merged, made eight bits of once.
        masters = kept.enter()
        try:
            return plain(*args, **kwargs)
        finally:
            leave(masters)

    module.forward = forward
    try:
        yield
    finally:
        restore(module, before)
        unlift(module)
