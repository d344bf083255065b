"""Pieces that the sections of the Create column are put together from."""

from __future__ import annotations

from PySide6.QtCore import QTimer, Slot
from PySide6.QtWidgets import QWidget

from ui.widgets.basics import IconLabel, Label, set_property
from ui.widgets.inputs import NumberField, SliderField
from ui.widgets.layouts import Column, Row

NOTE_MS = 6000  # long enough to read a sentence twice


class Section(QWidget):
    """A small heading, room for tools at its right, and a column of widgets below."""

    def __init__(self, title: str, *tools: QWidget) -> None:
        super().__init__()
        self.column = Column(self, spacing=0.5)
        self.heading = Row(spacing=0.5)
        self.title = Label(title, "strong")
        self.heading.addWidget(self.title)
        self.heading.addStretch(1)
        for tool in tools:
            self.heading.addWidget(tool)
        self.column.addLayout(self.heading)

    def add(self, widget: QWidget) -> None:
        self.column.addWidget(widget)


class Hint(QWidget):
    """One sentence with an icon, at the place it is about; takes no room while there is nothing to say."""

    def __init__(self, icon: str = "circle-alert", token: str = "danger") -> None:
        super().__init__()
        row = Row(self, spacing=0.75)
        self._icon = IconLabel(icon, 16, token)
        self.label = Label("", "small", wrap=True)
        inner = Column(spacing=0)
        inner.addWidget(self._icon)
        inner.addStretch(1)
        row.addLayout(inner)
        row.addWidget(self.label, 1)
        self.hide()

    @property
    def text(self) -> str:
        return self.label.text()

    def say(self, sentence: str) -> None:
        if sentence == self.label.text():
            return
        self.label.setText(sentence)
        self.setAccessibleName(sentence)
        self.setVisible(bool(sentence))


class Field(QWidget):
    """A label above an editor, and below it the sentence about what is wrong with it."""

    def __init__(self, label: str, editor: QWidget) -> None:
        super().__init__()
        self.editor = editor
        column = Column(self, spacing=0.5)
        self.label = Label(label, "small")
        self.label.setBuddy(editor)
        column.addWidget(self.label)
        column.addWidget(editor)
        self.hint = Hint()
        column.addWidget(self.hint)
        self.note = Hint("info", "text_muted")
        column.addWidget(self.note)
        column.addStretch(1)
        self._note_timer = QTimer(self)
        self._note_timer.setSingleShot(True)
        self._note_timer.setInterval(NOTE_MS)
        self._note_timer.timeout.connect(self._forget)
        if isinstance(editor, NumberField | SliderField):
            editor.corrected.connect(self.mention)

    @Slot(str)
    def mention(self, sentence: str) -> None:
        """Say for a moment what was done with what was typed."""
        self.note.say(sentence)
        self._note_timer.start()

    @Slot()
    def _forget(self) -> None:
        self.note.say("")

    def complain(self, sentence: str) -> None:
        """Show what is wrong, "" when nothing is."""
        self.hint.say(sentence)
        set_property(self.editor, "invalid", bool(sentence))
