"""What a request needs of memory and computing, from the model's true shapes alone: no weights, no card.

Each part is built on the meta device from its configuration and walked once. The first estimate of a model takes a
second or two; engine.memory.estimates keeps them, so that the next of the same request needs no torch.
"""

from __future__ import annotations

import warnings
from dataclasses import replace
from functools import cache
from typing import Any

import torch

from engine.memory.blueprint import Blueprint
from engine.memory.footprint import Footprint, ModelFootprint
from engine.memory.inputs import FACTOR, TOGETHER, denoiser_inputs
from engine.memory.measure import Walked, bytes_in, empty, largest_leaves, streamed_blocks, walk
from engine.memory.request import Request
from engine.models.family_parts import FAMILY_PARTS

VAE_TILES = (1024, 768, 512, 256, 128)
TEXT_TOKENS = 512


def estimate(model: Blueprint, request: Request) -> ModelFootprint:
    """The footprint of a model for a request, weights counted in sixteen bits. Raises UnknownChoice."""
    family = model.family
    about = FAMILY_PARTS[family]
    parts = [_text(model, part) for part in about.encoders if model.has(part)]
    together = family in TOGETHER and request.guidance
    # What does not change the shapes is left out, so that what was walked is found again.
    shapes = replace(request, guidance=together, steps=0, adapters=0)
    parts.append(_denoiser(model, shapes))
    parts.append(_vae(model, request.width, request.height))
    # The decoder is convolutional: what it needs is proportional to the area.
    area = parts[-1].peak / (request.width * request.height)
    tiles = {edge: round(area * edge * edge) for edge in VAE_TILES if edge < max(request.width, request.height)}
    alone = replace(shapes, batch=1, guidance=False)
    return ModelFootprint(
        family, model.variant, tuple(parts), tiles, 2 if together else 1, _denoiser(model, alone).peak,
        2 if request.guidance else 1,
    )  # fmt: skip


@cache
def _module(model: Blueprint, part: str) -> Any:
    """A part on the meta device in bfloat16."""
    import diffusers
    import transformers

    config = model.config(part)
    name = (
        config.get("_class_name") or (config.get("architectures") or [FAMILY_PARTS[model.family].classes[part][0]])[0]
    )
    with warnings.catch_warnings(), torch.device("meta"):
        warnings.simplefilter("ignore")
        if part.startswith("text_encoder"):
            kind = getattr(transformers, name)
            made = kind(kind.config_class.from_dict(dict(config)))
        else:
            made = getattr(diffusers, name).from_config(config)
    for holder in (*made.parameters(), *made.buffers()):
        if holder.is_floating_point():
            holder.data = holder.data.to(torch.bfloat16)
    return made.eval()


def _footprint(module: Any, part: str, role: str, walked: Walked) -> Footprint:
    blocks = tuple(bytes_in(block) for _, block in streamed_blocks(module))
    weights = bytes_in(module)
    return Footprint(
        part, role, weights, weights - sum(blocks), blocks, largest_leaves(module), walked.peak, walked.flops
    )


@cache
def _denoiser(model: Blueprint, request: Request) -> Footprint:
    part = FAMILY_PARTS[model.family].denoiser
    module, config = _module(model, part), model.config(part)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        walked = walk(module, lambda: module(**denoiser_inputs(model.family, config, request), return_dict=False))
    found = _footprint(module, part, "denoiser", walked)
    # A ControlNet is about the half of its denoiser that leads down, and its residuals are kept while that runs.
    share = 0.42 if part == "unet" else 0.12
    extra = request.controls * share
    return replace(
        found, weights=round(found.weights * (1 + extra)), outside=round(found.outside + found.weights * extra),
        peak=round(found.peak * (1 + 0.15 * request.controls)), flops=found.flops * (1 + extra),
    )  # fmt: skip


@cache
def _text(model: Blueprint, part: str) -> Footprint:
    module = _module(model, part)
    clip = "CLIP" in type(module).__name__
    tokens = int(model.config(part).get("max_position_embeddings", 77)) if clip else TEXT_TOKENS

    def run() -> object:
        ids = torch.zeros(1, tokens, dtype=torch.long, device="meta")
        if clip or "T5" in type(module).__name__:
            return module(input_ids=ids)
        # A whole mask: making one from lengths looks at numbers, which are not there.
        return module(input_ids=ids, attention_mask=empty(1, 1, tokens, tokens), use_cache=False)

    return _footprint(module, part, "text", walk(module, run))


@cache
def _vae(model: Blueprint, width: int, height: int) -> Footprint:
    module, config = _module(model, "vae"), model.config("vae")
    channels = config.get("latent_channels", config.get("z_dim", 4))
    frames = (1,) if "z_dim" in config else ()

    def run() -> object:
        return module.decode(empty(1, channels, *frames, height // FACTOR, width // FACTOR), return_dict=False)

    return _footprint(module, "vae", "vae", walk(module, run))
