"""Which way of running a request fits a card, and which of those is the fastest. Torch-free; reads no hardware.

Everything is arithmetic over a `ModelFootprint` and a `Machine` that are given. The ladder and its peaks are those of
docs/memory.md: W weights, A what is alive beside them (1.1 × measured + ¼ GiB for what kernels reserve), b a block.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any, Literal, TypeAlias

from engine.memory.footprint import GIB, Footprint, ModelFootprint
from engine.memory.machine import Machine
from engine.memory.request import Request

Quality: TypeAlias = Literal["exact", "8-bit", "4-bit"]
QUALITIES: tuple[Quality, ...] = ("exact", "8-bit", "4-bit")
# Bytes of a weight as a share of sixteen bits, and what undoing it costs in computing.
SHARE = {16: 1.0, 8: 0.5, 4: 0.28}
UNDOING = {16: 1.0, 8: 1.03, 4: 1.10}
ALLOWED: dict[Quality, tuple[int, ...]] = {"exact": (16,), "8-bit": (16, 8), "4-bit": (16, 8, 4)}

Residency: TypeAlias = Literal["all", "text_first", "swap", "pinned", "blocks", "leaves", "disk"]
RUNGS: dict[Residency, int] = {
    "all": 0, "text_first": 1, "swap": 2, "pinned": 4, "blocks": 5, "leaves": 6, "disk": 7
}  # fmt: skip
QUANTISED_RUNG = 3
TILE_COST = 1.3  # tiles overlap, so some pixels are decoded twice
CLOSE = 1.03  # plans whose times are within this are as fast as each other; the simpler one is taken


@dataclass(frozen=True)
class Phase:
    """One part of the run. `peak` in bytes, `seconds` predicted."""

    name: str
    peak: int
    seconds: float


@dataclass(frozen=True)
class Plan:
    """One way to run a request.

    rung          of the ladder, 0..7               residency  how weights are kept
    bits          of a weight: 16, 8 or 4           pinned     blocks of the denoiser that stay on the card
    vae_tile      edge in pixels, 0 for whole       apart      whether sides of guidance and pictures go in turn
    ram           bytes of main memory              step       seconds of one step
    waits         whether steps wait for weights, not for the computing
    """

    rung: int
    residency: Residency
    bits: int
    pinned: int
    vae_tile: int
    apart: bool
    phases: tuple[Phase, ...]
    ram: int
    step: float
    waits: bool

    @property
    def peak(self) -> int:
        return max(phase.peak for phase in self.phases)

    @property
    def seconds(self) -> float:
        return sum(phase.seconds for phase in self.phases)

    @property
    def keeps_arithmetic(self) -> bool:
        """Whether the picture is bit for bit that of the whole model on the card."""
        return self.bits == 16 and not self.vae_tile

    def to_json(self) -> dict[str, Any]:
        return {
            "rung": self.rung, "residency": self.residency, "bits": self.bits, "pinned_blocks": self.pinned,
            "vae_tile": self.vae_tile, "one_at_a_time": self.apart, "peak_bytes": self.peak, "ram_bytes": self.ram,
            "seconds": round(self.seconds, 2), "seconds_a_step": round(self.step, 3), "waits": self.waits,
            "phases": [
                {"name": p.name, "peak_bytes": p.peak, "seconds": round(p.seconds, 2)} for p in self.phases
            ],
            "keeps_arithmetic": self.keeps_arithmetic,
        }  # fmt: skip


def plans(model: ModelFootprint, request: Request, machine: Machine, quality: Quality = "exact") -> list[Plan]:
    """Every way that fits, best first: fastest, and of equally fast ones the simplest."""
    found = [p for p in _all(model, request, machine, quality) if p.peak <= machine.usable and p.ram <= machine.ram]
    if not found:
        return []
    found.sort(key=_simplicity)
    fastest = min(found, key=lambda p: p.seconds).seconds
    near = [p for p in found if p.seconds <= fastest * CLOSE]
    rest = sorted((p for p in found if p.seconds > fastest * CLOSE), key=lambda p: p.seconds)
    return [*near, *rest]


def choose(model: ModelFootprint, request: Request, machine: Machine, quality: Quality = "exact") -> Plan | None:
    """The best plan, or None when nothing fits."""
    found = plans(model, request, machine, quality)
    return found[0] if found else None


def least_peak(model: ModelFootprint, request: Request, machine: Machine, quality: Quality = "exact") -> int:
    """Bytes of the card that the thriftiest way takes, whether it fits or not."""
    return min(plan.peak for plan in _all(model, request, machine, quality))


def _simplicity(plan: Plan) -> tuple[int, bool, int, bool, int]:
    return 16 - plan.bits, bool(plan.vae_tile), plan.rung, plan.apart, -plan.vae_tile


def _all(model: ModelFootprint, request: Request, machine: Machine, quality: Quality) -> Iterator[Plan]:
    tiles = (0, *sorted(model.vae_tiles, reverse=True))
    separable = model.halves > 1 or request.batch > 1
    for bits, residency, tile, apart in itertools.product(
        ALLOWED[quality], RUNGS, tiles, (False, True) if separable else (False,)
    ):
        yield _plan(model, request, machine, bits, residency, tile, apart)


def working(peak: int) -> int:
    """What is set aside for a measured peak."""
    return round(1.1 * peak) + GIB // 4


def _plan(
    model: ModelFootprint, request: Request, machine: Machine, bits: int, residency: Residency, tile: int, apart: bool
) -> Plan:
    share = SHARE[bits]
    texts, denoiser, vae = model.of("text"), model.denoiser, model.vae
    decode = working(model.vae_tiles[tile] if tile else vae.peak)
    act = working(model.apart if apart else denoiser.peak)
    # The autoencoder is small and suffers from fewer bits; it keeps its own.
    heavy = round(denoiser.weights * share)
    text_weights = [round(part.weights * share) for part in texts]
    pinned = 0
    if residency in ("all", "text_first"):
        base = heavy + vae.weights + (sum(text_weights) if residency == "all" else 0)
        text_peak = (base if residency == "all" else sum(text_weights)) + working(
            max((t.peak for t in texts), default=0)
        )
        peaks = text_peak, base + act, base + decode
    else:
        text_peak = max((_text_peak(part, share, machine) for part in texts), default=0)
        if residency == "swap":
            held = heavy
        elif residency == "pinned":
            pinned = _pinned(denoiser, share, machine.usable - act)
            held = _streamed(denoiser, share) + round(sum(denoiser.blocks[:pinned]) * share)
        elif residency in ("blocks", "disk"):
            held = _streamed(denoiser, share)
        else:
            held = round(denoiser.leaves * share)
        peaks = text_peak, held + act, vae.weights + decode
    seconds, step, waits = _seconds(model, request, machine, bits, residency, pinned, tile, apart)
    phases = tuple(Phase(*item) for item in zip(("text", "denoise", "decode"), peaks, seconds, strict=True))
    rung = QUANTISED_RUNG if bits < 16 and residency in ("all", "text_first", "swap") else RUNGS[residency]
    ram = _ram(model, residency, share, pinned)
    return Plan(rung, residency, bits, pinned, tile, apart, phases, ram, step, waits)


def _text_peak(part: Footprint, share: float, machine: Machine) -> int:
    whole = round(part.weights * share) + working(part.peak)
    return whole if whole <= machine.usable else _streamed(part, share) + working(part.peak)


def _streamed(part: Footprint, share: float) -> int:
    """What streaming by blocks holds: all that lies outside them, and two blocks."""
    return round((part.outside + 2 * part.largest_block) * share)


def _pinned(part: Footprint, share: float, room: int) -> int:
    """How many of the first blocks may stay while the rest is streamed."""
    left = room - _streamed(part, share)
    count = 0
    for size in part.blocks:
        left -= round(size * share)
        if left < 0:
            break
        count += 1
    return min(count, max(len(part.blocks) - 1, 0))


def _seconds(
    model: ModelFootprint, request: Request, machine: Machine, bits: int, residency: Residency, pinned: int, tile: int,
    apart: bool,
) -> tuple[tuple[float, float, float], float, bool]:  # fmt: skip
    """((text, denoise, decode), one step, whether steps wait for weights)."""
    share, denoiser = SHARE[bits], model.denoiser
    line = machine.disk if residency == "disk" else machine.bandwidth
    sides = model.sides if request.guidance else 1
    text = sum(part.flops * sides for part in model.of("text")) / machine.flops
    if residency != "all":
        text += sum(part.weights for part in model.of("text")) * share / line
    # Sides that go together are in the measured work already.
    forwards = sides / model.halves
    compute = denoiser.flops * forwards * UNDOING[bits] / machine.flops
    passes = forwards * (model.halves * request.batch if apart else 1)
    moved = 0.0
    if residency in ("pinned", "blocks", "leaves", "disk"):
        moved = (sum(denoiser.blocks[pinned:]) + (denoiser.outside if residency in ("leaves", "disk") else 0)) * share
    # Leaves are too small to hide behind the work of the one before.
    carried = moved * passes / line
    step = compute + carried if residency == "leaves" else max(compute, carried)
    denoise = step * request.steps
    if residency in ("swap", "pinned", "blocks"):
        denoise += (denoiser.weights * share - moved) / line
    decode = model.vae.flops * request.batch / machine.flops * (TILE_COST if tile else 1.0)
    if residency not in ("all", "text_first"):
        decode += model.vae.weights / line
    return (text, denoise, decode), step, step > compute * CLOSE


def _ram(model: ModelFootprint, residency: Residency, share: float, pinned: int) -> int:
    """Main memory: the studio itself, and the copies that weights come from again."""
    own = 3 * GIB
    text = sum(part.weights for part in model.of("text")) * share
    denoiser, vae = model.denoiser, model.vae.weights
    if residency == "all":
        return own
    if residency == "text_first":
        return own + round(text)
    if residency == "disk":
        return own + round(4 * denoiser.largest_block * share) + vae
    kept = sum(denoiser.blocks[:pinned]) if residency == "pinned" else 0
    return own + round(text + (denoiser.weights - kept) * share) + vae


@dataclass(frozen=True)
class Change:
    """The smallest change that makes a request fit: one sentence, the request and quality it leads to, and its plan."""

    words: str
    request: Request
    quality: Quality
    plan: Plan


def nearest_fit(
    model: ModelFootprint, request: Request, machine: Machine, quality: Quality, smaller: dict[int, ModelFootprint]
) -> Change | None:
    """What to change when nothing fits, the smallest change first; None when nothing helps.

    `smaller` gives footprints of the same request at smaller edges, in pixels.
    """
    for other in QUALITIES[QUALITIES.index(quality) + 1 :]:
        plan = choose(model, request, machine, other)
        if plan is not None:
            return Change(f"Allow {other} weights", request, other, plan)
    if request.batch > 1:
        one = replace(request, batch=1)
        plan = choose(model, one, machine, quality)
        if plan is not None:
            return Change("Make one picture at a time", one, quality, plan)
    for edge, footprint in sorted(smaller.items(), reverse=True):
        for allowed in QUALITIES[QUALITIES.index(quality) :]:
            less = replace(request, width=edge, height=edge, batch=1)
            plan = choose(footprint, less, machine, allowed)
            if plan is not None:
                also = "" if allowed == quality else f" and allow {allowed} weights"
                return Change(f"Make it {edge} × {edge}{also}", less, allowed, plan)
    return None
