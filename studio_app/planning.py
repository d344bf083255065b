"""Will it fit? A plan for each sampling run of a workflow, on this machine or on one that is only spoken of."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from engine.contracts.errors import MissingModel, TesseraError
from engine.contracts.workflow import Workflow
from engine.memory.blueprint import Blueprint
from engine.memory.estimates import Estimates
from engine.memory.footprint import GIB, ModelFootprint
from engine.memory.machine import Machine, preset
from engine.memory.planner import Change, Plan, Quality, choose, least_peak, nearest_fit
from engine.memory.request import Request
from engine.memory.words import effect, faster, refusal, sentence, size
from engine.memory.workload import work_of
from studio_app.machine_memory import card_memory, main_memory

if TYPE_CHECKING:
    from engine.contracts.job_spec import JobSpec
    from engine.graph.registry import Registry
    from studio_app.models.index import ModelIndex
    from studio_app.settings.store import Settings

SMALLER = (768, 512, 256)
# What a plan's phases do, in words.
PHASE_WORDS = {"text": "reading the prompt", "denoise": "taking the noise away", "decode": "making pixels"}


def machine_here(settings: Settings) -> Machine | None:
    """The card of this machine as the settings let the studio use it; None where pictures are made by the processor.

    A size set by hand (engine.vram_gib) counts for a card; without one it speaks of none.
    """
    card = card_memory()
    if card is None:
        return None
    chosen = round(settings.get("engine.vram_gib") * GIB)
    machine = preset(min(chosen, card.total) if chosen else card.total, main_memory().total)
    return replace(machine, name=card.device).leaving(round(settings.get("engine.leave_gib") * GIB))


def processor_need(model: ModelFootprint) -> int:
    """Bytes a run on the processor takes: weights there have thirty-two bits, and one part works at a time."""
    return 2 * sum(part.weights for part in model.parts) + 2 * max(part.peak for part in model.parts)


@dataclass(frozen=True)
class Planned:
    """What is planned for one run. `plan` is None when nothing fits (then `change` may say what would) or when the
    size or the model is not known yet (then `unknown` says why). `need` is its peak in bytes, the least there could be
    when nothing fits, and `room` all there is: of the card, or of main memory where there is none. `blueprint`,
    `machine` (None without a card) and `quality` are what it was planned with."""

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


def allowing(quality: Quality, *, fast: bool) -> Quality:
    """What the settings allow, and eight bits where a run may go fast."""
    return "8-bit" if fast and quality == "exact" else quality


def heaviest(found: Sequence[Planned]) -> Planned | None:
    """The run that decides whether a workflow fits: one that does not, else the one that takes most."""
    return max(found, key=lambda each: (each.refused, each.need), default=None)


class Planner:
    """Plans with the models of this studio. `cache` is the file that estimates are kept in."""

    def __init__(self, models: ModelIndex, cache: Path) -> None:
        self._models, self._cache = models, cache

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
                entry = self._models.entry(work.model)
                folder = str(entry.path) if entry.path.is_dir() else ""
                model = Blueprint(entry.family, "" if folder else entry.info.variant, folder)
                allowed = allowing(quality, fast=work.fast)
                found.append(self.model(model, work.request, machine, allowed, node=work.node, name=entry.name))
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
        work = next(iter(work_of(spec.workflow, registry)), None)
        if work is None or work.request is None:
            return None
        entry = self._models.entry(work.model)
        folder = str(entry.path) if entry.path.is_dir() else ""
        blueprint = Blueprint(entry.family, "" if folder else entry.info.variant, folder)
        footprint = Estimates(self._cache).of(blueprint, work.request)
        return self._on_processor(Planned(work.node, entry.name, work.request, None, blueprint=blueprint), footprint)

    def again(self, planned: Planned, request: Request, *, fast: bool = False, exact: bool = False) -> Planned:
        """The same model on the same machine asked for something else: `fast` lets weights have eight bits, `exact`
        keeps them whole. Raises UnknownChoice."""
        assert planned.blueprint is not None
        if planned.machine is None:
            other = replace(planned, request=request, fix="", words="")
            return self._on_processor(other, Estimates(self._cache).of(planned.blueprint, request))
        quality: Quality = "exact" if exact else allowing(planned.quality, fast=fast)
        return self.model(planned.blueprint, request, planned.machine, quality, node=planned.node, name=planned.model)

    def _on_processor(self, planned: Planned, footprint: ModelFootprint) -> Planned:
        """The same with what it takes of main memory, and whether there is so much."""
        need, room = processor_need(footprint), main_memory().total
        if need <= room:
            words = f"On the processor, with about {size(need)} of main memory."
            return replace(planned, words=words, need=need, room=room)
        words = f"it needs about {size(need)} of main memory, and this machine has {size(room)}"
        return replace(planned, words=words, fix="Make it smaller, or use a smaller model", need=need, room=room)

    def model(
        self, model: Blueprint, request: Request, machine: Machine, quality: Quality = "exact", *, node: str = "",
        name: str = "",
    ) -> Planned:  # fmt: skip
        """A plan for one request. Raises UnknownChoice for a family or variant that is not known."""
        estimates = Estimates(self._cache)
        name = name or model.family
        footprint = estimates.of(model, request)
        plan = choose(footprint, request, machine, quality)
        if plan is not None:
            better = choose(footprint, request, machine, "8-bit") if quality == "exact" else None
            return Planned(
                node, name, request, plan, words=sentence(plan, footprint), effect=effect(plan),
                faster=faster(plan, better, machine), need=plan.peak, room=machine.vram, blueprint=model,
                machine=machine, quality=quality,
            )  # fmt: skip
        change = nearest_fit(footprint, request, machine, quality, self._smaller(estimates, model, request))
        what, fix = refusal(footprint, machine, change)
        return Planned(
            node, name, request, None, change, words=what, fix=fix, room=machine.vram, blueprint=model, machine=machine,
            need=least_peak(footprint, request, machine, quality), quality=quality,
        )  # fmt: skip

    @staticmethod
    def _smaller(estimates: Estimates, model: Blueprint, request: Request) -> dict[int, ModelFootprint]:
        edges = [edge for edge in SMALLER if edge < min(request.width, request.height)]
        return {edge: estimates.of(model, replace(request, width=edge, height=edge, batch=1)) for edge in edges}
