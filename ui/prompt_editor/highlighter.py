"""Colours a prompt by its grammar: what each part is by its colour, how much it weighs by the strength of a tint."""

from __future__ import annotations

import math
import re
from typing import NamedTuple

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

from studio_app.prompts.marks import Far, Loose, Mark, MarkKind, Scan, across, scan, weights
from ui import theme

LONG_LINE = 4_000  # characters; of longer ones only what is near the cursor is coloured at once
NEAR = 1_500
LATER_MS = 250
FULL_TINT = math.log(1.6)  # the weight at which the tint is strongest
TINT_ALPHA = (28, 88)


class _Known(QTextBlockUserData):
    """What is known of a line: its text, its scan, what other lines do to it."""

    def __init__(self, text: str, found: Scan, far: Far) -> None:
        super().__init__()
        self.text, self.scan, self.far = text, found, far


class _Looks(NamedTuple):
    kinds: dict[MarkKind, QTextCharFormat]
    unbalanced: QTextCharFormat
    unknown: QTextCharFormat


class PromptHighlighter(QSyntaxHighlighter):
    """A change costs its own line; brackets that reach over lines are matched once typing rests."""

    def __init__(self, document: QTextDocument) -> None:
        super().__init__(document)
        self._pattern: re.Pattern[str] | None = None
        self._looks = _looks()
        self._cursor = 0
        self._whole = False
        self._loose: dict[int, tuple[Loose, ...]] = {}
        self._later = QTimer(self)
        self._later.setSingleShot(True)
        self._later.setInterval(LATER_MS)
        self._later.timeout.connect(self.settle)
        document.contentsChange.connect(self._changed)
        theme.notifier.changed.connect(self._restyle)

    def set_words(self, words: list[str]) -> None:
        """Words to mark as ones that the model was never shown."""
        joined = "|".join(re.escape(word) for word in sorted(words, key=len, reverse=True))
        pattern = re.compile(rf"(?<!\w)(?:{joined})(?!\w)") if words else None
        if pattern != self._pattern:
            self._pattern = pattern
            self.rehighlight()

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
            if isinstance(data, _Known) and (data.far != far or block.length() > LONG_LINE):
                data.far = far
                self.rehighlightBlock(block)
        self._whole = False

    def highlightBlock(self, text: str) -> None:
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
        looks, length = self._looks, len(text)
        tints = weights([*found.levels, *far.levels], length)
        for start, end, weight in tints:
            self.setFormat(offset + start, end - start, _tinted(QTextCharFormat(), weight))
        for mark in found.marks:
            self.setFormat(offset + mark.start, mark.length, _tinted(looks.kinds[mark.kind], _at(tints, mark)))
        for place in far.unbalanced:
            self.setFormat(offset + place, 1, looks.unbalanced)
        if self._pattern is not None:
            tags = [mark for mark in found.marks if mark.kind in ("tag", "wildcard", "embedding")]
            for match in self._pattern.finditer(text):
                if not any(mark.start <= match.start() < mark.start + mark.length for mark in tags):
                    self._add_wave(offset + match.start(), match.end() - match.start())

    def _add_wave(self, start: int, length: int) -> None:
        merged = QTextCharFormat(self.format(start))
        merged.merge(self._looks.unknown)
        self.setFormat(start, length, merged)

    @Slot(int, int, int)
    def _changed(self, position: int, removed: int, added: int) -> None:
        self._cursor = position
        if self.document().findBlock(position).length() > LONG_LINE:
            self._later.start()

    @Slot()
    def _restyle(self) -> None:
        self._looks = _looks()
        self.rehighlight()


def tint(weight: float) -> QColor:
    """The background of a weight: warm above 1, cool below, stronger the farther from it."""
    share = min(1.0, abs(math.log(max(1e-3, weight))) / FULL_TINT)
    colour = QColor(theme.token("warning") if weight > 1 else theme.token("accent"))
    colour.setAlpha(round(TINT_ALPHA[0] + share * (TINT_ALPHA[1] - TINT_ALPHA[0])))
    return colour


def _tinted(look: QTextCharFormat, weight: float) -> QTextCharFormat:
    if weight == 1.0:
        return look
    out = QTextCharFormat(look)
    out.setBackground(tint(weight))
    return out


def _at(tints: list[tuple[int, int, float]], mark: Mark) -> float:
    """The weight where a mark begins."""
    low, high = 0, len(tints)
    while low < high:
        middle = (low + high) // 2
        if tints[middle][1] <= mark.start:
            low = middle + 1
        else:
            high = middle
    return tints[low][2] if low < len(tints) and tints[low][0] <= mark.start else 1.0


def _looks() -> _Looks:
    def colour(value: QColor, *, bold: bool = False) -> QTextCharFormat:
        made = QTextCharFormat()
        made.setForeground(value)
        if bold:
            made.setFontWeight(QFont.Weight.DemiBold)
        return made

    choice = theme.socket_colour("FLOAT")
    unbalanced = colour(theme.token("danger"), bold=True)
    unbalanced.setUnderlineStyle(QTextCharFormat.UnderlineStyle.SingleUnderline)
    unbalanced.setUnderlineColor(theme.token("danger"))
    unknown = QTextCharFormat()
    unknown.setUnderlineStyle(QTextCharFormat.UnderlineStyle.WaveUnderline)
    unknown.setUnderlineColor(theme.token("warning"))
    kinds: dict[MarkKind, QTextCharFormat] = {
        "tag": colour(theme.token("accent")),
        "embedding": colour(theme.token("success")),
        "wildcard": colour(choice),
        "choice": colour(choice, bold=True),
        "keyword": colour(theme.token("accent"), bold=True),
        "escape": colour(theme.token("text_muted")),
        "bracket": colour(theme.token("text_muted"), bold=True),
        "number": colour(theme.token("text_muted")),
        "schedule": colour(theme.socket_colour("MODEL"), bold=True),
    }
    return _Looks(kinds, unbalanced, unknown)


def _blocks(document: QTextDocument) -> list[QTextBlock]:
    found: list[QTextBlock] = []
    block = document.begin()
    while block.isValid():
        found.append(block)
        block = block.next()
    return found
