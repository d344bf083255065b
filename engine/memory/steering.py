"""ControlNets in an estimate: each family's usual one, built without memory and walked before its denoiser.

What it says is kept while the denoiser runs, as in engine.families; its weights stay beside the denoiser's.
"""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch

from engine.memory.measure import empty, in_type
from engine.memory.request import FACTOR, Request

Config = Mapping[str, Any]
Residuals = dict[str, Any]

# How many blocks the ControlNets have that are used most: InstantX's for Flux (Union), SD3 and Qwen-Image (Union).
_FLUX, _SD3, _QWEN = (5, 10), 6, 5
_Z_IMAGE = (0, 5, 10, 15, 20, 25)  # the layers that Z-Image's (Fun, Union) speaks to
# What a ControlNet of a U-Net shares with its network's configuration (engine.models.others has the same list).
_UNET = (
    "in_channels", "flip_sin_to_cos", "freq_shift", "down_block_types", "block_out_channels", "layers_per_block",
    "downsample_padding", "mid_block_scale_factor", "act_fn", "norm_num_groups", "norm_eps", "cross_attention_dim",
    "transformer_layers_per_block", "attention_head_dim", "num_attention_heads", "use_linear_projection",
    "addition_embed_type", "addition_time_embed_dim", "upcast_attention", "projection_class_embeddings_input_dim",
)  # fmt: skip


def control_of(family: str, config: Config) -> torch.nn.Module | None:
    """The family's usual ControlNet without memory, in bfloat16; None for a family that has none."""
    import diffusers

    made: tuple[str, dict[str, Any]] | None = None
    if "down_block_types" in config and family != "svd":
        made = "ControlNetModel", {name: config[name] for name in _UNET if name in config}
    elif family == "flux":
        double, single = _FLUX
        made = "FluxControlNetModel", {**config, "num_layers": double, "num_single_layers": single, "in_channels": 64}
    elif family == "sd3":
        made = "SD3ControlNetModel", {**config, "num_layers": min(_SD3, config["num_layers"])}
    elif family == "qwen_image":
        made = "QwenImageControlNetModel", {**config, "num_layers": _QWEN}
    elif family == "z_image":
        own = ("all_patch_size", "all_f_patch_size", "dim", "n_refiner_layers", "n_heads", "n_kv_heads", "norm_eps",
               "qk_norm")  # fmt: skip
        made = "ZImageControlNetModel", {
            **{name: config[name] for name in own}, "control_in_dim": config["in_channels"],
            "control_layers_places": [place for place in _Z_IMAGE if place < config["n_layers"]],
        }  # fmt: skip
    if made is None:
        return None
    name, settings = made
    with warnings.catch_warnings(), torch.device("meta"):
        warnings.simplefilter("ignore")
        kind = getattr(diffusers, name)
        known = inspect.signature(kind.__init__).parameters
        module: torch.nn.Module = in_type(kind(**{key: value for key, value in settings.items() if key in known}))
    return module


def steered(
    family: str, nets: Sequence[Any], denoiser: Any, asked: Mapping[str, Any], request: Request
) -> Mapping[str, Any]:
    """The denoiser's arguments with what the ControlNets say, summed. Called while walked."""
    total: Residuals = {}
    for net in nets:
        total = _summed(total, _ASK[family](net, denoiser, asked, request))
    return {**asked, **total}


def _summed(a: Residuals, b: Residuals) -> Residuals:
    return {name: _added(a[name], value) if name in a else value for name, value in b.items()}


def _added(a: Any, b: Any) -> Any:
    if isinstance(a, Mapping):
        return {key: a[key] + b[key] for key in a}
    return a + b if isinstance(a, torch.Tensor) else [x + y for x, y in zip(a, b, strict=True)]


def _unet(net: Any, denoiser: Any, asked: Mapping[str, Any], request: Request) -> Residuals:
    width, height = request.seen
    sample = asked["sample"]
    options = {name: asked[name] for name in ("added_cond_kwargs",) if name in asked}
    down, middle = net(
        sample, asked["timestep"], encoder_hidden_states=asked["encoder_hidden_states"],
        controlnet_cond=empty(sample.shape[0], 3, height, width), return_dict=False, **options,
    )  # fmt: skip
    return {"down_block_additional_residuals": down, "mid_block_additional_residual": middle}


def _flux(net: Any, denoiser: Any, asked: Mapping[str, Any], request: Request) -> Residuals:
    own, tokens = net.x_embedder.in_features, asked["hidden_states"].shape[1] // (1 + request.references)
    x = asked["hidden_states"][:, :tokens, :own]
    named = ("timestep", "pooled_projections", "encoder_hidden_states", "txt_ids")
    double, single = net(
        hidden_states=x, controlnet_cond=empty(*x.shape), img_ids=asked["img_ids"][:tokens],
        guidance=asked.get("guidance"), return_dict=False, **{name: asked[name] for name in named},
    )  # fmt: skip
    if request.references:
        double, single = ([_padded(one, tokens * request.references) for one in side] for side in (double, single))
    return {"controlnet_block_samples": list(double), "controlnet_single_block_samples": list(single)}


def _padded(residual: torch.Tensor, more: int) -> torch.Tensor:
    return torch.nn.functional.pad(residual, (0, 0, 0, more))


def _sd3(net: Any, denoiser: Any, asked: Mapping[str, Any], request: Request) -> Residuals:
    found = net(controlnet_cond=empty(*asked["hidden_states"].shape), return_dict=False, **asked)[0]
    depth = len(denoiser.transformer_blocks)
    return {"block_controlnet_hidden_states": [found[int(i / (depth / len(found)))] for i in range(depth)]}


def _qwen_image(net: Any, denoiser: Any, asked: Mapping[str, Any], request: Request) -> Residuals:
    tokens = asked["hidden_states"].shape[1] // (1 + request.references)
    x = asked["hidden_states"][:, :tokens]
    said = {name: asked[name] for name in ("timestep", "encoder_hidden_states", "encoder_hidden_states_mask")}
    found = net(
        hidden_states=x, controlnet_cond=empty(*x.shape), img_shapes=[sizes[:1] for sizes in asked["img_shapes"]],
        return_dict=False, **said,
    )  # fmt: skip
    if request.references:
        found = [_padded(one, tokens * request.references) for one in found]
    return {"controlnet_block_samples": list(found)}


def _z_image(net: Any, denoiser: Any, asked: Mapping[str, Any], request: Request) -> Residuals:
    width, height = request.seen
    hints = [empty(net.config.control_in_dim, 1, height // FACTOR, width // FACTOR) for _ in asked["x"]]
    bound = type(net).from_transformer(net, denoiser)
    return {"controlnet_block_samples": bound(asked["x"], asked["t"], asked["cap_feats"], hints)}


_ASK: Mapping[str, Callable[[Any, Any, Mapping[str, Any], Request], Residuals]] = {
    "sd15": _unet, "sd2": _unet, "sdxl": _unet, "sdxl_refiner": _unet, "sd3": _sd3, "flux": _flux,
    "qwen_image": _qwen_image, "z_image": _z_image,
}  # fmt: skip
