"""The editors of values: one widget for each kind, the same on the canvas, in the properties and in forms."""

from __future__ import annotations

import json
from typing import Any

from PySide6.QtCore import QPoint, Qt, Signal, Slot
from PySide6.QtGui import QColor
from PySide6.QtWidgets import QColorDialog, QFileDialog, QLineEdit, QPlainTextEdit, QPushButton, QWidget

from engine.contracts.errors import clip
from engine.contracts.node_schema import InputSchema
from engine.contracts.workflow import InputValue
from studio_app.application import Application
from ui import theme
from ui.bridge.bridge import Bridge
from ui.graph_canvas.choice_popup import Choice, ChoicePopup
from ui.graph_canvas.values.kinds import (
    FURTHEST,
    choices_of,
    default_of,
    filtered,
    is_whole,
    limits_of,
    nothing_to_choose,
    words_of,
)  # fmt: skip
from ui.prompt_editor import PromptEditor
from ui.widgets.basics import IconButton, describe
from ui.widgets.inputs import NumberField, Toggle
from ui.widgets.layouts import Column, Row

SEVERAL = "several values"


class ValueField(QWidget):
    """`changed(value)` fires on every change a person makes, `finished` on Enter, `said` with one sentence.

    `show_value` shows what is already the truth elsewhere and fires nothing.
    """

    changed = Signal(object)
    finished = Signal()
    said = Signal(str)

    def __init__(self, name: str, item: InputSchema) -> None:
        super().__init__()
        self.name, self.item = name, item
        self.row = Row(self, spacing=0.5)
        self.showing = False

    def show_value(self, value: InputValue, *, mixed: bool = False) -> None:
        """`mixed`: the selected nodes have different values."""
        self.showing = True
        try:
            self.display(value, mixed)
        finally:
            self.showing = False

    def display(self, value: InputValue, mixed: bool) -> None:
        raise NotImplementedError

    def begin(self, text: str = "") -> None:
        """Take the keyboard; `text` is what was typed already."""
        self.setFocus()

    def tell(self, value: object) -> None:
        if not self.showing:
            self.changed.emit(value)

    def add(self, widget: QWidget, stretch: int = 0) -> None:
        self.row.addWidget(widget, stretch)


class ExactNumber(NumberField):
    """A NumberField that keeps whole numbers of any length exact and shows decimals only where there are some."""

    def __init__(self, name: str, tip: str, item: InputSchema) -> None:
        self.whole = is_whole(item)
        self.open_ended = item.minimum is None or item.maximum is None
        low, high, step = limits_of(item)
        value = default_of(item)
        start = value if isinstance(value, (int, float)) and not isinstance(value, bool) else max(low, min(0, high))
        super().__init__(name, tip, minimum=low, maximum=high, value=start, step=step, decimals=0 if self.whole else 6)

    def setValue(self, value: float) -> None:
        super().setValue(round(value) if self.whole else value)

    def _format(self, value: float) -> str:
        return str(int(value)) if self.whole else f"{value:.10g}"

    def _describe(self) -> None:
        if self.open_ended:
            describe(self, self._name, self._tip)
        else:
            super()._describe()

    @Slot()
    def _commit(self) -> None:
        if self.text() or not self.placeholderText():  # of several values, none is set by passing through
            self.setPlaceholderText("")
            super()._commit()


class NumberValue(ValueField):
    """A number: typed, computed, dragged, scrolled, stepped by arrows."""

    def __init__(self, name: str, item: InputSchema) -> None:
        super().__init__(name, item)
        self.number = ExactNumber(name, item.tooltip, item)
        self.number.setMinimumWidth(theme.px(56))
        self.add(self.number, 1)
        self.setFocusProxy(self.number)
        self.number.value_changed.connect(self._changed)
        self.number.corrected.connect(self.said)
        self.number.returnPressed.connect(self.finished)

    @Slot()
    def _changed(self) -> None:
        self.tell(self.number.value())

    def display(self, value: InputValue, mixed: bool) -> None:
        if isinstance(value, (int, float)) and not isinstance(value, bool):
            low, high, _ = limits_of(self.item)
            self.number.set_range(min(low, value), max(high, value))  # what a file holds is shown as it is
            self.number.setValue(value)
            self.number.set_range(low if value >= low else value, high if value <= high else value)
        self.number.setPlaceholderText(SEVERAL if mixed else "")
        if mixed:
            self.number.setText("")

    def begin(self, text: str = "") -> None:
        self.number.setFocus(Qt.FocusReason.OtherFocusReason)
        self.number.selectAll()
        if text:
            self.number.insert(text)


