"""Which words of a prompt a model with a small vocabulary does not know."""

from __future__ import annotations

import re
from collections.abc import Collection

_WORD = re.compile(r"[^\W\d_]+(?:['’-][^\W\d_]+)*")
# What is not words: tags (also one still being typed), wildcards' names, embeddings, the numbers of choices, BREAK.
_GRAMMAR = re.compile(
    r"<\w+:[^<>]*(?:>|$)|<[^<>]*>|__[\w.-][\w./ -]{0,118}?__"
    r"|\b[Ee]mbedding:[^\s,;()\[\]{}|<>\"]+|\d+(?:-\d+)?\$\$|\bBREAK\b"
)

# Words that carry no picture of their own; a model does nothing wrong by passing over them.
_FUNCTION_WORDS = frozenset(
    {"a", "an", "and", "are", "as", "at", "be", "by", "for", "from", "in", "is", "it", "its", "of", "on", "or"}
    | {"some", "that", "the", "there", "this", "to", "very", "with", "without"}
)


def unknown_words(prompt: str, vocabulary: Collection[str]) -> list[str]:
    """The words of `prompt` outside `vocabulary`, in order, once each, as the person wrote them.

    An empty vocabulary means that the model reads ordinary language: nothing is unknown. What the prompt grammar reads
    as something else is no word: brackets, weights and steps ("(red:1.2)"), <lora:…> and other tags, __wildcards__,
    embeddings, BREAK and AND. A plural is known when its singular is.
    """
    if not vocabulary:
        return []
    known = {word.lower() for word in vocabulary}
    found: dict[str, str] = {}
    for match in _WORD.finditer(_GRAMMAR.sub(" ", prompt)):
        word = match.group()
        lower = word.lower().replace("’", "'")
        if lower in _FUNCTION_WORDS or any(form in known for form in _forms(lower)):
            continue
        if "-" in lower and all(part in known or part in _FUNCTION_WORDS for part in lower.split("-")):
            continue
        found.setdefault(lower, word)
    return list(found.values())


def _forms(word: str) -> tuple[str, ...]:
    forms = [word]
    if word.endswith("s"):
        forms.append(word[:-1])
    if word.endswith("es"):
        forms.append(word[:-2])
    return tuple(forms)


def unknown_words_sentence(words: list[str], limit: int = 6) -> str:
    """One honest line about words a model can't draw, or "" when there are none."""
    if not words:
        return ""
    shown = ", ".join(f"“{word[:24]}”" for word in words[:limit])
    more = len(words) - limit
    tail = f" and {more} more" if more > 0 else ""
    return f"This model was never shown {shown}{tail}: what it draws for {'it' if len(words) == 1 else 'them'} is luck."
