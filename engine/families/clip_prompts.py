"""Parsed prompts through CLIP text encoders: chunks, emphasis, AND branches and schedules; one encoder or several.

Emphasis is A1111's "original": the embedding of each token is scaled by its weight, then the chunk as a whole so that
its mean is what it was (SDXL leaves that out). A prompt without weights is left to the last bit as the encoder gave it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias

import torch

from engine.families.moments import Pieces, moments
from engine.families.protocol import EncodedText
from engine.graph.values import ConditioningEntry
from engine.prompts import embeddings
from engine.prompts.chunks import MAX_CHUNKS, Chunk, pack
from engine.prompts.grammar import ParsedPrompt

# (embedding [1, limit, width], pooled [1, width] where the encoder has a projection), float32 on the CPU
Encoded: TypeAlias = tuple[torch.Tensor, torch.Tensor | None]
RunEncoder: TypeAlias = Callable[[torch.Tensor], Encoded]


class ClipReader:
    """One CLIP encoder at work on prompts; reads each wording once.

    run           token ids [1, limit] → what the encoder says
    restore_mean  False for families whose habit is to leave it (SDXL)
    embeddings    name of a textual inversion → its tokens

    `tokens` is the most that a wording had, `room` how many a chunk takes, `ignored` what was beyond the last chunk.
    """

    def __init__(
        self, tokenizer: Any, run: RunEncoder, *, restore_mean: bool = True,
        embeddings: Mapping[str, Sequence[int]] | None = None,
    ) -> None:  # fmt: skip
        self._tokenizer, self._run, self._restore_mean = tokenizer, run, restore_mean
        self._embeddings = embeddings or {}
        self._limit = int(tokenizer.model_max_length)
        self._packed: dict[Pieces, list[Chunk]] = {}
        self._done: dict[tuple[Pieces, int], Encoded] = {}
        comma = self._ids(",")
        self._comma = comma[0] if len(comma) == 1 else None
        self.room = self._limit - 2
        self.tokens = 0
        self.ignored = ""

    def chunks(self, pieces: Pieces) -> int:
        """How many chunks a wording takes, at most MAX_CHUNKS."""
        return len(self._chunks(pieces))

    def read(self, pieces: Pieces, chunks: int) -> Encoded:
        """float32 [1, chunks · limit, width], filled up with empty chunks; pooled is the first chunk's."""
        known = self._done.get((pieces, chunks))
        if known is None:
            own = self._chunks(pieces)
            encoded = [self._encode(chunk) for chunk in [*own, *[Chunk()] * (chunks - len(own))]]
            known = torch.cat([embedding for embedding, _ in encoded], dim=1), encoded[0][1]
            self._done[pieces, chunks] = known
        return known

    def _chunks(self, pieces: Pieces) -> list[Chunk]:
        known = self._packed.get(pieces)
        if known is None:
            read = [(None if piece.is_break else self._ids(piece.text), piece.weight) for piece in pieces]
            found = pack(read, self.room, self._comma)
            self.tokens = max(self.tokens, sum(len(chunk.tokens) for chunk in found))
            if len(found) > MAX_CHUNKS:
                beyond = [token for chunk in found[MAX_CHUNKS:] for token in chunk.tokens]
                own = {token for tokens in self._embeddings.values() for token in tokens}
                self.ignored = self._tokenizer.decode([token for token in beyond if token not in own])
            known = self._packed[pieces] = found[:MAX_CHUNKS]
        return known

    def _ids(self, text: str) -> list[int]:
        if not self._embeddings:
            return self._words(text)
        found: list[int] = []
        for words, is_name in embeddings.split(text, self._embeddings):
            found += self._embeddings[words] if is_name else self._words(words)
        return found

    def _words(self, text: str) -> list[int]:
        ids: list[int] = self._tokenizer(text, add_special_tokens=False, truncation=False, verbose=False).input_ids
        return ids

    def _encode(self, chunk: Chunk) -> Encoded:
        tokenizer, left = self._tokenizer, self.room - len(chunk.tokens)
        ids = [tokenizer.bos_token_id, *chunk.tokens, tokenizer.eos_token_id, *[tokenizer.pad_token_id] * left]
        embedding, pooled = self._run(torch.tensor([ids]))
        if not chunk.is_weighted:
            return embedding, pooled
        weights = torch.tensor([1.0, *chunk.weights, *[1.0] * (left + 1)])
        weighted = embedding * weights[None, :, None]
        if self._restore_mean:
            scale = embedding.mean() / weighted.mean()
            # A mean of about nothing can't be restored: the scale would be without bound.
            weighted = weighted * scale if bool(torch.isfinite(scale)) else weighted
        return weighted, pooled


def read_together(pieces: Sequence[Pieces], readers: Sequence[ClipReader]) -> Encoded:
    """What several encoders say at once: as many chunks of each, side by side; pooled outputs one after another."""
    chunks = max(reader.chunks(own) for own, reader in zip(pieces, readers, strict=True))
    found = [reader.read(own, chunks) for own, reader in zip(pieces, readers, strict=True)]
    pooled = [output for _, output in found if output is not None]
    return torch.cat([embedding for embedding, _ in found], dim=-1), torch.cat(pooled, dim=-1) if pooled else None


def encode_prompts(prompts: Sequence[ParsedPrompt], readers: Sequence[ClipReader]) -> EncodedText:
    """The entries of prompts, one for each encoder."""
    entries = []
    known: dict[tuple[Pieces, ...], Encoded] = {}
    for moment in moments(prompts):
        if moment.pieces not in known:
            known[moment.pieces] = read_together(moment.pieces, readers)
        embedding, pooled = known[moment.pieces]
        entries.append(ConditioningEntry(embedding, pooled, steps=moment.steps, extras=moment.extras))
    return encoded_text(entries, readers)


def encoded_text(entries: Sequence[ConditioningEntry], readers: Sequence[ClipReader]) -> EncodedText:
    """`entries` with what the readers counted."""
    return EncodedText(
        tuple(entries),
        max((reader.tokens for reader in readers), default=0),
        min((reader.room * MAX_CHUNKS for reader in readers), default=0),
        next((reader.ignored for reader in readers if reader.ignored), ""),
    )
