"""Will it fit? A plan for each sampling run of a workflow, on this machine or on one that is only spoken of."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from engine.contracts.errors import MissingModel, TesseraError
from engine.contracts.workflow import Workflow
from engine.memory.blueprint import Blueprint
from engine.memory.estimates import Estimates
from engine.memory.footprint import GIB, ModelFootprint
from engine.memory.here import main_room
from engine.memory.machine import PRESETS, Machine, guard_of, real_card
from engine.memory.measured import PROCESSOR, Measurements, corrected
from engine.memory.planner import Change, Plan, Quality, choose, least_peak, nearest_fit
from engine.memory.request import Request
from engine.memory.video import PARTS
from engine.memory.words import effect, faster, refusal, sentence, size, time
from engine.memory.workload import Work, work_of
from studio_app.machine_memory import card_memory, main_memory

if TYPE_CHECKING:
    from engine.contracts.job_spec import JobSpec
    from engine.contracts.references import ModelRef
    from engine.graph.registry import Registry
    from studio_app.models.index import ModelEntry, ModelIndex
    from studio_app.settings.store import Settings

# What a plan's phases do, in words.
PHASE_WORDS = {"text": "reading the prompt", "denoise": "taking the noise away", "decode": "making pixels"}


def machine_here(settings: Settings) -> Machine | None:
    """What of this machine's card the settings let the studio use and is free now; None where pictures are made by the
    processor. A size set by hand (engine.vram_gib) counts for a card; without one it speaks of none.

    Once the engine of this process has planned for the card, `Planner` takes what it found instead: it knows what of
    the card it holds itself, and how fast the card is.
    """
    card = card_memory()
    if card is None or settings.get("engine.device") not in ("auto", "cuda"):
        return None
    chosen, free = round(settings.get("engine.vram_gib") * GIB), max(card.total - card.used, 0)
    leave = round(settings.get("engine.leave_gib") * GIB)
    budget = max((min(chosen, free) if chosen else free) - leave, 0)
    return real_card(budget, card.total, main_room(), card.device)


def processor_need(model: ModelFootprint) -> int:
    """Bytes a run on the processor takes: weights there have thirty-two bits, and one part works at a time."""
    wider = {part: 1 if part.single else 2 for part in model.parts}
    return sum(part.weights * wider[part] for part in model.parts) + max(
        part.peak * wider[part] for part in model.parts
    )


@dataclass(frozen=True)
class Planned:
    """What is planned for one run. `plan` is None when nothing fits (then `change` may say what would) or when the
    size or the model is not known yet (then `unknown` says why). `need` is its peak in bytes, the least there could be
    when nothing fits, and `room` all there is: of the card, or of main memory where there is none. `blueprint`,
    `machine` (None without a card), `quality` and `identity` are what it was planned with. `seconds`: of the steps on
    the processor where they were measured before, else 0."""

    node: str
    model: str
    request: Request | None
    plan: Plan | None
    change: Change | None = None
    unknown: str = ""
    words: str = ""
    effect: str = ""
    faster: str = ""
    fix: str = ""
    need: int = 0
    room: int = 0
    blueprint: Blueprint | None = None
    machine: Machine | None = None
    quality: Quality = "exact"
    identity: str = ""
    seconds: float = 0.0

    @property
    def refused(self) -> bool:
        """Whether it is known that this does not fit."""
        return self.plan is None and bool(self.fix)

    def to_json(self) -> dict[str, Any]:
        return {
            "node": self.node, "model": self.model, "request": self.request.to_json() if self.request else None,
            "fits": self.plan is not None, "plan": self.plan.to_json() if self.plan else None,
            "words": self.words, "effect": self.effect, "faster": self.faster, "fix": self.fix,
            "unknown": self.unknown,
        }  # fmt: skip


def blueprint_of(entry: ModelEntry) -> Blueprint:
    """What a model of this machine is built from."""
    if entry.path.is_dir():
        return Blueprint(entry.family, "", str(entry.path))
    return Blueprint.of_file(entry.family, entry.info.edition)


def allowing(quality: Quality, *, fast: bool) -> Quality:
    """What the settings allow, and eight bits where a run may go fast."""
    return "8-bit" if fast and quality == "exact" else quality


def heaviest(found: Sequence[Planned]) -> Planned | None:
    """The run that decides whether a workflow fits: one that does not, else the one that takes most."""
    return max(found, key=lambda each: (each.refused, each.need), default=None)


def _at_once(work: Work) -> int:
    """Pixels that one call of a run's network sees: what its need grows with where one model makes all of a picture."""
    request = work.request
    if request is None:
        return 0
    edges = [min(edge, request.window or edge) for edge in (request.width, request.height)]
    return edges[0] * edges[1] * request.batch


def share_words(planned: Planned) -> str:
    """What is needed of what there is: “7.2 of 8.0 GiB”."""
    need, room = size(planned.need), size(planned.room)
    return f"{need.removesuffix(room[room.rfind(' ') :])} of {room}"


