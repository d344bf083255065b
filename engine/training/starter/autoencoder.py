"""Trains the autoencoder on crops of rendered scenes, from scratch or further.

The decoder sees latents with some noise on them, as a denoiser's are, so that little is told in what noise would hide.
When an autoencoder is trained further, its latents are held near what they were (`keep`), so that a denoiser trained on
the old ones soon follows; a channel that carries next to nothing is set free and called to use.
"""

from __future__ import annotations

import copy
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import numpy as np
from numpy.typing import NDArray

from engine.training.starter.model import Parts, Preset
from engine.training.starter.progress import (
    SYNC_EVERY,
    Budget,
    MovingAverage,
    Processes,
    generator_state,
    learning_rate,
    restore_generator,
)
from engine.training.starter.renderer import render
from engine.training.starter.scenes import random_scene

_CROP = 64
_NOISE = 0.12
_KEEP = 0.05
_USE = 0.02
_IDLE_BELOW = 0.2
"""Share of the usual standard deviation below which a latent channel counts as unused."""


class AutoencoderTraining:
    """One phase of training. `keep`: hold the latents near those of the autoencoder as it is now."""

    name = "autoencoder"

    def __init__(
        self,
        parts: Parts,
        preset: Preset,
        budget: Budget,
        *,
        keep: bool = False,
        decoder_only: bool = False,
        seed: int = 0,
        device: str = "cpu",
        bfloat16: bool = False,
        processes: Processes | None = None,
        peak_rate: float = 1.2e-3,
    ) -> None:
        import torch

        self._parts, self._preset, self._budget, self._device = parts, preset, budget, device
        self._processes = processes or Processes()
        self._bfloat16, self._peak, self._decoder_only = bfloat16, peak_rate, decoder_only
        self._vae = parts.vae.to(device).train().requires_grad_(True)
        self._rng = np.random.default_rng([seed, self._processes.rank, 1])
        self._noise = torch.Generator().manual_seed(seed * 1000 + self._processes.rank + 500)
        self._scaling = parts.scaling if keep or decoder_only else 1.0
        if decoder_only:
            self._vae.encoder.requires_grad_(False)
            self._vae.quant_conv.requires_grad_(False)
        self._before = copy.deepcopy(self._vae).eval().requires_grad_(False) if keep and not decoder_only else None
        self._kept = self._used_channels() if self._before is not None else []
        self._parameters = [parameter for parameter in self._vae.parameters() if parameter.requires_grad]
        self._optimiser = torch.optim.AdamW(self._parameters, lr=peak_rate, weight_decay=1e-4, betas=(0.9, 0.98))
        self._average = MovingAverage(self._parameters, decay=0.995)
        self.steps = 0
        self.loss = 0.0
        self.share = 0.0

    def step(self) -> None:
        """One update of the weights."""
        import torch

        for group in self._optimiser.param_groups:
            group["lr"] = learning_rate(self._peak, self.steps, self.share)
        loss = self._loss(self._crops())
        self._optimiser.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self._parameters, 1.0)
        self._optimiser.step()
        self.steps += 1
        self.share = self._processes.share(self._budget, self.steps, self.share)
        self.loss = float(loss.detach()) if self.steps == 1 else self.loss * 0.99 + float(loss.detach()) * 0.01
        if self.steps % SYNC_EVERY == 0:
            self._processes.average(self._parameters)
        self._average.update(self.steps)

    def averaged(self) -> MovingAverage:
        """The average of the weights, which is what is saved as a model."""
        return self._average

    def finish(self) -> None:
        """Leave the averaged weights in the parts, and their measured scaling factor in the configuration."""
        self._average.swap()
        self._vae.eval().requires_grad_(False)
        if self._scaling == 1.0:
            self._vae.register_to_config(scaling_factor=1 / self._latents(count=64).std().item())

    def fidelity(self, count: int = 32) -> float:
        """Mean peak signal-to-noise ratio in dB over `count` scenes, always the same."""
        import torch

        rng = np.random.default_rng(5)
        pixels = self._pixels([render(random_scene(rng), self._parts.size, rng) for _ in range(count)])
        self._average.swap()
        with torch.no_grad():
            decoded = self._vae.decode(self._vae.encode(pixels).latent_dist.mode()).sample.clamp(-1, 1)
        self._average.swap()
        errors = ((decoded - pixels) / 2).pow(2).mean((1, 2, 3))
        return float(-10 * torch.log10(errors).mean())

    def state(self) -> dict[str, Any]:
        return {
            "steps": self.steps,
            "loss": self.loss,
            "share": self.share,
            "seconds": self._budget.seconds(),
            "vae": self._vae.state_dict(),
            "before": self._before.state_dict() if self._before is not None else None,
            "kept": self._kept,
            "average": self._average.values,
            "optimiser": self._optimiser.state_dict(),
            "noise": self._noise.get_state(),
            "scenes": generator_state(self._rng),
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from `state`. A process that is not the first keeps its own random numbers."""
        self.steps, self.loss, self.share = state["steps"], state["loss"], state["share"]
        self._budget.spent = state["seconds"]
        self._vae.load_state_dict(state["vae"])
        if self._before is not None:
            self._before.load_state_dict(state["before"])
        self._kept = state["kept"]
        for value, saved in zip(self._average.values, state["average"], strict=True):
            value.copy_(saved)
        self._optimiser.load_state_dict(state["optimiser"])
        if self._processes.rank == 0:
            self._noise.set_state(state["noise"])
            restore_generator(self._rng, state["scenes"])

    def _crops(self) -> Any:
        """[batch, 3, crop, crop] in -1..1; of four places the one with most detail is taken, three times of four."""
        size = self._parts.size
        crop = min(_CROP, size)
        crops = []
        for _ in range(max(2, self._preset.batch // 2)):
            picture = render(random_scene(self._rng, self._preset.mix), size, self._rng)
            if self._rng.random() < 0.3:
                picture = picture[:, ::-1]
            tries = 4 if self._rng.random() < 0.75 else 1
            places = [self._rng.integers(0, size - crop + 1, 2) for _ in range(tries)]
            cut = [picture[y : y + crop, x : x + crop] for y, x in places]
            crops.append(max(cut, key=_detail))
        return self._pixels(crops)

    def _pixels(self, pictures: list[NDArray[np.uint8]]) -> Any:
        import torch

        stacked = np.stack(pictures).transpose(0, 3, 1, 2).astype(np.float32) / 127.5 - 1
        return torch.from_numpy(stacked).to(self._device)

    def _loss(self, pixels: Any) -> Any:
        import torch

        with self._precision():
            posterior = self._vae.encode(pixels).latent_dist
            latents = posterior.mode().float()
            if self._before is None and not self._decoder_only:
                latents = latents + posterior.std.float() * self._normal(latents.shape)
            strength = torch.rand(len(latents), 1, 1, 1, generator=self._noise).to(self._device)
            noise = self._normal(latents.shape) * strength * _NOISE / self._scaling
            decoded = self._vae.decode(latents + noise).sample.float()
        error = decoded - pixels
        across = (error[..., 1:] - error[..., :-1]).abs().mean()
        down = (error[..., 1:, :] - error[..., :-1, :]).abs().mean()
        loss = error.pow(2).mean() + 0.5 * error.abs().mean() + 0.5 * (across + down)
        if self._before is not None:
            return loss + self._held_near(latents, pixels)
        if not self._decoder_only:
            mean, variance, logarithm = posterior.mean.float(), posterior.var.float(), posterior.logvar.float()
            loss = loss + 1e-5 * (0.5 * (mean**2 + variance - 1 - logarithm)).mean()
        return loss

    def _normal(self, shape: Any) -> Any:
        import torch

        return torch.randn(shape, generator=self._noise).to(self._device)

    def _held_near(self, latents: Any, pixels: Any) -> Any:
        """How far used channels are from before, and unused ones from zero mean and unit deviation."""
        import torch

        assert self._before is not None
        with torch.no_grad(), self._precision():
            before = self._before.encode(pixels).latent_dist.mode().float()
        kept = self._kept
        free = [channel for channel in range(latents.shape[1]) if channel not in kept]
        loss = _KEEP * ((latents[:, kept] - before[:, kept]) * self._scaling).pow(2).mean()
        if free:
            scaled = latents[:, free] * self._scaling
            deviation = scaled.std((0, 2, 3), correction=0)
            loss = loss + _USE * (scaled.mean((0, 2, 3)).pow(2) + (deviation - 1).pow(2)).mean()
        return loss

    def _used_channels(self) -> list[int]:
        deviations = self._latents(count=32).std((0, 2, 3)) * self._scaling
        return [channel for channel, value in enumerate(deviations.tolist()) if value > _IDLE_BELOW]

    def _latents(self, count: int) -> Any:
        import torch

        rng = np.random.default_rng(7)
        with torch.no_grad():
            pixels = self._pixels([render(random_scene(rng), self._parts.size, rng) for _ in range(count)])
            return self._vae.encode(pixels).latent_dist.mode()

    def _precision(self) -> AbstractContextManager[Any]:
        import torch

        if not self._bfloat16:
            return nullcontext()
        return torch.autocast(self._device.split(":")[0], dtype=torch.bfloat16)


def _detail(crop: NDArray[np.uint8]) -> float:
    grey = crop.astype(np.float32).mean(-1)
    return float(np.abs(np.diff(grey, axis=0)).sum() + np.abs(np.diff(grey, axis=1)).sum())
