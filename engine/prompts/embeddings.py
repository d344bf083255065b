"""Textual inversions named in a prompt: `embedding:name`, or the bare name where it is known."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator
from dataclasses import dataclass

# A name ends at a space or at what separates words in prompts.
_WORD = re.compile(r"[^\s,;()\[\]{}|<>\"]+")
_PREFIX = "embedding:"


@dataclass(frozen=True)
class Named:
    """A name where it stands in a text. `marked`: with “embedding:” before it."""

    name: str
    start: int
    end: int
    marked: bool


def embeddings_in(text: str, known: Collection[str] = ()) -> list[str]:
    """The names in order. `known` names are found whatever their case and given as known spells them."""
    return [found.name for found in named_in(text, known)]


def named_in(text: str, known: Collection[str] = ()) -> Iterator[Named]:
    """The names in order, with their places."""
    spelled = {name.lower(): name for name in known}
    for match in _WORD.finditer(text):
        word, start = match[0], match.start()
        if word.lower().startswith(_PREFIX):
            name = word[len(_PREFIX) :].rstrip(".:")
            if name:
                yield Named(spelled.get(name.lower(), name), start, start + len(_PREFIX) + len(name), True)
        elif spelled:
            for bare in (word, word.rstrip(".:!?")):
                if bare.lower() in spelled:
                    yield Named(spelled[bare.lower()], start, start + len(bare), False)
                    break


def split(text: str, known: Collection[str]) -> list[tuple[str, bool]]:
    """The text as (words, False) and (name of a known embedding, True), in order; unknown names stay words."""
    pieces: list[tuple[str, bool]] = []
    done = 0
    for found in named_in(text, known):
        if found.name in known:
            pieces += [(text[done : found.start], False), (found.name, True)]
            done = found.end
    pieces.append((text[done:], False))
    return [piece for piece in pieces if piece[0]]
