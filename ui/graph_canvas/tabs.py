"""The tabs of open workflows: a dot marks what no file holds yet."""

from __future__ import annotations

from collections.abc import Sequence

from PySide6.QtCore import Qt, Signal, Slot
from PySide6.QtWidgets import QTabBar

from ui.widgets.basics import IconButton, Panel, describe
from ui.widgets.layouts import Row

CHANGED = "• "


class Tabs(Panel):
    """`chosen` and `close_wanted` fire with the index of a tab."""

    chosen = Signal(int)
    close_wanted = Signal(int)
    new_wanted = Signal()

    def __init__(self) -> None:
        super().__init__(1)
        row = Row(self, spacing=0.5, margins=(1, 0.5, 1, 0))
        self.bar = QTabBar()
        self.bar.setExpanding(False)
        self.bar.setDrawBase(False)
        self.bar.setUsesScrollButtons(True)
        describe(self.bar, "Open workflows", "The workflows that are open; arrow keys go from one to the next.")
        row.addWidget(self.bar)
        self.new = IconButton("plus", "New workflow", "Open an empty workflow.", shortcut="Ctrl+N", size=16)
        row.addWidget(self.new)
        row.addStretch(1)
        self.new.clicked.connect(self.new_wanted)
        self.bar.currentChanged.connect(self._changed)

    def show_tabs(self, tabs: Sequence[tuple[str, bool]], current: int) -> None:
        """(title, whether it has changes) of each, and which is in front."""
        self.bar.blockSignals(True)
        while self.bar.count() > len(tabs):
            self.bar.removeTab(self.bar.count() - 1)
        while self.bar.count() < len(tabs):
            self._add()
        self.mark(tabs)
        if current >= 0:
            self.bar.setCurrentIndex(current)
        self.bar.blockSignals(False)

    def _add(self) -> None:
        index = self.bar.addTab("")
        cross = IconButton("x", "Close workflow", "Close this workflow.", shortcut="Ctrl+W", size=14)
        cross.setFocusPolicy(Qt.FocusPolicy.NoFocus)  # the tabs themselves are walked; Ctrl+W closes
        cross.clicked.connect(self._cross)
        self.bar.setTabButton(index, QTabBar.ButtonPosition.RightSide, cross)

    @Slot()
    def _cross(self) -> None:
        for index in range(self.bar.count()):
            if self.bar.tabButton(index, QTabBar.ButtonPosition.RightSide) is self.sender():
                self.close_wanted.emit(index)
                return

    def mark(self, tabs: Sequence[tuple[str, bool]]) -> None:
        self.bar.updateGeometry()
        for index, (title, changed) in enumerate(tabs[: self.bar.count()]):
            text = f"{CHANGED if changed else ''}{title}".replace("&", "&&")
            if self.bar.tabText(index) != text:
                self.bar.setTabText(index, text)
                self.bar.setTabToolTip(index, f"{title}: has changes that are in no file" if changed else title)

    @Slot(int)
    def _changed(self, index: int) -> None:
        self.chosen.emit(index)
