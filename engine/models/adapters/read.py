"""An adapter's file → what it changes, by part of the model and by layer.

Layouts: kohya (`lora_unet_…lora_down.weight`, `.alpha`), peft and diffusers (`unet.….lora_A.weight`), diffusers' older
attention processors, files in the original repositories' names (`diffusion_model.…`), XLabs' Flux processors, LyCORIS
LoHa and LoKr, DoRA on any of them, and whole differences. Without α the scale is 1, as peft saves it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

import torch

from engine.contracts.errors import InvalidRequest, MissingModel, UnsafeModel, clip
from engine.models.adapters.deltas import Delta, Whole, delta_of
from engine.models.lora_files import split_key
from engine.models.safetensors_header import read_header

# Beginnings of a layer's name → the section of the model it lies in. Longest first.
_SECTIONS = (
    ("lora_prior_unet_", "denoiser"), ("lora_transformer_", "denoiser"), ("lora_unet_", "denoiser"),
    ("lora_te1_", "te1"), ("lora_te2_", "te2"), ("lora_te3_", "te3"), ("lora_te_", "te1"),
    ("model.diffusion_model.", "denoiser"), ("diffusion_model.", "denoiser"), ("unet.", "denoiser"),
    ("text_encoders.clip_l.", "te1"), ("text_encoders.clip_g.", "te2"), ("text_encoders.t5xxl.", "te3"),
    ("text_encoder_2.", "te2"), ("text_encoder_3.", "te3"), ("text_encoder.", "te1"),
    ("transformer.", "denoiser"),
)  # fmt: skip
_XLABS = re.compile(r"^(double|single)_blocks\.(\d+)\.processor\.(qkv|proj)_lora(\d?)\.(down|up)\.weight$")


@dataclass(frozen=True, eq=False)
class LayerChange:
    """What one layer gets: the change of its weight, and of its bias where the file has one."""

    weight: Delta | None
    bias: torch.Tensor | None = None


@dataclass(frozen=True, eq=False)
class Adapter:
    """`sections`: "denoiser", "te1", "te2", "te3" → layer name with underscores → its change."""

    name: str
    sections: Mapping[str, Mapping[str, LayerChange]]


def read_adapter(path: Path) -> Adapter:
    """The LoRA or LyCORIS adapter in a safetensors file. Raises MissingModel, UnsafeModel or InvalidRequest."""
    from safetensors.torch import load_file

    if path.is_dir():
        raise MissingModel("this is a folder, not a LoRA file", where=str(path), fix="Choose its .safetensors file")
    if path.suffix.lower() != ".safetensors":
        raise UnsafeModel("a LoRA is read from safetensors only", where=str(path), fix="Convert it to safetensors")
    read_header(path)
    try:
        return adapter_of(load_file(path), path.stem)
    except InvalidRequest as error:
        raise InvalidRequest(error.what, where=path.name, fix=error.fix) from error


def adapter_of(tensors: Mapping[str, torch.Tensor], name: str) -> Adapter:
    """The adapter that these tensors are. Raises InvalidRequest for what belongs to no layout known here."""
    layers: dict[tuple[str, str], dict[str, torch.Tensor]] = {}
    for key, tensor in tensors.items():
        section, layer, role = _placed(key)
        layers.setdefault((section, layer), {})[role] = tensor
    sections: dict[str, dict[str, LayerChange]] = {}
    for (section, layer), roles in layers.items():
        sections.setdefault(section, {})[layer] = _change(roles, layer)
    if not sections:
        raise InvalidRequest("there is no LoRA layer in it", fix="Choose a LoRA file")
    return Adapter(name, MappingProxyType(sections))


def _change(roles: dict[str, torch.Tensor], layer: str) -> LayerChange:
    bias = roles.pop("diff_b", roles.pop("b_norm", None))
    if "w_norm" in roles:
        return LayerChange(Whole(roles["w_norm"]), bias)
    if not roles and bias is not None:
        return LayerChange(None, bias)
    return LayerChange(delta_of(roles, layer), bias)


def _placed(key: str) -> tuple[str, str, str]:
    """(section, layer name with underscores, role) of a tensor."""
    xlabs = _XLABS.match(key)
    if xlabs:
        kind, number, what, side, role = xlabs.groups()
        if kind == "single":
            return "denoiser", f"single_blocks_{number}_linear{'1' if what == 'qkv' else '2'}", f"lora_{role}"
        return "denoiser", f"double_blocks_{number}_{'txt' if side == '2' else 'img'}_attn_{what}", f"lora_{role}"
    split = split_key(key)
    if split is None:
        raise InvalidRequest(f"its tensor “{clip(key)}” belongs to no LoRA layout known here")
    layer, role = split
    layer = layer.removeprefix("base_model.model.")
    section = "denoiser"
    for beginning, found in _SECTIONS:
        if layer.startswith(beginning):
            section, layer = found, layer.removeprefix(beginning)
            break
    layer = layer.removeprefix("transformer.") if section != "denoiser" else layer
    layer = re.sub(r"\.processor\.to_out(_lora)?$", ".to_out.0", layer)
    layer = re.sub(r"\.processor\.(to_[qkv])(_lora)?$", r".\1", layer)
    return section, layer.replace(".", "_"), role