class ToggleValue(ValueField):
    """On or off."""

    def __init__(self, name: str, item: InputSchema) -> None:
        super().__init__(name, item)
        self.toggle = Toggle("", item.tooltip)
        describe(self.toggle, name, item.tooltip)
        self.add(self.toggle)
        self.row.addStretch(1)
        self.setFocusProxy(self.toggle)
        self.toggle.toggled.connect(self.tell)

    def display(self, value: InputValue, mixed: bool) -> None:
        self.toggle.setChecked(bool(value))


class TextValue(ValueField):
    """One line of text."""

    def __init__(self, name: str, item: InputSchema) -> None:
        super().__init__(name, item)
        self.line = QLineEdit()
        describe(self.line, name, item.tooltip)
        self.add(self.line, 1)
        self.setFocusProxy(self.line)
        self.line.textEdited.connect(self.tell)
        self.line.returnPressed.connect(self.finished)

    def display(self, value: InputValue, mixed: bool) -> None:
        self.line.setPlaceholderText(SEVERAL if mixed else "")
        text = "" if mixed else words_of(value)
        if self.line.text() != text:
            self.line.setText(text)

    def begin(self, text: str = "") -> None:
        self.line.setFocus(Qt.FocusReason.OtherFocusReason)
        self.line.selectAll()
        if text:
            self.line.insert(text)
            self.tell(self.line.text())


class FileValue(TextValue):
    """A path, typed or chosen."""

    def __init__(self, name: str, item: InputSchema) -> None:
        super().__init__(name, item)
        self.browse = IconButton("folder-open", f"Choose: {name}", "Choose it on this machine.", size=16)
        self.add(self.browse)
        self.browse.clicked.connect(self._ask)

    @Slot()
    def _ask(self) -> None:
        title = f"Choose: {self.name}"
        if self.item.name == "folder":
            chosen = QFileDialog.getExistingDirectory(self, title, self.line.text())
        else:
            chosen, _ = QFileDialog.getOpenFileName(self, title, self.line.text())
        if chosen:
            self.line.setText(chosen)
            self.tell(chosen)


class PromptValue(ValueField):
    """A prompt, with all that the prompt editor knows."""

    def __init__(self, name: str, item: InputSchema, app: Application, bridge: Bridge) -> None:
        super().__init__(name, item)
        self.editor = PromptEditor(app, bridge)
        self.editor.set_negative("negative" in item.name)
        describe(self.editor.field, name, item.tooltip)
        self.add(self.editor, 1)
        self.setFocusProxy(self.editor)
        self.editor.text_changed.connect(self.tell)
        self.editor.submitted.connect(self.finished)

    def display(self, value: InputValue, mixed: bool) -> None:
        self.editor.set_placeholder(SEVERAL if mixed else "")
        self.editor.set_text("" if mixed else words_of(value))

    def begin(self, text: str = "") -> None:
        self.editor.focus()
        if text:
            self.editor.field.insertPlainText(text)


