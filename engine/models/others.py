"""What is loaded by itself and steers or changes a model: LoRAs, ControlNets, embeddings and their like."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from engine.contracts.errors import BadInput
from engine.models import layouts
from engine.models.adapters.read import read_adapter
from engine.models.assemble import Placements, fill, skeleton
from engine.models.identify import identify
from engine.models.ip_adapter import read_ip_adapter
from engine.models.layouts.steering import adapter_config, control_config, place_adapter
from engine.models.loading import load_controlnet
from engine.models.vision import load_vision
from engine.models.weights import Weights, open_weights

Load = Callable[[Path, torch.device, torch.dtype], Any]
# The entries of a U-Net's configuration that its ControlNet shares.
_SHARED = (
    "in_channels", "flip_sin_to_cos", "freq_shift", "down_block_types", "only_cross_attention", "block_out_channels",
    "layers_per_block", "downsample_padding", "mid_block_scale_factor", "act_fn", "norm_num_groups", "norm_eps",
    "cross_attention_dim", "transformer_layers_per_block", "attention_head_dim", "num_attention_heads",
    "use_linear_projection", "class_embed_type", "addition_embed_type", "addition_time_embed_dim",
    "num_class_embeds", "upcast_attention", "resnet_time_scale_shift", "projection_class_embeddings_input_dim",
)  # fmt: skip


def load_tensors(path: Path, device: torch.device, dtype: torch.dtype) -> dict[str, torch.Tensor]:
    """Every tensor of a file by name, float32 on the CPU: of an embedding."""
    weights = open_weights(path)
    return {name: weights.numbers(name, torch.float32, torch.device("cpu")).clone() for name in weights.shapes}


def load_control(path: Path, device: torch.device, dtype: torch.dtype) -> Any:
    """The ControlNet or T2I-Adapter of a diffusers folder, or of one file for a U-Net. Raises BadInput for another."""
    if path.is_dir():
        return load_controlnet(path, device, dtype)
    about = identify(path)
    if about.kind == "t2i_adapter" and about.variant in ("", "light"):
        return _adapter_file(path, device, dtype)
    if about.kind != "controlnet" or about.family not in ("sd15", "sd2", "sdxl") or about.variant not in ("", "union"):
        raise BadInput(
            f"it is {about.words()}, which is not read from one file", where=path.name,
            fix="Use it as a diffusers folder (config.json beside its weights)",
        )  # fmt: skip
    weights = open_weights(path)
    mapped = layouts.key_map(about.family, "controlnet", weights.shapes)
    unet = layouts.config_of(about.family, layouts.default_variant(about.family), "unet")
    config = control_config(
        _shapes(weights, mapped.placements), {name: unet[name] for name in _SHARED if name in unet}
    )  # fmt: skip
    module = skeleton("ControlNetUnionModel" if about.variant == "union" else "ControlNetModel", config)
    return fill(module, weights, mapped.placements, device, dtype, what="ControlNet")


def _adapter_file(path: Path, device: torch.device, dtype: torch.dtype) -> Any:
    weights = open_weights(path)
    placements = place_adapter(weights.shapes)
    module = skeleton("T2IAdapter", adapter_config(_shapes(weights, placements)))
    return fill(module, weights, placements, device, dtype, what="T2I-Adapter")


def _shapes(weights: Weights, placements: Placements) -> dict[str, tuple[int, ...]]:
    """The shapes of a file's tensors by the names of the places they go to."""
    return {
        placement.target: layouts.placed_shape(placement, weights.shapes[source])
        for source, placed in placements.items()
        for placement in placed
    }


def load_annotator(path: Path, device: torch.device, dtype: torch.dtype) -> Any:
    """See engine.control.annotators."""
    from engine.control import annotators

    return annotators.load_annotator(path, device, dtype)


def _load_pipeline(path: Path, device: torch.device, dtype: torch.dtype) -> Any:
    from engine.models.any_pipeline import load_pipeline

    return load_pipeline(path, device, dtype)


def _load_upscaler(path: Path, device: torch.device, dtype: torch.dtype) -> Any:
    from engine.enhance.upscalers import load_upscaler

    return load_upscaler(path, device, dtype)


OTHERS: dict[str, Load] = {
    "annotator": load_annotator,
    "lora": lambda path, device, dtype: read_adapter(path),
    "controlnet": load_control,
    "embedding": load_tensors,
    "ip_adapter": lambda path, device, dtype: read_ip_adapter(path),
    "text_encoder": load_vision,  # one that reads pictures; those that read words are parts of a family
    "upscaler": _load_upscaler,
    "other": _load_pipeline,
}
