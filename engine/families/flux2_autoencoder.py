"""The autoencoder of Flux.2 (AutoencoderKLFlux2): latents of 2 × 2 cells folded into channels and normalised.

Latents are [B, 128, H/16, W/16] with mean 0 and spread 1 for each channel, as its batch norm kept them in training. The
reference is diffusers' Flux2Pipeline.
"""

from __future__ import annotations

from typing import Any

import torch

from engine.families.autoencoder import VAEPart
from engine.families.protocol import LatentSpace

FLUX2_SPACE = "flux2"


class Flux2Autoencoder(VAEPart):
    """AutoencoderKLFlux2."""

    @property
    def latent_space(self) -> LatentSpace:
        config = self._parts("vae").config
        rows, columns = config.patch_size
        factor = 2 ** (len(config.block_out_channels) - 1) * int(rows)
        return LatentSpace(FLUX2_SPACE, int(config.latent_channels) * int(rows) * int(columns), factor)

    @torch.no_grad()
    def encode(self, pixels: torch.Tensor) -> torch.Tensor:
        """float32 [B, 3, H, W] in −1..1 → latents in model space, the mean of the encoder's distribution."""
        vae = self._parts("vae")
        mean, spread = _statistics(vae)
        items = [vae.encode(item[None].to(self._device, vae.dtype)).latent_dist.mode().float().cpu() for item in pixels]
        return (folded(torch.cat(items)) - mean) / spread

    @torch.no_grad()
    def decode(self, samples: torch.Tensor) -> torch.Tensor:
        """Latents in model space → float32 [B, 3, H, W] in about −1..1."""
        vae = self._parts("vae")
        mean, spread = _statistics(vae)
        plain = unfolded(samples.float().cpu() * spread + mean)
        items = [vae.decode(item[None].to(self._device, vae.dtype), return_dict=False)[0] for item in plain]
        return torch.cat(items).float().cpu()


def folded(latents: torch.Tensor) -> torch.Tensor:
    """[B, C, 2h, 2w] → [B, 4C, h, w]."""
    batch, channels, height, width = latents.shape
    cells = latents.reshape(batch, channels, height // 2, 2, width // 2, 2).permute(0, 1, 3, 5, 2, 4)
    return cells.reshape(batch, channels * 4, height // 2, width // 2)


def unfolded(latents: torch.Tensor) -> torch.Tensor:
    """[B, 4C, h, w] → [B, C, 2h, 2w]."""
    batch, channels, height, width = latents.shape
    cells = latents.reshape(batch, channels // 4, 2, 2, height, width).permute(0, 1, 4, 2, 5, 3)
    return cells.reshape(batch, channels // 4, height * 2, width * 2)


def _statistics(vae: Any) -> tuple[torch.Tensor, torch.Tensor]:
    """(mean, spread) of each channel, float32 [1, C, 1, 1]."""
    mean = vae.bn.running_mean.float().cpu().view(1, -1, 1, 1)
    spread = torch.sqrt(vae.bn.running_var.float().cpu().view(1, -1, 1, 1) + vae.config.batch_norm_eps)
    return mean, spread
