"""Family sd2: Stable Diffusion 2.x, base (ε) and 768 (v), in-painting, and depth.

OpenCLIP-H read before its last layer: diffusers' layout leaves that layer out of the model, so that the encoder's own
end, with its norm, is the one to read. Everything else is sd15's; the reference is the same pipelines.
"""

from __future__ import annotations

from engine.families.sd15 import StableDiffusion15
from engine.families.unet_family import ClipPart


class StableDiffusion2(StableDiffusion15):
    """A loaded sd2 model."""

    name = "sd2"
    clips = (ClipPart("clip_h"),)
