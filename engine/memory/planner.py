"""Which way of running a request fits a card, and which of those is the fastest. Torch-free; reads no hardware.

Everything is arithmetic over a `ModelFootprint` and a `Machine` that are given. The ladder and its peaks are those of
docs/memory.md: W weights, A what is alive beside them (1.1 × walked + ¼ GiB for what kernels reserve; what was measured
on this card and a twentieth, once it was), b a block.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator
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
SAFETY, SLACK = 1.05, 32 << 20  # what is set aside for a measured peak
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
    kept          of the blocks that come from the disk, those that have a copy in main memory all the same
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
    kept: int = 0

    @property
    def peak(self) -> int:
        return max(phase.peak for phase in self.phases)

    @property
    def seconds(self) -> float:
        return sum(phase.seconds for phase in self.phases)

    @property
    def keeps_arithmetic(self) -> bool:
        """Whether the picture is bit for bit that of the whole model on the card. Sides and pictures that go one after
        the other are multiplied in other shapes, so they equal it to rounding only."""
        return self.bits == 16 and not self.vae_tile and not self.apart

    def to_json(self) -> dict[str, Any]:
        return {
            "rung": self.rung, "residency": self.residency, "bits": self.bits, "pinned_blocks": self.pinned,
            "kept_blocks": self.kept, "vae_tile": self.vae_tile, "one_at_a_time": self.apart,
            "peak_bytes": self.peak, "ram_bytes": self.ram,
            "seconds": round(self.seconds, 2), "seconds_a_step": round(self.step, 3), "waits": self.waits,
            "phases": [
                {"name": p.name, "peak_bytes": p.peak, "seconds": round(p.seconds, 2)} for p in self.phases
            ],
            "keeps_arithmetic": self.keeps_arithmetic,
        }  # fmt: skip


def plans(model: ModelFootprint, request: Request, machine: Machine, quality: Quality = "exact") -> list[Plan]:
    """Every way that fits, best first: fastest, and of equally fast ones the simplest. Exact ones alone where exact
    is asked and there are any: tiles only for a picture that can't be decoded whole."""
    found = [p for p in _all(model, request, machine, quality) if p.peak <= machine.usable and p.ram <= machine.ram]
    if not found:
        return []
    if quality == "exact":
        # The very picture before a sooner one; its last bits before its colours.
        found = (
            [p for p in found if not p.vae_tile and not p.apart] or [p for p in found if not p.vae_tile] or found
        )  # fmt: skip
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


def steps_of(bits: int, *, apart: bool) -> str:
    """How ModelFootprint.seen calls what steps took that were made this way."""
    return f"{'apart' if apart else 'denoise'}{f'/{bits}' if bits < 16 else ''}"


def working(peak: int, seen: int = 0) -> int:
    """What is set aside for a walked peak, or for one that was seen on this card."""
    return round(SAFETY * seen) + SLACK if seen else round(1.1 * peak) + GIB // 4


