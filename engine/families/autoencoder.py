"""The autoencoder of Stable Diffusion, SDXL, SD3 and Flux (AutoencoderKL): pictures to latents and back.

Its reference is diffusers': scaling, shift (SD3, Flux) and per-channel mean and spread (Playground) are read from the
config, as its pipelines do.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, TypeAlias

import torch

from engine.families.protocol import LatentSpace

# (channels, scaling factor) → whose latents those are. A decoder means nothing to latents of another one.
_KNOWN: Mapping[tuple[int, float], str] = MappingProxyType(
    {(4, 0.18215): "sd15", (4, 0.13025): "sdxl", (16, 1.5305): "sd3", (16, 0.3611): "flux"}
)

Parts: TypeAlias = Callable[[str], Any]


class VAEPart:
    """What every autoencoder here is: `parts("vae")` gives the module and loads it when first asked."""

    def __init__(self, parts: Parts, device: torch.device) -> None:
        self._parts = parts
        self._device = device

    @property
    def device(self) -> torch.device:
        return self._device


class KLAutoencoder(VAEPart):
    """AutoencoderKL."""

    @property
    def latent_space(self) -> LatentSpace:
        config = self._parts("vae").config
        scaling, channels = float(config.scaling_factor), int(config.latent_channels)
        known = _KNOWN.get((channels, round(scaling, 9)))
        # Latents of an autoencoder trained apart (the starter model's) mean nothing to Stable Diffusion's own.
        kind = "sd15" if channels == 4 else f"kl{channels}"
        factor = 2 ** (len(config.block_out_channels) - 1)
        return LatentSpace(known or f"{kind}-{scaling:.6g}", channels, factor)

    @torch.no_grad()
    def encode(self, pixels: torch.Tensor) -> torch.Tensor:
        """float32 [B, 3, H, W] in −1..1 → latents in model space, the mean of the encoder's distribution."""
        vae = self._vae()
        items = [
            _scaled(vae.encode(item[None].to(self._device, vae.dtype)).latent_dist.mode().float(), vae.config)
            for item in pixels
        ]
        return torch.cat(items).cpu()

    @torch.no_grad()
    def decode(self, samples: torch.Tensor) -> torch.Tensor:
        """Latents in model space → float32 [B, 3, H, W] in about −1..1."""
        vae = self._vae()
        # Item by item: memory stays that of one picture, and a picture decodes alike alone and in company.
        items = [
            vae.decode(_unscaled(item[None].to(self._device).float(), vae.config).to(vae.dtype), return_dict=False)[0]
            for item in samples
        ]
        return torch.cat(items).float().cpu()

    def _vae(self) -> Any:
        # SDXL's runs over in half precision: engine.models.loading gives it in float32.
        return self._parts("vae")


def _scaled(latent: torch.Tensor, config: Any) -> torch.Tensor:
    """A latent as the encoder gives it → as the denoiser sees it."""
    moments = _moments(config, latent)
    if moments is not None:
        return (latent - moments[0]) * float(config.scaling_factor) / moments[1]
    shift = getattr(config, "shift_factor", None)
    return (latent - float(shift) if shift else latent) * float(config.scaling_factor)


def _unscaled(latent: torch.Tensor, config: Any) -> torch.Tensor:
    """Back again."""
    moments = _moments(config, latent)
    if moments is not None:
        return latent * moments[1] / float(config.scaling_factor) + moments[0]
    shift = getattr(config, "shift_factor", None)
    plain = latent / float(config.scaling_factor)
    return plain + float(shift) if shift else plain


def _moments(config: Any, like: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor] | None:
    """(mean, spread) of each channel, where an autoencoder has them."""
    mean, spread = getattr(config, "latents_mean", None), getattr(config, "latents_std", None)
    if mean is None or spread is None:
        return None
    shape = (1, -1, 1, 1)
    return torch.tensor(mean).reshape(shape).to(like), torch.tensor(spread).reshape(shape).to(like)
