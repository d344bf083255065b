"""Prompts through a language model (Qwen2.5-VL, Qwen3, Mistral): the person's words inside the model's own template.

What a picture model reads are hidden states of the tokens, not an answer.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch

from engine.families.patched import run
from engine.models.adapters.apply import Weights


@dataclass(frozen=True)
class Words:
    """Token ids [1, n] of a text in its template, the mask of those that are no padding, how many of them are the
    person's own, and what did not fit."""

    ids: torch.Tensor
    mask: torch.Tensor
    own: int
    ignored: str


def words_of(tokenizer: Any) -> Any:
    """The tokenizer of a part that may be a processor of words and pictures."""
    return getattr(tokenizer, "tokenizer", tokenizer)


def tokenised(tokenizer: Any, before: str, text: str, after: str, limit: int, *, padded: bool = False) -> Words:
    """`before` + `text` + `after` as tokens, at most `limit`, cut off at the end as diffusers' pipelines cut it.

    tokenizer  or a processor that has one
    padded     to `limit`, on the tokenizer's own side
    """
    tokenizer = words_of(tokenizer)
    plain = {"add_special_tokens": False, "verbose": False}
    more = {"padding": "max_length"} if padded else {}
    taken = tokenizer(before + text + after, max_length=limit, truncation=True, return_tensors="pt", **plain, **more)
    everything = tokenizer(before + text + after, truncation=False, **plain)["input_ids"]
    own, tail = (len(tokenizer(part, truncation=False, **plain)["input_ids"]) for part in (text, after))
    left = everything[limit : len(everything) - tail]
    return Words(taken["input_ids"], taken["attention_mask"], own, tokenizer.decode(left) if left else "")


def hidden_states(
    encoder: Any, inputs: Mapping[str, Any], layers: tuple[int, ...], weights: Weights
) -> list[torch.Tensor]:  # fmt: skip
    """The hidden states [1, n, width] of some layers: 0 is the words' own, −1 the last one's, normed.

    encoder  the model, with or without its head, which answers for one token at most
    weights  of the encoder that stand in for its own
    """
    options: dict[str, Any] = {"output_hidden_states": True, "use_cache": False, "return_dict": True}
    if hasattr(encoder, "lm_head"):
        options["logits_to_keep"] = 1
    states = run(encoder, weights, **inputs, **options).hidden_states
    return [states[layer] for layer in layers]
