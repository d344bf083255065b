"""A fold that opens and closes, and what an empty place shows instead of nothing."""

from __future__ import annotations

from PySide6.QtCore import QSize, Qt, Signal, Slot
from PySide6.QtGui import QFont, QResizeEvent
from PySide6.QtWidgets import QSizePolicy, QToolButton, QWidget

from ui import theme
from ui.widgets.basics import Button, IconLabel, Label, describe
from ui.widgets.layouts import Column, Row


class Fold(QWidget):
    """A heading that shows or hides its `body`. Enter or Space on the heading toggles it."""

    toggled = Signal(bool)

    def __init__(self, title: str, body: QWidget, *, tip: str = "", opened: bool = False) -> None:
        super().__init__()
        self.body = body
        self.header = QToolButton()
        self.header.setText(title)
        self.header.setProperty("kind", "fold")
        self.header.setCheckable(True)
        self.header.setChecked(opened)
        self.header.setFocusPolicy(Qt.FocusPolicy.StrongFocus)
        self.header.setToolButtonStyle(Qt.ToolButtonStyle.ToolButtonTextBesideIcon)
        self.header.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
        describe(self.header, title, tip or f"Shows or hides “{title}”.")
        column = Column(self, spacing=1)
        column.addWidget(self.header)
        column.addWidget(body)
        self.header.toggled.connect(self._show)
        theme.notifier.changed.connect(self._rescale)
        self._rescale()
        self._show(opened)

    def set_open(self, opened: bool) -> None:
        self.header.setChecked(opened)

    def is_open(self) -> bool:
        return self.header.isChecked()

    @Slot(bool)
    def _show(self, opened: bool) -> None:
        self.header.setIcon(theme.icon("chevron-down" if opened else "chevron-right", 16, checked_token="text"))
        self.body.setVisible(opened)
        self.toggled.emit(opened)

    @Slot()
    def _rescale(self) -> None:
        self.header.setIconSize(QSize(theme.px(16), theme.px(16)))
        self.header.setFont(theme.font(0, weight=QFont.Weight.DemiBold))


class EmptyState(QWidget):
    """What an empty place shows: an icon, what belongs here, and the button that fills it (`button.clicked`)."""

    def __init__(self, icon: str, title: str, detail: str = "", action: str = "", tip: str = "") -> None:
        super().__init__()
        column = Column(self, spacing=1, margins=3)
        column.addStretch(1)
        self.icon = IconLabel(icon, 40, "text_muted")
        column.addWidget(self.icon, 0, Qt.AlignmentFlag.AlignHCenter)
        self.title = Label(title, "heading", wrap=True)
        self.title.setAlignment(Qt.AlignmentFlag.AlignHCenter)
        column.addWidget(self.title)
        self.detail = Label(detail, "muted", wrap=True)
        self.detail.setAlignment(Qt.AlignmentFlag.AlignHCenter)
        self.detail.setVisible(bool(detail))
        column.addWidget(self.detail)
        self.button = Button(action or title, tip=tip)
        self.button.setVisible(bool(action))
        row = Row()
        row.addStretch(1)
        row.addWidget(self.button)
        row.addStretch(1)
        column.addSpacing(theme.space(1))
        column.addLayout(row)
        column.addStretch(1)

    def resizeEvent(self, event: QResizeEvent) -> None:
        """Where there is little room the picture goes, so that the words and the button are whole."""
        super().resizeEvent(event)
        self.icon.setVisible(self.height() >= theme.px(200))
