"""Weights changed by key: Ctrl+Up and Ctrl+Down on a selection, a word or a tag, in A1111's steps of 0.05."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass

STEP = 0.05
MOST = 10.0
_TAG = re.compile(r"<(?P<head>\w+:[^<>:\n]+)(?P<rest>(?::[^<>\n]*)?)>")
_ROUND = re.compile(r"\((?P<inner>[^()\n]*?):\s*(?P<weight>[+-]?[.\d]+)\s*\)")
_ENDS = ' \t\n,;.()[]{}|:<>"'


@dataclass(frozen=True)
class Change:
    """Replace `start`..`end` of the text by `text`; afterwards `select_start`..`select_end` is selected."""

    start: int
    end: int
    text: str
    select_start: int
    select_end: int


def change_weight(text: str, start: int, end: int, steps: int) -> Change | None:
    """More (steps > 0) or less emphasis for a selection, or for what stands at the cursor where start = end.

    A tag gets another weight, `(x:1.1)` another number, other words brackets around them; at weight 1 the brackets go.
    None where there is nothing to weigh.
    """
    tag = _around(_TAG, text, start, end)
    if tag is not None:
        return _weigh_tag(tag, steps)
    pair = _around(_ROUND, text, start, end)
    if pair is not None:
        return _reweigh(pair.start(), pair.end(), pair["inner"], _number(pair["weight"]), steps)
    if start == end:
        start, end = _word_at(text, start)
    while start < end and text[start].isspace():
        start += 1
    while end > start and text[end - 1].isspace():
        end -= 1
    if start == end:
        return None
    return _reweigh(start, end, text[start:end], 1.0, steps)


def _around(pattern: re.Pattern[str], text: str, start: int, end: int) -> re.Match[str] | None:
    """The match on this line that holds the whole selection, or the cursor."""
    first = text.rfind("\n", 0, start) + 1
    for match in pattern.finditer(text, first):
        if match.start() > start:
            return None
        if match.end() >= end:
            return match
    return None


def _weigh_tag(tag: re.Match[str], steps: int) -> Change:
    weights = tag["rest"].split(":")[1:] or ["1"]
    value = _number(weights[0])
    weights[0] = _written(max(-MOST, min(MOST, value + steps * STEP)))
    text = f"<{tag['head']}:{':'.join(weights)}>"
    first = tag.start() + 1 + len(tag["head"]) + 1
    return Change(tag.start(), tag.end(), text, first, first + len(weights[0]))


def _reweigh(start: int, end: int, inner: str, weight: float, steps: int) -> Change:
    value = max(0.0, min(MOST, weight + steps * STEP))
    if math.isclose(value, 1.0, abs_tol=1e-6):
        return Change(start, end, inner, start, start + len(inner))
    return Change(start, end, f"({inner}:{_written(value)})", start + 1, start + 1 + len(inner))


def _word_at(text: str, place: int) -> tuple[int, int]:
    start = end = place
    while start > 0 and text[start - 1] not in _ENDS:
        start -= 1
    while end < len(text) and text[end] not in _ENDS:
        end += 1
    return start, end


def _written(value: float) -> str:
    return f"{round(value, 4):g}"


def _number(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        return 1.0
    return value if math.isfinite(value) else 1.0
