"""What left this machine: the newest requests as a small table, for the network page of the settings."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from PySide6.QtCore import Qt, Slot
from PySide6.QtGui import QShowEvent
from PySide6.QtWidgets import QAbstractItemView, QHeaderView, QTableWidget, QTableWidgetItem, QWidget

from studio_app.network.ledger import Call, Ledger
from ui import theme
from ui.models.words import size_words
from ui.widgets.basics import IconButton, Label, describe
from ui.widgets.layouts import Column, Row

if TYPE_CHECKING:
    from studio_app.application import Application

MOST = 100
_COLUMNS = ("When", "What for", "Host", "Received", "Answer")


class LedgerTable(QWidget):
    """Reads the ledger each time it is shown. It is a file of the data folder; nothing of it leaves the machine."""

    def __init__(self, app: Application) -> None:
        super().__init__()
        self._ledger = Ledger(app.paths.network_ledger)
        column = Column(self, spacing=1, margins=(0, 1))
        row = Row(spacing=1)
        row.addWidget(Label("What left this machine", "strong"), 1)
        self.again = IconButton("refresh-cw", "Read the ledger again", "Shows the newest requests.", size=16)
        row.addWidget(self.again)
        column.addLayout(row)
        self.note = Label("", "muted", wrap=True)
        column.addWidget(self.note)
        self.table = QTableWidget(0, len(_COLUMNS))
        self.table.setHorizontalHeaderLabels(list(_COLUMNS))
        self.table.verticalHeader().hide()
        self.table.setShowGrid(False)
        self.table.setEditTriggers(QAbstractItemView.EditTrigger.NoEditTriggers)
        self.table.setSelectionBehavior(QAbstractItemView.SelectionBehavior.SelectRows)
        self.table.setTabKeyNavigation(False)
        head = self.table.horizontalHeader()
        head.setSectionResizeMode(QHeaderView.ResizeMode.ResizeToContents)
        head.setDefaultAlignment(Qt.AlignmentFlag.AlignLeft | Qt.AlignmentFlag.AlignVCenter)
        head.setSectionResizeMode(2, QHeaderView.ResizeMode.Stretch)
        describe(self.table, "Requests", "The newest requests that left this machine, newest first.")
        column.addWidget(self.table)
        self.again.clicked.connect(self.refresh)
        theme.notifier.changed.connect(self._rescale)
        self._rescale()

    @Slot()
    def refresh(self) -> None:
        calls = self._ledger.recent(MOST)
        self.table.setVisible(bool(calls))
        self.table.setRowCount(len(calls))
        for row, call in enumerate(calls):
            for place, text in enumerate(_cells(call)):
                item = QTableWidgetItem(text)
                item.setToolTip(f"{call.method} {call.host}{call.path}")
                self.table.setItem(row, place, item)
        kept = f"The whole ledger lies in {self._ledger.path}."
        self.note.setText(f"The newest {len(calls)}. {kept}" if calls else "Nothing has left this machine yet.")

    def showEvent(self, event: QShowEvent) -> None:
        super().showEvent(event)
        self.refresh()

    @Slot()
    def _rescale(self) -> None:
        self.table.setMinimumHeight(theme.px(180))


def _cells(call: Call) -> tuple[str, ...]:
    when = time.strftime("%Y-%m-%d %H:%M", time.localtime(call.time))
    return (when, call.purpose, call.host, size_words(call.received), call.failure or str(call.status))
