"""Attention of Qwen-Image's transformer where prompts belong to places (EliGen, 2501.01097).

diffusers' own processor takes no mask from outside. This one stands in for it while a prompt with entities runs; it
says the same as that one where everything sees everything. As in DiffSynth-Studio, each prompt's positions start anew.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812 - the field's own name for it


class EntityAttention:
    """An attention processor for the blocks of QwenImageTransformer2DModel.

    seen     bool [n, n], see engine.control.regions.attention_mask: words first, then the picture's tokens
    lengths  tokens of each prompt, as they stand one behind the other
    """

    def __init__(self, seen: torch.Tensor, lengths: Sequence[int]) -> None:
        self._seen = seen
        self._positions = torch.cat([torch.arange(length, device=seen.device) for length in lengths])

    def __call__(
        self,
        attn: Any,
        hidden_states: torch.Tensor,
        encoder_hidden_states: torch.Tensor,
        encoder_hidden_states_mask: torch.Tensor | None = None,
        attention_mask: torch.Tensor | None = None,
        image_rotary_emb: tuple[torch.Tensor, torch.Tensor] | None = None,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """What the picture's tokens [B, m, width] and the words [B, k, width] are answered; masks are not read."""
        words = encoder_hidden_states.shape[1]
        picture_turns, word_turns = image_rotary_emb if image_rotary_emb is not None else (None, None)
        if word_turns is not None:
            word_turns = word_turns[self._positions]
        said = encoder_hidden_states, hidden_states
        turns = word_turns, picture_turns
        asking = (attn.add_q_proj, attn.norm_added_q), (attn.to_q, attn.norm_q)
        answering = (attn.add_k_proj, attn.norm_added_k), (attn.to_k, attn.norm_k)

        def turned(projections: Sequence[tuple[Any, Any]]) -> torch.Tensor:
            made = []
            for states, turn, (project, norm) in zip(said, turns, projections, strict=True):
                found = _headed(project(states), attn)
                found = found if norm is None else norm(found)
                made.append(found if turn is None else _turned(found, turn))
            return torch.cat(made, dim=1).transpose(1, 2)

        query, key = turned(asking), turned(answering)
        value = _headed(torch.cat([attn.add_v_proj(said[0]), attn.to_v(said[1])], dim=1), attn).transpose(1, 2)
        found = F.scaled_dot_product_attention(query, key, value, attn_mask=self._seen)
        answer = found.transpose(1, 2).flatten(2).to(query.dtype)
        picture = attn.to_out[0](answer[:, words:].contiguous())
        for layer in attn.to_out[1:]:
            picture = layer(picture)
        return picture, attn.to_add_out(answer[:, :words].contiguous())


def _headed(states: torch.Tensor, attn: Any) -> torch.Tensor:
    """[B, n, width] → [B, n, heads, width of a head]."""
    return states.reshape(*states.shape[:2], attn.heads, -1)


def _turned(states: torch.Tensor, turns: torch.Tensor) -> torch.Tensor:
    """Rotary positions: `states` [B, n, heads, width] turned as pairs by complex `turns` [n, width / 2], in float32."""
    pairs = torch.view_as_complex(states.float().reshape(*states.shape[:-1], -1, 2))
    return torch.view_as_real(pairs * turns[:, None]).flatten(3).to(states.dtype)


@contextlib.contextmanager
def attending_by(transformer: Any, processor: EntityAttention) -> Iterator[None]:
    """While inside, every block of `transformer` attends by `processor`."""
    layers = [block.attn for block in transformer.transformer_blocks]
    kept = [layer.processor for layer in layers]
    try:
        for layer in layers:
            layer.processor = processor
        yield
    finally:
        for layer, own in zip(layers, kept, strict=True):
            layer.processor = own
