"""Prompts through a T5 encoder (1910.10683), as Flux, Chroma and Stable Diffusion 3 read them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch

from engine.families.patched import run
from engine.graph.values import Patch
from engine.models.adapters.apply import Weights


@dataclass(frozen=True)
class T5Tokens:
    """ids, mask  [1, n]; the mask is 1 where no padding stands
    own        how many tokens the words have, with the closing one
    ignored    the text that did not fit
    """

    ids: torch.Tensor
    mask: torch.Tensor
    own: int
    ignored: str


@dataclass(frozen=True)
class Padding:
    """How far short prompts are filled up: to `length` tokens, and at least by `beyond` after the words."""

    length: int
    beyond: int = 0


def padding(patches: Sequence[Patch], usual: int) -> Padding:
    """What the node “Fill up short prompts” says, else `usual` tokens."""
    found = [dict(patch.settings) for patch in patches if patch.kind == "token_padding"]
    return Padding(int(found[-1]["min_length"]) or usual, int(found[-1]["min_padding"])) if found else Padding(usual)


def t5_tokens(tokenizer: Any, text: str, limit: int, filled: Padding) -> T5Tokens:
    """A text as at most `limit` tokens, filled up with padding; cut off as diffusers' pipelines cut it."""
    found = tokenizer(
        text, padding="max_length", max_length=limit, truncation=True, return_tensors="pt", verbose=False
    )  # fmt: skip
    own = int(found.attention_mask.sum())
    kept = min(max(own + filled.beyond, filled.length), limit)
    whole: list[int] = tokenizer(text, truncation=False, verbose=False).input_ids
    left = tokenizer.decode(whole[limit - 1 : -1]) if len(whole) > limit else ""
    return T5Tokens(found.input_ids[:, :kept], found.attention_mask[:, :kept], own, left)


@torch.no_grad()
def t5_embedding(
    encoder: Any, tokens: T5Tokens, device: torch.device, weights: Weights, *, masked: bool = False
) -> torch.Tensor:
    """float32 [1, n, width] on the CPU. `masked`: padding is not attended to (Chroma), else it is (Flux, SD3)."""
    asked = {"attention_mask": tokens.mask.to(device)} if masked else {}
    embedding: torch.Tensor = run(encoder, weights, tokens.ids.to(device), output_hidden_states=False, **asked)[0]
    return embedding.float().cpu()
