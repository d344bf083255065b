"""Adapters: how exact LoRA arithmetic is, what the starter's LoRA does, and how fast LoRAs come and go.

`stripe_shift_sd`: how far the LoRA moves the style measure (contrast of bands, training/starter/stripes.py), in
standard deviations of the plain pictures' measure; the same prompts and seeds with and without, on scenes that no
training showed. `colour_right_*`: how often the starter's judge finds the colour that the prompt asks of its figure.
`*_error`: largest difference of merged weights from the layout's formula in double precision. `add_remove_changed`:
bytes of the loaded model that differ after a LoRA was laid on it and taken off 100 times. `switch_cpu_ms`: from one
strength to another until the network can run; nothing is loaded for it.
"""

from __future__ import annotations

import statistics
from pathlib import Path
from typing import Any

import numpy as np
import torch

from engine.contracts.references import ModelRef
from engine.graph.values import ModelHandle, TextEncoderHandle
from engine.models.adapters.apply import Applied, adapted
from engine.models.adapters.read import adapter_of
from engine.nodes.condition.text import encode_text
from engine.nodes.latent.empty import empty
from engine.nodes.latent.picture import decode_image
from engine.nodes.load.checkpoint import checkpoint
from engine.nodes.load.prompt_loras import prompt_loras
from engine.nodes.sample.k_sampler import k_sampler
from engine.training.starter.judge import judge
from engine.training.starter.lora import NAME, SHIPPED
from engine.training.starter.perception import Picture
from engine.training.starter.prompts import held_out_prompts
from engine.training.starter.stripes import stripe_contrast
from tests.benchmarks.harness import Goal, Report, cpu_ms
from tests.benchmarks.parity import Context
from tests.benchmarks.tiny_models import STARTER

FILE = SHIPPED / f"{NAME}.safetensors"
EDGE = 128
SETTINGS: dict[str, Any] = {"steps": 20, "cfg": 2.0, "sampler": "ddim", "scheduler": "simple"}
LAYOUTS = ("kohya linear", "diffusers linear", "LoHa conv", "LoKr conv whole", "DoRA kohya linear")

GOALS: dict[str, Goal] = {
    "stripe_shift_sd": (">=", 3.0),
    "colour_right_lost": ("<=", 0.05),
    "add_remove_changed": ("==", 0.0),
    "removed_picture_equal": ("==", 1.0),
    "parts_loaded_by_switching": ("==", 0.0),
    **{f"{name.lower().replace(' ', '_')}_error": ("<=", 1e-6) for name in LAYOUTS},
}


class Room(Context):
    """The starter model and its LoRA."""

    def __init__(self, file: Path = FILE) -> None:
        super().__init__(STARTER)
        self.file = file
        self.model, self.clip, self.vae = checkpoint(self)  # type: ignore[arg-type]
        self.negative = encode_text(self, self.clip)  # type: ignore[arg-type]

    def locate(self, ref: ModelRef) -> Path:
        return self.file if ref.kind == "lora" else super().locate(ref)

    def with_lora(self, weight: float) -> tuple[ModelHandle, TextEncoderHandle]:
        """The model and its text encoder as the tag in a prompt leaves them."""
        tag = f"<lora:{NAME}:{weight:g}>" if weight else ""
        found: tuple[ModelHandle, TextEncoderHandle] = prompt_loras(self, self.model, self.clip, tag)  # type: ignore[arg-type]
        return found

    def picture(self, prompt: str, seed: int, weight: float = 0.0) -> Picture:
        """uint8 [128, 128, 3]."""
        ctx: Any = self
        model, clip = self.with_lora(weight)
        positive = encode_text(ctx, clip, prompt)
        latent = k_sampler(ctx, model, positive, self.negative, empty(ctx, EDGE, EDGE), seed=seed, **SETTINGS)
        made = np.round(decode_image(ctx, self.vae, latent)[0] * 255)
        return np.asarray(made, np.uint8)


def style(room: Room, count: int, weight: float = 1.0) -> dict[str, float]:
    """The style measure and the colour of figures, with and without the LoRA."""
    asked = held_out_prompts(singles=count, pairs=0, landscapes=0)
    measured: dict[float, list[float]] = {0.0: [], weight: []}
    right: dict[float, list[bool]] = {0.0: [], weight: []}
    for prompt in asked:
        for strength in measured:
            made = room.picture(prompt.prompt, prompt.seed, strength)
            measured[strength].append(stripe_contrast(made))
            right[strength].append(judge(made, prompt.scene)["colour"])
    spread = statistics.stdev(measured[0.0])
    plain, styled = statistics.fmean(measured[0.0]), statistics.fmean(measured[weight])
    share = {strength: sum(found) / count for strength, found in right.items()}
    return {
        "pictures": float(count), "stripes_plain": plain, "stripes_plain_sd": spread, "stripes_with_lora": styled,
        "stripe_shift_sd": (styled - plain) / spread,
        "colour_right_plain": share[0.0], "colour_right_with_lora": share[weight],
        "colour_right_lost": share[0.0] - share[weight],
    }  # fmt: skip


def coming_and_going(room: Room, times: int = 100) -> dict[str, float]:
    """The LoRA on and off `times` times on the loaded model; and the time from one strength to another."""
    room.picture("a red circle on a blue background", 1, 1.0)  # the LoRA's own file is read here
    session: Any = room.session
    family = session.denoiser(room.model)
    parts = {part: family._parts(part) for part in ("unet", "text_encoder")}
    before = {part: {n: v.clone() for n, v in module.state_dict().items()} for part, module in parts.items()}
    first = room.picture("a red circle on a blue background", 1)
    loaded = {key: id(part) for key, part in session.shelf.items()}
    spent = []
    for number in range(times):
        patches = room.with_lora(1.0 + number / 1000)[0].patches
        spent.append(cpu_ms(lambda patches=patches: family._loras.weights("unet", patches)))  # type: ignore[misc]
        family._loras.weights("unet", ())
    again = room.picture("a red circle on a blue background", 1)
    changed = 0
    for part, module in parts.items():
        for name, value in module.state_dict().items():
            changed += int((value != before[part][name]).sum()) * value.element_size()
    return {
        "add_remove_times": float(times), "add_remove_changed": float(changed),
        "removed_picture_equal": float(np.array_equal(first, again)),
        "parts_loaded_by_switching": float({key: id(part) for key, part in session.shelf.items()} != loaded),
        "switch_cpu_ms": statistics.median(spent),
    }  # fmt: skip


def arithmetic() -> dict[str, float]:
    """Merged weights against each layout's formula in double precision, at three strengths."""
    from tests.unit.test_adapters import CASES, Net

    net = Net().requires_grad_(False)
    own = dict(net.named_parameters())
    found = {}
    for name in LAYOUTS:
        layer, make = CASES[name]
        weight = own[f"{layer}.weight"]
        tensors, wanted = make(weight, layer)
        errors = []
        for strength in (1.0, 0.7, -1.0):
            merged = adapted(net, "unet", [Applied(adapter_of(tensors, name), strength)])[f"{layer}.weight"]
            master = weight.detach().double().numpy()
            errors.append(float(np.abs(merged.double().numpy() - (master + strength * (wanted - master))).max()))
        found[f"{name.lower().replace(' ', '_')}_error"] = max(errors)
    return found


def run(count: int = 48, file: Path = FILE) -> Report:
    torch.set_grad_enabled(False)
    room = Room(file)
    return Report("adapters", {**style(room, count), **coming_and_going(room), **arithmetic()}, GOALS)
