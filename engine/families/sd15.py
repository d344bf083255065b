"""Family sd15: Stable Diffusion 1.x (2112.10752).

CLIP-L, UNet2DConditionModel with 4 or 9 channels, AutoencoderKL. The reference is diffusers' StableDiffusionPipeline,
…Img2ImgPipeline and …InpaintPipeline.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from engine.families.unet_family import ClipPart, UNetFamily


class StableDiffusion15(UNetFamily):
    """A loaded sd15 model."""

    name = "sd15"
    clips = (ClipPart("clip_l"),)
    pipelines: ClassVar[Mapping[str, str]] = {
        "txt2img": "StableDiffusionPipeline",
        "img2img": "StableDiffusionImg2ImgPipeline",
        "inpaint": "StableDiffusionInpaintPipeline",
    }
