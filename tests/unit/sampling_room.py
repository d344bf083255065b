"""What the sampling tests share: a context over the real starter model or a tiny random one, and the plain chain."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from engine.contracts.errors import Cancelled
from engine.graph.values import LatentValue
from engine.nodes.condition.text import encode_text
from engine.nodes.latent.empty import empty
from engine.nodes.latent.picture import decode_image
from engine.nodes.load.checkpoint import checkpoint
from engine.nodes.sample.k_sampler import k_sampler
from tests.benchmarks.parity import Context
from tests.benchmarks.tiny_models import STARTER

PROMPT = "a red circle on a blue background"


class Recorder(Context):
    """A context that keeps frames, and can want them or cancel after some steps."""

    def __init__(self, folder: Path = STARTER) -> None:
        super().__init__(folder)
        self.frames: list[npt.NDArray[np.uint8]] = []
        self.watching = False
        self.cancel_after: int | None = None

    @property
    def wants_preview(self) -> bool:  # type: ignore[override]
        return self.watching

    def preview(self, frame: npt.NDArray[np.uint8]) -> None:
        self.frames.append(frame)

    def check_cancelled(self) -> None:
        done = sum(1 for step, _ in self.steps if step > 0)
        if self.cancel_after is not None and done >= self.cancel_after:
            raise Cancelled


def handles(ctx: Any, prompt: str = PROMPT, negative: str = "") -> tuple[Any, Any, Any, Any]:
    """(model, vae, positive, negative)."""
    model, clip, vae = checkpoint(ctx)
    return model, vae, encode_text(ctx, clip, prompt), encode_text(ctx, clip, negative)


def make_latent(ctx: Any, *, edge: int, batch: int = 1, prompt: str = PROMPT, **settings: Any) -> LatentValue:
    model, _, positive, negative = handles(ctx, prompt)
    latent = settings.pop("latent", None) or empty(ctx, edge, edge, batch)
    return k_sampler(ctx, model, positive, negative, latent, **settings)


def make_picture(ctx: Any, *, edge: int, **settings: Any) -> npt.NDArray[np.float32]:
    _, vae, _, _ = handles(ctx)
    return decode_image(ctx, vae, make_latent(ctx, edge=edge, **settings))
