r"""A prompt read whole, in A1111's order: tags out, AND into branches, schedules into steps, emphasis into pieces.

    parse("a [red:blue:5] cat AND (fog:1.2) :0.5 <lora:ink:0.8>", steps=20)

No text raises, and the time is linear in the text times the number of steps that differ.
"""

from __future__ import annotations

import math
import re
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

from engine.prompts import schedule
from engine.prompts.embeddings import embeddings_in
from engine.prompts.tags import Lora, Tag, lora_of, take_tags
from engine.prompts.weighting import Piece, pieces_of

_AND = re.compile(r"\bAND\b")
_WEIGHT = re.compile(r"[-+]?(?:\d+\.?|\d*\.\d+)")


@dataclass(frozen=True)
class Span:
    """What a prompt says up to and including step `until`; steps count from 1."""

    until: int
    text: str
    pieces: tuple[Piece, ...]


@dataclass(frozen=True)
class Branch:
    """One of the prompts that AND joins."""

    weight: float
    schedule: tuple[Span, ...]


@dataclass(frozen=True)
class ParsedPrompt:
    """branches    at least one
    tags        what stood in <…>, in order
    embeddings  names of textual inversions, in order, each once
    steps       the number of steps the schedules were laid out for
    unused      whether the text has schedules that were not applied because no number of steps was given
    """

    branches: tuple[Branch, ...]
    tags: tuple[Tag, ...] = ()
    embeddings: tuple[str, ...] = ()
    steps: int = 1
    unused: bool = False

    @property
    def loras(self) -> tuple[Lora, ...]:
        return tuple(lora for lora in map(lora_of, self.tags) if lora is not None)

    def to_json(self) -> dict[str, Any]:
        return {
            "branches": [
                {
                    "weight": branch.weight,
                    "schedule": [
                        {"until": span.until, "text": span.text, "pieces": [piece.to_json() for piece in span.pieces]}
                        for span in branch.schedule
                    ],
                }
                for branch in self.branches
            ],
            "loras": [{"name": lora.name, "te": lora.te, "unet": lora.unet} for lora in self.loras],
        }


def parse(text: str, steps: int = 0, embeddings: Collection[str] = ()) -> ParsedPrompt:
    """Read a prompt.

    steps       of the run; 0 leaves schedules and alternation unread: their brackets then only lessen
    embeddings  names known as textual inversions, recognised where they stand as words
    """
    text, tags = take_tags(text)
    branches: list[Branch] = []
    names: dict[str, None] = {}
    unused = False
    for part in _AND.split(text):
        wording, weight = _split_weight(part)
        read = schedule.read(wording)
        unused = unused or (steps < 1 and bool(read.groups))
        texts = read.texts(steps) if steps >= 1 else [(1, wording)]
        known: dict[str, tuple[Piece, ...]] = {}
        for _, each in texts:
            if each not in known:
                known[each] = pieces_of(each)
                for piece in known[each]:
                    names.update(dict.fromkeys(embeddings_in(piece.text, embeddings)))
        branches.append(Branch(weight, tuple(Span(until, each, known[each]) for until, each in texts)))
    return ParsedPrompt(tuple(branches), tags, tuple(names), max(1, steps), unused)


def literal(text: str) -> ParsedPrompt:
    """A prompt without any grammar: every character means itself."""
    return ParsedPrompt((Branch(1.0, (Span(1, text, (Piece(text),)),)),))


def _split_weight(text: str) -> tuple[str, float]:
    """("a cat ", 1) or, from "a cat :0.5", ("a cat", 0.5)."""
    text = text.rstrip()
    before, colon, after = text.rpartition(":")
    after = after.strip()
    if not colon or not _WEIGHT.fullmatch(after):
        return text, 1.0
    weight = float(after)
    return (before.rstrip(), weight) if math.isfinite(weight) else (text, 1.0)
