"""Low-rank adapters on a network: W + s·(α/r)·B·A (2106.09685), merged beside the untouched masters.

Layouts: kohya (`lora_unet_…lora_down.weight`, `.alpha`), peft and diffusers (`unet.….lora_A.weight`), and diffusers'
older attention processors (`….processor.to_q_lora.down.weight`). Without α the scale is 1, as peft saves it.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import torch

from engine.contracts.errors import InvalidRequest, MissingModel, UnsafeModel, clip
from engine.models.safetensors_header import read_header

Weights: TypeAlias = dict[str, torch.Tensor]  # parameter name → the tensor to use in its place

_ENDINGS = (
    (re.compile(r"(?:\.lora_down|\.lora_A(?:\.\w+)?|[._]lora\.down|\.lora_linear_layer\.down)\.weight$"), "down"),
    (re.compile(r"(?:\.lora_up|\.lora_B(?:\.\w+)?|[._]lora\.up|\.lora_linear_layer\.up)\.weight$"), "up"),
    (re.compile(r"\.alpha$"), "alpha"),
)
_OTHER_KINDS = {"hada_": "a LoHa", "lokr_": "a LoKr", "dora_scale": "a DoRA", "lora_mid": "a LoCon in CP form"}
_KOHYA = {"lora_unet_": "unet", "lora_te_": "text_encoder", "lora_te1_": "text_encoder"}
_DOTTED = {"unet.": "unet", "text_encoder.": "text_encoder"}


@dataclass(frozen=True)
class Layer:
    """down [r, in, …], up [out, r, …]; scale is α/r."""

    down: torch.Tensor
    up: torch.Tensor
    scale: float


@dataclass(frozen=True, eq=False)
class Lora:
    """layers by part ("unet", "text_encoder") and by the layer's name, dots as underscores."""

    name: str
    layers: Mapping[str, Mapping[str, Layer]]


def fingerprint_of(path: Path) -> str:
    """sha256 over the file's header, its size and 4 KiB blocks of it: tells files apart without reading all."""
    header, size = read_header(path), path.stat().st_size
    digest = hashlib.sha256(header.raw + str(size).encode())
    with path.open("rb") as file:
        for i in range(16):
            file.seek(max(0, size - 4096) * i // 15)
            digest.update(file.read(4096))
    return digest.hexdigest()


def read_lora(path: Path) -> Lora:
    """The LoRA in a safetensors file. Raises MissingModel, UnsafeModel, or InvalidRequest for a kind not known here."""
    from safetensors.torch import load_file

    if path.is_dir():
        raise MissingModel("this is a folder, not a LoRA file", where=str(path), fix="Choose its .safetensors file")
    if path.suffix.lower() != ".safetensors":
        raise UnsafeModel("a LoRA is read from safetensors only", where=str(path), fix="Convert it to safetensors")
    header = read_header(path)
    pieces: dict[tuple[str, str], dict[str, torch.Tensor]] = {}
    for key in header.tensors:
        other = next((words for mark, words in _OTHER_KINDS.items() if mark in key), None)
        if other:
            raise InvalidRequest(f"it is {other}, and only LoRA and LoCon are merged so far", where=path.name)
    for key, tensor in load_file(path).items():
        part, layer, kind = _placed(key, path.name)
        pieces.setdefault((part, layer), {})[kind] = tensor
    layers: dict[str, dict[str, Layer]] = {}
    for (part, name), found in pieces.items():
        if "down" not in found or "up" not in found:
            raise InvalidRequest(f"its layer “{clip(name)}” is not whole", where=path.name, fix="Get the file again")
        rank = found["down"].shape[0]
        alpha = float(found["alpha"]) if "alpha" in found else float(rank)
        layers.setdefault(part, {})[name] = Layer(found["down"].float(), found["up"].float(), alpha / rank)
    if not layers:
        raise InvalidRequest("there is no LoRA layer in it", where=path.name, fix="Choose a LoRA file")
    return Lora(path.stem, layers)


def _placed(key: str, where: str) -> tuple[str, str, str]:
    """(part, layer name with underscores, "down" | "up" | "alpha") of a tensor."""
    found = next(((match, kind) for pattern, kind in _ENDINGS if (match := pattern.search(key))), None)
    if found is None:
        raise InvalidRequest(f"its tensor “{clip(key)}” belongs to no LoRA layout known here", where=where)
    kind, stem = found[1], key[: found[0].start()]
    for prefix, part in _KOHYA.items():
        if stem.startswith(prefix):
            return part, stem.removeprefix(prefix), kind
    stem = stem.removeprefix("base_model.model.")
    part = next((part for prefix, part in _DOTTED.items() if stem.startswith(prefix)), "unet")
    stem = stem.removeprefix(f"{part}.")
    stem = re.sub(r"\.processor\.to_out(_lora)?$", ".to_out.0", stem)
    stem = re.sub(r"\.processor\.(to_[qkv])(_lora)?$", r".\1", stem)
    return part, stem.replace(".", "_"), kind


def merged(module: Any, part: str, lora: Lora, strength: float, before: Weights) -> Weights:
    """`before` with the LoRA's share added; what it does not name yet starts from the module's masters.

    The sum is made in float32 and rounded once. Raises InvalidRequest when the LoRA has layers that the module lacks.
    """
    weights = dict(before)
    if not strength:
        return weights
    names = _names(module)
    own = dict(module.named_parameters())
    layers = lora.layers.get(part, {})
    strangers = [name for name in layers if name not in names]
    if strangers:
        raise InvalidRequest(
            f"it changes {len(strangers)} layers that the {part} of this model does not have, "
            f"the first “{clip(strangers[0])}”",
            where=f"LoRA “{lora.name}”", fix="Use a LoRA made for this family",
        )  # fmt: skip
    for name, layer in layers.items():
        key = names[name]
        base: torch.Tensor = weights[key] if key in weights else own[key]
        change = layer.up.flatten(1) @ layer.down.flatten(1)
        if change.numel() != base.numel():
            raise InvalidRequest(
                f"its layer “{clip(name)}” is {change.shape[0]}×{change.shape[1]} and the model’s is "
                f"{'×'.join(map(str, base.shape))}",
                where=f"LoRA “{lora.name}”", fix="Use a LoRA made for this family",
            )  # fmt: skip
        change = change.reshape(base.shape).to(base.device) * (strength * layer.scale)
        weights[key] = (base.detach().float() + change).to(base.dtype)
    return weights


def _names(module: Any) -> dict[str, str]:
    """Layer names with underscores → the module's own parameter names. transformers 5 dropped the inner text_model."""
    names: dict[str, str] = {}
    for key, parameter in module.named_parameters():
        if key.endswith(".weight") and parameter.ndim >= 2:
            flat = key.removesuffix(".weight").replace(".", "_")
            names[flat] = names.setdefault(f"text_model_{flat}", key)
    return names
