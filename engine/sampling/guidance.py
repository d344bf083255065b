"""Classifier-free guidance and the mixing of several prompts."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F  # noqa: N812 - the field's own name for it

from engine.graph.values import ConditioningEntry

# Name of the extra that marks the entries of one AND branch: (its number, its weight).
BRANCH = "branch"


def guided(unconditional: torch.Tensor, conditional: torch.Tensor, cfg: float) -> torch.Tensor:
    """u + s·(c − u) (2207.12598)."""
    return unconditional + cfg * (conditional - unconditional)


def is_plain(entries: Sequence[ConditioningEntry]) -> bool:
    """Whether one prompt holds everywhere and always."""
    if len(entries) != 1:
        return False
    entry = entries[0]
    return entry.area is None and entry.mask is None and entry.steps == (0.0, 1.0) and not is_composed(entries)


def is_composed(entries: Sequence[ConditioningEntry]) -> bool:
    """Whether AND branches with weights are among the prompts."""
    return any(name == BRANCH for entry in entries for name, _ in entry.extras)


def mixed(
    entries: Sequence[ConditioningEntry],
    fraction: float,
    like: torch.Tensor,
    predict: Callable[[ConditioningEntry], torch.Tensor],
    base: torch.Tensor | None = None,
) -> torch.Tensor:
    """What the network says to several prompts: b + Σ wᵢ·(cᵢ − b) over AND branches (2206.01714), b being `base`.

    Without `base`, the unconditional answer, the branches' weighted mean. Entries of no branch are one of weight 1.
    """
    if not is_composed(entries):
        return _mean(entries, fraction, like, predict)
    branches: dict[tuple[int, float], list[ConditioningEntry]] = {}
    for entry in entries:
        branches.setdefault(dict(entry.extras).get(BRANCH, (-1, 1.0)), []).append(entry)
    answers = [(weight, _mean(group, fraction, like, predict)) for (_, weight), group in branches.items()]
    if base is None:
        total = sum(weight for weight, _ in answers)
        if abs(total) < 1e-6:  # weights that cancel have no mean
            return answers[0][1]
        return torch.stack([answer * (weight / total) for weight, answer in answers]).sum(dim=0)
    return base + torch.stack([weight * (answer - base) for weight, answer in answers]).sum(dim=0)


def _mean(
    entries: Sequence[ConditioningEntry],
    fraction: float,
    like: torch.Tensor,
    predict: Callable[[ConditioningEntry], torch.Tensor],
) -> torch.Tensor:
    """The mean of the entries' outputs, weighted by strength where and when each holds (ComfyUI's calc_cond_batch).

    Where no entry holds, the first one does.
    """
    total = torch.zeros_like(like)
    weight = torch.zeros_like(like[:, :1])
    active = [entry for entry in entries if entry.steps[0] <= fraction < entry.steps[1] or fraction == entry.steps[1]]
    fallback: torch.Tensor | None = None
    for entry in active or entries[:1]:
        output = predict(entry)
        fallback = output if fallback is None else fallback
        here = region_weight(entry, like) * entry.strength
        total = total + output * here
        weight = weight + here
    assert fallback is not None
    return torch.where(weight > 0, total / weight.clamp(min=1e-8), fallback)


def region_weight(entry: ConditioningEntry, like: torch.Tensor) -> torch.Tensor:
    """Where an entry holds: float32 [1, 1, h, w] in 0..1 for a latent `like` [B, C, h, w]."""
    height, width = like.shape[-2:]
    weight = torch.ones((1, 1, height, width), device=like.device)
    if entry.area is not None:
        x, y, w, h = entry.area
        if entry.area_in_cells:
            x, y, w, h = x / width, y / height, w / width, h / height
        inside = torch.zeros_like(weight)
        left, top = round(x * width), round(y * height)
        inside[..., top : max(top + 1, round((y + h) * height)), left : max(left + 1, round((x + w) * width))] = 1.0
        weight = weight * inside
    if entry.mask is not None:
        mask = torch.tensor(entry.mask, dtype=torch.float32, device=like.device)[None, None]
        weight = weight * F.interpolate(mask, size=(height, width), mode="area")
    return weight
