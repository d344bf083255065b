"""Accuracy of a starter model on the held-out prompts, attribute by attribute.

python -m engine.training.starter.evaluate FOLDER [--sampler NAME] [--steps N] [--cfg X] [--quick] [--sheet FILE]
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from engine.training.starter.judge import judge, judge_inpainting
from engine.training.starter.painter import DiffusersPainter, Painter, Settings
from engine.training.starter.perception import Picture
from engine.training.starter.prompts import HeldOut, held_out_prompts, inpainting_tasks
from engine.training.starter.sheet import write_sheet

GOALS = {
    "background": 0.98,
    "colour": 0.98,
    "position": 0.98,
    "count": 0.97,
    "shape": 0.97,
    "two_objects": 0.85,
    "landscape_parts": 0.85,
    "inpainting": 0.80,
}
"""The least share of right pictures that the starter model shall reach."""

LANDSCAPE_PARTS = ("house", "tree", "boat", "mountains")


@dataclass
class Accuracy:
    """How often each attribute was right, over how many times it was asked for."""

    right: Counter[str] = field(default_factory=Counter)
    asked: Counter[str] = field(default_factory=Counter)
    seconds_per_picture: float = 0.0

    def add(self, attribute: str, correct: bool) -> None:
        self.asked[attribute] += 1
        self.right[attribute] += correct
        if attribute in LANDSCAPE_PARTS:
            self.add("landscape_parts", correct)

    def share(self, attribute: str) -> float:
        return self.right[attribute] / self.asked[attribute]

    def shares(self) -> dict[str, float]:
        return {attribute: self.share(attribute) for attribute in self.asked}

    def score(self) -> float:
        """One number to compare snapshots by: mean progress towards the goals, 1 when all are met."""
        known = [goal for goal in GOALS if self.asked[goal]]
        return sum(min(1.0, self.share(goal) / GOALS[goal]) for goal in known) / len(known)

    def table(self) -> str:
        """A Markdown table of all attributes, those with a goal first."""
        lines = ["| attribute | right | share | goal | met |", "| --- | --- | --- | --- | --- |"]
        for name in [*GOALS, *(other for other in self.asked if other not in GOALS)]:
            if not self.asked[name]:
                continue
            share = self.share(name)
            goal = GOALS.get(name)
            met = "" if goal is None else "yes" if share >= goal else "no"
            aim = "" if goal is None else f"≥ {goal:.0%}"
            lines.append(
                f"| {name.replace('_', ' ')} | {self.right[name]}/{self.asked[name]} | {share:.1%} | {aim} | {met} |"
            )
        return "\n".join(lines)


def evaluate(
    painter: Painter, prompts: Sequence[HeldOut] | None = None, *, inpainting: int = 30
) -> tuple[Accuracy, list[Picture]]:
    """Paint and judge `prompts` (all, when None) and `inpainting` tasks. Returns the pictures of the prompts too."""
    prompts = held_out_prompts() if prompts is None else prompts
    accuracy = Accuracy()
    start = time.perf_counter()
    pictures = painter.paint(prompts)
    accuracy.seconds_per_picture = (time.perf_counter() - start) / max(1, len(pictures))
    for item, picture in zip(prompts, pictures, strict=True):
        for attribute, correct in judge(picture, item.scene).items():
            accuracy.add(attribute, correct)
    tasks = inpainting_tasks(painter.size, inpainting)
    for task, picture in zip(tasks, painter.inpaint(tasks), strict=True):
        for attribute, correct in judge_inpainting(picture, task.mask, task.asked, task.scene).items():
            accuracy.add(attribute, correct)
    return accuracy, pictures


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m engine.training.starter.evaluate", description=__doc__)
    parser.add_argument("folder", type=Path, help="a starter model folder in diffusers layout")
    parser.add_argument("--sampler", default="ddim", choices=sorted(DiffusersPainter.SAMPLERS))
    parser.add_argument("--steps", type=int, default=25)
    parser.add_argument("--cfg", type=float, default=2.0)
    parser.add_argument("--quick", action="store_true", help="a third of the prompts")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--sheet", type=Path, help="write the pictures there, as one")
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args(arguments)
    painter = DiffusersPainter(given.folder, Settings(given.steps, given.cfg, given.sampler), device=given.device)
    prompts = held_out_prompts(34, 24, 24) if given.quick else None
    accuracy, pictures = evaluate(painter, prompts, inpainting=12 if given.quick else 30)
    if given.sheet:
        write_sheet(given.sheet, pictures, columns=12)
    result = {"score": accuracy.score(), "seconds_per_picture": accuracy.seconds_per_picture, **accuracy.shares()}
    sys.stdout.write(json.dumps(result) + "\n" if given.json else f"{accuracy.table()}\nscore {result['score']:.4f}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
