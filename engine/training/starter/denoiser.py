"""Trains the denoiser and the text encoder on latents of rendered scenes.

v-prediction (Salimans & Ho 2022). Two things made it learn shapes and places in CPU time: time steps drawn from a
logit-normal around upper-middle noise (as Esser et al. 2024), stratified within a batch; and a loss weighted up to
5 times where a latent differs from its surroundings, since most of these pictures is plain ground.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any, TypeAlias

import numpy as np

from engine.training.starter.captions import vary, write
from engine.training.starter.model import NOISE, Parts, Preset
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

_TIME_MEAN, _TIME_SPREAD = 0.45, 1.15
_WINDOW = 7
_CONTRAST = 0.35
_EXTRA_WEIGHT = 4.0
_UNCONDITIONAL = 0.1
_RENDER = 16

Precision: TypeAlias = Callable[[], AbstractContextManager[Any]]


class LatentPool:
    """Latents of rendered scenes with the tokens of their captions; the oldest are replaced by new ones."""

    def __init__(
        self, parts: Parts, preset: Preset, rng: np.random.Generator, device: str, precision: Precision
    ) -> None:
        import torch

        self._parts, self._preset, self._rng, self._device = parts, preset, rng, device
        self._precision = precision
        edge = parts.unet.config.sample_size
        self.latents = torch.empty(preset.pool, 4, edge, edge, dtype=torch.float16)
        self.tokens = torch.empty(preset.pool, parts.token_ids([""]).shape[1], dtype=torch.long)
        self.filled, self.next = 0, 0

    def draw(self, count: int) -> None:
        """Render, encode and keep `count` new scenes."""
        import torch

        scenes = [random_scene(self._rng, self._preset.mix) for _ in range(count)]
        pictures = np.stack([render(scene, self._parts.size, self._rng) for scene in scenes])
        captions = [vary(write(scene, self._rng), self._rng) for scene in scenes]
        pixels = torch.from_numpy(pictures.transpose(0, 3, 1, 2).astype(np.float32) / 127.5 - 1).to(self._device)
        with torch.no_grad(), self._precision():
            encoded = self._parts.vae.encode(pixels).latent_dist.mode() * self._parts.scaling
        places = torch.arange(self.next, self.next + count) % len(self.latents)
        self.latents[places] = encoded.half().cpu()
        self.tokens[places] = self._parts.token_ids(captions)
        self.next = (self.next + count) % len(self.latents)
        self.filled = min(len(self.latents), self.filled + count)

    def top_up(self, step: int) -> None:
        """Called once a step: fill quickly at first, then replace a batch's worth every eighth step."""
        if self.filled < len(self.latents) and step % 2 == 0:
            self.draw(min(2 * _RENDER, len(self.latents)))
        elif step % 8 == 0:
            self.draw(max(2, self._preset.batch))

    def state(self) -> dict[str, Any]:
        return {"latents": self.latents, "tokens": self.tokens, "filled": self.filled, "next": self.next}

    def restore(self, state: dict[str, Any]) -> None:
        self.latents, self.tokens = state["latents"], state["tokens"]
        self.filled, self.next = state["filled"], state["next"]


