"""Colours a prompt by its grammar: what each part is by its colour, how much it weighs by the strength of a tint."""

from __future__ import annotations

import math
import re
from bisect import bisect_right
from time import perf_counter

from PySide6.QtCore import QTimer, Slot
from PySide6.QtGui import (
    QColor,
    QFont,
    QSyntaxHighlighter,
    QTextBlock,
    QTextBlockUserData,
    QTextCharFormat,
    QTextDocument,
)

from studio_app.prompts.marks import Far, MarkKind, Scan, across, scan, weights
from ui import theme

LONG_LINE = 4_000  # characters; of longer ones only what is near the cursor is coloured at once
NEAR = 1_000
MOST_LINE = 20_000  # longer lines are not coloured: Qt alone needs all the time there is to lay them out
LATER_MS = 250
MANY_LINES = 60
SLICE_SECONDS = 0.004
FULL_TINT = math.log(1.6)  # the weight at which the tint is strongest
TINT_ALPHA = (28, 88)


class _Known(QTextBlockUserData):
    """What is known of a line: its text, its scan, what other lines do to it."""

    def __init__(self, text: str, found: Scan, far: Far) -> None:
        super().__init__()
        self.text, self.scan, self.far = text, found, far


class _Looks:
    """The formats of a theme, each made once."""

    def __init__(self) -> None:
        choice, schedule = theme.socket_colour("FLOAT"), theme.socket_colour("MODEL")
        self._kinds: dict[MarkKind, QTextCharFormat] = {
            "tag": _coloured(theme.token("accent")),
            "embedding": _coloured(theme.token("success")),
            "wildcard": _coloured(choice),
            "choice": _coloured(choice, bold=True),
            "keyword": _coloured(theme.token("accent"), bold=True),
            "escape": _coloured(theme.token("text_muted")),
            "bracket": _coloured(theme.token("text"), bold=True),
            "number": _coloured(theme.token("text")),
            "schedule": _coloured(schedule, bold=True),
        }
        self._tinted: dict[tuple[MarkKind | None, float], QTextCharFormat] = {}
        self.unbalanced = _coloured(theme.token("danger"), bold=True)
        self.unbalanced.setUnderlineStyle(QTextCharFormat.UnderlineStyle.SingleUnderline)
        self.unbalanced.setUnderlineColor(theme.token("danger"))
        self.unknown = QTextCharFormat()
        self.unknown.setUnderlineStyle(QTextCharFormat.UnderlineStyle.WaveUnderline)
        self.unknown.setUnderlineColor(theme.token("warning"))

    def tinted(self, kind: MarkKind | None, weight: float) -> QTextCharFormat:
        """The format of a kind at a weight."""
        weight = round(weight, 2)
        made = self._tinted.get((kind, weight))
        if made is None:
            made = QTextCharFormat(self._kinds[kind]) if kind is not None else QTextCharFormat()
            if weight != 1.0:
                made.setBackground(tint(weight))
            self._tinted[kind, weight] = made
        return made


