"""Will it fit? A plan for each sampling run of a workflow, on this machine or on one that is only spoken of."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from engine.contracts.errors import MissingModel, TesseraError
from engine.contracts.workflow import Workflow
from engine.memory.blueprint import Blueprint
from engine.memory.estimates import Estimates
from engine.memory.footprint import GIB, ModelFootprint
from engine.memory.machine import Machine, preset
from engine.memory.planner import Change, Plan, Quality, choose, nearest_fit
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
    size or the model is not known yet (then `unknown` says why). `need` is its peak in bytes: of the card, or of main
    memory where there is none."""

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

    def to_json(self) -> dict[str, Any]:
        return {
            "node": self.node, "model": self.model, "request": self.request.to_json() if self.request else None,
            "fits": self.plan is not None, "plan": self.plan.to_json() if self.plan else None,
            "words": self.words, "effect": self.effect, "faster": self.faster, "fix": self.fix,
            "unknown": self.unknown,
        }  # fmt: skip


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
                found.append(self.model(model, work.request, machine, quality, node=work.node, name=entry.name))
            except MissingModel as error:
                found.append(Planned(work.node, work.model.name, work.request, None, unknown=str(error)))
            except TesseraError as error:
                why = f"it can't be foreseen what this model needs ({error.what})"
                found.append(Planned(work.node, work.model.name, work.request, None, unknown=why))
        return found

    def in_create(self, spec: JobSpec, settings: Settings, registry: Registry) -> Planned | None:
        """The plan of what Create would make here. Without a card its words say what main memory it takes."""
        machine = machine_here(settings)
        if machine is not None:
            quality: Quality = settings.get("engine.quality")
            if spec.allowed_loss == "quantised" and quality == "exact":
                quality = "8-bit"
            found = self.workflow(spec.workflow, registry, machine, quality)
            return found[0] if found else None
        work = next(iter(work_of(spec.workflow, registry)), None)
        if work is None or work.request is None:
            return None
        entry = self._models.entry(work.model)
        folder = str(entry.path) if entry.path.is_dir() else ""
        blueprint = Blueprint(entry.family, "" if folder else entry.info.variant, folder)
        footprint = Estimates(self._cache).of(blueprint, work.request)
        need = processor_need(footprint)
        words = f"On the processor, with about {size(need)} of main memory."
        return Planned(work.node, entry.name, work.request, None, words=words, need=need)

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
                faster=faster(plan, better, machine), need=plan.peak,
            )  # fmt: skip
        change = nearest_fit(footprint, request, machine, quality, self._smaller(estimates, model, request))
        what, fix = refusal(footprint, machine, change)
        return Planned(node, name, request, None, change, words=what, fix=fix)

    @staticmethod
    def _smaller(estimates: Estimates, model: Blueprint, request: Request) -> dict[int, ModelFootprint]:
        edges = [edge for edge in SMALLER if edge < min(request.width, request.height)]
        return {edge: estimates.of(model, replace(request, width=edge, height=edge, batch=1)) for edge in edges}
