"""The whole of what a node gave last that is no picture, to read and to copy."""

from __future__ import annotations

from PySide6.QtWidgets import QPlainTextEdit, QWidget

from ui import theme
from ui.widgets.basics import Label, describe
from ui.widgets.layouts import Column

MOST_LINES = 10  # that are seen at once
LETTERS = 40  # about as many as a line has


class ResultBox(QWidget):
    """Hidden until there is a text."""

    def __init__(self) -> None:
        super().__init__()
        column = Column(self, spacing=0.5)
        column.addWidget(Label("Result", "strong"))
        self.text = QPlainTextEdit()
        self.text.setReadOnly(True)
        self.text.setTabChangesFocus(True)
        describe(self.text, "Result", "What the node gave when it last ran; it can be selected and copied.")
        column.addWidget(self.text)
        self.hide()

    def show_text(self, text: str | None) -> None:
        self.setVisible(text is not None)
        if text is not None and self.text.toPlainText() != text:
            self.text.setPlainText(text)
            lines = min(MOST_LINES, sum(1 + len(line) // LETTERS for line in text.split("\n", MOST_LINES)))
            self.text.setFixedHeight(self.text.fontMetrics().lineSpacing() * lines + theme.space(3.5))
