"""Trains the starter model's canny ControlNet: rendered scenes, and their edges as `image.canny` makes them.

    python -m engine.training.starter.controlnet --out DIR --minutes 40             from the denoiser's own encoder
    python -m engine.training.starter.controlnet --out DIR --minutes 40 --resume    go on after a stop

DIR/controlnet is the newest snapshot, an ordinary diffusers folder in float16; DIR/state.pt is what --resume needs;
DIR/log.jsonl is what happened. `tests/benchmarks/control.py` measures a snapshot.

After 2302.05543. What differs: the middle block has no attention, which keeps the weights below 4 MB; the layers that
start at nought learn faster than the copied ones; every fourth hint has a part wiped out, so that the absence of edges
says little and several hints can be laid over each other. Most scenes have their figures anywhere, with captions that
do not say where: a network whose captions tell the layout learns nothing from its hints.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from engine.control import edges
from engine.training.starter import model
from engine.training.starter.addon import ROOT, AddonTraining, command
from engine.training.starter.captions import vary, write
from engine.training.starter.denoiser import latent_weights
from engine.training.starter.model import Parts
from engine.training.starter.progress import (
    Budget,
    MovingAverage,
    generator_state,
    learning_rate,
    restore_generator,
)
from engine.training.starter.renderer import random_places, render
from engine.training.starter.scenes import Scene, SceneMix, ShapesScene, is_held_out, random_scene, random_shapes

SHIPPED = ROOT / "resources" / "starter_controlnet"

_HINT_CHANNELS = (8, 16, 32, 64)
_LANDSCAPES = 0.2
_BATCH, _POOL, _DRAW = 16, 3_000, 16
_RATE, _NEW_FACTOR = 5e-4, 3.0
_WITHOUT_WORDS, _WIPED = 0.15, 0.25
_AVERAGE = 0.99  # a short memory: these trainings are short
_NEW_LAYERS = ("controlnet_cond_embedding", "controlnet_down_blocks", "controlnet_mid_block")


def create(unet: Any) -> Any:
    """A ControlNetModel that fits `unet`, with the weights of its encoder where both have the same layer."""
    from diffusers import ControlNetModel

    config = unet.config
    network = ControlNetModel(
        in_channels=config.in_channels,
        down_block_types=config.down_block_types,
        mid_block_type="UNetMidBlock2D",
        block_out_channels=config.block_out_channels,
        layers_per_block=config.layers_per_block,
        cross_attention_dim=config.cross_attention_dim,
        attention_head_dim=config.attention_head_dim,
        norm_num_groups=config.norm_num_groups,
        conditioning_embedding_out_channels=_HINT_CHANNELS,
    )
    own = network.state_dict()
    shared = {
        name: value for name, value in unet.state_dict().items() if name in own and own[name].shape == value.shape
    }
    network.load_state_dict(shared, strict=False)
    return network


def random_drawing(rng: np.random.Generator, size: int) -> tuple[NDArray[np.uint8], Scene]:
    """A picture to train on and the scene its caption tells: one or two figures anywhere, or a landscape."""
    if rng.random() < _LANDSCAPES:
        landscape = random_scene(rng, SceneMix(single=0, pair=0, landscape=1))
        return render(landscape, size, rng), landscape
    while True:
        scene = unplaced(random_shapes(rng, figures=1 + int(rng.random() < 0.45)))
        if not is_held_out(scene):
            return render(scene, size, rng, random_places(rng, len(scene.figures))), scene


def unplaced(scene: ShapesScene) -> ShapesScene:
    """The scene without a word on where its figures are and how large."""
    figures = tuple(replace(figure, size="", position="") for figure in scene.figures)
    return replace(scene, figures=figures, relation="and" if scene.relation else "")


class HintPool:
    """Latents of rendered scenes with caption tokens and edges; the oldest are replaced by new ones."""

    def __init__(self, parts: Parts, rng: np.random.Generator, size: int = _POOL) -> None:
        import torch

        self._parts, self._rng = parts, rng
        edge = parts.unet.config.sample_size
        self.latents = torch.empty(size, 4, edge, edge)
        self.tokens = torch.empty(size, parts.token_ids([""]).shape[1], dtype=torch.long)
        self.hints = np.zeros((size, parts.size, parts.size), np.bool_)
        self.filled, self._next = 0, 0

    def draw(self, count: int) -> None:
        """Render and encode `count` new scenes."""
        import torch

        drawn = [random_drawing(self._rng, self._parts.size) for _ in range(count)]
        pictures = np.stack([picture for picture, _ in drawn])
        captions = [vary(write(scene, self._rng), self._rng) for _, scene in drawn]
        pixels = torch.from_numpy(pictures.transpose(0, 3, 1, 2).astype(np.float32) / 127.5 - 1)
        with torch.no_grad():
            encoded = self._parts.vae.encode(pixels).latent_dist.mode() * self._parts.scaling
        places = np.arange(self._next, self._next + count) % len(self.hints)
        self.latents[places], self.tokens[places] = encoded, self._parts.token_ids(captions)
        self.hints[places] = [self._edges(picture) for picture in pictures]
        self._next = (self._next + count) % len(self.hints)
        self.filled = min(len(self.hints), self.filled + count)

    def _edges(self, picture: NDArray[np.uint8]) -> NDArray[np.bool_]:
        # Mostly at the node's own thresholds; now and then weaker edges too, as a person may set them.
        low, high = (0.4, 0.8) if self._rng.random() < 0.6 else sorted(self._rng.uniform(0.1, 0.8, 2))
        return edges.canny(picture[None].astype(np.float32) / np.float32(255), low, high)[0, ..., 0] > 0.5

    def wiped(self, hints: NDArray[np.bool_]) -> NDArray[np.bool_]:
        """The hints; of every fourth one, a half to a quarter is blank."""
        hints = hints.copy()
        for hint in hints:
            if self._rng.random() < _WIPED:
                span = int(len(hint) * self._rng.uniform(0.25, 0.5))
                start = int(self._rng.integers(len(hint) - span + 1))
                (hint if self._rng.random() < 0.5 else hint.T)[start : start + span] = False
        return hints


class ControlTraining(AddonTraining):
    """Trains `network`, a ControlNet for `parts`."""

    def __init__(self, parts: Parts, budget: Budget, seed: int = 0, pool: int = _POOL) -> None:
        import torch

        super().__init__(parts, budget, seed)
        self._pool = HintPool(parts, self._rng, pool)
        self.network = create(parts.unet).train()
        named = list(self.network.named_parameters())
        new = [value for name, value in named if name.startswith(_NEW_LAYERS)]
        copied = [value for name, value in named if not name.startswith(_NEW_LAYERS)]
        self._parameters = [*new, *copied]
        groups = [{"params": new, "factor": _NEW_FACTOR}, {"params": copied, "factor": 1.0}]
        self._optimiser = torch.optim.AdamW(groups, lr=_RATE, weight_decay=0.01, betas=(0.9, 0.99))
        self._average = MovingAverage(self._parameters, _AVERAGE)
        self._no_words = parts.token_ids([""])

    def step(self) -> None:
        super().step()
        self._average.update(self.steps)

    def _prepare(self) -> None:
        if self._pool.filled < len(self._pool.hints) and self.steps % 2 == 0:
            self._pool.draw(_DRAW)
        elif self.steps % 8 == 0:
            self._pool.draw(2)
        for group in self._optimiser.param_groups:
            group["lr"] = group["factor"] * learning_rate(_RATE, self.steps, self.share)

    def _loss(self) -> Any:
        import torch

        count, draw, pool = _BATCH, self._noise, self._pool
        chosen = torch.randint(0, pool.filled, (count,), generator=draw)
        latents, tokens = pool.latents[chosen], pool.tokens[chosen].clone()
        tokens[torch.rand(count, generator=draw) < _WITHOUT_WORDS] = self._no_words
        hints = torch.from_numpy(pool.wiped(pool.hints[chosen.numpy()])).float()[:, None].expand(-1, 3, -1, -1)
        noisy, times, velocity = self._noised(latents)
        words = self._parts.text_encoder(input_ids=tokens).last_hidden_state
        down, middle = self.network(noisy, times, words, controlnet_cond=hints, return_dict=False)
        predicted = self._parts.unet(
            noisy, times, words, down_block_additional_residuals=down, mid_block_additional_residual=middle
        ).sample
        return (latent_weights(latents) * (predicted - velocity) ** 2).mean()

    def save(self, target: Path) -> None:
        """The averaged weights in float16 as a diffusers folder, which appears whole or not at all."""
        import copy

        self._average.swap()
        half = copy.deepcopy(self.network).half()
        self._average.swap()
        fresh = target.with_name(target.name + ".new")
        half.save_pretrained(str(fresh))
        model.forget_origin(fresh / "config.json")
        model.replace_folder(fresh, target)

    def state(self) -> dict[str, Any]:
        own = {"network": self.network.state_dict(), "average": self._average.values}
        return {**super().state(), **own, "scenes": generator_state(self._rng)}

    def restore(self, state: dict[str, Any]) -> None:
        super().restore(state)
        self.network.load_state_dict(state["network"])
        for value, saved in zip(self._average.values, state["average"], strict=True):
            value.copy_(saved)
        restore_generator(self._rng, state["scenes"])


def main(arguments: Sequence[str] | None = None) -> int:
    return command(ControlTraining, "controlnet", "engine.training.starter.controlnet", __doc__, arguments)


if __name__ == "__main__":
    sys.exit(main())
