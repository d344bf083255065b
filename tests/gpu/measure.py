"""`python -m tests.gpu.measure NAME --to FILE`: everything that the report says of one model, as JSON.

Each model has a process of its own: what one leaves on the card, or what kills it, does not reach the next.
"""

from __future__ import annotations

import argparse
import json
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch

from engine.memory.compiled import repeated_blocks
from engine.memory.device import Card
from engine.memory.footprint import GIB
from engine.memory.machine import PRESETS
from engine.memory.planner import Plan
from engine.memory.words import in_short
from tests.gpu import trial, whole
from tests.gpu.trial import SUBJECTS, Subject

SIZES = tuple(size for size in PRESETS if size <= 16)
STEPS = 4


@dataclass
class Results:
    """Rows of the report's tables. Every cell is text. `bad`: how many rows say that something failed."""

    name: str
    whole: list[list[str]] = field(default_factory=list)
    alone: list[list[str]] = field(default_factory=list)
    speed: list[list[str]] = field(default_factory=list)
    bad: int = 0
    seconds: float = 0.0


def measure(subject: Subject, card: Card, sizes: Sequence[int] = SIZES, edge: int = 1024) -> Iterator[Results]:
    """What is known so far, after each table: nothing is lost when the next one kills the process."""
    found, started = Results(subject.name), time.perf_counter()
    for table, rows in (
        (found.whole, lambda: whole_rows(subject, card, sizes, edge)),
        (found.alone, lambda: alone_rows(subject, card, sizes)),
        (found.speed, lambda: speed_rows(subject, card)),
    ):
        for row in _guarded(subject.name, rows):
            table.append(row)
            found.bad += any(cell.startswith("failed") for cell in row)
        found.seconds = round(time.perf_counter() - started, 1)
        yield found


def _guarded(name: str, rows: Callable[[], Iterator[list[str]]]) -> Iterator[list[str]]:
    try:
        yield from rows()
    except Exception as error:  # noqa: BLE001  # it is written down, and the next table is made
        said = str(error).splitlines() or [""]
        yield [name, f"failed: {type(error).__name__}: {said[0]}"]


def whole_rows(subject: Subject, card: Card, sizes: Sequence[int], edge: int) -> Iterator[list[str]]:
    """Pictures from prompt to pixels on imitated cards: first as planned by arithmetic, then as measured."""
    if not subject.whole:
        return
    folder = Path(tempfile.mkdtemp(prefix="tessera-gpu-"))
    try:
        place = Path(subject.model.folder) if subject.model.folder else whole.written(
            folder / "model", subject.model.family, subject.model.variant
        )  # fmt: skip
        for size in sizes:
            with trial.imitating(card, size * GIB) as (limited, _):
                studio = whole.Studio(place, subject.model.family, limited, folder / f"kept-{size}")
                made = whole.pictures(studio, edge, subject.request.steps, subject.cfg)
                limit = limited.budget
                studio.session.free()
                del studio
            for number, one in enumerate(made):
                yield [subject.name, str(size), "measured" if number else "arithmetic", *_whole_cells(one, limit)]
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _whole_cells(made: whole.Made, limit: int) -> list[str]:
    if made.failed:
        return [f"failed: {made.failed}"]
    if made.plan is None or made.refused:
        return [f"refused: {made.refused}" if made.refused else "failed: no plan was made"]
    told = "; ".join(made.logs) or "fine"
    if made.reserved > limit:
        told = f"failed: {made.reserved / GIB:.2f} GiB reserved of {limit / GIB:.2f}"
    return [_how(made.plan), *(ratio(*made.phases[name]) for name in ("text", "denoise", "decode")),
            f"{made.seconds:.1f}", told]  # fmt: skip


def ratio(predicted: int, measured: int) -> str:
    """“3.40 / 3.10 (1.10)”: predicted and measured GiB and how far the one is above the other."""
    if not measured:
        return f"{predicted / GIB:.2f} / not told"
    return f"{predicted / GIB:.2f} / {measured / GIB:.2f} ({predicted / measured:.2f})"


def alone_rows(subject: Subject, card: Card, sizes: Sequence[int]) -> Iterator[list[str]]:
    """The denoiser alone on imitated cards."""
    found = subject.footprint()
    module = trial.filled(subject.build())
    for size in sizes:
        with trial.imitating(card, size * GIB) as (limited, machine):
            plan = trial.plan_for(found, machine)
            if plan is None:
                yield [subject.name, str(size), "refused: nothing fits", "", ""]
                continue
            seen = trial.measured(module, subject.inputs(), limited, plan)
        predicted = next(phase.peak for phase in plan.phases if phase.name == "denoise")
        state = f"failed: {seen.failed}" if seen.failed else "; ".join(seen.said) or "fine"
        yield [subject.name, str(size), _how(plan), ratio(predicted, seen.peak), state]


def speed_rows(subject: Subject, card: Card) -> Iterator[list[str]]:
    """Each way of running the denoiser, and its share of a reference."""
    inputs, module = subject.inputs(), trial.filled(subject.build())
    moved, line = trial.streamed_bytes(module), card.bandwidth()
    streamed = trial.measured(module, inputs, card, trial.plan_of("blocks"), STEPS)
    rate = moved / streamed.step if streamed.step else 0.0
    share = f"{rate / 1e9:.1f} GB/s, {rate / line:.0%} of the line"
    whole_way = trial.measured(module, inputs, card, trial.plan_of("all"), STEPS)
    # Where a step's computing takes longer than its weights, the line can't be full.
    if whole_way.step and whole_way.step > moved / line:
        share += f"; its computing alone takes {whole_way.step / streamed.step:.0%} of the step"
    yield [subject.name, "streamed", f"{streamed.step:.3f}", share]
    plain = trial.bare(module, inputs, card, STEPS)
    yield [subject.name, "resident", f"{whole_way.step:.3f}", f"{whole_way.step / plain.step:.3f} × bare"]
    yield [subject.name, "bare diffusers", f"{plain.step:.3f}", ""]
    yield from _guarded(subject.name, lambda: _compiled_row(subject, module, card, plain.step))
    theirs = trial.offloaded_by_diffusers(module, inputs, card, STEPS)
    yield [subject.name, "diffusers' group offloading", f"{theirs.step:.3f}",
           f"{moved / theirs.step / 1e9:.1f} GB/s, {moved / theirs.step / line:.0%} of the line"]  # fmt: skip


def _compiled_row(subject: Subject, module: Any, card: Card, plain: float) -> Iterator[list[str]]:
    if not repeated_blocks(module):
        yield [subject.name, "compiled", "", "no blocks of it repeat"]
        return
    with trial.compiled(module, card):
        quick = trial.bare(module, subject.inputs(), card, STEPS)
    yield [subject.name, "compiled", f"{quick.step:.3f}", f"{quick.step / plain:.2f} × bare"]


def _how(plan: Plan) -> str:
    return f"{plan.rung}: {in_short(plan)}"


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.gpu.measure", description=__doc__)
    parser.add_argument("name", choices=sorted(SUBJECTS))
    parser.add_argument("--to", type=Path, required=True)
    parser.add_argument("--sizes", type=int, nargs="+", default=list(SIZES))
    given = parser.parse_args(argv)
    if not torch.cuda.is_available():
        raise SystemExit("this machine has no CUDA card")
    torch.set_grad_enabled(False)
    for found in measure(SUBJECTS[given.name], Card("cuda"), given.sizes):
        given.to.write_text(json.dumps(asdict(found)), encoding="utf-8")


if __name__ == "__main__":
    main()
