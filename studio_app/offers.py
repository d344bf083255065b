"""What a person can change with one click so that a picture fits, or is there sooner. No Qt, no torch at import.

Every offer was planned before it is made: what its button says is what the planner answered.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any

from engine.contracts.errors import BadInput, NodeFailed, OutOfMemory, TesseraError
from engine.memory.recovery import is_out_of_memory
from engine.memory.words import time
from engine.recipes.recommended import Recommended
from engine.recipes.request import ImageRequest
from engine.recipes.shapes import check_size, size_for
from studio_app.planning import Planned, Planner

WORTH = 0.9  # what is offered for speed takes this share of the time or less
# How a node's failure begins that comes from a child process, where its cause is words only.
FROM_ELSEWHERE = ("memory: ", "the machine ran out of memory")
SHORT = 5.0  # seconds: what is there sooner needs no offer
EDGES = (64, 96, 128, 192, 256, 384, 512, 640, 768, 896, 1024, 1280, 1536, 2048, 3072, 4096, 6144)
SMALLER_STEP = 0.8  # of the edge: the next smaller picture, where the plan seemed to fit and did not


@dataclass(frozen=True)
class Offer:
    """`words` as a button says it, `note` what comes of it, `fields` of the request that it sets; `command` is run
    instead where the form can't do it; `seconds` are foreseen, 0 where they are not."""

    words: str
    note: str = ""
    fields: dict[str, Any] = field(default_factory=dict)
    command: str = ""
    seconds: float = 0.0


def offers(planner: Planner, planned: Planned, request: ImageRequest, limits: Recommended) -> list[Offer]:
    """For a refusal the smallest change that fits, for a plan what would be faster; for a worker thread.

    Raises what planning raises.
    """
    if planned.request is None or planned.blueprint is None or planned.unknown:
        return []
    if planned.refused:
        found = _remedy(planner, planned, request, limits)
        return ([found] if found is not None else []) + _in_settings(planned)
    return list(_faster(planner, planned, request, limits))


def after_refusal(planner: Planner, planned: Planned, request: ImageRequest, limits: Recommended) -> Offer | None:
    """What to change after memory ran out at work: the plan's own remedy, else less at once than seemed to fit."""
    if planned.request is None or planned.blueprint is None:
        return None
    if planned.refused:
        return _remedy(planner, planned, request, limits)
    if request.count > 1:
        return Offer("Make one picture at a time", fields={"count": 1})
    return _smaller(planner, planned, request, limits, SMALLER_STEP)


def ran_out(error: BaseException | None) -> bool:
    """Whether a job failed because memory ran out, on the card or beside it."""
    if error is None:
        return False
    if isinstance(error, OutOfMemory) or is_out_of_memory(error):
        return True
    if isinstance(error, NodeFailed) and error.cause.startswith(FROM_ELSEWHERE):
        return True
    return isinstance(error, TesseraError) and ran_out(error.__cause__)


# ---- searching


def _remedy(planner: Planner, planned: Planned, request: ImageRequest, limits: Recommended) -> Offer | None:
    """The smallest change that fits and that the form can make: what the planner names, else eight bits, one picture at
    a time, a smaller picture, both."""
    assert planned.request is not None
    if planned.change is not None and (named := _as_fields(planned, request, limits)) is not None:
        change = planned.change
        note = _price(replace(planned, plan=change.plan))
        return Offer(change.words, _changes(note, named), named, seconds=change.plan.seconds)
    may_go_fast = planned.machine is not None and planned.quality == "exact"
    if planned.machine is None and request.count > 1:
        single = planner.again(planned, replace(planned.request, batch=1))
        if not single.refused:
            return Offer("Make one picture at a time", _price(single), {"count": 1})
    exact = _smaller(planner, planned, request, limits, 1.0)
    return exact if exact or not may_go_fast else _smaller(planner, planned, request, limits, 1.0, fast=True)