def _plan(
    model: ModelFootprint, request: Request, machine: Machine, bits: int, residency: Residency, tile: int, apart: bool
) -> Plan:
    share = SHARE[bits]
    texts, denoiser, vae = model.of("text"), model.denoiser, model.vae
    seen = model.seen.get
    # A weight of fewer bits is made whole for its product: one layer at a time.
    whole = denoiser.leaves // 2 if bits < 16 else 0
    tiled = working(model.vae_tiles[tile] if tile else vae.peak, seen(f"decode/{tile}" if tile else "decode", 0))
    stepping = seen(steps_of(bits, apart=apart), 0)
    act = working((model.apart if apart else denoiser.peak) + whole, stepping)
    words = working(max((t.peak for t in texts), default=0), seen("text", 0))
    # The autoencoder is small and suffers from fewer bits; it keeps its own.
    heavy = round((denoiser.weights - denoiser.beside) * share) + denoiser.beside
    text_weights = [round(part.weights * share) for part in texts]
    pinned = 0
    if residency in ("all", "text_first"):
        base = heavy + vae.weights + (sum(text_weights) if residency == "all" else 0)
        text_peak = (base if residency == "all" else sum(text_weights)) + words
        peaks = text_peak, base + act, base + tiled
    else:
        text_peak = max((_text_peak(part, share, machine, words) for part in texts), default=0)
        if residency == "swap":
            held = heavy
        elif residency in ("pinned", "disk"):
            pinned = _pinned(denoiser, share, machine.usable - act)
            held = _streamed(denoiser, share) + round(sum(denoiser.blocks[:pinned]) * share)
        elif residency == "blocks":
            held = _streamed(denoiser, share)
        else:
            held = round(denoiser.leaves * share) + denoiser.beside
        peaks = text_peak, held + act, vae.weights + tiled
    ram = _ram(model, request, residency, share, pinned)
    kept = _kept(denoiser, share, pinned, machine.ram - ram) if residency == "disk" else 0
    ram += round(sum(denoiser.blocks[pinned : pinned + kept]) * share)
    seconds, step, waits = _seconds(model, request, machine, bits, residency, pinned, kept, tile, apart)
    phases = tuple(Phase(*item) for item in zip(("text", "denoise", "decode"), peaks, seconds, strict=True))
    rung = QUANTISED_RUNG if bits < 16 and residency in ("all", "text_first", "swap") else RUNGS[residency]
    return Plan(rung, residency, bits, pinned, tile, apart, phases, ram, step, waits, kept)


def _text_peak(part: Footprint, share: float, machine: Machine, working: int) -> int:
    """Of a text encoder that is alone on the card: whole, or where it is larger than the card by blocks."""
    whole = round(part.weights * share) + working
    return whole if whole <= machine.usable else _streamed(part, share) + working


def _streamed(part: Footprint, share: float) -> int:
    """What streaming by blocks holds: all that lies outside them, and two blocks."""
    return round((part.outside - part.beside + 2 * part.largest_block) * share) + part.beside


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


def _kept(part: Footprint, share: float, pinned: int, spare: int) -> int:
    """How many of the blocks that are streamed may have a copy in main memory. A fifth of what is free is left to the
    system, which reads the others through it."""
    left, count = 0.8 * spare, 0
    for size in part.blocks[pinned:]:
        left -= size * share
        if left < 0:
            break
        count += 1
    return count


def demand(
    model: ModelFootprint, request: Request, bits: int, residency: Residency, pinned: int, apart: bool
) -> tuple[float, float, float]:
    """Of one step: (operations, bytes that come over the line, those of one forward)."""
    share, denoiser = SHARE[bits], model.denoiser
    # Sides that go together are in the walked work already.
    forwards = (model.sides if request.guidance else 1) / model.halves * request.windows
    moved = 0.0
    if residency in ("pinned", "blocks", "leaves", "disk"):
        rest = denoiser.outside - denoiser.beside if residency == "leaves" else 0
        moved = (sum(denoiser.blocks[pinned:]) + rest) * share
    passes = forwards * (model.halves * request.batch if apart else 1)
    return denoiser.flops * forwards * UNDOING[bits], moved * passes, moved


