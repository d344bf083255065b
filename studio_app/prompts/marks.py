"""What a prompt is made of, by place: for colouring it while it is written. Qt-free, linear in the text's length.

It follows engine.prompts: tags, `embedding:…`, wildcards and choices, AND and BREAK, escapes, `(more)`, `[less]`,
`(exactly:1.3)`, `[from:to:when]`, `[one|other]`. A line is scanned by itself (`scan`); brackets that it leaves open or
closes for another line are matched by `across`, so that a change costs its own line and a pass over loose brackets.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

from engine.prompts.weighting import DOWN, UP

MarkKind = Literal["tag", "embedding", "wildcard", "choice", "keyword", "escape", "bracket", "schedule", "number"]

_TOKEN = re.compile(
    r"(?P<escape>\\[()\[\]\\{}|])|(?P<tag><\w+:[^<>\n]+>)|(?P<wildcard>__[\w.-][\w./ -]{0,118}?__)"
    r"|\b(?P<keyword>AND|BREAK)\b|(?P<embedding>\bembedding:[^\s,;()\[\]{}|<>\"]+)"
    r"|(?P<weighted>:\s*(?P<weight>[+-]?[.\d]+)\s*\))|(?P<count>\{\d{0,3}-?\d{0,3}\$\$)|(?P<bracket>[()\[\]{}|:])"
)
_WHEN = re.compile(r"\s*[+-]?(?:\d+\.?\d*|\.\d+)\s*")
_OPENS = {")": "(", "]": "[", "}": "{"}


class Mark(NamedTuple):
    """A stretch of one kind."""

    start: int
    length: int
    kind: MarkKind


class Level(NamedTuple):
    """Where a pair of brackets multiplies the weight of what is between them, the brackets included."""

    start: int
    end: int
    factor: float


class Loose(NamedTuple):
    """A bracket without its partner on the same line. `factor` is what a round closing one says, NaN for none."""

    place: int
    bracket: str
    factor: float


@dataclass(frozen=True)
class Scan:
    """One line: its marks in order, the levels of its own pairs, its loose brackets in order."""

    marks: tuple[Mark, ...] = ()
    levels: tuple[Level, ...] = ()
    loose: tuple[Loose, ...] = ()


@dataclass
class _Frame:
    place: int
    bracket: str
    colons: list[int] = field(default_factory=list)
    bars: list[int] = field(default_factory=list)


def scan(text: str) -> Scan:
    """Read one line."""
    return _Scanner(text).run()


class _Scanner:
    def __init__(self, text: str) -> None:
        self._text = text
        self._marks: list[Mark] = []
        self._levels: list[Level] = []
        self._open: list[_Frame] = []
        self._loose: list[Loose] = []

    def run(self) -> Scan:
        for match in _TOKEN.finditer(self._text):
            kind, start = match.lastgroup, match.start()
            if kind in ("escape", "tag", "wildcard", "keyword", "embedding"):
                self._marks.append(Mark(start, match.end() - start, kind))  # type: ignore[arg-type]
            elif kind == "weighted":
                self._weighted(start, match.end(), match["weight"])
            elif kind == "count":
                self._marks.append(Mark(start, match.end() - start, "choice"))
                self._open.append(_Frame(start, "{"))
            else:
                self._bracket(start, match[0])
        self._loose += [Loose(frame.place, frame.bracket, math.nan) for frame in self._open]
        self._loose.sort()
        self._marks.sort()
        return Scan(tuple(self._marks), tuple(self._levels), tuple(self._loose))

    def _bracket(self, place: int, token: str) -> None:
        if token in "([{":
            self._open.append(_Frame(place, token))
            if token == "{":
                self._marks.append(Mark(place, 1, "choice"))
        elif token in ")]}":
            self._close(place, token)
        elif self._open:
            frame = self._open[-1]
            (frame.bars if token == "|" else frame.colons).append(place)

    def _pop(self, bracket: str) -> _Frame | None:
        """The nearest open bracket of a kind: as the parser of weights, which counts each kind for itself."""
        for index in range(len(self._open) - 1, max(-1, len(self._open) - 17), -1):
            if self._open[index].bracket == bracket:
                return self._open.pop(index)
        return None

    def _weighted(self, start: int, end: int, written: str) -> None:
        factor = _number(written)
        frame = self._pop("(")
        if frame is None:
            self._loose.append(Loose(end - 1, ")", factor))
            return
        self._marks += [Mark(frame.place, 1, "bracket"), Mark(start, end - start, "number")]
        if not math.isnan(factor):
            self._levels.append(Level(frame.place, end, factor))

    def _close(self, place: int, token: str) -> None:
        frame = self._pop(_OPENS[token])
        if frame is None:
            self._loose.append(Loose(place, token, math.nan))
            return
        if token == "}":
            self._marks += [Mark(bar, 1, "choice") for bar in [*frame.bars, place]]
        elif token == ")":
            self._marks += [Mark(frame.place, 1, "bracket"), Mark(place, 1, "bracket")]
            self._levels.append(Level(frame.place, place + 1, UP))
        else:
            self._square(frame, place)

    def _square(self, frame: _Frame, place: int) -> None:
        colons, bars = frame.colons, frame.bars
        timed = 1 <= len(colons) <= 2 and _WHEN.fullmatch(self._text, colons[-1] + 1, place) is not None
        if timed:
            self._marks += [Mark(each, 1, "schedule") for each in [frame.place, *colons[:-1]]]
            self._marks.append(Mark(colons[-1], place + 1 - colons[-1], "schedule"))
        elif bars and not colons:
            self._marks += [Mark(each, 1, "schedule") for each in [frame.place, *bars, place]]
        else:
            self._marks += [Mark(frame.place, 1, "bracket"), Mark(place, 1, "bracket")]
            self._levels.append(Level(frame.place, place + 1, DOWN))


class Far(NamedTuple):
    """What other lines do to one: levels that reach into it (`end` may be beyond it), brackets without a partner."""

    levels: tuple[Level, ...] = ()
    unbalanced: tuple[int, ...] = ()


def across(lines: Sequence[tuple[int, Sequence[Loose]]]) -> list[Far]:
    """Match loose brackets over lines. `lines` are (length of the line, its loose brackets); one answer for each.

    A square pair over several lines is taken as emphasis; what stays open holds to the end, as the parser has it.
    """
    levels: list[list[Level]] = [[] for _ in lines]
    unbalanced: list[list[int]] = [[] for _ in lines]
    stacks: dict[str, list[tuple[int, int]]] = {"(": [], "[": [], "{": []}

    def spread(start: tuple[int, int], end: tuple[int, int], factor: float) -> None:
        for line in range(start[0], end[0] + 1):
            first = start[1] if line == start[0] else 0
            last = end[1] if line == end[0] else lines[line][0]
            if len(levels[line]) < 64:
                levels[line].append(Level(first, last, factor))

    for number, (_, loose) in enumerate(lines):
        for place, bracket, factor in loose:
            if bracket in stacks:
                stacks[bracket].append((number, place))
                continue
            stack = stacks[_OPENS[bracket]]
            if not stack:
                unbalanced[number].append(place)
            elif bracket != "}":
                up = factor if not math.isnan(factor) else UP if bracket == ")" else DOWN
                spread(stack.pop(), (number, place + 1), up)
            else:
                stack.pop()
    last = (len(lines) - 1, lines[-1][0]) if lines else (0, 0)
    for bracket, factor in (("(", UP), ("[", DOWN), ("{", math.nan)):
        for line, place in stacks[bracket][-256:]:
            unbalanced[line].append(place)
            if not math.isnan(factor):
                spread((line, place), last, factor)
    return [Far(tuple(a), tuple(sorted(b))) for a, b in zip(levels, unbalanced, strict=True)]


def weights(levels: Sequence[Level], length: int) -> list[tuple[int, int, float]]:
    """(start, end, weight) of the stretches of a line whose weight is not 1, in order; nested levels multiply."""
    if not levels:
        return []
    steps: dict[int, float] = {}
    for start, end, factor in levels:
        change = math.log(min(1e6, max(1e-6, abs(factor))))
        steps[max(0, start)] = steps.get(max(0, start), 0.0) + change
        steps[min(end, length)] = steps.get(min(end, length), 0.0) - change
    found: list[tuple[int, int, float]] = []
    places, total = sorted(steps), 0.0
    for place, following in zip(places, [*places[1:], length], strict=True):
        total += steps[place]
        if abs(total) > 1e-9 and following > place:
            found.append((place, following, math.exp(max(-50.0, min(50.0, total)))))
    return found


def _number(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        return math.nan
    return value if math.isfinite(value) else math.nan