class PromptHighlighter(QSyntaxHighlighter):
    """A change costs its own line; brackets that reach over lines are matched once typing rests."""

    def __init__(self, document: QTextDocument) -> None:
        super().__init__(document)
        self._pattern: re.Pattern[str] | None = None
        self._looks = _Looks()
        self._cursor = 0
        self._whole = False
        self._later = QTimer(self)
        self._later.setSingleShot(True)
        self._later.setInterval(LATER_MS)
        self._later.timeout.connect(self.settle)
        self._waiting = document.begin()
        self._slices = QTimer(self)
        self._slices.timeout.connect(self._slice)
        document.contentsChange.connect(self._changed)
        theme.notifier.changed.connect(self._restyle)

    def set_words(self, words: list[str]) -> None:
        """Words to mark as ones that the model was never shown."""
        joined = "|".join(re.escape(word) for word in sorted(words, key=len, reverse=True))
        pattern = re.compile(rf"(?<!\w)(?:{joined})(?!\w)") if words else None
        if pattern == self._pattern:
            return
        self._pattern = pattern
        if self.document().blockCount() <= MANY_LINES:
            self.rehighlight()
            return
        self._waiting = self.document().begin()
        self._slices.start()

    @Slot()
    def _slice(self) -> None:
        """Colour lines that wait for it, for as long as nobody notices."""
        until = perf_counter() + SLICE_SECONDS
        while self._waiting.isValid() and perf_counter() < until:
            self.rehighlightBlock(self._waiting)
            self._waiting = self._waiting.next()
        if not self._waiting.isValid():
            self._slices.stop()

    @Slot()
    def settle(self) -> None:
        """Do what was put off: whole long lines, and brackets over lines."""
        self._later.stop()
        blocks = _blocks(self.document())
        self._whole = True
        known = [block.userData() for block in blocks]
        lines = [
            (block.length() - 1, data.scan.loose if isinstance(data, _Known) else ())
            for block, data in zip(blocks, known, strict=True)
        ]
        loose = any(each for _, each in lines)
        fars = across(lines) if loose else [Far()] * len(lines)
        for block, data, far in zip(blocks, known, fars, strict=True):
            if isinstance(data, _Known) and (data.far != far or LONG_LINE < block.length() <= MOST_LINE):
                data.far = far
                self.rehighlightBlock(block)
        self._whole = False

    def highlightBlock(self, text: str) -> None:
        if len(text) > MOST_LINE:
            return
        block = self.currentBlock()
        data = block.userData()
        known = data if isinstance(data, _Known) else None
        near = len(text) > LONG_LINE and not self._whole
        if near:
            start = max(0, min(len(text), self._cursor - block.position()) - NEAR)
            self._show(scan(text[start : start + 2 * NEAR]), Far(), text[start : start + 2 * NEAR], start)
            if known is None:
                block.setUserData(_Known("", Scan(), Far()))
                self._later.start()
            return
        if known is None or known.text != text:
            found = scan(text)
            before = known.scan.loose if known else ()
            far = known.far if known else Far()
            if len(text) <= LONG_LINE and (found.loose or far != Far() or before):
                self._later.start()
            if found.loose != before and self.document().blockCount() == 1:
                far = across([(len(text), found.loose)])[0]  # a single line has no others to wait for
            block.setUserData(_Known(text, found, far))
        else:
            found, far = known.scan, known.far
        self._show(found, far, text, 0)

    def _show(self, found: Scan, far: Far, text: str, offset: int) -> None:
        """Set the formats of a stretch that begins at `offset` of the line."""
        looks = self._looks
        tints = weights([*found.levels, *far.levels], len(text))
        for start, end, weight in tints:
            self.setFormat(offset + start, end - start, looks.tinted(None, weight))
        for mark in found.marks:
            self.setFormat(offset + mark.start, mark.length, looks.tinted(mark.kind, _at(tints, mark.start)))
        for place in far.unbalanced:
            self.setFormat(offset + place, 1, looks.unbalanced)
        if self._pattern is not None:
            names = [mark for mark in found.marks if mark.kind in ("tag", "wildcard", "embedding")]
            starts = [mark.start for mark in names]
            for match in self._pattern.finditer(text):
                before = bisect_right(starts, match.start()) - 1
                if before < 0 or match.start() >= names[before].start + names[before].length:
                    self._add_wave(offset + match.start(), match.end() - match.start())

    def _add_wave(self, start: int, length: int) -> None:
        merged = QTextCharFormat(self.format(start))
        merged.merge(self._looks.unknown)
        self.setFormat(start, length, merged)

    @Slot(int, int, int)
    def _changed(self, position: int, removed: int, added: int) -> None:
        self._cursor = position
        if self.document() is None:
            return
        if self._slices.isActive():
            self._waiting = self.document().begin()
        if LONG_LINE < self.document().findBlock(position).length() <= MOST_LINE:
            self._later.start()

    @Slot()
    def _restyle(self) -> None:
        self._looks = _Looks()
        self.rehighlight()


def tint(weight: float) -> QColor:
    """The background of a weight: warm above 1, cool below, stronger the farther from it."""
    share = min(1.0, abs(math.log(max(1e-3, weight))) / FULL_TINT)
    colour = QColor(theme.token("warning") if weight > 1 else theme.token("accent"))
    colour.setAlpha(round(TINT_ALPHA[0] + share * (TINT_ALPHA[1] - TINT_ALPHA[0])))
    return colour


def _at(tints: list[tuple[int, int, float]], place: int) -> float:
    """The weight at a place."""
    found = bisect_right(tints, place, key=lambda tint: tint[0]) - 1
    return tints[found][2] if found >= 0 and place < tints[found][1] else 1.0


def _coloured(value: QColor, *, bold: bool = False) -> QTextCharFormat:
    made = QTextCharFormat()
    made.setForeground(value)
    if bold:
        made.setFontWeight(QFont.Weight.DemiBold)
    return made


def _blocks(document: QTextDocument) -> list[QTextBlock]:
    found: list[QTextBlock] = []
    block = document.begin()
    while block.isValid():
        found.append(block)
        block = block.next()
    return found