def _as_fields(planned: Planned, request: ImageRequest, limits: Recommended) -> dict[str, Any] | None:
    """The planner's change as fields of the request; None where the form has none for it."""
    change, asked = planned.change, planned.request
    if change is None or asked is None or change.quality == "4-bit":
        return None
    other = change.request
    fields: dict[str, Any] = {}
    if change.quality != planned.quality:
        fields["fast"] = True
    if other.batch != asked.batch:
        fields["count"] = 1
    if (other.width, other.height) != (asked.width, asked.height):
        was = request.width or limits.width, request.height or limits.height
        if request.margins or was != (asked.width, asked.height):
            return None
        try:
            check_size(other.width, other.height, limits.multiple, limits.minimum, limits.maximum)
        except BadInput:
            return None
        fields |= {"width": other.width, "height": other.height}
    same = replace(other, width=asked.width, height=asked.height, batch=asked.batch)
    return fields if fields and same == asked else None


def _faster(planner: Planner, planned: Planned, request: ImageRequest, limits: Recommended) -> Iterator[Offer]:
    plan, asked = planned.plan, planned.request
    if plan is None or asked is None:
        return
    if planned.quality == "exact":
        allowed = planner.again(planned, asked, fast=True)
        if allowed.plan is not None and allowed.plan.bits < 16 and allowed.plan.seconds < WORTH * plan.seconds:
            yield _eight_bits(allowed)
    elif request.fast and plan.bits < 16:
        exact = planner.again(planned, asked, exact=True)
        if exact.plan is not None:
            yield Offer("Use exact weights", _price(exact), {"fast": False})
    if plan.seconds > SHORT:
        smaller = _smaller(planner, planned, request, limits, SMALLER_STEP)
        if smaller is not None and smaller.seconds < WORTH * plan.seconds:
            yield smaller


def _smaller(
    planner: Planner, planned: Planned, request: ImageRequest, limits: Recommended, share: float, *, fast: bool = False
) -> Offer | None:
    """The largest picture of the same shape that fits, of edges up to `share` of the one asked for; None where none
    does, and for a picture that is extended: it keeps its size."""
    asked = planned.request
    if asked is None or request.margins:
        return None
    was = request.width or limits.width, request.height or limits.height
    edge = share * math.sqrt(was[0] * was[1])
    sizes = {
        size_for(was[0] / was[1], other * other, limits.multiple, limits.minimum, limits.maximum)
        for other in EDGES
        if other <= edge
    }
    fitting: Offer | None = None
    waiting = sorted((size for size in sizes if size[0] * size[1] < was[0] * was[1]), key=math.prod)
    while waiting:  # what a smaller picture takes is less: the list is halved, for a size takes a second to plan
        middle = len(waiting) // 2 if share > SMALLER_STEP else len(waiting) - 1
        width, height = waiting[middle]
        # What is made may be larger than the picture asked for: its enlargement.
        run = round(asked.width * width / was[0] / 8) * 8, round(asked.height * height / was[1] / 8) * 8
        other = planner.again(planned, replace(asked, width=run[0], height=run[1]), fast=fast)
        if other.refused:
            waiting = waiting[:middle]
            continue
        poor = width * height < 0.6 * limits.area
        note = f"{_price(other)}; the model draws best at {limits.width} × {limits.height}" if poor else _price(other)
        words = f"Make it {width} × {height}" + (" and allow 8-bit weights" if fast else "")
        fields = {"width": width, "height": height, **({"fast": True} if fast else {})}
        fitting = Offer(words, note, fields, seconds=other.plan.seconds if other.plan is not None else 0.0)
        waiting = waiting[middle + 1 :]
    return fitting


def _eight_bits(planned: Planned) -> Offer:
    seconds = planned.plan.seconds if planned.plan is not None else 0.0
    return Offer("Allow 8-bit weights", _changes(_price(planned), {"fast": True}), {"fast": True}, seconds=seconds)


def _changes(note: str, fields: dict[str, Any]) -> str:
    return f"{note}; fewer bits change the picture a little" if fields.get("fast") else note


def _in_settings(planned: Planned) -> list[Offer]:
    """What only the settings can allow."""
    if planned.change is None or planned.change.quality != "4-bit":
        return []
    return [Offer("Allow 4-bit weights…", "in the settings; it holds at the next start", command="app.preferences")]


def _price(planned: Planned) -> str:
    if planned.plan is not None:
        return f"about {time(planned.plan.seconds)}"
    return "it fits into main memory"
