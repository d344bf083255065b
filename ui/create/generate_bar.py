"""Generate, what it will cost in time, and Cancel while it runs; above it the sentence about what went wrong."""

from __future__ import annotations

from PySide6.QtCore import Qt, Signal
from PySide6.QtWidgets import QWidget

from ui.create.form_parts import Hint
from ui.widgets.basics import Button, Label
from ui.widgets.layouts import Column, Row


class GenerateBar(QWidget):
    """Generate never goes dead: a press with something missing says what is missing."""

    generate_wanted = Signal()
    cancel_wanted = Signal()

    def __init__(self) -> None:
        super().__init__()
        column = Column(self, spacing=1)
        self.hint = Hint()
        column.addWidget(self.hint)
        row = Row(spacing=1)
        self.generate = Button("Generate", "sparkles", kind="primary", tip="Makes the pictures.", shortcut="Ctrl+Enter")
        self.cancel = Button("Cancel", "circle-stop", tip="Stops what is being made.", shortcut="Esc")
        for button in (self.generate, self.cancel):
            button.setProperty("tall", True)
        self.cancel.hide()
        row.addWidget(self.generate, 1)
        row.addWidget(self.cancel)
        column.addLayout(row)
        self.estimate = Label("", "small")
        self.estimate.setAlignment(Qt.AlignmentFlag.AlignHCenter)
        column.addWidget(self.estimate)
        self.generate.clicked.connect(self.generate_wanted)
        self.cancel.clicked.connect(self.cancel_wanted)

    def say(self, sentence: str) -> None:
        """What is wrong, "" when nothing is."""
        self.hint.say(sentence)

    def show_running(self, running: int) -> None:
        """How many jobs run or wait."""
        self.cancel.setVisible(running > 0)
        self.cancel.setText("Cancel" if running < 2 else f"Cancel {running}")
        self.generate.setText("Generate" if not running else "Generate next")

    def add_line(self, line: QWidget) -> None:
        """One more line below: the memory plan."""
        column = self.layout()
        assert column is not None
        column.addWidget(line)

    def show_estimate(self, sentence: str) -> None:
        """What the pictures will take; "" where the memory plan says it."""
        self.estimate.setText(sentence)
        self.estimate.setVisible(bool(sentence))
