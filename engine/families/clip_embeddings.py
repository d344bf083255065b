"""Textual inversions (2208.01618) in CLIP encoders: their vectors are further rows of the token table.

The table that has them is made beside the encoder's own, which is never written; a prompt that names none is read with
the encoder as it is.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch

from engine.contracts.errors import InvalidRequest, clip
from engine.contracts.references import ModelRef
from engine.graph.values import Patch
from engine.models.adapters.apply import Weights

# What files for several encoders call each; another key is the one tensor of a file for one.
ENCODERS = ("clip_l", "clip_g", "clip_h", "t5xxl", "t5", "qwen")


@dataclass(frozen=True, eq=False)
class TokenTable:
    """An encoder's tokens with the embeddings behind them.

    ids      name → its tokens, which lie behind the encoder's own
    weights  what to run the encoder with
    end      (the closing token's number, the number to give it instead), where the encoder finds it by its size
    """

    ids: Mapping[str, list[int]] = field(default_factory=dict)
    weights: Weights = field(default_factory=dict)
    end: tuple[int, int] | None = None

    def placed(self, ids: torch.Tensor) -> torch.Tensor:
        """The ids as the encoder must be given them."""
        return ids if self.end is None else torch.where(ids == self.end[0], self.end[1], ids)


def token_table(
    encoder: Any, name: str, patches: Sequence[Patch], others: Callable[[ModelRef], Any], weights: Weights
) -> TokenTable:
    """The table of the encoder called `name` ("clip_l", "clip_g") with the embeddings that `patches` name.

    weights  of the encoder as other patches leave it
    """
    table = encoder.get_input_embeddings().weight
    rows, ids = [], {}
    count, width = table.shape
    for patch in patches:
        if patch.kind != "embedding":
            continue
        settings = dict(patch.settings)
        vectors = vectors_for(others(settings["weights"]), name, int(width))
        if vectors is not None:
            ids[settings["name"]] = list(range(count, count + len(vectors)))
            rows.append(vectors.to(table))
            count += len(vectors)
    if not rows:
        return TokenTable(weights=weights)
    key = next(key for key, value in encoder.named_parameters() if value is table)
    own = weights.get(key, table.detach())
    end = None
    if encoder.config.eos_token_id == 2:  # such encoders take their summary at the token of the highest number
        closing = table.shape[0] - 1
        rows.append(own[closing : closing + 1])
        end = closing, count
    return TokenTable(ids, {**weights, key: torch.cat([own, *rows])}, end)


def vectors_for(tensors: Mapping[str, torch.Tensor], encoder: str, width: int) -> torch.Tensor | None:
    """The vectors [n, width] that an embedding's file has for an encoder; None when it has none."""
    if any(name in tensors for name in ENCODERS):
        found = tensors.get(encoder)
    else:
        found = tensors.get("emb_params")
        if found is None and len(tensors) == 1:
            (found,) = tensors.values()
    if found is None or found.ndim not in (1, 2) or found.shape[-1] != width:
        return None
    return found.reshape(-1, width)


def check_embeddings(
    patches: Sequence[Patch], others: Callable[[ModelRef], Any], encoders: Mapping[str, int], title: str
) -> None:
    """Raises InvalidRequest for an embedding that none of the `encoders` (name → width) can read."""
    for patch in patches:
        if patch.kind != "embedding":
            continue
        settings = dict(patch.settings)
        tensors = others(settings["weights"])
        if all(vectors_for(tensors, name, width) is None for name, width in encoders.items()):
            has = " and ".join(sorted({str(t.shape[-1]) for t in tensors.values() if t.ndim})) or "no"
            reads = " and ".join(dict.fromkeys(str(width) for width in encoders.values()))
            raise InvalidRequest(
                f"the embedding “{clip(settings['name'], 60)}” has vectors {has} wide and {title} reads {reads}",
                where="prompt", fix="Use an embedding made for this family, or take its name out of the prompt",
            )  # fmt: skip
