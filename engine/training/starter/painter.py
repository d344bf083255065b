"""Makes pictures with a starter model folder through diffusers' own pipelines, to judge snapshots during training.

The released figures come from the studio's engine instead (`tests/benchmarks/starter.py`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Protocol

import numpy as np

from engine.training.starter.perception import Picture
from engine.training.starter.prompts import HeldOut, InpaintingTask


class Painter(Protocol):
    """Anything that makes pictures for prompts: uint8 [size, size, 3] each."""

    size: int

    def paint(self, prompts: Sequence[HeldOut]) -> list[Picture]: ...

    def inpaint(self, tasks: Sequence[InpaintingTask]) -> list[Picture]: ...


@dataclass(frozen=True)
class Settings:
    """How to sample. `sampler`: one of `DiffusersPainter.SAMPLERS`."""

    steps: int = 25
    cfg: float = 2.0
    sampler: str = "ddim"


class DiffusersPainter:
    """Loads the folder in float32 and samples on `device`, `batch` pictures at a time."""

    SAMPLERS: ClassVar[dict[str, str]] = {
        "ddim": "DDIMScheduler",
        "euler": "EulerDiscreteScheduler",
        "euler_ancestral": "EulerAncestralDiscreteScheduler",
        "heun": "HeunDiscreteScheduler",
        "dpmpp_2m": "DPMSolverMultistepScheduler",
        "uni_pc": "UniPCMultistepScheduler",
    }

    def __init__(self, folder: Path, settings: Settings | None = None, *, device: str = "cpu", batch: int = 8) -> None:
        import diffusers
        import torch

        self._settings = settings or Settings()
        self._batch = batch
        self._pipeline: Any = diffusers.StableDiffusionPipeline.from_pretrained(
            str(folder), dtype=torch.float32, local_files_only=True
        ).to(device)
        scheduler = getattr(diffusers, self.SAMPLERS[self._settings.sampler])
        self._pipeline.scheduler = scheduler.from_config(self._pipeline.scheduler.config)
        self._pipeline.set_progress_bar_config(disable=True)
        self._inpainting: Any = diffusers.StableDiffusionInpaintPipeline(
            **self._pipeline.components, requires_safety_checker=False
        )
        self._inpainting.set_progress_bar_config(disable=True)
        self.size = int(self._pipeline.vae.config.sample_size)

    def paint(self, prompts: Sequence[HeldOut]) -> list[Picture]:
        pictures: list[Picture] = []
        for start in range(0, len(prompts), self._batch):
            part = prompts[start : start + self._batch]
            pictures += self._run(self._pipeline, [item.prompt for item in part], [item.seed for item in part])
        return pictures

    def inpaint(self, tasks: Sequence[InpaintingTask]) -> list[Picture]:
        """Outside the mask the pictures are the originals."""
        from PIL import Image

        pictures: list[Picture] = []
        for task in tasks:
            made = self._run(
                self._inpainting,
                [task.prompt],
                [task.seed],
                image=Image.fromarray(task.picture),
                mask_image=Image.fromarray(task.mask.astype(np.uint8) * 255),
                strength=1.0,
            )[0]
            pictures.append(np.where(task.mask[..., None], made, task.picture).astype(np.uint8))
        return pictures

    def _run(self, pipeline: Any, prompts: list[str], seeds: list[int], **more: Any) -> list[Picture]:
        import torch

        made = pipeline(
            prompts,
            num_inference_steps=self._settings.steps,
            guidance_scale=self._settings.cfg,
            generator=[torch.Generator().manual_seed(seed) for seed in seeds],
            height=self.size,
            width=self.size,
            output_type="np",
            **more,
        ).images
        return [np.round(picture * 255).astype(np.uint8) for picture in made]
