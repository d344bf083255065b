"""LoRA files merged into one: ranks laid side by side, which is exact, or brought down to a rank by SVD."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

import torch

from engine.contracts.errors import InvalidRequest, StorageError, clip
from engine.models.adapters.deltas import LowRank, Magnitude
from engine.models.adapters.read import Adapter, LayerChange, read_adapter
from engine.models.merging import PROVENANCE, content_hash
from engine.models.merging_file import TensorPlan, write_safetensors

_PREFIX = {"denoiser": "lora_unet_", "te1": "lora_te1_", "te2": "lora_te2_", "te3": "lora_te3_"}


def merge_loras(
    files: Sequence[tuple[Path, float]], target: Path, rank: int = 0, dtype: torch.dtype = torch.float16,
    studio: str = "",
) -> int:  # fmt: skip
    """Write the sum of LoRAs, each times its weight, as one in kohya's layout; returns its largest rank.

    rank  0 lays the ranks side by side, exact but for rounding to `dtype`; else the best approximation of that rank,
          which also takes LoHa, LoKr and whole differences
    Raises InvalidRequest for a layer that has no such form (DoRA, biases), StorageError where `target` exists.
    """
    if target.exists():
        raise StorageError(f"{target} is there already", fix="Choose another name")
    adapters = [(read_adapter(path), weight) for path, weight in files]
    several = any(section in ("te2", "te3") for adapter, _ in adapters for section in adapter.sections)
    tensors: dict[str, torch.Tensor] = {}
    for section, layer in _layers(adapters):
        parts = [
            (found, weight, adapter.name)
            for adapter, weight in adapters
            if (found := adapter.sections.get(section, {}).get(layer)) is not None
        ]
        down, up = _reduced(parts, layer, rank) if rank else _side_by_side(parts, layer)
        prefix = "lora_te_" if section == "te1" and not several else _PREFIX[section]
        key = prefix + layer
        tensors[f"{key}.lora_down.weight"], tensors[f"{key}.lora_up.weight"] = down, up
        tensors[f"{key}.alpha"] = torch.tensor(float(down.shape[0]))
    about = {
        "method": f"SVD to rank {rank}" if rank else "ranks side by side",
        "date": datetime.now(UTC).isoformat(timespec="seconds"), "studio": studio,
        "loras": [{"name": path.name, "sha256": content_hash(path), "strength": weight} for path, weight in files],
    }  # fmt: skip
    plans = [TensorPlan(name, tuple(value.shape), dtype) for name, value in tensors.items()]
    target.parent.mkdir(parents=True, exist_ok=True)
    write_safetensors(target, plans, lambda name: tensors[name], {PROVENANCE: json.dumps(about, ensure_ascii=False)})
    return max(value.shape[0] for name, value in tensors.items() if name.endswith("lora_down.weight"))


def _layers(adapters: Sequence[tuple[Adapter, float]]) -> list[tuple[str, str]]:
    found = {(section, layer) for a, _ in adapters for section, layers in a.sections.items() for layer in layers}
    return sorted(found)


Parts = Sequence[tuple[LayerChange, float, str]]


def _side_by_side(parts: Parts, layer: str) -> tuple[torch.Tensor, torch.Tensor]:
    """down [Σr, in, …] and up [out, Σr, 1, …]; weights and α/r are in `up`."""
    downs, ups = [], []
    for change, weight, name in parts:
        delta = change.weight
        if not isinstance(delta, LowRank) or delta.mid is not None or change.bias is not None:
            raise _not_plain(layer, name, "Give a rank with --rank")
        downs.append(delta.down.float())
        ups.append(delta.up.float() * (weight * delta.scale))
    return torch.cat(downs), torch.cat(ups, dim=1)


def _reduced(parts: Parts, layer: str, rank: int) -> tuple[torch.Tensor, torch.Tensor]:
    """The best rank-r approximation of the sum (Eckart–Young), its singular values shared between both sides."""
    total: torch.Tensor | None = None
    for change, weight, name in parts:
        if change.weight is None or change.bias is not None or isinstance(change.weight, Magnitude):
            raise _not_plain(layer, name, "Merge it into a checkpoint instead")
        delta = change.weight.change() * weight
        total = delta if total is None else total + delta.reshape(total.shape)
    assert total is not None
    out, rest = total.shape[0], total.shape[1:]
    u, s, v = torch.linalg.svd(total.reshape(out, -1), full_matrices=False)
    kept = min(rank, s.shape[0])
    root = s[:kept].sqrt()
    return (root[:, None] * v[:kept]).reshape(kept, *rest), (u[:, :kept] * root).reshape(
        out, kept, *[1] * (len(rest) - 1)
    )


def _not_plain(layer: str, name: str, fix: str) -> InvalidRequest:
    return InvalidRequest(
        f"its layer “{clip(layer)}” is no plain LoRA, which can be added to others", where=f"LoRA “{name}”", fix=fix
    )
