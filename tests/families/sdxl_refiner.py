"""SDXL's refiner: a picture touched up, and the end of a run that the base model began."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from tests.families import room, sdxl
from tests.families.room import Case, Ours, Picture

SETTINGS = Ours()
LONG = Ours(steps=5)
HANDED = 3  # steps of LONG that the base model does
PIPELINES = {name: sdxl.PIPELINES[name] for name in ("img2img", "inpaint")}


def tiny(folder: Path) -> Path:
    sdxl.write(folder / "base")
    sdxl.write_unet(folder / "unet", channels=4, numbers=5, width=40)
    room.write_autoencoder(folder / "vae", scaling_factor=0.13025)
    words = room.write_clip_tokenizer(folder / "tokenizer_2")
    sdxl.write_second_encoder(folder, words)
    sdxl.write_scheduler(folder, "EulerDiscreteScheduler")
    absent = {"text_encoder": [None, None], "tokenizer": [None, None]}
    settings = {"requires_aesthetics_score": True, "force_zeros_for_empty_prompt": False}
    return room.write_index(folder, PIPELINES["img2img"], **settings, **absent)


def cases(folder: Path) -> list[Case]:
    return [*room.standard_cases(folder, "sdxl_refiner", PIPELINES, SETTINGS), hand_over_case(folder)]


def hand_over_case(folder: Path) -> Case:
    """The base model's first steps and the refiner's last: denoising_end and denoising_start of diffusers."""

    def ours(dtype: torch.dtype) -> Picture:
        from engine.nodes.latent.empty import empty
        from engine.nodes.latent.picture import decode_image
        from engine.nodes.sample.k_sampler import k_sampler_advanced

        base, refiner = _both(folder, dtype)
        latent = empty(base.ctx, room.EDGE, room.EDGE, 1)
        settings: dict[str, Any] = {
            "seed": room.seed(), "steps": LONG.steps, "cfg": LONG.cfg, "sampler": LONG.sampler,
            "scheduler": LONG.scheduler,
        }  # fmt: skip
        latent = k_sampler_advanced(
            base.ctx, base.handles()[0], *room.prompts(base, LONG), latent, True, end_step=HANDED,
            return_with_leftover_noise=True, **settings,
        )  # fmt: skip
        latent = k_sampler_advanced(
            refiner.ctx,
            refiner.handles()[0],
            *room.prompts(refiner, LONG),
            latent,
            False,
            start_step=HANDED,
            **settings,
        )
        return decode_image(refiner.ctx, refiner.handles()[2], latent)

    def reference(dtype: torch.dtype) -> Picture:
        base, refiner = _both(folder, dtype)
        share = HANDED / LONG.steps
        latents: Any = room.run_pipeline(
            base, sdxl.PIPELINES["txt2img"], "txt2img", LONG, more={"denoising_end": share, "output_type": "latent"}
        )
        return room.run_pipeline(
            refiner, PIPELINES["img2img"], "txt2img", LONG,
            more={"denoising_start": share, "image": latents},
        )  # fmt: skip

    return Case("hand-over", ours, reference)


def _both(folder: Path, dtype: torch.dtype) -> tuple[room.Tiny, room.Tiny]:
    return room.opened(folder / "base", "sdxl", dtype), room.opened(folder, "sdxl_refiner", dtype)
