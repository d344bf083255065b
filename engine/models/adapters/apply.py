"""Adapters on a loaded part: W + Σ sᵢ·ΔWᵢ, made beside the masters, which are never written.

Taking an adapter away is to use the masters again, so nothing of it can stay behind.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import torch

from engine.contracts.errors import InvalidRequest, clip
from engine.models.adapters.blocks import block_of, weight_of_block
from engine.models.adapters.deltas import Magnitude
from engine.models.adapters.read import Adapter, LayerChange
from engine.models.layouts.rule import Placement
from engine.models.layouts.table import module_map

Weights: TypeAlias = dict[str, torch.Tensor]  # parameter name → the tensor to use in its place


@dataclass(frozen=True, eq=False)
class Applied:
    """An adapter at a strength; `blocks` gives single blocks a weight of their own (engine.models.adapters.blocks)."""

    adapter: Adapter
    strength: float
    blocks: tuple[tuple[str, float], ...] = ()


@dataclass(frozen=True, eq=False)
class Share:
    """What one adapter does to one parameter: rows start..stop of its change, times `strength`."""

    change: LayerChange
    strength: float
    placement: Placement
    rows: tuple[int, int] | None
    name: str
    layer: str


def adapted(
    module: Any,
    part: str,
    stack: Sequence[Applied],
    family: str = "",
    masters: Mapping[str, torch.Tensor] | None = None,
) -> Weights:
    """The parameters of `module` that the stack changes, summed in float32 and rounded once.

    part     the module's name in a diffusers folder; `family` finds layers named as in the original repository
    masters  what stands in the place of some of the module's own parameters (a merged model's)
    Raises InvalidRequest when an adapter has layers that the module lacks, or of another size.
    """
    own = {**dict(module.named_parameters()), **(masters or {})}
    shapes = {name: tuple(value.shape) for name, value in own.items()}
    planned = shares_of(shapes, part, stack, family, type(module).__name__)
    return {key: summed(own[key].detach(), key, found).to(own[key].dtype) for key, found in planned.items()}


def shares_of(
    shapes: Mapping[str, tuple[int, ...]], part: str, stack: Sequence[Applied], family: str = "", class_name: str = ""
) -> Mapping[str, Sequence[Share]]:
    """What the stack does to each parameter that it changes, before anything is computed. Raises as `adapted`."""
    names = _layer_names(shapes, part, family)
    shares: dict[str, list[Share]] = {}
    for item in stack:
        if item.strength:
            _collect(shares, item, _sections(part, class_name), part, names, shapes)
    return shares


def layer_names(module: Any, part: str, family: str = "") -> Mapping[str, tuple[Placement, ...]]:
    """Layer names with underscores → the modules they are in `module`, by its own names and the original ones.

    transformers 5 dropped the inner `text_model`, which files still write.
    """
    return _layer_names([name for name, _ in module.named_parameters()], part, family)


def _layer_names(parameters: Iterable[str], part: str, family: str) -> Mapping[str, tuple[Placement, ...]]:
    own = {key.rpartition(".")[0] for key in parameters}
    found: dict[str, tuple[Placement, ...]] = {}
    if family:
        for original, placements in module_map(family, part).items():
            if all(placement.target in own for placement in placements):
                found[original.replace(".", "_")] = placements
    for name in own:
        flat = name.replace(".", "_")
        found[flat] = (Placement(name),)
        found.setdefault(f"text_model_{flat}", found[flat])
        found.setdefault(flat.removeprefix("text_model_"), found[flat])
    return found


def _sections(part: str, class_name: str) -> tuple[str, ...]:
    if part in ("unet", "transformer"):
        return ("denoiser",)
    # The second encoder of Flux is the T5, which some files count as the third, as Stable Diffusion 3 does.
    if part == "text_encoder_2" and "T5" in class_name:
        return ("te3", "te2")
    return {"text_encoder": ("te1",), "text_encoder_2": ("te2",), "text_encoder_3": ("te3",)}.get(part, ())


def _collect(
    shares: dict[str, list[Share]], item: Applied, sections: Sequence[str], part: str,
    names: Mapping[str, tuple[Placement, ...]], shapes: Mapping[str, tuple[int, ...]],
) -> None:  # fmt: skip
    adapter = item.adapter
    layers = next((adapter.sections[s] for s in sections if s in adapter.sections), {})
    strangers = [name for name in layers if name not in names]
    if strangers:
        raise InvalidRequest(
            f"it changes {len(strangers)} layers that the {part} of this model does not have, "
            f"the first “{clip(strangers[0])}”",
            where=f"LoRA “{adapter.name}”", fix="Use a LoRA made for this family",
        )  # fmt: skip
    for layer, change in layers.items():
        start = 0
        for placement in names[layer]:
            strength = item.strength * weight_of_block(block_of(placement.target), item.blocks)
            weight = f"{placement.target}.weight"
            length = shapes[weight][0] if weight in shapes else 0
            rows = (start, start + length) if len(names[layer]) > 1 else None
            start += length
            share = Share(change, strength, placement, rows, adapter.name, layer)
            if not strength:
                continue
            if change.weight is not None:
                shares.setdefault(weight, []).append(share)
            if change.bias is not None:
                shares.setdefault(f"{placement.target}.bias", []).append(share)


def summed(master: torch.Tensor, key: str, shares: Sequence[Share]) -> torch.Tensor:
    """The parameter `key` with its shares, float32."""
    total = master.float()
    for share in shares:
        total = _with_bias(total, share) if key.endswith(".bias") else _with_share(total, share)
    return total


def _with_bias(total: torch.Tensor, share: Share) -> torch.Tensor:
    assert share.change.bias is not None
    return total + _piece(share.change.bias.float(), total, share) * share.strength


def _with_share(total: torch.Tensor, share: Share) -> torch.Tensor:
    delta = share.change.weight
    assert delta is not None
    if isinstance(delta, Magnitude) and share.rows is None:
        return total + share.strength * (delta.applied(total) - total)
    if isinstance(delta, Magnitude):
        raise InvalidRequest(
            f"its layer “{clip(share.layer)}” is a DoRA over weights that this model keeps apart",
            where=f"LoRA “{share.name}”", fix="Use it in diffusers' layout",
        )  # fmt: skip
    return total + _piece(delta.change(), total, share) * share.strength


def _piece(change: torch.Tensor, like: torch.Tensor, share: Share) -> torch.Tensor:
    """The part of a layer's change that belongs to the parameter `like`, in its shape and on its device."""
    place = share.placement
    if share.rows is not None:
        change = change[share.rows[0] : share.rows[1]]
        if change.shape[0] == 0:  # XLabs changes the queries, keys and values of a wider matrix only
            return torch.zeros_like(like)
    if place.swap_halves:
        change = change.roll(change.shape[0] // 2, 0)
    if place.transpose and change.ndim > 1:
        change = change.transpose(0, 1)
    if change.numel() != like.numel():
        raise InvalidRequest(
            f"its layer “{clip(share.layer)}” is {'×'.join(map(str, change.shape))} and the model’s is "
            f"{'×'.join(map(str, like.shape))}",
            where=f"LoRA “{share.name}”", fix="Use a LoRA made for this family",
        )  # fmt: skip
    return change.reshape(like.shape).to(like.device)


def lora_stack(patches: Sequence[Any], others: Any) -> tuple[Applied, ...]:
    """The adapters among a handle's patches, in order, their files read by `others`."""
    found = []
    for patch in patches:
        if patch.kind == "lora":
            settings = dict(patch.settings)
            found.append(Applied(others(settings["weights"]), settings["strength"], settings.get("blocks", ())))
    return tuple(found)
