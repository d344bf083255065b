"""Memory that runs out at 500 moments of jobs on a simulated card: what became of each.

Tiny models of six families in every way of keeping their weights, also while they are loaded, merged with a LoRA,
quantised, encoded for and enlarged. A moment is one allocation, two in a row, three anywhere, all above a size, or one
or two in main memory. Each ends in the picture, or in a refusal that says what would fit; nothing stays on the card,
and the next job makes the picture. "to rounding" are pictures that needed sides of the guidance, or pictures, made one
after the other, as their records say. Whatever else is "wrong", and ends the scene it happened in.
"""

from __future__ import annotations

import tempfile
import time
from collections import Counter
from pathlib import Path

from tests.benchmarks.harness import Goal, Report

POINTS = 500
GOALS: dict[str, Goal] = {"points": (">=", POINTS), "wrong": ("<=", 0), "cpu_s": ("<=", 240.0)}


def run() -> Report:
    import torch

    from tests.failure_room import SCENES, folders, run_points, shared

    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # tiny layers: more of them only wait for each other
    begun = time.process_time()
    ended: Counter[str] = Counter()
    notes: list[str] = []
    try:
        with tempfile.TemporaryDirectory(prefix="tessera-failures-") as root:
            models = folders(Path(root), {scene.family for scene in SCENES})
            for seed, scene, count in shared(POINTS):
                start = time.process_time()
                try:
                    mine = run_points(models, scene, count, seed)
                except AssertionError as error:
                    mine = Counter(wrong=1)
                    notes.append(f"{scene.name}: {error}")
                ended += mine
                notes.append(f"{scene.name:36} {dict(mine)} {time.process_time() - start:.1f} s")
    finally:
        torch.set_num_threads(threads)
    figures = {
        "points": float(sum(ended.values())), "wrong": float(ended["wrong"]), "equal": float(ended["equal"]),
        "to_rounding": float(ended["to rounding"]), "refused": float(ended["refused"]),
        "cpu_s": time.process_time() - begun,
    }  # fmt: skip
    return Report("failures", figures, GOALS, notes)
