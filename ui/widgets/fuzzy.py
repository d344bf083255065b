"""Finds what a person means by a few letters."""

from __future__ import annotations

from collections.abc import Sequence


def score(query: str, text: str) -> float | None:
    """How well `text` fits `query`, larger is better; None when its letters do not occur in order.

    Whole words and beginnings of words count most, then runs of letters, then short texts: "ns" finds "New seed"
    before "Transparency".
    """
    wanted, where = query.casefold().replace(" ", ""), text.casefold()
    if not wanted:
        return 0.0
    exact = where.find(query.casefold().strip(" "))  # as above: other white space is what it is
    if exact == 0 or (exact > 0 and not where[exact - 1].isalnum()):
        return 100.0 - len(where) / 100
    # Jumping ahead to the beginnings of words finds initials ("ns"), but may run past letters that come sooner.
    found = [
        value for value in (_walk(wanted, where, jump=True), _walk(wanted, where, jump=False)) if value is not None
    ]
    return max(found) - len(where) / 100 if found else None


def _walk(wanted: str, where: str, *, jump: bool) -> float | None:
    total, position, run = 0.0, -1, 0
    for letter in wanted:
        found = _next(where, letter, position + 1) if jump else where.find(letter, position + 1)
        if found < 0:
            return None
        run = run + 1 if found == position + 1 else 0
        starts_word = found == 0 or not where[found - 1].isalnum()
        total += 1.0 + 2.0 * run + (6.0 if starts_word else 0.0)
        position = found
    return total


def ranked(query: str, texts: Sequence[str]) -> list[int]:
    """Indices of the texts that fit, best first; all of them in their own order for an empty query."""
    scores = [(score(query, text), index) for index, text in enumerate(texts)]
    found = [(value, index) for value, index in scores if value is not None]
    return [index for _, index in sorted(found, key=lambda item: (-item[0], item[1]))]


def _next(text: str, letter: str, start: int) -> int:
    """The next place of `letter`: the beginning of a word if there is one ahead, else the nearest."""
    nearest = text.find(letter, start)
    place = nearest
    while place > 0 and text[place - 1].isalnum():
        place = text.find(letter, place + 1)
    return nearest if place < 0 or nearest == start else place
