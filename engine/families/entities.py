"""Prompts of entities (EliGen, 2501.01097) as a flow transformer is given them: their words and who sees whom."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeAlias

import torch
import torch.nn.functional as F  # noqa: N812 - the field's own name for it

from engine.contracts.errors import InvalidRequest
from engine.control.regions import Mask, attention_mask, covered_tokens
from engine.families.protocol import BindRequest
from engine.graph.values import ConditioningEntry

# The extra "regions" of a prompt: (embedding [1, tokens, width], mask [H, W] in 0..1) for each entity.
Regions: TypeAlias = Sequence[tuple[torch.Tensor, Mask]]


def entity_words(
    regions: Regions, entry: ConditioningEntry, shape: Sequence[int], more: int = 0
) -> tuple[torch.Tensor, torch.Tensor]:
    """(words [1, n, width], bool [n + tokens, n + tokens]) of the entities and, last, the whole picture's prompt.

    shape  of the latent, [B, C, h, w], cut into tokens of 2×2 cells
    more   picture tokens behind those (of references), which no entity covers
    """
    covered = covered_tokens([mask for _, mask in regions], shape[2] // 2, shape[3] // 2)
    words = [*(embedding for embedding, _ in regions), entry.embedding]
    lengths = [embedding.shape[1] for embedding in words]
    return torch.cat(words, dim=1), attention_mask(lengths, F.pad(covered, (0, more)))


def regions_of(entry: ConditioningEntry) -> Regions:
    """The entities of a prompt."""
    found: Regions = dict(entry.extras).get("regions", ())
    return found


def refuse_entities(request: BindRequest, title: str) -> None:
    """Raises InvalidRequest where a prompt of the run has entities: `title` can't be told who sees whom."""
    if any(regions_of(entry) for entry in (*request.positive, *request.negative, *request.middle)):
        raise InvalidRequest(
            f"{title} can't be told which place reads which words", where="entity",
            fix="Use “Region” instead, or a Flux or Qwen-Image model",
        )  # fmt: skip


def lengths_of(regions: Regions, entry: ConditioningEntry) -> list[int]:
    """Tokens of each entity's prompt, and last of the whole picture's."""
    every: list[Any] = [*(embedding for embedding, _ in regions), entry.embedding]
    return [int(embedding.shape[1]) for embedding in every]
