"""`python -m tests.gpu.report`: measure on the card that is here and write docs/gpu_report.md.

Without a card the page says what was not run, and why.
"""

from __future__ import annotations

import argparse
import datetime
import platform
import sys
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from engine.memory.device import Card
from engine.memory.footprint import GIB
from tests.gpu import trial
from tests.gpu.trial import SUBJECTS, Subject

PAGE = Path(__file__).resolve().parents[2] / "docs" / "gpu_report.md"
SIZES = (4, 6, 8, 12, 16)
CHECKS = (
    "Peak of the card within a plan: measured ≤ predicted ≤ 1.15 × measured, no uncaught out-of-memory, at 4, 6, 8, 12 "
    "and 16 GB",
    "Streaming: share of the measured bandwidth of locked memory (goal ≥ 80 %), beside diffusers' group offloading",
    "Everything resident beside bare diffusers: time of a step (goal ≤ 1.01)",
    "Compiled beside bare: time of a step (goal ≤ 0.70)",
)


def fitting(subject: Subject, card: Card, sizes: Sequence[int] = SIZES) -> list[str]:
    """Rows of the table of imitated cards."""
    found = trial.footprint(subject)
    module = trial.filled(subject.build())
    rows = []
    for size in sizes:
        with trial.imitating(card, size * GIB) as machine:
            plan = trial.plan_for(found, machine)
            if plan is None:
                rows.append(f"| {subject.name} | {size} | refused: nothing fits | | | |")
                continue
            limited = Card(card.device, machine.vram)
            seen = trial.measured(module, subject.inputs(), limited, plan)
        predicted = next(phase.peak for phase in plan.phases if phase.name == "denoise")
        ratio = f"{predicted / seen.peak:.2f}" if seen.peak else "not told"
        how = f"{plan.residency}{f' {plan.pinned}' if plan.pinned else ''}"
        state = seen.failed or ("; ".join(seen.said) or "fine")
        rows.append(
            f"| {subject.name} | {size} | {how} | {predicted / GIB:.2f} | {seen.peak / GIB:.2f} ({ratio}) | {state} |"
        )
    return rows


def speeds(subject: Subject, card: Card) -> list[str]:
    """Rows of the table of speeds: each way of running the network, and its share of a reference."""
    inputs = subject.inputs()
    module = trial.filled(subject.build())
    moved = trial.streamed_bytes(module)
    streamed = trial.measured(module, inputs, card, trial.plan_of("blocks"), 4)
    line = card.bandwidth()
    rate = moved / streamed.step if streamed.step else 0.0
    rows = [
        f"| {subject.name} | streamed | {streamed.step:.3f} | {rate / 1e9:.1f} GB/s, {rate / line:.0%} of the line |"
    ]
    whole = trial.measured(module, inputs, card, trial.plan_of("all"), 4)
    plain = trial.bare(module, inputs, card, 4)
    rows.append(f"| {subject.name} | resident | {whole.step:.3f} | {whole.step / plain.step:.3f} × bare |")
    compiled: Any = trial.filled(subject.build())
    if hasattr(compiled, "compile_repeated_blocks"):
        compiled.compile_repeated_blocks(dynamic=True)
        quick = trial.bare(compiled, inputs, card, 4)
        rows.append(f"| {subject.name} | compiled | {quick.step:.3f} | {quick.step / plain.step:.2f} × bare |")
    theirs = trial.offloaded_by_diffusers(module, inputs, card, 4)
    share = moved / theirs.step / line
    rows.append(f"| {subject.name} | diffusers' group offloading | {theirs.step:.3f} | {share:.0%} of the line |")
    return rows


def page(card: Card | None, names: Sequence[str]) -> str:
    """The whole page. Without a card, what has not been run."""
    head = [
        "# Measured on a card", "",
        "Written by `python -m tests.gpu.report`. Networks have their real size and random weights.", "",
        f"- Date: {datetime.datetime.now(datetime.UTC).date().isoformat()}",
        f"- Device: {card.name if card else 'none: this machine has no CUDA card'}",
        f"- System: {platform.system()} {platform.release()}, Python {platform.python_version()}",
        f"- torch {torch.__version__}, diffusers {version('diffusers')}, transformers {version('transformers')}", "",
    ]  # fmt: skip
    if card is None:
        return "\n".join([
            *head, "## Not run yet", "",
            "Nothing below has been measured on a card. What is known of the plans comes from arithmetic "
            "(docs/memory.md), and of their execution from a simulated card on the processor "
            "(tests/unit/test_memory_residency.py, test_memory_recovery.py).", "",
            *(f"- {check}, for {', '.join(SUBJECTS)}" for check in CHECKS), "",
        ])  # fmt: skip
    fits, fast, missing = [], [], [name for name in SUBJECTS if name not in names]
    for name in names:
        subject = SUBJECTS[name]()
        fits += fitting(subject, card)
        fast += speeds(subject, card)
    left = [f"- {name}: not asked for in this run" for name in missing] or ["- Nothing of what the page lists."]
    return "\n".join([
        *head, f"- Line from locked memory: {card.bandwidth() / 1e9:.1f} GB/s", "",
        "## Imitated cards", "", "| network | GB | kept | predicted GiB | measured GiB (ratio) | what happened |",
        "| --- | --- | --- | --- | --- | --- |", *fits, "", "## Speed", "",
        "| network | way | seconds a step | beside |", "| --- | --- | --- | --- |", *fast, "", "## Not run yet", "",
        *left, "",
    ])  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.gpu.report", description=__doc__)
    parser.add_argument("--only", nargs="+", choices=sorted(SUBJECTS), default=sorted(SUBJECTS))
    parser.add_argument("--to", type=Path, default=PAGE, help="the page (default: docs/gpu_report.md)")
    given = parser.parse_args()
    card = Card("cuda") if torch.cuda.is_available() else None
    given.to.write_text(page(card, given.only), encoding="utf-8")
    sys.stdout.write(f"Wrote {given.to}.\n")


if __name__ == "__main__":
    main()
