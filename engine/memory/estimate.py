"""What a request needs of memory and computing, from the model's true shapes alone: no weights, no card.

Each part is built on the meta device from its configuration and walked once. The first estimate of a model takes a
second or two, the next of the same request none; `Estimates` keeps them in a file, so that later runs need no torch.
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Mapping
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import torch

from engine.memory.footprint import Footprint, ModelFootprint
from engine.memory.inputs import FACTOR, TOGETHER, denoiser_inputs
from engine.memory.measure import Walked, bytes_in, empty, largest_leaves, streamed_blocks, walk
from engine.memory.request import Request
from engine.models.family_parts import FAMILY_PARTS
from engine.models.layouts.configs import config_of, default_variant

VAE_TILES = (1024, 768, 512, 256, 128)
TEXT_TOKENS = 512


def estimate(family: str, variant: str, request: Request) -> ModelFootprint:
    """The footprint of a model for a request, weights counted in sixteen bits. Raises UnknownChoice."""
    variant = variant or default_variant(family)
    about = FAMILY_PARTS[family]
    parts = [_text(family, variant, part) for part in about.encoders]
    together = family in TOGETHER and request.guidance
    # What does not change the shapes is left out, so that what was walked is found again.
    shapes = replace(request, guidance=together, steps=0, adapters=0)
    parts.append(_denoiser(family, variant, shapes))
    parts.append(_vae(family, variant, request.width, request.height))
    # The decoder is convolutional: what it needs is proportional to the area.
    area = parts[-1].peak / (request.width * request.height)
    tiles = {edge: round(area * edge * edge) for edge in VAE_TILES if edge < max(request.width, request.height)}
    alone = replace(shapes, batch=1, guidance=False)
    return ModelFootprint(
        family, variant, tuple(parts), tiles, 2 if together else 1, _denoiser(family, variant, alone).peak,
        2 if request.guidance else 1,
    )  # fmt: skip


@cache
def _module(family: str, variant: str, part: str) -> Any:
    """A part on the meta device in bfloat16."""
    import diffusers
    import transformers

    config = config_of(family, variant, part)
    name = config.get("_class_name") or (config.get("architectures") or [FAMILY_PARTS[family].classes[part][0]])[0]
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
def _denoiser(family: str, variant: str, request: Request) -> Footprint:
    part = FAMILY_PARTS[family].denoiser
    module = _module(family, variant, part)
    config = config_of(family, variant, part)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        walked = walk(module, lambda: module(**denoiser_inputs(family, config, request), return_dict=False))
    found = _footprint(module, part, "denoiser", walked)
    # A ControlNet is about the half of its denoiser that leads down, and its residuals are kept while that runs.
    share = 0.42 if part == "unet" else 0.12
    extra = request.controls * share
    return replace(
        found, weights=round(found.weights * (1 + extra)), outside=round(found.outside + found.weights * extra),
        peak=round(found.peak * (1 + 0.15 * request.controls)), flops=found.flops * (1 + extra),
    )  # fmt: skip


@cache
def _text(family: str, variant: str, part: str) -> Footprint:
    module = _module(family, variant, part)
    clip = "CLIP" in type(module).__name__
    tokens = 77 if clip else TEXT_TOKENS

    def run() -> object:
        ids = torch.zeros(1, tokens, dtype=torch.long, device="meta")
        if clip or "T5" in type(module).__name__:
            return module(input_ids=ids)
        # A whole mask: making one from lengths looks at numbers, which are not there.
        return module(input_ids=ids, attention_mask=empty(1, 1, tokens, tokens), use_cache=False)

    return _footprint(module, part, "text", walk(module, run))


@cache
def _vae(family: str, variant: str, width: int, height: int) -> Footprint:
    module = _module(family, variant, "vae")
    config = config_of(family, variant, "vae")
    channels = config.get("latent_channels", config.get("z_dim", 4))
    frames = (1,) if "z_dim" in config else ()

    def run() -> object:
        return module.decode(empty(1, channels, *frames, height // FACTOR, width // FACTOR), return_dict=False)

    return _footprint(module, "vae", "vae", walk(module, run))


class Estimates:
    """Estimates kept in a JSON file: the same request of the same model is walked once on a machine."""

    VERSION = 1

    def __init__(self, path: Path) -> None:
        self._path = path

    def of(self, family: str, variant: str, request: Request) -> ModelFootprint:
        """As `estimate`; a file that can't be read or written only costs the second."""
        key = json.dumps([self.VERSION, family, variant, request.to_json()])
        known = self._read()
        if key in known:
            try:
                return ModelFootprint.from_json(known[key])
            except (KeyError, TypeError, ValueError):
                pass
        found = estimate(family, variant, request)
        self._write({**known, key: found.to_json()})
        return found

    def _read(self) -> Mapping[str, Any]:
        try:
            data = json.loads(self._path.read_bytes())
        except (OSError, ValueError):
            return {}
        return data if isinstance(data, dict) else {}

    def _write(self, data: Mapping[str, Any]) -> None:
        import os
        import secrets

        temporary = self._path.with_name(f".{self._path.name}.{secrets.token_hex(4)}")
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            temporary.write_text(json.dumps(data), encoding="utf-8")
            os.replace(temporary, self._path)
        except OSError:
            temporary.unlink(missing_ok=True)
