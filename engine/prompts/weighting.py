r"""Emphasis: `(more)`, `[less]`, `(exactly:1.3)`, BREAK and escapes, read as A1111 reads them.

`(x)` is 1.1 times, `[x]` 1 / 1.1 times, `(x:w)` w times; nested weights multiply; what is left open holds to the end.
`\(`, `\)`, `\[`, `\]` and `\\` are the plain characters.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass

BREAK = "BREAK"
UP = 1.1
DOWN = 1 / 1.1
MAX_WEIGHT = 1e9
MEAN_DEPTH = 32  # brackets around each piece, on average, that are still multiplied: keeps hostile nesting linear

_TOKEN = re.compile(r"\\[()\[\]\\]|\\|[(\[]|:\s*([+-]?[.\d]+)\s*\)|[)\]]|[^\\()\[\]:]+|:")
_BREAK = re.compile(r"\bBREAK\b")


@dataclass(frozen=True)
class Piece:
    """Text and its weight. A BREAK, which starts a new chunk of tokens, is a piece of its own with weight −1."""

    text: str
    weight: float = 1.0
    is_break: bool = False

    def to_json(self) -> list[str | float]:
        return [self.text, self.weight]


def pieces_of(text: str) -> tuple[Piece, ...]:
    """The pieces of a text without schedules, neighbours of equal weight joined; always at least one."""
    found = _Pieces()
    rounds: list[int] = []
    squares: list[int] = []
    for match in _TOKEN.finditer(text):
        token = match[0]
        weight = _finite(match[1])
        if token[0] == "\\":
            found.add(token[1:])
        elif token == "(":
            rounds.append(len(found.texts))
        elif token == "[":
            squares.append(len(found.texts))
        elif weight is not None and rounds:
            found.close(rounds.pop(), weight)
        elif token == ")" and rounds:
            found.close(rounds.pop(), UP)
        elif token == "]" and squares:
            found.close(squares.pop(), DOWN)
        else:
            found.add_text(token)
    found.leave_open(rounds, UP)
    found.leave_open(squares, DOWN)
    return found.joined()


def _finite(text: str | None) -> float | None:
    """The number, or None for what only looks like one ("1.2.3"): that stays text."""
    if text is None:
        return None
    try:
        value = float(text)
    except ValueError:
        return None
    return value if math.isfinite(value) else None


class _Pieces:
    """Texts and weights while brackets are still being closed over them."""

    def __init__(self) -> None:
        self.texts: list[str] = []
        self._weights: list[float] = []
        self._breaks: set[int] = set()
        self._spent = 0

    def add(self, text: str) -> None:
        self.texts.append(text)
        self._weights.append(1.0)

    def add_text(self, text: str) -> None:
        """Text that may hold BREAKs; the spaces around one belong to it."""
        done = 0
        after_break = False
        for match in _BREAK.finditer(text):
            before = text[done : match.start()].rstrip()
            self.add(before.lstrip() if after_break else before)
            self._breaks.add(len(self.texts))
            self.add(BREAK)
            done, after_break = match.end(), True
        rest = text[done:]
        self.add(rest.lstrip() if after_break else rest)

    def close(self, start: int, multiplier: float) -> None:
        """Multiply everything since `start`, innermost brackets first, as A1111 does: weights agree to the last bit."""
        length = len(self.texts) - start
        if self._spent + length > MEAN_DEPTH * (len(self.texts) + MEAN_DEPTH):
            return
        self._spent += length
        for index in range(start, len(self.texts)):
            weight = self._weights[index] * multiplier
            self._weights[index] = max(-MAX_WEIGHT, min(MAX_WEIGHT, weight))

    def leave_open(self, starts: list[int], multiplier: float) -> None:
        for start in starts:
            self.close(start, multiplier)

    def joined(self) -> tuple[Piece, ...]:
        out: list[Piece] = []
        run: list[str] = []
        weight = 1.0
        for index, text in enumerate(self.texts):
            is_break = index in self._breaks
            if run and (is_break or self._weights[index] != weight):
                out.append(Piece("".join(run), weight))
                run = []
            if is_break:
                out.append(Piece(BREAK, -1.0, is_break=True))
                continue
            weight = self._weights[index]
            run.append(text)
        if run:
            out.append(Piece("".join(run), weight))
        return tuple(out) or (Piece(""),)
