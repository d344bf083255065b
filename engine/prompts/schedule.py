r"""Schedules: `[from:to:when]`, `[to:when]`, `[from::when]` and alternation `[a|b]`, as in A1111.

`when` with a point is a fraction of the steps, without one a step: `from` holds while step ≤ when, steps counted from
1. `[a|b|c]` shows a in step 1, b in step 2, c in step 3, a in step 4 and so on. Brackets that are neither stay as they
are for the weights. A bracket that does not close, or closes another, is plain text, and so is all around it.

The text is read once, left to right, with a stack of its own: 100,000 brackets are no deeper than one.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field

_TOKEN = re.compile(r"[^\\\[\]():|]+|\\.|[\\\[\]():|]", re.S)
_NUMBER = re.compile(r"[+-]?(?:[0-9]+\.[0-9]*|\.[0-9]+|[0-9]+)(?:[eE][+-]?[0-9]+)?")
_EMBEDDING = re.compile(r"(?:^|\W)embedding$", re.I)
_CLOSES = {"]": "[", ")": "("}


@dataclass(frozen=True, eq=False)
class Scheduled:
    """`before` up to step `when`, then `after`. `when` is as written."""

    before: list[Item]
    after: list[Item]
    when: str

    def last_step(self, steps: int) -> int:
        """The last step of `before`; below 1 when it never shows."""
        value = float(self.when)
        if "." in self.when:
            value *= steps
        return int(max(-1.0, min(float(steps), value)))

    def at(self, step: int, steps: int) -> list[Item]:
        return self.before if step <= self.last_step(steps) else self.after


@dataclass(frozen=True, eq=False)
class Alternating:
    """One choice a step, in turn."""

    choices: list[list[Item]]

    def at(self, step: int, steps: int) -> list[Item]:
        return self.choices[(step - 1) % len(self.choices)]


Item = str | list["Item"] | Scheduled | Alternating


@dataclass
class _Frame:
    """An open bracket: what came in it so far, and where its separators stand among that."""

    bracket: str
    items: list[Item] = field(default_factory=list)
    colons: list[int] = field(default_factory=list)
    bars: list[int] = field(default_factory=list)


@dataclass(frozen=True, eq=False)
class ScheduledText:
    """A text read once, to be asked for its wording at any step."""

    items: list[Item]
    groups: list[Scheduled | Alternating]

    def texts(self, steps: int) -> list[tuple[int, str]]:
        """(last step, text) for each part of a run of `steps` steps, the last one ending with the run."""
        steps = max(1, steps)
        ends = {steps}
        for group in self.groups:
            if isinstance(group, Alternating):
                ends.update(range(1, steps + 1))
                break
            if (last := group.last_step(steps)) >= 1:
                ends.add(last)
        return [(end, self.text_at(end, steps)) for end in sorted(ends)]

    def text_at(self, step: int, steps: int) -> str:
        out: list[str] = []
        stack: list[Iterator[Item]] = [iter(self.items)]
        while stack:
            for item in stack[-1]:
                if isinstance(item, str):
                    out.append(item)
                    continue
                stack.append(iter(item if isinstance(item, list) else item.at(step, steps)))
                break
            else:
                stack.pop()
        return "".join(out)


def read(text: str) -> ScheduledText:
    """Find the schedules of a text."""
    return _Reader().read(text)


class _Reader:
    def __init__(self) -> None:
        self._root: list[Item] = []
        self._open: list[_Frame] = []
        self._groups: list[Scheduled | Alternating] = []

    def read(self, text: str) -> ScheduledText:
        for match in _TOKEN.finditer(text):
            token = match[0]
            if token in ("[", "("):
                self._open.append(_Frame(token))
            elif token in _CLOSES:
                self._close(token)
            else:
                self._add(token)
        self._all_plain()
        return ScheduledText(self._root, self._groups)

    def _add(self, token: str) -> None:
        if not self._open:
            self._root.append(token)
            return
        frame = self._open[-1]
        if token == ":" and not _names_embedding(frame.items):
            frame.colons.append(len(frame.items))
        elif token == "|" and frame.bracket == "[":
            frame.bars.append(len(frame.items))
        frame.items.append(token)

    def _close(self, token: str) -> None:
        if not self._open or self._open[-1].bracket != _CLOSES[token]:
            self._all_plain()
            self._root.append(token)
            return
        frame = self._open.pop()
        group = _group_of(frame) if token == "]" else None
        into = self._open[-1].items if self._open else self._root
        if group is not None:
            self._groups.append(group)
            into.append(group)
            return
        if len(frame.colons) > (1 if token == ")" else 0) or frame.bars:
            # No emphasis either: its brackets are text, and text with brackets belongs in no group.
            self._all_plain()
            into = self._root
        into += [frame.bracket, frame.items, token]

    def _all_plain(self) -> None:
        """Every bracket still open is text."""
        for frame in self._open:
            self._root += [frame.bracket, frame.items]
        self._open.clear()


def _group_of(frame: _Frame) -> Scheduled | Alternating | None:
    """What a closed pair of square brackets is, if it is not just emphasis."""
    items, colons, bars = frame.items, frame.colons, frame.bars
    if 1 <= len(colons) <= 2:
        last = items[colons[-1] + 1 :]
        when = "".join(item for item in last if isinstance(item, str)).strip()
        if all(isinstance(item, str) for item in last) and _NUMBER.fullmatch(when):
            before, after = ([], items[: colons[0]]) if len(colons) == 1 else _around(items, *colons)
            return Scheduled(before, after, when)
    if not bars or colons:
        return None
    starts, ends = [0, *(bar + 1 for bar in bars)], [*bars, len(items)]
    return Alternating([items[start:end] for start, end in zip(starts, ends, strict=True)])


def _around(items: list[Item], first: int, second: int) -> tuple[list[Item], list[Item]]:
    return items[:first], items[first + 1 : second]


def _names_embedding(items: list[Item]) -> bool:
    """Whether a colon that comes now is the one of `embedding:name`."""
    before = items[-1] if items else ""
    return isinstance(before, str) and _EMBEDDING.search(before[-10:]) is not None