def _seconds(
    model: ModelFootprint, request: Request, machine: Machine, bits: int, residency: Residency, pinned: int, kept: int,
    tile: int, apart: bool,
) -> tuple[tuple[float, float, float], float, bool]:  # fmt: skip
    """((text, denoise, decode), one step, whether steps wait for weights)."""
    share, denoiser = SHARE[bits], model.denoiser
    line = machine.disk if residency == "disk" else machine.bandwidth
    sides = model.sides if request.guidance else 1
    text = sum(part.flops * sides for part in model.of("text")) / machine.flops
    if residency != "all":
        text += sum(part.weights for part in model.of("text")) * share / line
    operations, carried_bytes, moved = demand(model, request, bits, residency, pinned, apart)
    compute = operations / machine.flops
    near = sum(denoiser.blocks[pinned : pinned + kept]) * share / moved if kept else 0.0
    carried = carried_bytes * (near / machine.bandwidth + (1 - near) / line)
    # Leaves are too small to hide behind the work of the one before.
    step = compute + carried if residency == "leaves" else max(compute, carried)
    denoise = step * request.steps
    if residency in ("swap", "pinned", "blocks"):
        denoise += (denoiser.weights * share - moved) / line
    decode = model.vae.flops * request.batch / machine.flops * (tile_cost(tile) if tile else 1.0)
    if residency not in ("all", "text_first"):
        decode += model.vae.weights / line
    return (text, denoise, decode), step, step > compute * CLOSE


def tile_cost(tile: int) -> float:
    """How much more a decode in tiles of `tile` pixels computes: what lies around them is seen twice, and each goes
    through once before for the statistics of the whole picture. As measured (docs/tiles.md)."""
    return 4.0 if tile >= 256 else 7.0


def _ram(model: ModelFootprint, request: Request, residency: Residency, share: float, pinned: int) -> int:
    """Main memory: the studio itself, the copies that weights come from again, those that LoRAs change, and the
    pictures (as numbers, on the way to a file, and once more while tiles are put together)."""
    own = 3 * GIB + 3 * request.batch * request.frames * request.width * request.height * 3 * 4
    if request.adapters:  # merged beside the masters, once however many there are
        own += model.denoiser.weights
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


# Edges of windows in which a large picture may be denoised, by what the model was trained on.
WINDOWS = {"sd15": (768, 512), "sd2": (768, 512)}
USUAL_WINDOWS = (1024, 768)
SMALLER = (4096, 3072, 2048, 1536, 1280, 1024, 768, 512, 256)  # edges of smaller pictures of the same area


def nearest_fit(
    model: ModelFootprint, request: Request, machine: Machine, quality: Quality,
    footprint_of: Callable[[Request], ModelFootprint],
) -> Change | None:  # fmt: skip
    """What to change when nothing fits, the smallest change first; None when nothing helps.

    One picture at a time leaves the pictures as they are; fewer bits change them a little; windows draw what the model
    would have drawn otherwise; a smaller picture is another one. `footprint_of` gives the model for another request.
    """
    allowed = QUALITIES[QUALITIES.index(quality) :]
    whole: list[tuple[str, Request]] = [("", request)]
    if request.batch > 1:
        whole.append(("Make one picture at a time", replace(request, batch=1)))
    tries = [(words, asked, other) for other in allowed for words, asked in whole if words or other != quality]
    one = replace(request, batch=1)
    if not request.window and request.frames == 1:
        for edge in WINDOWS.get(model.family, USUAL_WINDOWS):
            if edge < max(request.width, request.height):
                cut = replace(one, window=edge, overlap=edge // 4)
                tries += [(f"Draw it in windows of {edge} (tiled sampler)", cut, other) for other in allowed]
    for width, height in smaller(request):
        less = replace(one, width=width, height=height)
        tries += [(f"Make it {width} × {height}", less, other) for other in allowed]
    found = {request: model}
    for words, asked, other in tries:
        if asked not in found:
            found[asked] = footprint_of(asked)
        plan = choose(found[asked], asked, machine, other)
        if plan is not None:
            said = [words] * bool(words) + [f"allow {other} weights"] * (other != quality)
            text = " and ".join(said)
            return Change(f"{text[0].upper()}{text[1:]}", asked, other, plan)
    return None


def smaller(request: Request) -> Iterator[tuple[int, int]]:
    """(width, height) of smaller pictures of the same shape, the largest first."""
    edge = math.sqrt(request.width * request.height)
    for other in SMALLER:
        if other < 0.95 * edge:
            width, height = (max(64, round(side * other / edge / 64) * 64) for side in (request.width, request.height))
            yield width, height
