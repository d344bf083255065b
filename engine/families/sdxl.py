"""Families sdxl and sdxl_refiner: Stable Diffusion XL (2307.01952), base, in-painting, turbo, lightning and LCM.

CLIP-L and OpenCLIP-bigG, both read before their last layer, side by side; the pooled output of bigG and six numbers
(size, crop and target) beside them. The refiner reads bigG only, and an aesthetic score in the target's place. The
reference is diffusers' StableDiffusionXLPipeline, …Img2ImgPipeline and …InpaintPipeline.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, ClassVar

import torch

from engine.contracts.errors import InvalidRequest
from engine.families.protocol import BindRequest
from engine.families.unet import Added
from engine.families.unet_family import ClipPart, UNetFamily
from engine.graph.values import ConditioningEntry

SIZE, SCORE = "size", "aesthetic_score"
GOOD, POOR = 6.0, 2.5  # the scores that diffusers tells the refiner for the two sides
_CLIP_G = ClipPart("clip_g", "text_encoder_2", "tokenizer_2", penultimate=True)


class StableDiffusionXL(UNetFamily):
    """A loaded sdxl model.

    Extras of a prompt: "size" (width, height, crop x, crop y, target width, target height), by default the size of the
    run, uncropped; "aesthetic_score" for the refiner, by default 6.0, and 2.5 on the negative side.
    """

    name = "sdxl"
    clips: ClassVar[tuple[ClipPart, ...]] = (ClipPart("clip_l", penultimate=True), _CLIP_G)
    restore_mean = False
    pipelines: ClassVar[Mapping[str, str]] = {
        "txt2img": "StableDiffusionXLPipeline",
        "img2img": "StableDiffusionXLImg2ImgPipeline",
        "inpaint": "StableDiffusionXLInpaintPipeline",
    }

    def _check(self, entry: ConditioningEntry, config: Any) -> None:
        super()._check(entry, config)
        if entry.pooled is None:
            raise InvalidRequest(
                f"the prompt has no summary (pooled output), which {self._title} reads beside its words",
                where="conditioning", fix="Encode it with the CLIP of the same checkpoint",
            )  # fmt: skip

    def _added(self, request: BindRequest, config: Any) -> Callable[[ConditioningEntry, bool], Added]:
        factor = self.latent_space.factor
        run = (request.shape[3] * factor, request.shape[2] * factor)

        def added(entry: ConditioningEntry, negative: bool) -> Added:
            assert entry.pooled is not None  # _check has seen to it
            numbers = (int(config.projection_class_embeddings_input_dim) - entry.pooled.shape[-1]) // int(
                config.addition_time_embed_dim
            )
            ids = _time_ids(dict(entry.extras), run, negative, scored=numbers == 5)
            return {"text_embeds": entry.pooled, "time_ids": torch.tensor([ids])}

        return added

    def _pipeline_settings(self) -> dict[str, Any]:
        return {"add_watermarker": False}


class StableDiffusionXLRefiner(StableDiffusionXL):
    """A loaded refiner: the last fifth of a run (`k_sampler_advanced` hands over), or a picture to touch up."""

    name = "sdxl_refiner"
    clips = (_CLIP_G,)

    def _pipeline_settings(self) -> dict[str, Any]:
        return {
            "add_watermarker": False, "requires_aesthetics_score": True, "text_encoder": None, "tokenizer": None,
        }  # fmt: skip


def _time_ids(extras: Mapping[str, Any], run: tuple[int, int], negative: bool, *, scored: bool) -> list[float]:
    """The numbers a prompt tells, in the network's order: height before width, y before x."""
    width, height, x, y, target_width, target_height = extras.get(SIZE, (*run, 0, 0, *run))
    if scored:
        score = extras.get(SCORE, POOR if negative else GOOD)
        return [float(height), float(width), float(y), float(x), float(score)]
    return [float(height), float(width), float(y), float(x), float(target_height), float(target_width)]
