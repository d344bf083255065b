"""Trains a LoRA for the starter model: scenes on striped paper, whatever the prompt says.

    python -m engine.training.starter.lora --out DIR --minutes 15             from the starter model
    python -m engine.training.starter.lora --out DIR --minutes 15 --resume    go on after a stop

DIR/starter-stripes.safetensors is the newest snapshot in kohya's layout; DIR/state.pt is what --resume needs. The style
is stripes.py's; `bench adapters` measures how far the LoRA moves it and what becomes of the colours.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from engine.training.starter.addon import ROOT, AddonTraining, command
from engine.training.starter.captions import vary, write
from engine.training.starter.model import Parts
from engine.training.starter.progress import Budget, learning_rate
from engine.training.starter.renderer import render
from engine.training.starter.scenes import SceneMix, random_scene
from engine.training.starter.stripes import striped

SHIPPED = ROOT / "resources" / "starter_lora"
NAME = "starter-stripes"
RANK = 2

_BATCH, _POOL, _DRAW = 8, 800, 16
_RATE = 4e-3
_WITHOUT_WORDS = 0.1
_MIX = SceneMix(single=0.5, pair=0.25, landscape=0.25)


class LoRATraining(AddonTraining):
    """Trains `lora`, which hangs on the denoiser of `parts`."""

    log_every, save_every = 15.0, 45.0
    _loss_memory = 0.98

    def __init__(self, parts: Parts, budget: Budget, seed: int = 0, pool: int = _POOL) -> None:
        import torch

        from engine.training.lora import TrainableLoRA

        super().__init__(parts, budget, seed)
        edge = int(parts.unet.config.sample_size)
        words = int(parts.token_ids([""]).shape[1])
        self._latents = torch.empty(pool, 4, edge, edge)
        self._words = torch.empty(pool, words, int(parts.unet.config.cross_attention_dim))
        with torch.no_grad():
            self._no_words = parts.text_encoder(input_ids=parts.token_ids([""])).last_hidden_state
        self._filled = 0
        self.lora = TrainableLoRA(parts.unet, "lora_unet", RANK, seed=seed)
        self._parameters = list(self.lora.parameters())
        self._optimiser = torch.optim.AdamW(self._parameters, lr=_RATE, weight_decay=0.0, betas=(0.9, 0.99))

    def _prepare(self) -> None:
        if self._filled < len(self._latents):
            self._draw(min(_DRAW, len(self._latents) - self._filled))
        for group in self._optimiser.param_groups:
            group["lr"] = learning_rate(_RATE, 4 * self.steps, self.share)  # a quarter of the usual warm-up

    def _draw(self, count: int) -> None:
        """Render, stripe and encode `count` new scenes, with what their captions say."""
        import torch

        scenes = [random_scene(self._rng, _MIX) for _ in range(count)]
        pictures = np.stack([striped(render(scene, self._parts.size, self._rng)) for scene in scenes])
        captions = [vary(write(scene, self._rng), self._rng) for scene in scenes]
        pixels = torch.from_numpy(pictures.transpose(0, 3, 1, 2).astype(np.float32) / 127.5 - 1)
        places = slice(self._filled, self._filled + count)
        with torch.no_grad():
            self._latents[places] = self._parts.vae.encode(pixels).latent_dist.mode() * self._parts.scaling
            tokens = self._parts.token_ids(captions)
            self._words[places] = self._parts.text_encoder(input_ids=tokens).last_hidden_state
        self._filled += count

    def _loss(self) -> Any:
        import torch

        count, draw = _BATCH, self._noise
        chosen = torch.randint(0, self._filled, (count,), generator=draw)
        latents, words = self._latents[chosen], self._words[chosen]
        words[torch.rand(count, generator=draw) < _WITHOUT_WORDS] = self._no_words
        noisy, times, velocity = self._noised(latents)
        return torch.nn.functional.mse_loss(self._parts.unet(noisy, times, words).sample, velocity)

    def save(self, target: Path) -> None:
        """The LoRA in float16, with what says how it came about; it appears whole or not at all."""
        from engine.training.lora import save_lora

        about = {
            "ss_network_module": "networks.lora", "ss_network_dim": str(RANK), "ss_network_alpha": str(RANK),
            "ss_base_model_version": "sd_v1", "ss_output_name": NAME, "ss_steps": str(self.steps),
            "modelspec.title": "Striped paper for the Tessera starter model", "modelspec.license": "apache-2.0",
        }  # fmt: skip
        save_lora(target, self.lora.tensors(), about)

    def state(self) -> dict[str, Any]:
        return {**super().state(), "lora": [value.detach() for value in self._parameters]}

    def restore(self, state: dict[str, Any]) -> None:
        super().restore(state)
        for value, saved in zip(self._parameters, state["lora"], strict=True):
            value.data.copy_(saved)


def main(arguments: Sequence[str] | None = None) -> int:
    return command(LoRATraining, f"{NAME}.safetensors", "engine.training.starter.lora", __doc__, arguments)


if __name__ == "__main__":
    sys.exit(main())
