"""Every shortcut, by menu, from the command table."""

from __future__ import annotations

from PySide6.QtCore import Qt, Slot
from PySide6.QtGui import QAction, QKeySequence
from PySide6.QtWidgets import QGridLayout, QLineEdit, QWidget

from studio_app.commands import MENUS
from ui import theme
from ui.actions import Actions
from ui.dialogs.page import PageDialog, scrolling
from ui.widgets.basics import Label, describe
from ui.widgets.layouts import Column


class Shortcuts(PageDialog):
    """A list with a search line. `rows` are (action, its widgets), in the order shown."""

    def __init__(self, actions: Actions, parent: QWidget) -> None:
        super().__init__("Keyboard shortcuts", parent, 560, 640)
        self.rows: list[tuple[QAction, tuple[QWidget, ...]]] = []
        self._headings: list[tuple[QWidget, list[int]]] = []
        top = Column(spacing=0, margins=2)
        self.search = QLineEdit()
        self.search.setPlaceholderText("Find a shortcut")
        describe(self.search, "Find a shortcut", "Shows only the shortcuts whose names have these letters.")
        top.addWidget(self.search)
        self.column.addLayout(top)
        body = QWidget()
        self._grid = QGridLayout(body)
        self._grid.setColumnStretch(0, 1)
        self._grid.setContentsMargins(theme.space(2), 0, theme.space(2), theme.space(2))
        self._grid.setVerticalSpacing(theme.space(0.75))
        self._grid.setHorizontalSpacing(theme.space(2))
        groups = actions.shortcuts()
        for menu in MENUS:
            self._add_group(menu, groups.get(menu, []))
        self._grid.setRowStretch(self._grid.rowCount(), 1)
        self.column.addWidget(scrolling(body), 1)
        self.search.textChanged.connect(self._filter)

    def _add_group(self, title: str, actions: list[QAction]) -> None:
        if not actions:
            return
        heading = Label(title, "heading")
        heading.setContentsMargins(0, theme.space(1.5), 0, theme.space(0.5))
        self._grid.addWidget(heading, self._grid.rowCount(), 0, 1, 2)
        first = len(self.rows)
        for action in actions:
            row = self._grid.rowCount()
            name = Label(action.text(), wrap=True)
            name.setToolTip(action.statusTip())
            keys = Label(
                " or ".join(key.toString(QKeySequence.SequenceFormat.NativeText) for key in action.shortcuts()), "muted"
            )
            self._grid.addWidget(name, row, 0)
            self._grid.addWidget(keys, row, 1, Qt.AlignmentFlag.AlignRight)
            self.rows.append((action, (name, keys)))
        self._headings.append((heading, list(range(first, len(self.rows)))))

    @Slot(str)
    def _filter(self, text: str) -> None:
        wanted = text.casefold().split()
        shown = []
        for action, widgets in self.rows:
            fits = all(word in f"{action.text()} {action.shortcut().toString()}".casefold() for word in wanted)
            shown.append(fits)
            for widget in widgets:
                widget.setVisible(fits)
        for heading, indexes in self._headings:
            heading.setVisible(any(shown[index] for index in indexes))