class DenoiserTraining:
    """One phase of training: `step()` until `share` reaches one. `state` and `restore` make it resumable exactly."""

    name = "denoiser"

    def __init__(
        self,
        parts: Parts,
        preset: Preset,
        budget: Budget,
        *,
        seed: int = 0,
        device: str = "cpu",
        bfloat16: bool = False,
        processes: Processes | None = None,
        peak_rate: float | None = None,
    ) -> None:
        import torch
        from diffusers import DDPMScheduler

        self._parts, self._preset, self._budget, self._device = parts, preset, budget, device
        self._processes = processes or Processes()
        self._bfloat16 = bfloat16
        self._peak = peak_rate or preset.learning_rate
        for part in (parts.text_encoder, parts.unet, parts.vae):
            part.to(device)
        parts.vae.eval().requires_grad_(False)
        parts.unet.train()
        parts.text_encoder.train()
        self._rng = np.random.default_rng([seed, self._processes.rank])
        self._noise = torch.Generator().manual_seed(seed * 1000 + self._processes.rank)
        self._pool = LatentPool(parts, preset, self._rng, device, self._precision)
        self._parameters = [*parts.unet.parameters(), *parts.text_encoder.parameters()]
        self._optimiser = torch.optim.AdamW(self._parameters, lr=self._peak, weight_decay=0.01, betas=(0.9, 0.99))
        self._average = MovingAverage(self._parameters)
        self._kept_signal = DDPMScheduler(**NOISE).alphas_cumprod
        self._no_words = parts.token_ids([""])
        self.steps = 0
        self.loss = 0.0
        self.share = 0.0

    def step(self) -> None:
        """One update of the weights."""
        import torch

        self._pool.top_up(self.steps)
        for group in self._optimiser.param_groups:
            group["lr"] = learning_rate(self._peak, self.steps, self.share)
        loss = self._loss(*self._batch())
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
        """Leave the averaged weights in the parts."""
        self._average.swap()

    def state(self) -> dict[str, Any]:
        return {
            "steps": self.steps,
            "loss": self.loss,
            "share": self.share,
            "seconds": self._budget.seconds(),
            "unet": self._parts.unet.state_dict(),
            "text_encoder": self._parts.text_encoder.state_dict(),
            "average": self._average.values,
            "optimiser": self._optimiser.state_dict(),
            "noise": self._noise.get_state(),
            "scenes": generator_state(self._rng),
            "pool": self._pool.state(),
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from `state`. A process that is not the first keeps its own random numbers and scenes."""
        self.steps, self.loss, self.share = state["steps"], state["loss"], state["share"]
        self._budget.spent = state["seconds"]
        self._parts.unet.load_state_dict(state["unet"])
        self._parts.text_encoder.load_state_dict(state["text_encoder"])
        for value, saved in zip(self._average.values, state["average"], strict=True):
            value.copy_(saved)
        self._optimiser.load_state_dict(state["optimiser"])
        if self._processes.rank == 0:
            self._noise.set_state(state["noise"])
            restore_generator(self._rng, state["scenes"])
            self._pool.restore(state["pool"])
        else:
            key = [int(self._noise.initial_seed()), self.steps]
            self._noise.manual_seed(int(np.random.default_rng(key).integers(2**31)))
            restore_generator(self._rng, generator_state(np.random.default_rng(key)))

    def _batch(self) -> tuple[Any, Any, Any, Any]:
        """Latents, tokens, time steps and noise of one batch. A tenth are without words, for guidance."""
        import torch

        count, draw = self._preset.batch, self._noise
        chosen = torch.randint(0, self._pool.filled, (count,), generator=draw)
        latents, tokens = self._pool.latents[chosen].float(), self._pool.tokens[chosen].clone()
        tokens[torch.rand(count, generator=draw) < _UNCONDITIONAL] = self._no_words
        strata = ((torch.arange(count) + torch.rand(count, generator=draw)) / count).clamp(0.002, 0.998)
        spread = torch.special.ndtri(strata) * _TIME_SPREAD + _TIME_MEAN
        times = (torch.sigmoid(spread) * 1000).long().clamp(0, 999)[torch.randperm(count, generator=draw)]
        noise = torch.randn(latents.shape, generator=draw)
        device = self._device
        return latents.to(device), tokens.to(device), times.to(device), noise.to(device)

    def _loss(self, latents: Any, tokens: Any, times: Any, noise: Any) -> Any:
        kept = self._kept_signal.to(latents.device)[times].view(-1, 1, 1, 1)
        noisy = kept.sqrt() * latents + (1 - kept).sqrt() * noise
        velocity = kept.sqrt() * noise - (1 - kept).sqrt() * latents
        words = self._parts.text_encoder(input_ids=tokens).last_hidden_state
        with self._precision():
            predicted = self._parts.unet(noisy, times, words).sample
        return (latent_weights(latents) * (predicted.float() - velocity) ** 2).mean()

    def _precision(self) -> AbstractContextManager[Any]:
        import torch

        if not self._bfloat16:
            return nullcontext()
        return torch.autocast(self._device.split(":")[0], dtype=torch.bfloat16)


def latent_weights(latents: Any) -> Any:
    """[B, 1, H, W], mean 1: more where a latent differs from the mean of its surroundings."""
    import torch
    from torch.nn import functional

    half = _WINDOW // 2
    padded = functional.pad(latents, (half, half, half, half), mode="replicate")
    difference = (latents - functional.avg_pool2d(padded, _WINDOW, 1)).abs().mean(1, keepdim=True)
    # the root lifts what is faint, such as a house at night
    weights: torch.Tensor = 1 + _EXTRA_WEIGHT * (difference / _CONTRAST).clamp(0, 1).sqrt()
    return weights / weights.mean((2, 3), keepdim=True)
