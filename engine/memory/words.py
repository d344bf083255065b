"""A plan in plain words: what was chosen, what it does to the picture, what would make it faster. Torch-free."""

from __future__ import annotations

from engine.memory.footprint import GIB, ModelFootprint
from engine.memory.machine import Machine
from engine.memory.planner import Change, Plan

_HOW = {
    "all": "everything stays on the card",
    "text_first": "the text encoders run first and make room for the rest",
    "swap": "one part of the model is on the card at a time",
    "pinned": "{pinned} of {blocks} blocks of the model stay on the card, the others are brought as they are needed",
    "blocks": "the blocks of the model are brought to the card as they are needed",
    "leaves": "the layers of the model are brought to the card one by one",
    "disk": "the blocks of the model are read from the disk as they are needed",
}


def sentence(plan: Plan, model: ModelFootprint) -> str:
    """What was chosen, in one sentence."""
    how = _HOW[plan.residency].format(pinned=plan.pinned, blocks=len(model.denoiser.blocks))
    also = []
    if plan.bits < 16:
        also.append(f"with {plan.bits}-bit weights")
    if plan.vae_tile:
        also.append(f"the picture is decoded in tiles of {plan.vae_tile} pixels")
    if plan.apart:
        also.append("pictures and sides of the guidance go one after the other")
    text = ", ".join([how, *also])
    return f"{text[0].upper()}{text[1:]}: {size(plan.peak)} of the card at most, about {time(plan.seconds)} a picture."


def effect(plan: Plan) -> str:
    """What the plan does to the picture; "" when it is bit for bit what it would be with room to spare."""
    said = []
    if plan.bits < 16:
        said.append(f"{plan.bits}-bit weights change the picture a little")
    if plan.vae_tile:
        said.append("tiles change colours by no more than two of 255 steps")
    text = ", and ".join(said)
    return f"{text[0].upper()}{text[1:]}." if text else ""


def faster(plan: Plan, better: Plan | None, machine: Machine) -> str:
    """What would make it faster; "" when nothing known would."""
    if better is not None and better.seconds < plan.seconds * 0.9:
        return f"With {better.bits}-bit weights it would take about {time(better.seconds)}."
    if plan.waits and plan.residency != "disk":
        return "More of the card free, by closing other programs, would make it faster."
    if plan.waits:
        return "More main memory would make it much faster."
    return ""


def refusal(model: ModelFootprint, machine: Machine, change: Change | None) -> tuple[str, str]:
    """(what does not fit, the smallest change that does)."""
    what = (
        f"it needs more than the {size(machine.usable)} of the card or the {size(machine.ram)} of main memory there is"
    )
    return what, change.words if change else "Use a smaller model, or send it to the hosted queue"


def size(count: int) -> str:
    """Bytes for a person: “3.4 GiB”."""
    return f"{count / GIB:.1f} GiB" if count >= GIB else f"{count / (1 << 20):.0f} MiB"


def time(seconds: float) -> str:
    """Seconds for a person: “0.6 s”, “14 s”, “9 min”."""
    if seconds < 0.1:
        return "0.1 s"
    if seconds < 10:
        return f"{seconds:.1f} s"
    return f"{seconds:.0f} s" if seconds < 120 else f"{seconds / 60:.0f} min"
