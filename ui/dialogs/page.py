"""What the studio's dialogs share: never modal, a title, a scrolling page, Esc closes."""

from __future__ import annotations

from PySide6.QtCore import Qt
from PySide6.QtWidgets import QDialog, QFrame, QScrollArea, QVBoxLayout, QWidget

from ui import theme
from ui.widgets.layouts import Column


def scrolling(body: QWidget) -> QScrollArea:
    """`body` in a frame that scrolls up and down only."""
    area = QScrollArea()
    area.setWidgetResizable(True)
    area.setAccessibleName("Contents")
    area.setFrameShape(QFrame.Shape.NoFrame)
    area.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
    area.setWidget(body)
    return area


class PageDialog(QDialog):
    """A window beside the work. `column` is its layout; `width` and `height` are pixels at scale 1."""

    def __init__(self, title: str, parent: QWidget, width: int, height: int) -> None:
        super().__init__(parent)
        self.setWindowTitle(title)
        self.setModal(False)
        self.column: QVBoxLayout | Column = Column(self, spacing=0)
        room = parent.screen().availableGeometry()
        self.resize(min(theme.px(width), room.width()), min(theme.px(height), room.height()))
