"""What a request needs of memory and computing, from the model's true shapes alone: no weights, no card.

Each part is built on the meta device from its configuration and walked once, blocks that repeat once for all of them.
engine.memory.estimates keeps what was found, so that the next of the same request needs no torch.
"""

from __future__ import annotations

import threading
import warnings
from dataclasses import replace
from functools import cache
from typing import Any

import torch

from engine.memory.blueprint import Blueprint
from engine.memory.footprint import Footprint, ModelFootprint
from engine.memory.inputs import TOGETHER, denoiser_inputs
from engine.memory.measure import Walked, bytes_in, empty, in_type, largest_leaves, streamed_blocks, walk
from engine.memory.request import FACTOR, Kernel, Request
from engine.memory.steering import control_of, steered
from engine.memory.video import PARTS

VAE_TILES = (1024, 768, 512, 256, 128)
TEXT_TOKENS = 512
# Latents of the whole picture that a run in windows keeps on the card: its own, the noise, what the last steps said.
LATENTS = 6
_ALONE = threading.Lock()  # a walk takes over the blocks of a network that all estimates share


def estimate(model: Blueprint, request: Request) -> ModelFootprint:
    """The footprint of a model for a request, weights counted in sixteen bits. Several threads may ask: the window's
    plans and the engine's. Raises UnknownChoice."""
    with _ALONE:
        return _estimated(model, request)


def _estimated(model: Blueprint, request: Request) -> ModelFootprint:
    family = model.family
    if family not in PARTS:
        model.config("")
    about = PARTS[family]
    encoders = about.encoders or tuple(part for part in about.classes if part == "image_encoder")
    parts = [_text(model, part, request.kernel) for part in encoders if model.has(part)]
    together = family in TOGETHER and request.guidance
    # What does not change the shapes is left out, so that what was walked is found again.
    width, height = request.seen
    shapes = replace(
        request, width=width, height=height, guidance=together, steps=0, adapters=0, window=0, overlap=0
    )  # fmt: skip
    parts.append(_in_windows(model, request, _denoiser(model, shapes)))
    parts.append(_vae(model, request.width, request.height, request.frames, request.kernel))
    # The decoder is convolutional: what it needs is proportional to the area.
    area = parts[-1].peak / (request.width * request.height)
    tiles = {edge: round(area * edge * edge) for edge in VAE_TILES if edge < max(request.width, request.height)}
    alone = replace(shapes, batch=1, guidance=False)
    apart = _in_windows(model, request, _denoiser(model, alone)).peak
    return ModelFootprint(
        family, model.variant, tuple(parts), {} if family == "svd" else tiles, 2 if together else 1, apart,
        2 if request.guidance else 1,
    )  # fmt: skip


def _in_windows(model: Blueprint, request: Request, found: Footprint) -> Footprint:
    """The denoiser with the latents of the whole picture beside it, which don't shrink with the windows."""
    if request.windows == 1:
        return found
    config = model.config("vae")
    channels = int(config.get("latent_channels", config.get("z_dim", 4)))
    cells = request.batch * (request.width // FACTOR) * (request.height // FACTOR)
    return replace(found, peak=found.peak + LATENTS * 4 * channels * cells)


@cache
def _module(model: Blueprint, part: str, dtype: torch.dtype = torch.bfloat16) -> Any:
    """A part on the meta device in a type."""
    import diffusers
    import transformers

    config = model.config(part)
    name = config.get("_class_name") or (config.get("architectures") or [PARTS[model.family].classes[part][0]])[0]
    with warnings.catch_warnings(), torch.device("meta"):
        warnings.simplefilter("ignore")
        if part.endswith(("encoder", "encoder_2", "encoder_3")):
            kind = getattr(transformers, name)
            made = kind(kind.config_class.from_dict(dict(config)))
        else:
            made = getattr(diffusers, name).from_config(config)
    return in_type(made, dtype)


def _footprint(module: Any, part: str, role: str, walked: Walked) -> Footprint:
    blocks = tuple(bytes_in(block) for _, block in streamed_blocks(module))
    weights = bytes_in(module)
    return Footprint(
        part, role, weights, weights - sum(blocks), blocks, largest_leaves(module), walked.peak, walked.flops
    )


@cache
def _denoiser(model: Blueprint, request: Request) -> Footprint:
    """The denoiser with the ControlNets and IP-Adapters that run beside it, which are never streamed."""
    part = PARTS[model.family].denoiser
    module, config = _module(model, part), model.config(part)
    nets = [net for net in (control_of(model.family, config) for _ in range(request.controls)) if net is not None]
    beside = sum(bytes_in(net) for net in nets) + request.prompts * _picture_layers(module)

    def run() -> object:
        asked = denoiser_inputs(model.family, config, request)
        return module(**(steered(model.family, nets, module, asked, request) if nets else asked), return_dict=False)

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        walked = walk(run, module, *nets, kernel=request.kernel)
    found = _footprint(module, part, "denoiser", walked)
    return replace(found, weights=found.weights + beside, outside=found.outside + beside, beside=beside)


def _picture_layers(module: torch.nn.Module) -> int:
    """Bytes of an IP-Adapter: keys and values of its own for each layer of a U-Net that reads the prompt, as large as
    those."""
    if not hasattr(module, "down_blocks"):
        return 0
    return sum(bytes_in(layer) for name, layer in module.named_modules() if name.endswith(("attn2.to_k", "attn2.to_v")))


@cache
def _text(model: Blueprint, part: str, kernel: Kernel) -> Footprint:
    module = _module(model, part)
    clip = "CLIP" in type(module).__name__
    tokens = int(model.config(part).get("max_position_embeddings", 77)) if clip else TEXT_TOKENS

    def run() -> object:
        if part == "image_encoder":
            edge = int(model.config(part).get("image_size", 224))
            return module(pixel_values=empty(1, 3, edge, edge))
        ids = torch.zeros(1, tokens, dtype=torch.long, device="meta")
        if clip or "T5" in type(module).__name__:
            return module(input_ids=ids)
        # As engine.families.language_text asks. A whole mask: making one from lengths looks at numbers.
        head = {"logits_to_keep": 1} if hasattr(module, "lm_head") else {}
        mask = empty(1, 1, tokens, tokens)
        return module(input_ids=ids, attention_mask=mask, use_cache=False, output_hidden_states=True, **head)

    return _footprint(module, part, "text", walk(run, module, kernel=kernel))


@cache
def _vae(model: Blueprint, width: int, height: int, frames: int, kernel: Kernel) -> Footprint:
    module, config = _module(model, "vae"), model.config("vae")
    channels = config.get("latent_channels", config.get("z_dim", 4))
    # SDXL's overflows in float16, so it is loaded in float32 (engine.models.loading); a video's decodes as it is.
    single = PARTS[model.family].half and model.family != "svd" and config.get("force_upcast") is True
    dtype = torch.float32 if single else torch.bfloat16
    module = _module(model, "vae", dtype)

    def run() -> object:
        rows, columns = height // FACTOR, width // FACTOR
        if model.family == "svd":
            return module.decode(empty(frames, channels, rows, columns), num_frames=frames, return_dict=False)
        deep = (1,) if "z_dim" in config else ()
        return module.decode(empty(1, channels, *deep, rows, columns, dtype=dtype), return_dict=False)

    found = _footprint(module, "vae", "vae", walk(run, module, kernel=kernel))
    # Convolutions in float32 run at about half the rate (TF32 on cards that have it).
    return replace(found, flops=found.flops * (2 if single else 1), single=single)
