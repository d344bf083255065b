"""Every family against diffusers' own pipelines on tiny random models in true layout; writes docs/families.md.

fp32: the largest absolute difference of the decoded picture in 0..1 (goal ≤ 1e-5). bf16: the distance (root mean
square over pictures of several models and seeds) of ours from the pipeline's own fp32 picture, divided by that of the
pipeline's bf16 picture: at most 1 means no farther (goal ≤ 1.0 for each family over its tasks; a single task may
round unluckily and has ≤ 1.1). The fp32 part is a test too (tests/contract/test_families.py).
"""

from __future__ import annotations

import math
import tempfile
import warnings
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from engine.families.defaults import FAMILIES
from engine.models.denoiser_family import title_of
from engine.sampling.names import SAMPLER_LABELS, SCHEDULE_LABELS
from tests.benchmarks.harness import Goal, Report
from tests.families import room

PAGE = Path(__file__).resolve().parents[2] / "docs" / "families.md"
MARK = "<!-- bench families: {name} {edge} -->"
CLOSE: Goal = ("<=", 1e-5)
NO_FARTHER: Goal = ("<=", 1.0)
ONE_TASK: Goal = ("<=", 1.1)
MODELS, SEEDS = range(6), range(42, 44)  # of weights, of noise


@dataclass(frozen=True)
class Row:
    """One task of a family: the fp32 difference, and how far ours and the pipeline's bf16 are from its fp32."""

    family: str
    task: str
    difference: float
    ours_bf16: float
    theirs_bf16: float

    @property
    def ratio(self) -> float:
        """Ours over theirs; 1 where neither is off at all."""
        if self.theirs_bf16 == 0.0:
            return 1.0 if self.ours_bf16 == 0.0 else math.inf
        return self.ours_bf16 / self.theirs_bf16


def measured(family: str, folder: Path) -> list[Row]:
    """The rows of one family: over several tiny models, written in `folder`, and several seeds of noise."""
    module = room.family_module(family)
    found: dict[str, list[Row]] = {}
    for seed in MODELS:
        torch.manual_seed(seed)
        for case in module.cases(module.tiny(folder / str(seed))):
            exact = _pictures(case.reference, torch.float32)
            difference = float(np.abs(_pictures(case.ours, torch.float32) - exact).max())
            ours, theirs = (_distance(_pictures(side, torch.bfloat16), exact) for side in (case.ours, case.reference))
            found.setdefault(case.task, []).append(Row(family, case.task, difference, ours, theirs))
    return [
        Row(
            family, task, max(row.difference for row in rows), _together(row.ours_bf16 for row in rows),
            _together(row.theirs_bf16 for row in rows),
        )
        for task, rows in found.items()
    ]  # fmt: skip


def _together(distances: Iterable[float]) -> float:
    """The root mean square of as many pictures' root mean squares."""
    listed = list(distances)
    return math.sqrt(sum(distance**2 for distance in listed) / len(listed))


def _pictures(side: Callable[[torch.dtype], room.Picture], dtype: torch.dtype) -> room.Picture:
    """One side's pictures of every seed."""
    made = []
    for seed in SEEDS:
        with room.seeded(seed):
            made.append(side(dtype))
    return np.concatenate(made)


def _distance(images: room.Picture, exact: room.Picture) -> float:
    return float(np.sqrt(np.mean((images.astype(np.float64) - exact) ** 2)))


def report(rows: Sequence[Row]) -> Report:
    """The figures of all rows beside their goals."""
    figures: dict[str, float] = {}
    goals: dict[str, Goal] = {}
    for family in dict.fromkeys(row.family for row in rows):
        own = [row for row in rows if row.family == family]
        for row in own:
            name = f"{family} {row.task}"
            figures[f"{name}: fp32 difference"], goals[f"{name}: fp32 difference"] = row.difference, CLOSE
            figures[f"{name}: bf16 ours/theirs"], goals[f"{name}: bf16 ours/theirs"] = row.ratio, ONE_TASK
        ours, theirs = (math.hypot(*side) for side in zip(*((r.ours_bf16, r.theirs_bf16) for r in own), strict=True))
        figures[f"{family}: bf16 ours/theirs"] = ours / theirs if theirs else math.inf
        goals[f"{family}: bf16 ours/theirs"] = NO_FARTHER
    return Report("families", figures, goals)


def page_table(rows: Sequence[Row]) -> str:
    """The table of docs/families.md."""
    lines = [
        "| family | task | fp32: largest difference | bf16: ours from fp32 | bf16: the pipeline from fp32 | verified |",
        "| --- | --- | ---: | ---: | ---: | --- |",
    ]
    for row in rows:
        met = row.difference <= CLOSE[1]
        mark = "on tiny weights" if met else "**no: differs**"
        lines.append(
            f"| {title_of(row.family)} | {row.task} | {row.difference:.1e} | {row.ours_bf16:.1e} "
            f"| {row.theirs_bf16:.1e} | {mark} |"
        )
    return "\n".join(lines)


def recommended_table() -> str:
    """What each family recommends, for docs/families.md."""
    lines = ["| family | size | steps | guidance | sampler | schedule | edges in |", "| --- " * 7 + "|"]
    for family, own in FAMILIES.items():
        guidance = f"{own.cfg:g}" if own.supports_negative else f"{own.cfg:g} (no negative prompt)"
        lines.append(
            f"| {title_of(family)} | {own.width}×{own.height} | {own.steps} | {guidance} "
            f"| {SAMPLER_LABELS[own.sampler]} | {SCHEDULE_LABELS[own.scheduler]} | {own.multiple} px |"
        )
    return "\n".join(lines)


def write_page(rows: Sequence[Row], page: Path = PAGE) -> None:
    """Put the tables between the marks of the page; the words around them are written by hand."""
    text = page.read_text(encoding="utf-8")
    for name, table in (("recommended", recommended_table()), ("verified", page_table(rows))):
        start, end = MARK.format(name=name, edge="start"), MARK.format(name=name, edge="end")
        before, _, rest = text.partition(start)
        text = f"{before}{start}\n{table}\n{end}{rest.partition(end)[2]}"
    page.write_text(text, encoding="utf-8")


def run(page: Path | None = PAGE) -> Report:
    """All families that have a module in tests/families; the table goes to `page` (None: nowhere)."""
    rows: list[Row] = []
    with tempfile.TemporaryDirectory(prefix="tessera-families-") as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # diffusers', of its own Chroma
        for family in room.families():
            rows += measured(family, Path(folder) / family)
    if page is not None:
        write_page(rows, page)
    return report(rows)
