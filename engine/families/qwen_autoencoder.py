"""The autoencoder of Qwen-Image (AutoencoderKLQwenImage): made for video, used for single pictures.

Its frames axis stays inside: pictures are [B, 3, H, W] and latents [B, 16, h, w], each channel brought to mean 0 and
spread 1 by the numbers in its configuration. The reference is diffusers' QwenImagePipeline.
"""

from __future__ import annotations

from typing import Any

import torch

from engine.families.autoencoder import VAEPart
from engine.families.protocol import LatentSpace

QWEN_SPACE = "qwen_image"


class QwenAutoencoder(VAEPart):
    """AutoencoderKLQwenImage."""

    @property
    def latent_space(self) -> LatentSpace:
        config = self._parts("vae").config
        return LatentSpace(QWEN_SPACE, int(config.z_dim), 2 ** len(config.temperal_downsample))

    @torch.no_grad()
    def encode(self, pixels: torch.Tensor) -> torch.Tensor:
        """float32 [B, 3, H, W] in −1..1 → latents in model space, the mean of the encoder's distribution."""
        vae = self._parts("vae")
        mean, spread = _statistics(vae.config)
        items = [
            vae.encode(item[None, :, None].to(self._device, vae.dtype)).latent_dist.mode()[:, :, 0].float().cpu()
            for item in pixels
        ]
        return (torch.cat(items) - mean) / spread

    @torch.no_grad()
    def decode(self, samples: torch.Tensor) -> torch.Tensor:
        """Latents in model space → float32 [B, 3, H, W] in −1..1."""
        vae = self._parts("vae")
        mean, spread = _statistics(vae.config)
        plain = samples.float().cpu() / (1.0 / spread) + mean  # in this order: to the bit as diffusers
        items = [
            vae.decode(item[None, :, None].to(self._device, vae.dtype), return_dict=False)[0][:, :, 0]
            for item in plain
        ]  # fmt: skip
        return torch.cat(items).float().cpu()


def _statistics(config: Any) -> tuple[torch.Tensor, torch.Tensor]:
    """(mean, spread) of each channel, float32 [1, C, 1, 1]."""
    mean, spread = (torch.tensor(values).view(1, -1, 1, 1) for values in (config.latents_mean, config.latents_std))
    return mean, spread
