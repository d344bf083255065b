"""The text field of the prompt editor: it grows with its text, colours what it is made of, offers completions."""

from __future__ import annotations

import re
from collections.abc import Callable

from PySide6.QtCore import QRect, QStringListModel, Qt, Signal, Slot
from PySide6.QtGui import (
    QFocusEvent,
    QKeyEvent,
    QResizeEvent,
    QSyntaxHighlighter,
    QTextCharFormat,
    QTextCursor,
    QTextDocument,
)
from PySide6.QtWidgets import QCompleter, QListView, QPlainTextEdit, QSizePolicy, QWidget

from studio_app.documents.create_session import word_before
from ui import theme
from ui.widgets.basics import describe

MIN_SUGGESTION = 2
_ENTER = (Qt.Key.Key_Return, Qt.Key.Key_Enter)


class UnknownWordHighlighter(QSyntaxHighlighter):
    """Underlines the given words with a wave in the warning colour."""

    def __init__(self, document: QTextDocument) -> None:
        super().__init__(document)
        self._pattern: re.Pattern[str] | None = None

    def set_words(self, words: list[str]) -> None:
        joined = "|".join(re.escape(word) for word in sorted(words, key=len, reverse=True))
        pattern = re.compile(rf"(?<!\w)(?:{joined})(?!\w)") if words else None
        if pattern != self._pattern:
            self._pattern = pattern
            self.rehighlight()

    def highlightBlock(self, text: str) -> None:
        if self._pattern is None:
            return
        mark = QTextCharFormat()
        mark.setUnderlineStyle(QTextCharFormat.UnderlineStyle.WaveUnderline)
        mark.setUnderlineColor(theme.token("warning"))
        for match in self._pattern.finditer(text):
            self.setFormat(match.start(), match.end() - match.start(), mark)


class PromptField(QPlainTextEdit):
    """A text field of `lines`..`most` lines. `edited(text)` fires when the person changed it, not on `show_text`."""

    edited = Signal(str)

    def __init__(
        self,
        name: str,
        tip: str,
        *,
        lines: int,
        most: int,
        suggest: Callable[[str], list[str]] | None = None,
        parent: QWidget | None = None,
    ) -> None:
        super().__init__(parent)
        self._lines, self._most, self._suggest = lines, most, suggest
        self._showing = False
        describe(self, name, tip)
        self.setTabChangesFocus(True)
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
        self.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self.highlighter = UnknownWordHighlighter(self.document())
        self._suggestions = QStringListModel(self)
        self._completer = QCompleter(self._suggestions, self)
        self._completer.setCompletionMode(QCompleter.CompletionMode.UnfilteredPopupCompletion)
        self._completer.setWidget(self)
        self._popup = QListView()
        self._completer.setPopup(self._popup)
        self._completer.activated.connect(self.complete)
        self.textChanged.connect(self._text_changed)
        theme.notifier.changed.connect(self._refit)
        self._refit()

    # ---- text

    def show_text(self, text: str) -> None:
        """Show a text that is already the truth elsewhere; the cursor stays where it can."""
        if text == self.toPlainText():
            return
        self._showing = True
        position = self.textCursor().position()
        cursor = QTextCursor(self.document())
        cursor.select(QTextCursor.SelectionType.Document)
        cursor.insertText(text)  # as one edit, so that undo brings the old text back
        cursor.setPosition(min(position, len(text)) if self.hasFocus() else len(text))
        self.setTextCursor(cursor)
        self._showing = False

    @Slot()
    def _text_changed(self) -> None:
        self._refit()
        if not self._showing:
            self.edited.emit(self.toPlainText())
            self._offer()

    # ---- suggestions

    def suggestions(self) -> list[str]:
        """What is offered now."""
        return self._suggestions.stringList() if self._popup.isVisible() else []

    def _before_cursor(self) -> str:
        """The line being written, up to the cursor."""
        cursor = self.textCursor()
        return cursor.block().text()[: cursor.positionInBlock()]

    def _offer(self) -> None:
        written = self._before_cursor()
        found = self._suggest(written) if self._suggest and len(word_before(written)) >= MIN_SUGGESTION else []
        popup = self._popup
        if not found or not self.hasFocus():
            popup.hide()
            return
        self._suggestions.setStringList(found)
        popup.setAccessibleName("Suggestions")
        popup.setTextElideMode(Qt.TextElideMode.ElideMiddle)
        place = self.cursorRect()
        self._completer.complete(QRect(0, place.y(), self.viewport().width(), place.height() + theme.px(4)))

    @Slot(str)
    def complete(self, suggestion: str) -> None:
        """Put `suggestion`, a whole prompt, in the place of what is written before the cursor on this line."""
        cursor = self.textCursor()
        cursor.movePosition(QTextCursor.MoveOperation.StartOfBlock, QTextCursor.MoveMode.KeepAnchor)
        cursor.insertText(suggestion)
        self._popup.hide()

    def keyPressEvent(self, event: QKeyEvent) -> None:
        popup = self._popup
        if popup.isVisible():
            chosen = popup.currentIndex()
            if event.key() == Qt.Key.Key_Tab or (event.key() in _ENTER and chosen.isValid() and not event.modifiers()):
                self.complete(str((chosen if chosen.isValid() else self._suggestions.index(0)).data()))
                return
            if event.key() == Qt.Key.Key_Escape:
                popup.hide()
                return
        super().keyPressEvent(event)

    def focusOutEvent(self, event: QFocusEvent) -> None:
        super().focusOutEvent(event)
        if event.reason() != Qt.FocusReason.PopupFocusReason:
            self._popup.hide()

    # ---- size

    def resizeEvent(self, event: QResizeEvent) -> None:
        super().resizeEvent(event)
        self._refit()

    def set_lines(self, lines: int) -> None:
        self._lines = lines
        self._refit()

    @Slot()
    def _refit(self) -> None:
        wanted = int(self.document().size().height())  # a plain text document measures its height in lines
        lines = max(self._lines, min(self._most, wanted))
        frame = 2 * round(self.document().documentMargin()) + theme.px(10) + 2 * theme.px(1)
        needs_bar = wanted > self._most
        self.setVerticalScrollBarPolicy(
            Qt.ScrollBarPolicy.ScrollBarAsNeeded if needs_bar else Qt.ScrollBarPolicy.ScrollBarAlwaysOff
        )
        self.setFixedHeight(lines * self.fontMetrics().lineSpacing() + frame)
