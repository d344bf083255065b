"""The plan that a sampling run is held to on a card: estimated, chosen, and corrected by what real runs taught."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from pathlib import Path

from engine.contracts.errors import OutOfMemory, TesseraError
from engine.memory.blueprint import Blueprint
from engine.memory.estimates import Estimates
from engine.memory.footprint import ModelFootprint
from engine.memory.machine import Machine
from engine.memory.measured import PROCESSOR, Measurements, Run, corrected
from engine.memory.planner import Plan, Quality, demand, nearest_fit, plans, steps_of, working
from engine.memory.recovery import Corrections
from engine.memory.request import FACTOR, Request
from engine.memory.residency import Residency
from engine.memory.video import PARTS
from engine.memory.words import refusal

WAITED = 1.15  # steps that take this much longer than their computing waited for weights
NEARER = 0.98  # the next plan needs this share of the one that did not fit, or less


@dataclass(frozen=True)
class _Held:
    """The run that the residency is held to."""

    key: str
    plan: Plan
    footprint: ModelFootprint
    request: Request
    text: int  # bytes beside the weights that reading the prompts took, which is over by then


class Chooser:
    """`folder` keeps estimates and corrections; `quality` says how few bits a weight may have."""

    def __init__(self, folder: Path | None = None, quality: Quality = "exact") -> None:
        self._estimates = Estimates(folder / "estimates.json") if folder else None
        self.corrections = Corrections(folder / "corrections.json" if folder else None)
        self.measured = Measurements(folder / "measured.json" if folder else None)
        self._quality = quality
        self._held: _Held | None = None

    def hold(
        self, memory: Residency, model: Blueprint, identity: str, request: Request, fast: bool = False
    ) -> Plan | None:
        """Choose a plan and hold `memory` to it; None where the model can't be estimated (it is then kept whole while
        it fits). `identity` tells the model from others; `fast` lets weights have eight bits.

        Raises OutOfMemory, naming what would fit, when nothing does.
        """
        machine = memory.card.machine()
        self.measured.note_card(machine)
        self._after_decode(memory)
        self._held = None
        half = PARTS[model.family].half if model.family in PARTS else False
        request = request.attended(fused=machine.fused, half=half)
        quality: Quality = "8-bit" if fast and self._quality == "exact" else self._quality
        try:
            footprint = self._footprint(model, request)
        except (TesseraError, KeyError, TypeError, ValueError, RuntimeError):
            memory.hold_to(None)
            return None
        dtype = "float16" if half else "bfloat16"
        footprint, machine = corrected(self.measured, identity, dtype, footprint, request, machine)
        key = Corrections.key(identity, *request.seen, request.batch, memory.card.name)
        known = self.corrections.of(key)
        every = plans(footprint, request, machine, quality)
        fitting = [
            plan for plan in every
            if (not known.below or _denoise(plan) < known.below) and (plan.apart or not known.apart)
        ]  # fmt: skip
        fitting = fitting or sorted(every, key=_denoise)[:1]

        def refuse() -> tuple[str, str]:
            change = nearest_fit(footprint, request, machine, quality, partial(self._footprint, model))
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
        seen = Measurements.key(identity, request, machine.name, dtype)
        words = max((size for (role, _, _), size in memory.seen.items() if role == "text"), default=0)
        memory.seen.clear()
        self._held = _Held(seen, fitting[0], footprint, request, words)
        return fitting[0]

    def learn(self, memory: Residency | None, step: float, identity: str = "", request: Request | None = None) -> None:
        """Remember what the run that has just ended took: `step` seconds a step, 0 when that is not known, and on a
        card what was seen beside the weights. Without a card `identity` and `request` say what was run."""
        if memory is None:
            if request is not None and step > 0:
                self.measured.learn(Measurements.key(identity, request, PROCESSOR, "float32"), Run({}, step))
            return
        held, plan = self._held, memory.plan
        if held is None or plan is None:
            return
        if plan != held.plan:  # memory ran out: what was seen is of several plans
            self._held = None
            return
        # An IP-Adapter's layers lie beside the parts that the residency counts.
        seen = {} if held.request.prompts else _seen(memory, held)
        self.measured.learn(held.key, Run(seen, step))
        operations, carried, _ = demand(
            held.footprint, held.request, plan.bits, plan.residency, plan.pinned, plan.apart
        )  # fmt: skip
        if step <= 0 or plan.residency in ("leaves", "disk"):
            return
        name, family = memory.card.name, held.footprint.family
        reached = self.measured.card(name).rates.get(family)
        if carried and plan.waits:
            if reached is None or step > WAITED * operations / reached:
                self.measured.note_rate(name, family, line=carried / step)
        else:
            self.measured.note_rate(name, family, operations=operations / step)

    def _after_decode(self, memory: Residency) -> None:
        """What the decode after the last run took, which is over when the next begins."""
        held = self._held
        if held is not None and memory.plan == held.plan:
            seen = {name: size for name, size in _seen(memory, held).items() if name.startswith("decode")}
            if seen:
                self.measured.learn(held.key, Run(seen))

    def tile(self, machine: Machine, model: Blueprint, width: int, height: int) -> int:
        """The edge in pixels of the largest tiles that a picture can go through the autoencoder in; 0 for whole, also
        where the model can't be estimated."""
        try:
            footprint = self._footprint(model, Request(width, height))
        except (TesseraError, KeyError, TypeError, ValueError, RuntimeError):
            return 0
        room = machine.usable - footprint.vae.weights
        if working(footprint.vae.peak) <= room:
            return 0
        fitting = (edge for edge, peak in footprint.vae_tiles.items() if working(peak) <= room)
        return max(fitting, default=min(footprint.vae_tiles, default=0))

    def _footprint(self, model: Blueprint, request: Request) -> ModelFootprint:
        if self._estimates is not None:
            return self._estimates.of(model, request)
        from engine.memory.estimate import estimate

        return estimate(model, request)


def _seen(memory: Residency, held: _Held) -> dict[str, int]:
    """What the residency saw beside the weights, by the names that plans have for it."""
    plan, request = held.plan, held.request
    found = {"text": held.text} if held.text else {}
    for (role, rows, columns), size in memory.seen.items():
        name = ""
        if role == "vae":
            if (rows * FACTOR, columns * FACTOR) == (request.height, request.width):
                name = "decode"
            elif plan.vae_tile and max(rows, columns) * FACTOR == plan.vae_tile:
                name = f"decode/{plan.vae_tile}"
        elif role != "text":
            name = steps_of(plan.bits, apart=plan.apart)
        if name:
            found[name] = max(found.get(name, 0), size)
    return found


def _denoise(plan: Plan) -> int:
    """Bytes of the phase that steps."""
    return next(phase.peak for phase in plan.phases if phase.name == "denoise")