class Planner:
    """Plans with the models of this studio. `cache` is the file that estimates are kept in; beside it lies what the
    engine measured on this machine."""

    def __init__(self, models: ModelIndex, cache: Path) -> None:
        self._models, self._cache = models, cache
        self._measured = Measurements(cache.with_name("measured.json"))

    def workflow(
        self, workflow: Workflow, registry: Registry, machine: Machine, quality: Quality = "exact"
    ) -> list[Planned]:
        """A plan for every sampling run of a workflow."""
        found = []
        for work in work_of(workflow, registry):
            if work.request is None:
                found.append(Planned(work.node, work.model.name, None, None, unknown="the size is known when reached"))
                continue
            try:
                name, model, identity = self._of(work.model)
                allowed = allowing(quality, fast=work.fast)
                found.append(
                    self.model(model, work.request, machine, allowed, node=work.node, name=name, identity=identity)
                )
            except MissingModel as error:
                found.append(Planned(work.node, work.model.name, work.request, None, unknown=str(error)))
            except TesseraError as error:
                why = f"it can't be foreseen what this model needs ({error.what})"
                found.append(Planned(work.node, work.model.name, work.request, None, unknown=why))
        return found

    def in_create(self, spec: JobSpec, settings: Settings, registry: Registry) -> Planned | None:
        """The plan of what Create would make here: of its heaviest run. Without a card its words say what main memory
        it takes."""
        machine = machine_here(settings)
        if machine is not None:
            quality = allowing(settings.get("engine.quality"), fast=spec.allowed_loss == "quantised")
            return heaviest(self.workflow(spec.workflow, registry, machine, quality))
        known = [work for work in work_of(spec.workflow, registry) if work.request is not None]
        work = max(known, key=_at_once, default=None)
        if work is None or work.request is None:
            return None
        name, blueprint, identity = self._of(work.model)
        footprint = Estimates(self._cache).of(blueprint, work.request)
        asked = Planned(work.node, name, work.request, None, blueprint=blueprint, identity=identity)
        return self._on_processor(asked, footprint)

    def _of(self, ref: ModelRef) -> tuple[str, Blueprint, str]:
        """(its name, what it is built from, by what measurements know it). Raises MissingModel."""
        entry = self._models.entry(ref)
        return entry.name, blueprint_of(entry), entry.info.fingerprint

    def again(self, planned: Planned, request: Request, *, fast: bool = False, exact: bool = False) -> Planned:
        """The same model on the same machine asked for something else: `fast` lets weights have eight bits, `exact`
        keeps them whole. Raises UnknownChoice."""
        assert planned.blueprint is not None
        if planned.machine is None:
            other = replace(planned, request=request, fix="", words="")
            return self._on_processor(other, Estimates(self._cache).of(planned.blueprint, request))
        quality: Quality = "exact" if exact else allowing(planned.quality, fast=fast)
        return self.model(
            planned.blueprint, request, planned.machine, quality, node=planned.node, name=planned.model,
            identity=planned.identity,
        )  # fmt: skip

    def _on_processor(self, planned: Planned, footprint: ModelFootprint) -> Planned:
        """The same with what it takes of main memory, whether there is so much, and how long its steps take where they
        were measured before."""
        need, room = processor_need(footprint), main_memory().total
        if need <= room:
            assert planned.request is not None
            known = self._measured.run(Measurements.key(planned.identity, planned.request, PROCESSOR, "float32"))
            seconds = known.step * planned.request.steps if known is not None else 0.0
            took = f", about {time(seconds)}" if seconds else ""
            words = f"On the processor, with about {size(need)} of main memory{took}."
            return replace(planned, words=words, need=need, room=room, seconds=seconds)
        words = f"it needs about {size(need)} of main memory, and this machine has {size(room)}"
        return replace(planned, words=words, fix="Make it smaller, or use a smaller model", need=need, room=room)

    def over_cards(
        self, model: Blueprint, request: Request, ram: int, quality: Quality = "exact", *, name: str = ""
    ) -> dict[int, Planned]:
        """A plan for every usual size of card, in GB, beside `ram` bytes of main memory. Raises UnknownChoice."""
        return {
            card: self.model(model, request, replace(machine, ram=ram), quality, name=name)
            for card, machine in PRESETS.items()
        }

    def model(
        self, model: Blueprint, request: Request, machine: Machine, quality: Quality = "exact", *, node: str = "",
        name: str = "", identity: str = "",
    ) -> Planned:  # fmt: skip
        """A plan for one request; `identity`: by what measurements know the model. Raises UnknownChoice for a family or
        variant that is not known."""
        estimates = Estimates(self._cache)
        name = name or model.family
        facts = self._measured.card(machine.name)
        half = model.family in PARTS and PARTS[model.family].half
        if facts.pid == os.getpid() and facts.budget:
            machine = replace(machine, vram=facts.budget, guard=guard_of(facts.budget))
        request = request.attended(fused=facts.fused and machine.fused, half=half)
        given, footprint = machine, estimates.of(model, request)
        footprint, machine = corrected(
            self._measured, identity, "float16" if half else "bfloat16", footprint, request, machine
        )  # fmt: skip
        plan = choose(footprint, request, machine, quality)
        if plan is not None:
            better = choose(footprint, request, machine, "8-bit") if quality == "exact" else None
            return Planned(
                node, name, request, plan, words=sentence(plan, footprint, request), effect=effect(plan),
                faster=faster(plan, better, machine), need=plan.peak, room=machine.vram, blueprint=model,
                machine=given, quality=quality, identity=identity,
            )  # fmt: skip
        change = nearest_fit(footprint, request, machine, quality, partial(estimates.of, model))
        what, fix = refusal(footprint, machine, change)
        return Planned(
            node, name, request, None, change, words=what, fix=fix, room=machine.vram, blueprint=model, machine=given,
            need=least_peak(footprint, request, machine, quality), quality=quality, identity=identity,
        )  # fmt: skip
