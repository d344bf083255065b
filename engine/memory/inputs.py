"""What goes into each family's denoiser for a request, as tensors without memory. Sizes in pixels; of a picture that is
denoised in windows, those of one window.

Kept apart from the families so that a plan needs neither weights nor prompts; tests/unit/test_memory_estimate.py holds
both to the same shapes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch

from engine.contracts.errors import UnknownChoice
from engine.memory.measure import Inputs, empty
from engine.memory.request import FACTOR, Request

Config = Mapping[str, Any]


# Tokens that a prompt takes where the family does not fill it up to a fixed length.
USUAL_TOKENS = {"sd15": 77, "sd2": 77, "sdxl": 77, "sdxl_refiner": 77, "sd3": 333, "flux": 512, "flux2": 512,
                "qwen_image": 256, "z_image": 256, "chroma": 512, "svd": 1}  # fmt: skip
# Families whose two sides go through the network together; the others run them one after the other.
TOGETHER = frozenset({"sd15", "sd2", "sdxl", "sdxl_refiner", "sd3", "svd"})


def denoiser_inputs(family: str, config: Config, request: Request) -> Inputs:
    """The arguments of the denoiser's forward. Raises UnknownChoice."""
    make = _MAKERS.get(family)
    if make is None:
        raise UnknownChoice("model family", family, _MAKERS)
    batch = request.batch * (2 if request.guidance and family in TOGETHER else 1)
    tokens = request.tokens or USUAL_TOKENS[family]
    width, height = request.seen
    if family == "svd":
        return _svd(config, batch, height // FACTOR, width // FACTOR, tokens, request.frames)
    return make(config, batch, height // FACTOR, width // FACTOR, tokens, request.references)


def _unet(config: Config, batch: int, rows: int, columns: int, tokens: int, references: int) -> Inputs:
    made: dict[str, Any] = {
        "sample": empty(batch, config["in_channels"], rows, columns),
        "timestep": empty(batch, dtype=torch.float32),
        "encoder_hidden_states": empty(batch, tokens, config["cross_attention_dim"]),
    }
    if config.get("addition_embed_type") == "text_time":
        # Width of what is added: the pooled text and so many numbers about sizes.
        numbers = (config["projection_class_embeddings_input_dim"] - 1280) // config["addition_time_embed_dim"]
        made["added_cond_kwargs"] = {"text_embeds": empty(batch, 1280), "time_ids": empty(batch, numbers)}
    return made


def _sd3(config: Config, batch: int, rows: int, columns: int, tokens: int, references: int) -> Inputs:
    return {
        "hidden_states": empty(batch, config["in_channels"], rows, columns),
        "timestep": empty(batch),
        "encoder_hidden_states": empty(batch, tokens, config["joint_attention_dim"]),
        "pooled_projections": empty(batch, config["pooled_projection_dim"]),
    }


def _packed(rows: int, columns: int, references: int) -> int:
    return (rows // 2) * (columns // 2) * (1 + references)


def _flux(config: Config, batch: int, rows: int, columns: int, tokens: int, references: int) -> Inputs:
    cells = _packed(rows, columns, references)
    made = {
        "hidden_states": empty(batch, cells, config["in_channels"]),
        "timestep": empty(batch),
        "pooled_projections": empty(batch, config["pooled_projection_dim"]),
        "encoder_hidden_states": empty(batch, tokens, config["joint_attention_dim"]),
        "txt_ids": empty(tokens, 3),
        "img_ids": empty(cells, 3),
    }
    return {**made, "guidance": empty(batch)} if config["guidance_embeds"] else made


def _flux2(config: Config, batch: int, rows: int, columns: int, tokens: int, references: int) -> Inputs:
    cells = _packed(rows, columns, references)
    made = {
        "hidden_states": empty(batch, cells, config["in_channels"]),
        "timestep": empty(batch),
        "encoder_hidden_states": empty(batch, tokens, config["joint_attention_dim"]),
        "txt_ids": empty(tokens, 4),
        "img_ids": empty(cells, 4),
    }
    return {**made, "guidance": empty(batch)} if config["guidance_embeds"] else made


def _chroma(config: Config, batch: int, rows: int, columns: int, tokens: int, references: int) -> Inputs:
    cells = _packed(rows, columns, references)
    return {
        "hidden_states": empty(batch, cells, config["in_channels"]),
        "timestep": empty(batch),
        "encoder_hidden_states": empty(batch, tokens, config["joint_attention_dim"]),
        "txt_ids": empty(tokens, 3),
        "img_ids": empty(cells, 3),
        "attention_mask": empty(batch, tokens + cells),
    }


def _qwen_image(config: Config, batch: int, rows: int, columns: int, tokens: int, references: int) -> Inputs:
    return {
        "hidden_states": empty(batch, _packed(rows, columns, references), config["in_channels"]),
        "timestep": empty(batch),
        "encoder_hidden_states": empty(batch, tokens, config["joint_attention_dim"]),
        "encoder_hidden_states_mask": None,
        "img_shapes": [[(1, rows // 2, columns // 2)] * (1 + references)] * batch,
    }


def _z_image(config: Config, batch: int, rows: int, columns: int, tokens: int, references: int) -> Inputs:
    return {
        "x": [empty(config["in_channels"], 1, rows, columns) for _ in range(batch)],
        "t": empty(batch),
        "cap_feats": [empty(tokens, config["cap_feat_dim"]) for _ in range(batch)],
    }


def _svd(config: Config, batch: int, rows: int, columns: int, tokens: int, frames: int) -> Inputs:
    return {
        "sample": empty(batch, frames, config["in_channels"], rows, columns),
        "timestep": empty(batch, dtype=torch.float32),
        "encoder_hidden_states": empty(batch, tokens, config["cross_attention_dim"]),
        "added_time_ids": empty(batch, 3),
    }


_MAKERS: Mapping[str, Callable[[Config, int, int, int, int, int], Inputs]] = {
    "sd15": _unet, "sd2": _unet, "sdxl": _unet, "sdxl_refiner": _unet, "sd3": _sd3, "flux": _flux, "flux2": _flux2,
    "chroma": _chroma, "qwen_image": _qwen_image, "z_image": _z_image,
    "svd": _svd,
}  # fmt: skip
