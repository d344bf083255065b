"""Tokens packed into the chunks a text encoder reads at once: 75 and its two marks for CLIP, fewer for small encoders.

As A1111 packs them: a BREAK ends a chunk; where a chunk is full and a comma came within the last tokens, what follows
the comma moves to the next chunk, so that a phrase is not cut in two.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

COMMA_REACH = 20  # tokens; A1111's default "comma padding backtrack"
MAX_CHUNKS = 16  # attention to more costs memory without end; 1,200 tokens with CLIP


@dataclass
class Chunk:
    """Tokens without marks and padding, and the weight of each."""

    tokens: list[int] = field(default_factory=list)
    weights: list[float] = field(default_factory=list)

    @property
    def is_weighted(self) -> bool:
        return any(weight != 1.0 for weight in self.weights)


def pack(pieces: Iterable[tuple[Sequence[int] | None, float]], room: int, comma: int | None = None) -> list[Chunk]:
    """Chunks of at most `room` tokens, at least one. A piece is (its tokens, its weight); tokens None is a BREAK."""
    done: list[Chunk] = []
    chunk = Chunk()
    last_comma = -1
    for tokens, weight in pieces:
        if tokens is None:
            done.append(chunk)
            chunk, last_comma = Chunk(), -1
            continue
        for token in tokens:
            if token == comma:
                last_comma = len(chunk.tokens)
            elif len(chunk.tokens) == room and last_comma >= 0 and room - last_comma <= COMMA_REACH:
                cut = last_comma + 1
                moved = Chunk(chunk.tokens[cut:], chunk.weights[cut:])
                done.append(Chunk(chunk.tokens[:cut], chunk.weights[:cut]))
                chunk, last_comma = moved, -1
            if len(chunk.tokens) == room:
                done.append(chunk)
                chunk, last_comma = Chunk(), 0 if token == comma else -1
            chunk.tokens.append(token)
            chunk.weights.append(weight)
    if chunk.tokens or not done:
        done.append(chunk)
    return done
