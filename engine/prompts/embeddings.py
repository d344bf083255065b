"""Textual inversions named in a prompt: `embedding:name`, or the bare name where it is known."""

from __future__ import annotations

import re
from collections.abc import Collection

# A name ends at a space or at what separates words in prompts.
_WORD = re.compile(r"[^\s,;()\[\]{}|<>\"]+")
_PREFIX = "embedding:"


def embeddings_in(text: str, known: Collection[str] = ()) -> list[str]:
    """The names in order. `known` names are found whatever their case and given as known spells them."""
    spelled = {name.lower(): name for name in known}
    found: list[str] = []
    for match in _WORD.finditer(text):
        word = match[0]
        if word.lower().startswith(_PREFIX):
            name = word[len(_PREFIX) :].rstrip(".:")
            if name:
                found.append(spelled.get(name.lower(), name))
        elif spelled and (bare := spelled.get(word.lower()) or spelled.get(word.rstrip(".:!?").lower())):
            found.append(bare)
    return found
