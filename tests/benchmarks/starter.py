"""How well the shipped starter model follows prompts, through the studio's own engine: recipe, graph, sampler, nodes.

Accuracy by the rule-based judge on 220 held-out prompts (100 single figures, 60 pairs, 60 landscapes) and 30
inpainting tasks, with the model's own default settings; seconds per picture, one at a time; and its size on disk.
"""

from __future__ import annotations

import hashlib
import statistics
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from engine.contracts.errors import MissingModel
from engine.contracts.references import BlobRef, ModelRef
from engine.graph.cache import ValueCache
from engine.graph.execute import execute
from engine.graph.registry import Registry
from engine.graph.services import Services
from engine.media.images import decode, encode
from engine.models.fingerprint import identify_folder
from engine.recipes.build import build
from engine.recipes.recommended import Recommended
from engine.recipes.request import ImageRequest
from engine.training.starter.evaluate import GOALS, evaluate
from engine.training.starter.perception import Picture
from engine.training.starter.prompts import HeldOut, InpaintingTask, held_out_prompts
from tests.benchmarks.harness import Goal, Report

MODEL = Path(__file__).resolve().parents[2] / "resources" / "starter_model"
CACHE_BYTES = 1 << 26


class _Room:
    """Blobs in memory, and one model."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._blobs: dict[str, bytes] = {}

    def read(self, ref: BlobRef) -> bytes:
        if ref.sha256 not in self._blobs:
            raise MissingModel(f"there is no file {ref.name}")
        return self._blobs[ref.sha256]

    def write(self, data: bytes, media_type: str, name: str = "") -> BlobRef:
        digest = hashlib.sha256(data).hexdigest()
        self._blobs[digest] = data
        return BlobRef(sha256=digest, media_type=media_type, size=len(data), name=name)

    def locate(self, ref: ModelRef) -> Path:
        return self._folder

    def list(self, kind: str) -> list[ModelRef]:
        return [ModelRef(kind="checkpoint", name="starter")] if kind == "checkpoint" else []


class EnginePainter:
    """Makes pictures as Create and the command line do: a request, its recipe, one job each."""

    def __init__(self, folder: Path = MODEL) -> None:
        from engine.sampling.session import Session

        defaults = identify_folder(folder).defaults
        self.size = defaults.width
        self.seconds: list[float] = []
        self._recommended = Recommended(
            width=defaults.width,
            height=defaults.height,
            steps=defaults.steps,
            cfg=defaults.cfg,
            sampler=defaults.sampler,
            scheduler=defaults.scheduler,
            multiple=defaults.multiple,
            minimum=defaults.minimum,
            maximum=defaults.maximum,
        )
        self._room = _Room(folder)
        self._services = Services(self._room, self._room, session=lambda: Session(self._room))
        self._registry = Registry.builtin()
        self._cache = ValueCache(CACHE_BYTES)

    def paint(self, prompts: Sequence[HeldOut]) -> list[Picture]:
        return [self._run(ImageRequest(prompt=item.prompt, seed=item.seed)) for item in prompts]

    def inpaint(self, tasks: Sequence[InpaintingTask]) -> list[Picture]:
        made = []
        for task in tasks:
            init = self._store(task.picture, "init")
            mask = self._store(np.repeat(task.mask[..., None], 3, 2).astype(np.uint8) * 255, "mask")
            request = ImageRequest(prompt=task.prompt, seed=task.seed, init=init, mask=mask, strength=1.0)
            made.append(self._run(request))
        return made

    def _store(self, picture: Picture, name: str) -> BlobRef:
        data = encode(picture.astype(np.float32) / 255, "png", 100, {})
        return self._room.write(data, "image/png", f"{name}.png")

    def _run(self, request: ImageRequest) -> Picture:
        start = time.perf_counter()
        spec = build(request, self._recommended)
        result = execute(spec, registry=self._registry, services=self._services, cache=self._cache)
        self.seconds.append(time.perf_counter() - start)
        if result.outcome != "succeeded":
            raise result.error or RuntimeError(f"the job {result.outcome}")
        pixels = decode(result.artifacts[0][1].data, "result.png")
        return np.round(pixels[..., :3] * 255).astype(np.uint8)


def run(singles: int = 100, pairs: int = 60, landscapes: int = 60, inpainting: int = 30) -> Report:
    """Paint and judge; fewer prompts than all give a quick look."""
    painter = EnginePainter()
    accuracy, _ = evaluate(painter, held_out_prompts(singles, pairs, landscapes), inpainting=inpainting)
    figures = {name: round(share, 4) for name, share in accuracy.shares().items()}
    figures["prompts"] = float(singles + pairs + landscapes)
    figures["inpainting_tasks"] = float(inpainting)
    figures["first_picture_s"] = round(painter.seconds[0], 3)
    figures["picture_s"] = round(statistics.median(painter.seconds[1:] or painter.seconds), 3)
    figures["size_mib"] = round(sum(file.stat().st_size for file in MODEL.rglob("*") if file.is_file()) / 2**20, 2)
    goals: dict[str, Goal] = {name: (">=", share) for name, share in GOALS.items()}
    return Report("starter", figures, goals, notes=["Shares of 1, judged by engine/training/starter/judge.py."])
