"""What several prompts, one for each text encoder, say together: branches and schedules laid over each other."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, TypeAlias

from engine.prompts.grammar import Branch, ParsedPrompt, literal
from engine.prompts.weighting import Piece
from engine.sampling.guidance import BRANCH

Pieces: TypeAlias = tuple[Piece, ...]
Text: TypeAlias = str | ParsedPrompt | Mapping[str, str | ParsedPrompt]


@dataclass(frozen=True)
class Moment:
    """A part of the run and what each prompt says in it.

    pieces  one for each prompt
    steps   (start, end) as fractions of the run
    extras  what marks the entries of an AND branch
    """

    pieces: tuple[Pieces, ...]
    steps: tuple[float, float]
    extras: tuple[tuple[str, Any], ...] = ()


def prompt_for(text: Text, encoder: str) -> ParsedPrompt:
    """What `encoder` ("clip_l", "t5xxl", …) is to read; nothing where `text` has words for others only."""
    own = text.get(encoder, "") if isinstance(text, Mapping) else text
    return literal(own) if isinstance(own, str) else own


def moments(prompts: Sequence[ParsedPrompt]) -> Iterator[Moment]:
    """The moments of prompts read side by side; where one has fewer AND branches, its last stands beside the rest.

    The first prompt that has a branch gives its weight.
    """
    count = max(len(prompt.branches) for prompt in prompts)
    marked = count > 1 or prompts[0].branches[0].weight != 1.0
    for index in range(count):
        branches = [prompt.branches[min(index, len(prompt.branches) - 1)] for prompt in prompts]
        weight = next(p.branches[index].weight for p in prompts if len(p.branches) > index)
        extras = ((BRANCH, (index, weight)),) if marked else ()
        timelines = [_timeline(branch, prompt.steps) for branch, prompt in zip(branches, prompts, strict=True)]
        edges = sorted({edge for timeline in timelines for _, steps in timeline for edge in steps})
        for start, end in pairwise(edges):
            now = tuple(_at(timeline, start) for timeline in timelines)
            yield Moment(now, (start, end), extras)


def _timeline(branch: Branch, steps: int) -> list[tuple[Pieces, tuple[float, float]]]:
    """(pieces, (start, end) as fractions of the run); neighbours that say the same are one.

    A change lies half a step before the step it comes with, so that no rounding puts a step on both sides of it.
    """
    kept = [span for span, after in pairwise(branch.schedule) if span.pieces != after.pieces]
    kept.append(branch.schedule[-1])
    edges = [0.0, *((span.until - 0.5) / steps for span in kept[:-1]), 1.0]
    return [(span.pieces, edge) for span, edge in zip(kept, pairwise(edges), strict=True)]


def _at(timeline: Sequence[tuple[Pieces, tuple[float, float]]], moment: float) -> Pieces:
    return next(pieces for pieces, (start, end) in timeline if start <= moment < end)
