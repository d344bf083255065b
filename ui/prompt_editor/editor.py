"""The prompt editor: the field, how many tokens it comes to, and what the model will not read."""

from __future__ import annotations

from PySide6.QtCore import Signal, Slot
from PySide6.QtGui import QKeySequence, QShortcut
from PySide6.QtWidgets import QWidget

from engine.contracts.references import ModelRef
from studio_app.application import Application
from ui.bridge.bridge import Bridge
from ui.prompt_editor.field import PromptField
from ui.widgets.layouts import Column


class PromptEditor(QWidget):
    """`text_changed(str)` tells what the person wrote, `submitted()` that Ctrl+Enter was pressed."""

    text_changed = Signal(str)
    submitted = Signal()

    def __init__(self, app: Application, bridge: Bridge, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._app, self._bridge = app, bridge
        self._model: ModelRef | None = None
        self._negative = False
        self.field = PromptField("Prompt", "What the picture should show.", lines=3, most=10)
        column = Column(self, spacing=0.5)
        column.addWidget(self.field)
        self.setFocusProxy(self.field)
        self.field.edited.connect(self.text_changed)
        for keys in ("Ctrl+Return", "Ctrl+Enter"):
            QShortcut(QKeySequence(keys), self.field, self._submit)

    def text(self) -> str:
        return self.field.toPlainText()

    def set_text(self, text: str) -> None:
        """Show a text that is already the truth elsewhere; `text_changed` stays silent."""
        self.field.show_text(text)

    def set_model(self, model: ModelRef | None) -> None:
        """The model that will read the prompt: its LoRAs, its words, its tokens."""
        self._model = model

    def set_negative(self, negative: bool) -> None:
        """Whether it says what the picture should not show."""
        self._negative = negative

    def set_placeholder(self, text: str) -> None:
        self.field.setPlaceholderText(text)

    def set_read_only(self, read_only: bool) -> None:
        self.field.setReadOnly(read_only)

    def focus(self) -> None:
        """Put the cursor into the field."""
        self.field.setFocus()

    def set_compact(self, compact: bool) -> None:
        """On the canvas: as large as its place, nothing around the text."""
        self.field.set_lines(1 if compact else 3)

    @Slot()
    def _submit(self) -> None:
        self.submitted.emit()