class ChoiceValue(ValueField):
    """A choice or a model: a button that opens a list with search."""

    def __init__(self, name: str, item: InputSchema, app: Application) -> None:
        super().__init__(name, item)
        self._app = app
        self._popup: ChoicePopup | None = None
        self.button = QPushButton()
        self.button.setAutoDefault(False)
        self.button.setProperty("kind", "choice")
        describe(self.button, name, item.tooltip)
        self.add(self.button, 1)
        self.setFocusProxy(self.button)
        self.button.clicked.connect(self.open_list)

    def display(self, value: InputValue, mixed: bool) -> None:
        text = SEVERAL if mixed else words_of(value) or "choose…"
        self.button.setText(clip(text, 40))
        describe(self.button, f"{self.name}: {text}", self.item.tooltip)

    @Slot()
    def open_list(self) -> None:
        host = self.window()
        if self._popup is None:
            self._popup = ChoicePopup(host)
            self.destroyed.connect(self._popup.deleteLater)
        rows = choices_of(self._app, self.item)
        place = self.button.mapTo(host, QPoint(0, self.button.height()))
        self._popup.open_at(place, self.name, f"{self.name}: type a few letters", lambda text: filtered(rows, text),
                            self._take, nothing_to_choose(self.item))  # fmt: skip

    def _take(self, choice: Choice) -> None:
        self.show_value(choice.value)
        self.tell(choice.value)
        self.finished.emit()


class ColourValue(ValueField):
    """A colour: written as #rrggbb or chosen."""

    def __init__(self, name: str, item: InputSchema) -> None:
        super().__init__(name, item)
        self.line = QLineEdit()
        describe(self.line, name, item.tooltip or "A colour like #ff8800.")
        self.swatch = IconButton("palette", f"Choose: {name}", "Choose the colour.", size=16)
        self.add(self.line, 1)
        self.add(self.swatch)
        self.setFocusProxy(self.line)
        self.line.editingFinished.connect(self._typed)
        self.line.returnPressed.connect(self.finished)
        self.swatch.clicked.connect(self._ask)
        self._value = "#000000"

    def display(self, value: InputValue, mixed: bool) -> None:
        self._value = str(value or "#000000")
        self.line.setPlaceholderText(SEVERAL if mixed else "")
        self.line.setText("" if mixed else self._value)

    @Slot()
    def _typed(self) -> None:
        text = self.line.text().strip()
        if not text or text == self._value:
            return
        colour = QColor(text if text.strip("0123456789abcdefABCDEF") else f"#{text}")
        if colour.isValid():
            self._value = colour.name()
            self.line.setText(self._value)
            self.tell(self._value)
        else:
            self.said.emit(f"“{clip(text, 24)}” is no colour; write it like #ff8800.")
            self.line.setText(self._value)

    @Slot()
    def _ask(self) -> None:
        dialog = QColorDialog(QColor(self._value), self.window())
        dialog.setOption(QColorDialog.ColorDialogOption.DontUseNativeDialog)
        dialog.colorSelected.connect(self._chosen)
        dialog.open()

    @Slot(QColor)
    def _chosen(self, colour: QColor) -> None:
        self._value = colour.name()
        self.line.setText(self._value)
        self.tell(self._value)

    def begin(self, text: str = "") -> None:
        self.line.setFocus(Qt.FocusReason.OtherFocusReason)
        self.line.selectAll()


class JsonValue(ValueField):
    """Any JSON value, as text; what is no JSON is kept out of the workflow until it is."""

    def __init__(self, name: str, item: InputSchema) -> None:
        super().__init__(name, item)
        column = Column()
        self.row.addLayout(column, 1)
        self.text = QPlainTextEdit()
        self.text.setTabChangesFocus(True)
        self.text.setMaximumHeight(theme.px(120))
        describe(self.text, name, item.tooltip or "A JSON value.")
        column.addWidget(self.text)
        self.setFocusProxy(self.text)
        self.text.textChanged.connect(self._typed)

    def display(self, value: InputValue, mixed: bool) -> None:
        text = "" if mixed else json.dumps(value, ensure_ascii=False)
        if self._read() != (value,):
            self.text.setPlainText(text)

    def _read(self) -> tuple[Any] | None:
        try:
            return (json.loads(self.text.toPlainText()),)
        except ValueError:
            return None

    @Slot()
    def _typed(self) -> None:
        found = self._read()
        if found is not None:
            self.tell(found[0])
        elif not self.showing:
            self.said.emit("This is no JSON yet; the former value is kept.")


__all__ = ["FURTHEST", "ValueField"]
