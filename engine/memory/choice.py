"""The plan that a sampling run is held to on a card: estimated, chosen, and corrected by what real runs taught."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from engine.contracts.errors import OutOfMemory, TesseraError
from engine.memory.blueprint import Blueprint
from engine.memory.estimates import Estimates
from engine.memory.footprint import ModelFootprint
from engine.memory.planner import Plan, Quality, nearest_fit, plans
from engine.memory.recovery import Corrections
from engine.memory.request import Request
from engine.memory.residency import Residency
from engine.memory.words import refusal

SMALLER = (768, 512, 256)
NEARER = 0.98  # the next plan needs this share of the one that did not fit, or less


class Chooser:
    """`folder` keeps estimates and corrections; `quality` says how few bits a weight may have."""

    def __init__(self, folder: Path | None = None, quality: Quality = "exact") -> None:
        self._estimates = Estimates(folder / "estimates.json") if folder else None
        self.corrections = Corrections(folder / "corrections.json" if folder else None)
        self._quality = quality

    def hold(
        self, memory: Residency, model: Blueprint, identity: str, request: Request, fast: bool = False
    ) -> Plan | None:
        """Choose a plan and hold `memory` to it; None where the model can't be estimated (it is then kept whole while
        it fits). `identity` tells the model from others; `fast` lets weights have eight bits.

        Raises OutOfMemory, naming what would fit, when nothing does.
        """
        machine = memory.card.machine()
        quality: Quality = "8-bit" if fast and self._quality == "exact" else self._quality
        try:
            footprint = self._footprint(model, request)
        except (TesseraError, KeyError, TypeError, ValueError, RuntimeError):
            memory.hold_to(None)
            return None
        key = Corrections.key(identity, request.width, request.height, request.batch, memory.card.name)
        known = self.corrections.of(key)
        every = plans(footprint, request, machine, quality)
        fitting = [
            plan for plan in every
            if (not known.below or _denoise(plan) < known.below) and (plan.apart or not known.apart)
        ]  # fmt: skip
        fitting = fitting or sorted(every, key=_denoise)[:1]

        def refuse() -> tuple[str, str]:
            change = nearest_fit(footprint, request, machine, quality, self._smaller(model, request))
            return refusal(footprint, machine, change)

        if not fitting:
            what, fix = refuse()
            raise OutOfMemory(what, where="memory", fix=fix)

        def smaller(plan: Plan, phase: str) -> Plan | None:
            self.corrections.learn(key, below=_denoise(plan))
            return next((item for item in every if _denoise(item) < NEARER * _denoise(plan)), None)

        memory.hold_to(fitting[0], smaller)
        memory.refuse = refuse
        memory.on_apart = lambda: self.corrections.learn(key, apart=True)
        return fitting[0]

    def _footprint(self, model: Blueprint, request: Request) -> ModelFootprint:
        if self._estimates is not None:
            return self._estimates.of(model, request)
        from engine.memory.estimate import estimate

        return estimate(model, request)

    def _smaller(self, model: Blueprint, request: Request) -> dict[int, ModelFootprint]:
        edges = [edge for edge in SMALLER if edge < min(request.width, request.height)]
        return {edge: self._footprint(model, replace(request, width=edge, height=edge, batch=1)) for edge in edges}


def _denoise(plan: Plan) -> int:
    """Bytes of the phase that steps."""
    return next(phase.peak for phase in plan.phases if phase.name == "denoise")
