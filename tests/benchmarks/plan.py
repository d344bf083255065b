"""Plans of memory: predicted peaks beside published ones, and the way chosen for each family and card.

Nothing is run: every figure comes from a walk on the meta device. Writes the tables of docs/memory.md.
"""

from __future__ import annotations

import tempfile
import time
from dataclasses import replace
from pathlib import Path

from engine.memory.blueprint import Blueprint
from engine.memory.estimate import estimate
from engine.memory.estimates import Estimates
from engine.memory.footprint import GIB, ModelFootprint
from engine.memory.machine import PRESETS
from engine.memory.planner import Plan, Quality, choose
from engine.memory.request import Request
from engine.memory.words import time as in_words
from engine.models.family_parts import FAMILY_PARTS
from tests.benchmarks.harness import Goal, Report

PAGE = Path(__file__).resolve().parents[2] / "docs" / "memory.md"
BEGIN, END = "<!-- bench plan writes from here -->", "<!-- to here -->"
CARDS = tuple(PRESETS)
RAM = 64
# (family, variant, name, pixels, guidance, steps): each family's usual request at 1024²
FAMILIES = (
    ("sd15", "", "SD 1.5", 1024, True, 25), ("sdxl", "", "SDXL", 1024, True, 25),
    ("sd3", "3.5-medium", "SD 3.5 M", 1024, True, 28), ("flux", "dev", "Flux.1 dev", 1024, False, 25),
    ("flux2", "klein-4b", "Flux.2 klein 4B", 1024, False, 4), ("qwen_image", "", "Qwen-Image", 1024, True, 30),
    ("z_image", "", "Z-Image turbo", 1024, False, 9), ("chroma", "", "Chroma", 1024, True, 26),
)  # fmt: skip
MUST_FIT = ("SD 1.5", "SDXL", "Z-Image turbo", "Flux.1 dev", "Qwen-Image")
_HOW = {
    "all": "all resident", "text_first": "text first", "swap": "swap models", "pinned": "pin {0}, stream the rest",
    "blocks": "stream blocks", "leaves": "stream leaves", "disk": "pin {0}, rest from disk",
}  # fmt: skip


def run() -> Report:
    started = time.process_time()
    _classes()
    figures: dict[str, float] = {"imports_cpu_s": round(time.process_time() - started, 2)}
    with tempfile.TemporaryDirectory() as folder:
        tables, fit, took = _tables(Estimates(Path(folder) / "e.json"))
    flux = estimate(Blueprint("flux", "dev"), Request(guidance=False)).denoiser
    sdxl = estimate(Blueprint("sdxl"), Request()).denoiser
    peaks = {
        "flux_peak_gib": (flux.weights + flux.peak) / GIB,
        "flux_leaves_gib": (flux.leaves / 2 + flux.peak) / GIB,
        "sdxl_peak_gib": (sdxl.weights + sdxl.peak) / GIB,
    }
    published = {"flux_peak_gib": 22.63, "flux_leaves_gib": 0.56, "sdxl_peak_gib": 5.05}
    for name, found in peaks.items():
        figures[name] = round(found, 3)
        figures[name.replace("_gib", "_off_percent")] = round(abs(found / published[name] - 1) * 100, 2)
    figures["fit_on_4_gb"] = fit
    figures |= {f"estimate_cpu_s_{family}": round(seconds, 2) for family, seconds in took.items()}
    figures["slowest_estimate_cpu_s"] = round(max(took.values()), 2)
    _write(tables)
    goals: dict[str, Goal] = {name.replace("_gib", "_off_percent"): ("<=", 5.0) for name in peaks}
    goals |= {"fit_on_4_gb": (">=", len(MUST_FIT)), "slowest_estimate_cpu_s": ("<=", 2.0)}
    notes = (
        "published: Flux.1 22.63 and, by leaves, 0.56 GiB; SDXL 5.05 GiB (diffusers' benchmarks)",
        "the estimates' seconds are of this process, each model's first, its classes imported before (imports_cpu_s)",
    )
    return Report("plan", figures, goals, notes)


def _classes() -> None:
    """Import torch, diffusers, transformers and every class that is built here."""
    import diffusers
    import transformers

    for family, variant, *_ in FAMILIES:
        model, about = Blueprint(family, variant), FAMILY_PARTS[family]
        for part in about.with_weights:
            config = model.config(part)
            name = config.get("_class_name") or (config.get("architectures") or [about.classes[part][0]])[0]
            getattr(transformers if part in about.encoders else diffusers, name)


def _tables(estimates: Estimates) -> tuple[str, int, dict[str, float]]:
    """(the tables, how many of the five families fit 4 GB exactly, seconds of each family's first estimate)."""
    exact = ["| model | " + " | ".join(f"{card} GB" for card in CARDS) + " |", "| --- " * (len(CARDS) + 1) + "|"]
    eight, fit, took = list(exact), 0, {}
    for family, variant, name, edge, guidance, steps in FAMILIES:
        request = Request(edge, edge, guidance=guidance, steps=steps)
        started = time.process_time()
        model = estimates.of(Blueprint(family, variant), request)
        took[family] = time.process_time() - started
        qualities: tuple[tuple[list[str], Quality], ...] = ((exact, "exact"), (eight, "8-bit"))
        for rows, quality in qualities:
            chosen = [_chosen(model, request, card, quality) for card in CARDS]
            rows.append(f"| {name} | " + " | ".join(_cell(plan) for plan in chosen) + " |")
            fit += quality == "exact" and name in MUST_FIT and chosen[0] is not None
    return (
        f"### Sixteen-bit weights (bit for bit)\n\n{chr(10).join(exact)}\n\n"
        f"### Eight-bit weights allowed\n\n{chr(10).join(eight)}\n",
        fit,
        took,
    )


def _chosen(model: ModelFootprint, request: Request, card: int, quality: Quality) -> Plan | None:
    return choose(model, request, replace(PRESETS[card], ram=RAM * GIB), quality)


def _cell(plan: Plan | None) -> str:
    if plan is None:
        return "does not fit"
    how = _HOW[plan.residency].format(plan.pinned)
    more = [f"{plan.bits}-bit"] * (plan.bits < 16) + [f"tiles {plan.vae_tile}"] * bool(plan.vae_tile)
    more += ["one at a time"] * plan.apart
    also = f" ({', '.join(more)})" if more else ""
    return f"{plan.rung}: {how}{also}; {plan.peak / GIB:.1f} GiB, RAM {plan.ram / GIB:.0f}, {in_words(plan.seconds)}"


def _write(tables: str) -> None:
    text = PAGE.read_text(encoding="utf-8")
    before, _, rest = text.partition(BEGIN)
    _, _, after = rest.partition(END)
    PAGE.write_text(f"{before}{BEGIN}\n\n{tables}\n{END}{after}", encoding="utf-8")
