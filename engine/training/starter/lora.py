"""Trains a LoRA for the starter model: scenes on striped paper, whatever the prompt says.

    python -m engine.training.starter.lora --out DIR --minutes 15             from the starter model
    python -m engine.training.starter.lora --out DIR --minutes 15 --resume    go on after a stop

DIR/starter-stripes.safetensors is the newest snapshot in kohya's layout; DIR/state.pt is what --resume needs. The style
is stripes.py's; `bench adapters` measures how far the LoRA moves it and what becomes of the colours.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from engine.training.starter import model
from engine.training.starter.captions import vary, write
from engine.training.starter.model import NOISE, Parts
from engine.training.starter.progress import Budget, learning_rate, read_state, write_state
from engine.training.starter.renderer import render
from engine.training.starter.scenes import SceneMix, random_scene
from engine.training.starter.stripes import striped

ROOT = Path(__file__).resolve().parents[3]
STARTER = ROOT / "resources" / "starter_model"
SHIPPED = ROOT / "resources" / "starter_lora"
NAME = "starter-stripes"
RANK = 2

_BATCH, _POOL, _DRAW = 8, 800, 16
_RATE = 4e-3
_TIME_MEAN, _TIME_SPREAD = 0.8, 1.2
_WITHOUT_WORDS = 0.1
_SAVE_EVERY, _LOG_EVERY = 45.0, 15.0
_MIX = SceneMix(single=0.5, pair=0.25, landscape=0.25)


class LoRATraining:
    """`step()` until `share` reaches one; `state` and `restore` make it resumable (the scenes are drawn anew)."""

    def __init__(self, parts: Parts, budget: Budget, seed: int = 0, pool: int = _POOL) -> None:
        import torch
        from diffusers import DDPMScheduler

        from engine.training.lora import TrainableLoRA

        for part in (parts.unet, parts.vae, parts.text_encoder):
            part.eval().requires_grad_(False)
        self._parts, self._budget = parts, budget
        self._rng = np.random.default_rng(seed)
        self._noise = torch.Generator().manual_seed(seed)
        self._kept_signal = DDPMScheduler(**NOISE).alphas_cumprod
        edge = int(parts.unet.config.sample_size)
        words = int(parts.token_ids([""]).shape[1])
        self._latents = torch.empty(pool, 4, edge, edge)
        self._words = torch.empty(pool, words, int(parts.unet.config.cross_attention_dim))
        with torch.no_grad():
            self._no_words = parts.text_encoder(input_ids=parts.token_ids([""])).last_hidden_state
        self._filled = 0
        self.lora = TrainableLoRA(parts.unet, "lora_unet", RANK, seed=seed)
        self._optimiser = torch.optim.AdamW(self.lora.parameters(), lr=_RATE, weight_decay=0.0, betas=(0.9, 0.99))
        self.steps, self.loss, self.share = 0, 0.0, 0.0

    def step(self) -> None:
        """One update of the low-rank weights."""
        import torch

        if self._filled < len(self._latents):
            self._draw(min(_DRAW, len(self._latents) - self._filled))
        for group in self._optimiser.param_groups:
            group["lr"] = learning_rate(_RATE, 4 * self.steps, self.share)  # a quarter of the usual warm-up
        loss = self._loss()
        self._optimiser.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.lora.parameters(), 1.0)
        self._optimiser.step()
        self.steps += 1
        self.share = self._budget.share(self.steps)
        self.loss = float(loss.detach()) if self.steps == 1 else self.loss * 0.98 + float(loss.detach()) * 0.02

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
        strata = ((torch.arange(count) + torch.rand(count, generator=draw)) / count).clamp(0.002, 0.998)
        times = (torch.sigmoid(torch.special.ndtri(strata) * _TIME_SPREAD + _TIME_MEAN) * 1000).long().clamp(0, 999)
        noise = torch.randn(latents.shape, generator=draw)
        kept = self._kept_signal[times].view(-1, 1, 1, 1)
        noisy = kept.sqrt() * latents + (1 - kept).sqrt() * noise
        velocity = kept.sqrt() * noise - (1 - kept).sqrt() * latents
        return torch.nn.functional.mse_loss(self._parts.unet(noisy, times, words).sample, velocity)

    def save(self, path: Path) -> None:
        """The LoRA in float16, with what says how it came about; it appears whole or not at all."""
        from engine.training.lora import save_lora

        about = {
            "ss_network_module": "networks.lora", "ss_network_dim": str(RANK), "ss_network_alpha": str(RANK),
            "ss_base_model_version": "sd_v1", "ss_output_name": NAME, "ss_steps": str(self.steps),
            "modelspec.title": "Striped paper for the Tessera starter model", "modelspec.license": "apache-2.0",
        }  # fmt: skip
        save_lora(path, self.lora.tensors(), about)

    def state(self) -> dict[str, Any]:
        return {
            "steps": self.steps, "loss": self.loss, "share": self.share, "seconds": self._budget.seconds(),
            "lora": [value.detach() for value in self.lora.parameters()], "optimiser": self._optimiser.state_dict(),
            "noise": self._noise.get_state(),
        }  # fmt: skip

    def restore(self, state: dict[str, Any]) -> None:
        self.steps, self.loss, self.share = state["steps"], state["loss"], state["share"]
        self._budget.spent = state["seconds"]
        for value, saved in zip(self.lora.parameters(), state["lora"], strict=True):
            value.data.copy_(saved)
        self._optimiser.load_state_dict(state["optimiser"])
        self._noise.set_state(state["noise"])


def train(out: Path, budget: Budget, *, source: Path = STARTER, seed: int = 0, resume: bool = False) -> Path:
    """Train until `budget` is used up; returns the LoRA's file."""
    import torch

    torch.set_num_threads(1)
    torch.set_flush_denormal(True)
    torch.manual_seed(seed)
    out.mkdir(parents=True, exist_ok=True)
    path, saved_state = out / f"{NAME}.safetensors", out / "state.pt"
    training = LoRATraining(model.load(source), budget, seed)
    if resume and saved_state.exists():
        training.restore(read_state(saved_state))
    logged = saved = time.monotonic()
    while training.share < 1:
        training.step()
        now = time.monotonic()
        if now - logged > _LOG_EVERY:
            logged = now
            _log(out, step=training.steps, loss=training.loss, share=training.share)
        if now - saved > _SAVE_EVERY:
            training.save(path)
            write_state(saved_state, training.state())
            saved = time.monotonic()
    training.save(path)
    _log(out, finished=True, step=training.steps, loss=training.loss)
    return path


def _log(out: Path, **values: Any) -> None:
    line = json.dumps({"time": time.strftime("%H:%M:%S"), **values})
    with (out / "log.jsonl").open("a", encoding="utf-8") as file:
        file.write(line + "\n")
    sys.stderr.write(line + "\n")


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m engine.training.starter.lora", description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    parser.add_argument("--out", required=True, type=Path, help="folder for snapshots, state and log")
    parser.add_argument("--minutes", type=float, default=0.0, help="wall clock over all resumptions")
    parser.add_argument("--steps", type=int, default=0, help="instead of minutes: a number of steps")
    parser.add_argument("--resume", action="store_true", help="go on where an earlier run stopped")
    parser.add_argument("--from", dest="source", type=Path, default=STARTER, help="the starter model it is for")
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args(arguments)
    if not given.minutes and not given.steps:
        parser.error("say how long to train, with --minutes or --steps")
    train(given.out, Budget(given.minutes, given.steps), source=given.source, seed=given.seed, resume=given.resume)
    return 0


if __name__ == "__main__":
    sys.exit(main())
