"""The text field of the prompt editor: it grows with its text, colours what it is made of, offers completions."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from PySide6.QtCore import QEvent, Qt, Signal, Slot
from PySide6.QtGui import QFocusEvent, QHideEvent, QKeyEvent, QMouseEvent, QResizeEvent, QTextCursor
from PySide6.QtWidgets import QPlainTextEdit, QSizePolicy, QWidget

from studio_app.prompts.completions import Completion
from studio_app.prompts.weights import Change, change_weight
from ui import theme
from ui.prompt_editor.highlighter import PromptHighlighter
from ui.prompt_editor.popup import ROWS, AskPicture, CompletionPopup, place_in
from ui.widgets.basics import describe

Suggest = Callable[[str, int], Sequence[Completion]]
_ENTER = (Qt.Key.Key_Return, Qt.Key.Key_Enter)
_CONTROL, _ALT = Qt.KeyboardModifier.ControlModifier, Qt.KeyboardModifier.AltModifier
_STEPS = {Qt.Key.Key_Up: -1, Qt.Key.Key_Down: 1, Qt.Key.Key_PageUp: -ROWS, Qt.Key.Key_PageDown: ROWS}
# Of these the first one is taken as it stands: what was typed says that nothing else is meant.
_SURE = ("lora", "embedding", "wildcard", "style")


class PromptField(QPlainTextEdit):
    """A text field of `lines`..`most` lines. `edited(text)` fires when the person changed it, not on `show_text`.

    submitted    Ctrl+Enter, where no command of the window has that key
    recall       −1 for an older prompt, 1 for a newer one (Alt+Up, Alt+Down)
    looked       the cursor came into the field
    """

    edited = Signal(str)
    submitted = Signal()
    recall = Signal(int)
    looked = Signal()

    def __init__(
        self,
        name: str,
        tip: str,
        *,
        lines: int,
        most: int,
        suggest: Suggest | None = None,
        ask_picture: AskPicture | None = None,
        parent: QWidget | None = None,
    ) -> None:
        super().__init__(parent)
        self._lines, self._most, self._suggest = lines, most, suggest
        self._showing = self._filling = False
        self._told = ""
        describe(self, name, tip)
        self.setTabChangesFocus(True)
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
        self.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self.highlighter = PromptHighlighter(self.document())
        self.popup = CompletionPopup(self, ask_picture or (lambda named, deliver: None))
        self.popup.chosen.connect(self.take)
        self.textChanged.connect(self._text_changed)
        self.destroyed.connect(self.popup.deleteLater)  # it is the window's child while it shows
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
        self.popup.hide()

    def replace(self, change: Change) -> None:
        """Make a change as one step of undo, and select what it says."""
        cursor = self.textCursor()
        cursor.beginEditBlock()
        cursor.setPosition(change.start)
        cursor.setPosition(change.end, QTextCursor.MoveMode.KeepAnchor)
        cursor.insertText(change.text)
        cursor.endEditBlock()
        cursor.setPosition(change.select_start)
        cursor.setPosition(change.select_end, QTextCursor.MoveMode.KeepAnchor)
        self.setTextCursor(cursor)

    @Slot()
    def _text_changed(self) -> None:
        self._refit()
        text = self.toPlainText()
        if text == self._told:  # colours came, the words stayed
            return
        self._told = text
        if not self._showing:
            self.edited.emit(text)
            if not self._filling:
                self.offer()

    # ---- completions

    def suggestions(self) -> list[str]:
        """What is offered now: the line up to the cursor as each would make it."""
        if not self.popup.isVisible():
            return []
        cursor = self.textCursor()
        start, line = cursor.block().position(), cursor.block().text()[: cursor.positionInBlock()]
        return [line[: max(0, row.start - start)] + row.text for row in self.popup.model.rows]

    def offer(self, rows: Sequence[Completion] | None = None) -> None:
        """Open the list with what fits at the cursor, or with these; close it when there is nothing."""
        cursor = self.textCursor()
        if rows is None:
            usable = self._suggest is not None and self.hasFocus() and not self.isReadOnly()
            rows = self._suggest(self.toPlainText(), cursor.position()) if usable and self._suggest else []
        if not rows:
            self.popup.hide()
            return
        host = self.window()
        caret = place_in(self.viewport(), self.cursorRect(), host)
        start = QTextCursor(cursor)
        start.setPosition(max(cursor.block().position(), min(rows[0].start, cursor.position())))
        at = self.cursorRect(start)
        if at.top() == self.cursorRect().top():
            caret.setLeft(place_in(self.viewport(), at, host).left())
        self.popup.offer(rows, caret, host, choose=rows[0].kind in _SURE)

    @Slot(object)
    def take(self, completion: Completion) -> None:
        """Put a completion in its place; a tag's weight is selected by Ctrl+Up and Ctrl+Down afterwards."""
        text, end = completion.text, completion.start + len(completion.text)
        self._filling = True
        self.replace(Change(completion.start, completion.end, text, end, end))
        self._filling = False
        self.popup.hide()

    @Slot(str)
    def complete(self, suggestion: str) -> None:
        """Put `suggestion` in the place of what is written before the cursor on this line."""
        cursor = self.textCursor()
        end = cursor.block().position() + len(suggestion)
        self._filling = True
        self.replace(Change(cursor.block().position(), cursor.position(), suggestion, end, end))
        self._filling = False
        self.popup.hide()

    # ---- keys

    def event(self, event: QEvent) -> bool:
        # These belong to the field while they have a meaning here, not to the window's commands.
        if event.type() == QEvent.Type.ShortcutOverride and isinstance(event, QKeyEvent):
            key, held = event.key(), event.modifiers()
            popup = self.popup.isVisible() and (key in (Qt.Key.Key_Escape, Qt.Key.Key_Tab, *_ENTER) or key in _STEPS)
            arrows = key in (Qt.Key.Key_Up, Qt.Key.Key_Down) and held in (_CONTROL, _ALT)
            if (popup and not held) or arrows or (key == Qt.Key.Key_Space and held == _CONTROL):
                event.accept()
                return True
        # Qt gives Tab to the focus chain before any key handler sees it.
        if event.type() == QEvent.Type.KeyPress and isinstance(event, QKeyEvent):
            tab = event.key() == Qt.Key.Key_Tab
            if tab and self._popup_key(event):
                event.accept()
                return True
        return super().event(event)

    def keyPressEvent(self, event: QKeyEvent) -> None:
        if self._popup_key(event) or self._own_key(event):
            return
        before = self.document().revision()
        super().keyPressEvent(event)
        if self.document().revision() == before:
            self.popup.hide()  # the cursor went elsewhere

    def mousePressEvent(self, event: QMouseEvent) -> None:
        self.popup.hide()
        super().mousePressEvent(event)

    def _popup_key(self, event: QKeyEvent) -> bool:
        popup, key = self.popup, event.key()
        if not popup.isVisible() or event.modifiers() & ~Qt.KeyboardModifier.KeypadModifier:
            return False
        chosen = popup.current()
        if key == Qt.Key.Key_Tab or (key in _ENTER and chosen is not None):
            self.take(chosen or popup.model.rows[0])
        elif key == Qt.Key.Key_Escape:
            popup.hide()
        elif key in _STEPS:
            popup.step(_STEPS[Qt.Key(key)])
        else:
            return False
        return True

    def _own_key(self, event: QKeyEvent) -> bool:
        key, held = event.key(), event.modifiers() & ~Qt.KeyboardModifier.KeypadModifier
        upward = {Qt.Key.Key_Up: 1, Qt.Key.Key_Down: -1}.get(Qt.Key(key), 0)
        if held == _CONTROL and key in _ENTER:
            self.popup.hide()
            self.submitted.emit()
        elif held == _CONTROL and key == Qt.Key.Key_Space:
            self.offer()
        elif held == _CONTROL and upward:
            self.weigh(upward)
        elif held == _ALT and upward:
            self.recall.emit(-upward)
        else:
            return False
        return True

    def weigh(self, steps: int) -> None:
        """More or less emphasis for what is selected or stands at the cursor."""
        cursor = self.textCursor()
        change = change_weight(self.toPlainText(), cursor.selectionStart(), cursor.selectionEnd(), steps)
        if change is not None and not self.isReadOnly():
            self._filling = True
            self.replace(change)
            self._filling = False
            self.popup.hide()

    def focusInEvent(self, event: QFocusEvent) -> None:
        super().focusInEvent(event)
        self.looked.emit()

    def focusOutEvent(self, event: QFocusEvent) -> None:
        super().focusOutEvent(event)
        if event.reason() != Qt.FocusReason.PopupFocusReason:
            self.popup.hide()

    def hideEvent(self, event: QHideEvent) -> None:
        super().hideEvent(event)
        self.popup.hide()

    # ---- size

    def resizeEvent(self, event: QResizeEvent) -> None:
        super().resizeEvent(event)
        self._refit()

    def set_lines(self, lines: int, most: int | None = None) -> None:
        """How many lines are shown at least, and at most; at most 0 lets the place decide."""
        self._lines, self._most = lines, self._most if most is None else most
        self._refit()

    @Slot()
    def _refit(self) -> None:
        if self._most == 0:
            self.setMinimumHeight(self._height(1))
            self.setMaximumHeight(16_777_215)
            self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Expanding)
            self.setVerticalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAsNeeded)
            return
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
        wanted = int(self.document().size().height())  # a plain text document measures its height in lines
        needs_bar = wanted > self._most
        self.setVerticalScrollBarPolicy(
            Qt.ScrollBarPolicy.ScrollBarAsNeeded if needs_bar else Qt.ScrollBarPolicy.ScrollBarAlwaysOff
        )
        self.setFixedHeight(self._height(max(self._lines, min(self._most, wanted))))

    def _height(self, lines: int) -> int:
        frame = 2 * round(self.document().documentMargin()) + theme.px(10) + 2 * theme.px(1)
        return lines * self.fontMetrics().lineSpacing() + frame
