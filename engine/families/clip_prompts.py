"""A parsed prompt through a CLIP text encoder: chunks, emphasis, AND branches and schedules.

Emphasis is A1111's "original": the embedding of each token is scaled by its weight, then the chunk as a whole so that
its mean is what it was. A prompt without weights is left to the last bit as the encoder gave it.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import Any

import torch

from engine.families.protocol import EncodedText
from engine.graph.values import ConditioningEntry
from engine.prompts.chunks import MAX_CHUNKS, Chunk, pack
from engine.prompts.grammar import Branch, ParsedPrompt
from engine.prompts.weighting import Piece
from engine.sampling.guidance import BRANCH

RunEncoder = Callable[[torch.Tensor], torch.Tensor]


def encode_prompt(
    prompt: ParsedPrompt, tokenizer: Any, run: RunEncoder, *, restore_mean: bool = True
) -> EncodedText:  # fmt: skip
    """The entries of a prompt.

    run           token ids [1, limit] → embedding float32 [1, limit, width] on the CPU
    restore_mean  False for families whose habit is to leave it (SDXL)
    """
    encoder = _ClipPrompts(tokenizer, run, restore_mean)
    entries: list[ConditioningEntry] = []
    marked = len(prompt.branches) > 1 or prompt.branches[0].weight != 1.0
    for index, branch in enumerate(prompt.branches):
        extras = ((BRANCH, (index, branch.weight)),) if marked else ()
        for pieces, steps in _spans(branch, prompt.steps):
            entries.append(ConditioningEntry(embedding=encoder.embedding(pieces), steps=steps, extras=extras))
    return EncodedText(tuple(entries), encoder.tokens, encoder.room * MAX_CHUNKS, encoder.ignored)


def _spans(branch: Branch, steps: int) -> list[tuple[tuple[Piece, ...], tuple[float, float]]]:
    """(pieces, (start, end) as fractions of the run); neighbours that say the same are one.

    A change lies half a step before the step it comes with, so that no rounding puts a step on both sides of it.
    """
    kept = [span for span, after in pairwise(branch.schedule) if span.pieces != after.pieces]
    kept.append(branch.schedule[-1])
    edges = [0.0, *((span.until - 0.5) / steps for span in kept[:-1]), 1.0]
    return [(span.pieces, edge) for span, edge in zip(kept, pairwise(edges), strict=True)]


class _ClipPrompts:
    """Encodes wordings, each once. `tokens` is the most that one had, `ignored` what was beyond the last chunk."""

    def __init__(self, tokenizer: Any, run: RunEncoder, restore_mean: bool) -> None:
        self._tokenizer, self._run, self._restore_mean = tokenizer, run, restore_mean
        self._limit = int(tokenizer.model_max_length)
        self._done: dict[tuple[Piece, ...], torch.Tensor] = {}
        comma = self._ids(",")
        self._comma = comma[0] if len(comma) == 1 else None
        self.room = self._limit - 2
        self.tokens = 0
        self.ignored = ""

    def embedding(self, pieces: tuple[Piece, ...]) -> torch.Tensor:
        """float32 [1, chunks · limit, width]."""
        known = self._done.get(pieces)
        if known is None:
            read = [(None if piece.is_break else self._ids(piece.text), piece.weight) for piece in pieces]
            chunks = pack(read, self.room, self._comma)
            self.tokens = max(self.tokens, sum(len(chunk.tokens) for chunk in chunks))
            if len(chunks) > MAX_CHUNKS:
                beyond = [token for chunk in chunks[MAX_CHUNKS:] for token in chunk.tokens]
                self.ignored = self._tokenizer.decode(beyond)
            known = torch.cat([self._encode(chunk) for chunk in chunks[:MAX_CHUNKS]], dim=1)
            self._done[pieces] = known
        return known

    def _ids(self, text: str) -> list[int]:
        ids: list[int] = self._tokenizer(text, add_special_tokens=False, truncation=False, verbose=False).input_ids
        return ids

    def _encode(self, chunk: Chunk) -> torch.Tensor:
        tokenizer, left = self._tokenizer, self.room - len(chunk.tokens)
        ids = [tokenizer.bos_token_id, *chunk.tokens, tokenizer.eos_token_id, *[tokenizer.pad_token_id] * left]
        embedding = self._run(torch.tensor([ids]))
        if not chunk.is_weighted:
            return embedding
        weights = torch.tensor([1.0, *chunk.weights, *[1.0] * (left + 1)])
        weighted = embedding * weights[None, :, None]
        if self._restore_mean:
            scale = embedding.mean() / weighted.mean()
            # A mean of about nothing can't be restored: the scale would be without bound.
            weighted = weighted * scale if bool(torch.isfinite(scale)) else weighted
        return weighted
