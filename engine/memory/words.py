"""A plan in plain words: what was chosen, what it does to the picture, what would make it faster. Torch-free."""

from __future__ import annotations

from engine.memory.footprint import GIB, ModelFootprint
from engine.memory.machine import Machine
from engine.memory.planner import SHARE, Change, Plan
from engine.memory.request import Request

_HOW = {
    "all": "everything stays on the card",
    "text_first": "the text encoders run first and make room for the rest",
    "swap": "one part of the model is on the card at a time",
    "pinned": "{pinned} of {blocks} blocks of the model stay on the card, the others are brought as they are needed",
    "blocks": "the blocks of the model are brought to the card as they are needed",
    "leaves": "the layers of the model are brought to the card one by one",
    "disk": "{pinned} of {blocks} blocks of the model stay on the card, {kept} in main memory, and the others are read "
    "from the disk as they are needed",
}

_IN_SHORT = {
    "all": "all on the card", "text_first": "text encoders first", "swap": "one part at a time",
    "pinned": "{0} blocks stay, the rest streams", "blocks": "blocks stream", "leaves": "layers stream",
    "disk": "{0} blocks stay, {1} stream, the rest from the disk",
}  # fmt: skip


def in_short(plan: Plan) -> str:
    """What was chosen, in a few words: for a table."""
    also = [f"{plan.bits}-bit"] * (plan.bits < 16) + [f"tiles of {plan.vae_tile}"] * bool(plan.vae_tile)
    how = _IN_SHORT[plan.residency].format(plan.pinned, plan.kept)
    return ", ".join([how, *also, *["one at a time"] * plan.apart])


def sentence(plan: Plan, model: ModelFootprint, request: Request | None = None) -> str:
    """What was chosen, in one sentence."""
    how = _HOW[plan.residency].format(pinned=plan.pinned, kept=plan.kept, blocks=len(model.denoiser.blocks))
    also = []
    if plan.bits < 16:
        also.append(f"with {plan.bits}-bit weights")
    if plan.vae_tile:
        also.append(f"the picture is decoded in tiles of {plan.vae_tile} pixels")
    if plan.apart:
        also.append("pictures and sides of the guidance go one after the other")
    if request is not None and request.windows > 1:
        also.append(f"the picture is drawn in {request.windows} windows of {request.window} pixels")
    reading = next((phase.peak for phase in plan.phases if phase.name == "text"), 0)
    if reading and any(part.weights * SHARE[plan.bits] > reading for part in model.of("text")):
        also.append("the text encoder is larger than the card and comes block by block")
    text = ", ".join([how, *also])
    return (
        f"{text[0].upper()}{text[1:]}: {size(plan.peak)} of the card at most, {size(plan.ram)} of main memory, about "
        f"{time(plan.seconds)} a picture."
    )


def effect(plan: Plan) -> str:
    """What the plan does to the picture; "" when it is bit for bit what it would be with room to spare."""
    said = []
    if plan.bits < 16:
        said.append(f"{plan.bits}-bit weights change the picture a little")
    if plan.vae_tile:
        # docs/tiles.md: the furthest number by 1.9, with tiles of 128; by 1.2 with larger ones.
        said.append("tiles change colours by two of 255 steps at most")
    if plan.apart:
        said.append("one after the other differs from together in the last bits, which can't be seen")
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
