"""The versions of a model, the newest first: number, date, what changed, and the way back to each."""

from __future__ import annotations

from collections.abc import Callable

from PySide6.QtCore import Signal, Slot
from PySide6.QtWidgets import QLineEdit, QWidget

from studio_app.models.versions import History, Version
from ui.models.words import day_words, size_words
from ui.widgets.basics import Button, Label, describe
from ui.widgets.layouts import Column, Row


class VersionRow(QWidget):
    """One version. Its text can be changed in place."""

    def __init__(self, version: Version, *, current: bool, lost: bool) -> None:
        super().__init__()
        self.version = version
        column = Column(self, spacing=0.25)
        row = Row(spacing=1)
        row.addWidget(Label(f"{version.number}", "strong"))
        facts = " · ".join(
            w for w in (day_words(version.added), size_words(version.size_bytes), version.precision) if w
        )
        row.addWidget(Label(facts, "small"), 1)
        self.use = Button("Use this one", tip=f"Puts version {version.number} in force; the other one is kept.")
        if current:
            row.addWidget(Label("in force", "success"))
        elif lost:
            row.addWidget(Label("its file is gone", "warning"))
        else:
            row.addWidget(self.use)
        column.addLayout(row)
        self.note = QLineEdit(version.note)
        self.note.setPlaceholderText("What changed")
        describe(self.note, f"What changed in version {version.number}", version.source or "What changed.")
        column.addWidget(self.note)


class VersionsList(QWidget):
    """`rollback_wanted(number)`, `note_written(number, text)`, `import_wanted`."""

    rollback_wanted = Signal(int)
    note_written = Signal(int, str)
    import_wanted = Signal()

    def __init__(self) -> None:
        super().__init__()
        self.rows: list[VersionRow] = []
        column = Column(self, spacing=1)
        column.addWidget(Label("Versions", "strong"))
        self._list = Column(spacing=1)
        column.addLayout(self._list)
        self.add = Button("Import a newer version…", "plus", tip="The one that is here is kept; you can go back to it.")
        self.add.clicked.connect(self.import_wanted)
        row = Row()
        row.addWidget(self.add)
        row.addStretch(1)
        column.addLayout(row)

    def show_history(self, history: History | None, *, offer: bool) -> None:
        while (old := self._list.takeAt(0)) is not None:
            widget = old.widget()
            if widget is not None:
                widget.hide()
                widget.deleteLater()
        self.rows = []
        for version in reversed(history.versions) if history else ():
            assert history is not None
            number = version.number
            row = VersionRow(version, current=number == history.current, lost=number in history.lost)
            row.use.clicked.connect(self._roller(number))
            row.note.editingFinished.connect(self._writer(row))
            self._list.addWidget(row)
            self.rows.append(row)
        self.setVisible(offer or bool(self.rows))
        self.add.setVisible(offer)

    def _roller(self, number: int) -> Callable[[], None]:
        return lambda: self.rollback_wanted.emit(number)

    def _writer(self, row: VersionRow) -> Callable[[], None]:
        @Slot()
        def write() -> None:
            if row.note.text().strip() != row.version.note:
                self.note_written.emit(row.version.number, row.note.text())

        return write
