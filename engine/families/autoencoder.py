"""The autoencoder of Stable Diffusion (AutoencoderKL): pictures to latents and back. Its reference is diffusers'."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

import torch

from engine.families.protocol import LatentSpace

STANDARD_SCALING = 0.18215

Parts: TypeAlias = Callable[[str], Any]


class KLAutoencoder:
    """`parts("vae")` gives the module and loads it when first asked."""

    def __init__(self, parts: Parts, device: torch.device) -> None:
        self._parts = parts
        self._device = device

    @property
    def device(self) -> torch.device:
        return self._device

    @property
    def latent_space(self) -> LatentSpace:
        config = self._parts("vae").config
        scaling = float(config.scaling_factor)
        # Latents of an autoencoder trained apart (the starter model's) mean nothing to Stable Diffusion's own.
        same = abs(scaling - STANDARD_SCALING) < 1e-9 and config.latent_channels == 4
        factor = 2 ** (len(config.block_out_channels) - 1)
        return LatentSpace("sd15" if same else f"sd15-{scaling:.6g}", int(config.latent_channels), factor)

    @torch.no_grad()
    def encode(self, pixels: torch.Tensor) -> torch.Tensor:
        """float32 [B, 3, H, W] in −1..1 → latents in model space, the mean of the encoder's distribution."""
        vae = self._parts("vae")
        items = [
            vae.encode(item[None].to(self._device, vae.dtype)).latent_dist.mode() * vae.config.scaling_factor
            for item in pixels
        ]
        return torch.cat(items).float().cpu()

    @torch.no_grad()
    def decode(self, samples: torch.Tensor) -> torch.Tensor:
        """Latents in model space → float32 [B, 3, H, W] in about −1..1."""
        vae = self._parts("vae")
        # Item by item: memory stays that of one picture, and a picture decodes alike alone and in company.
        items = [
            vae.decode(item[None].to(self._device, vae.dtype) / vae.config.scaling_factor, return_dict=False)[0]
            for item in samples
        ]
        return torch.cat(items).float().cpu()
