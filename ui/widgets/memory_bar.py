"""How much of a memory something takes, as a bar: what is filled, how much there is, a mark where one is asked for."""

from __future__ import annotations

from PySide6.QtCore import QRectF, QSize, Qt
from PySide6.QtGui import QColor, QPainter, QPaintEvent, QPen
from PySide6.QtWidgets import QSizePolicy, QWidget

from ui import theme

TIGHT, FULL = 0.8, 0.95  # shares of what there is from which the bar says so


def fill_token(share: float) -> str:
    """The colour of a bar that is filled to `share`: it is told by its length too, never by colour alone."""
    return "danger" if share > 1.0 else "warning" if share > FULL else "text_muted"


def paint_bar(painter: QPainter, box: QRectF, share: float, colour: QColor) -> None:
    """A rounded bar with a thin edge, filled to `share` 0..1; a share above 1 fills it and strikes its end."""
    radius = box.height() / 2
    painter.setRenderHint(QPainter.RenderHint.Antialiasing)
    painter.setPen(QPen(theme.token("control_line"), 1))
    painter.setBrush(theme.token("surface4"))
    painter.drawRoundedRect(box.adjusted(0.5, 0.5, -0.5, -0.5), radius, radius)
    if share <= 0:
        return
    filled = QRectF(box)
    filled.setWidth(max(box.height(), box.width() * min(share, 1.0)))
    painter.setPen(Qt.PenStyle.NoPen)
    painter.setBrush(colour)
    painter.drawRoundedRect(filled, radius, radius)
    if share > 1.0:  # what does not fit goes on beyond the end
        painter.setPen(QPen(theme.token("surface1"), max(1.0, box.height() / 3)))
        for step in (1, 2, 3):
            x = box.right() - step * box.height() * 0.9
            painter.drawLine(int(x), int(box.bottom()), int(x + box.height() * 0.7), int(box.top()))


class MemoryBar(QWidget):
    """Shows `need` of `room` bytes. What it says is said in words beside it, so it is no stop of its own."""

    def __init__(self, height: int = 6) -> None:
        super().__init__()
        self._height = height
        self._share = 0.0
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
        theme.notifier.changed.connect(self.updateGeometry)

    @property
    def share(self) -> float:
        return self._share

    def show_share(self, need: int, room: int) -> None:
        self._share = need / room if room > 0 else 0.0
        self.update()

    def sizeHint(self) -> QSize:
        return QSize(theme.px(64), theme.px(self._height))

    def minimumSizeHint(self) -> QSize:
        return QSize(theme.px(24), theme.px(self._height))

    def paintEvent(self, event: QPaintEvent) -> None:
        painter = QPainter(self)
        paint_bar(painter, QRectF(self.rect()), self._share, theme.token(fill_token(self._share)))
