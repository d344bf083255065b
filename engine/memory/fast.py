"""“Go fast”: what a run that may change its picture a little does for it.

Its weights may have eight bits: planned for on a card (choice.py), always without one. A card gains memory and time by
them; the processor gains neither, since each layer is made whole as it is used. What it gains is the very picture that
those weights make, so that what they change can be seen on any machine. On GeForce cards float16 is summed in float16,
and where the settings say so steps are left out (engine.sampling.step_cache).
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import replace
from typing import Any

import torch

from engine.graph.values import Patch
from engine.memory.device import Card
from engine.memory.slots import Resident, leave, restore, slots_of, unlift
from engine.memory.speed import summing
from engine.sampling import step_cache
from engine.sampling.loop import SamplePlan

BITS = 8


def eased(plan: SamplePlan, session: Any, fast: bool) -> SamplePlan:
    """The plan of a run, with what the settings let a `fast` one leave out where it says nothing of that itself."""
    speed = getattr(session, "speed", None)
    asked = any(patch.kind == step_cache.KIND for patch in plan.patches)
    if not fast or asked or speed is None or not speed.fast_cache:
        return plan
    patch = Patch(step_cache.KIND, tuple(step_cache.USUAL.items()))
    return replace(plan, patches=(*plan.patches, patch))


def sums(session: Any, family: Any, fast: bool) -> AbstractContextManager[None]:
    """While inside, a run of a family on the session's card sums as the settings say."""
    speed, memory = getattr(session, "speed", None), getattr(session, "memory", None)
    if speed is None or memory is None:
        return nullcontext()
    return summing(speed, memory.card.device, memory.card.name, session.dtype_for(family.name), fast=fast)


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
