"""The lossy step cache on the starter: how many calls of the network it leaves out, and how far the picture moves.

Scenes at 64 × 64, guidance 7, by threshold and sampler: calls left out as a share of all, the middle and the
worst PSNR against the exact picture of the same seed, and the time of sampling as a share of the exact one's.
"""

from __future__ import annotations

import math
import statistics
import time
from typing import Any

import numpy as np
import numpy.typing as npt

from engine.graph.numerics import noting
from engine.nodes.condition.text import encode_text
from engine.nodes.latent.empty import empty
from engine.nodes.latent.picture import decode_image
from engine.nodes.load.checkpoint import checkpoint
from engine.nodes.model.patches import step_cache
from engine.nodes.sample.k_sampler import k_sampler
from tests.benchmarks.harness import Goal, Report
from tests.benchmarks.parity import Context
from tests.benchmarks.tiny_models import STARTER

SCENES = (
    "a red circle on a blue background", "snowy mountains under a starry sky", "a wide beach",
    "a green triangle on a white background",
)  # fmt: skip
THRESHOLDS = (0.05, 0.1, 0.2, 0.4)
SAMPLERS = ("euler", "dpmpp_2m", "euler_ancestral")
GOALS: dict[str, Goal] = {
    "euler_0.1_psnr_db": (">=", 40.0),
    "euler_0.2_left_out": (">=", 0.3),
    "euler_0.2_psnr_db": (">=", 35.0),
}


def run(steps: int = 20, scenes: int = 4, edge: int = 64) -> Report:
    """`steps` of each run, the number of `scenes`, the pictures' `edge` in pixels."""
    context: Any = Context(STARTER)
    model, clip, vae = checkpoint(context)
    nothing = encode_text(context, clip, "")

    def made(model: Any, scene: int, sampler: str) -> tuple[npt.NDArray[np.float32], float, float]:
        """(the picture, seconds of sampling, share of calls left out)."""
        prompt, notes = encode_text(context, clip, SCENES[scene]), dict[str, Any]()
        begun = time.perf_counter()
        with noting(notes):
            latent = k_sampler(
                context, model, prompt, nothing, empty(context, edge, edge, 1), seed=scene, steps=steps, cfg=7.0,
                sampler=sampler, scheduler="normal",
            )  # fmt: skip
        seconds = time.perf_counter() - begun
        words = str(notes.get("step_cache", ", 0 of 1 calls")).split(", ")[1].split()
        return np.clip(decode_image(context, vae, latent), 0, 1), seconds, int(words[0]) / int(words[2])

    figures: dict[str, float] = {}
    for sampler in SAMPLERS:
        exact = [made(model, scene, sampler) for scene in range(scenes)]
        for threshold in THRESHOLDS:
            patched = step_cache(context, model, threshold=threshold)
            found = [made(patched, scene, sampler) for scene in range(scenes)]
            likeness = [_psnr(one[0], other[0]) for one, other in zip(found, exact, strict=True)]
            name = f"{sampler}_{threshold:g}"
            figures[f"{name}_left_out"] = round(statistics.mean(one[2] for one in found), 3)
            figures[f"{name}_psnr_db"] = round(statistics.median(likeness), 1)
            figures[f"{name}_worst_db"] = round(min(likeness), 1)
            figures[f"{name}_time"] = round(sum(one[1] for one in found) / sum(one[1] for one in exact), 2)
    return Report(
        "step_cache", figures, GOALS, notes=[f"{scenes} scenes, {steps} steps, from 0.15 to 0.95 of the run."]
    )


def _psnr(one: npt.NDArray[np.float32], other: npt.NDArray[np.float32]) -> float:
    """dB; 99 for equal pictures."""
    error = float(np.mean((one - other) ** 2))
    return 99.0 if error == 0 else -10 * math.log10(error)
