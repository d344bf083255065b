"""Will it fit? A plan for each sampling run of a workflow, on this machine or on one that is only spoken of."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from engine.contracts.errors import MissingModel, TesseraError
from engine.contracts.workflow import Workflow
from engine.memory.blueprint import Blueprint
from engine.memory.estimates import Estimates
from engine.memory.footprint import ModelFootprint
from engine.memory.machine import Machine
from engine.memory.planner import Change, Plan, Quality, choose, nearest_fit
from engine.memory.request import Request
from engine.memory.words import effect, faster, refusal, sentence
from engine.memory.workload import work_of

if TYPE_CHECKING:
    from engine.graph.registry import Registry
    from studio_app.models.index import ModelIndex

SMALLER = (768, 512, 256)


@dataclass(frozen=True)
class Planned:
    """What is planned for one run. `plan` is None when nothing fits (then `change` may say what would) or when the
    size or the model is not known yet (then `unknown` says why)."""

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
                faster=faster(plan, better, machine),
            )  # fmt: skip
        change = nearest_fit(footprint, request, machine, quality, self._smaller(estimates, model, request))
        what, fix = refusal(footprint, machine, change)
        return Planned(node, name, request, None, change, words=what, fix=fix)

    @staticmethod
    def _smaller(estimates: Estimates, model: Blueprint, request: Request) -> dict[int, ModelFootprint]:
        edges = [edge for edge in SMALLER if edge < min(request.width, request.height)]
        return {edge: estimates.of(model, replace(request, width=edge, height=edge, batch=1)) for edge in edges}
