"""Frames around nodes: painted, and where their parts are."""

from __future__ import annotations

from collections.abc import Sequence

from PySide6.QtCore import QPointF, QRectF, Qt
from PySide6.QtGui import QColor, QFont, QPainter, QPen

from engine.contracts.workflow import Group
from ui.graph_canvas.node_painter import NodePainter, mixed

TITLE = 30.0  # scene pixels: the strip that is taken hold of
GRIP = 18.0
SMALLEST = (120.0, 80.0)


def paint_frames(painter: QPainter, groups: Sequence[Group], area: QRectF, scale: float, nodes: NodePainter) -> None:
    """Each frame that touches `area`; its title as long as it can be read."""
    for group in groups:
        box = QRectF(*group.rectangle)
        if not box.intersects(area):
            continue
        colour = QColor(group.colour) if QColor.isValidColorName(group.colour) else nodes.muted
        ground = mixed(nodes.paper, colour, 0.12)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing, scale >= 0.45)
        painter.setPen(QPen(mixed(nodes.paper, colour, 0.5), 1.5))
        painter.setBrush(ground)
        painter.drawRoundedRect(box, 8, 8)
        painter.setPen(Qt.PenStyle.NoPen)
        painter.setBrush(mixed(nodes.paper, colour, 0.28))
        painter.drawRoundedRect(QRectF(box.left(), box.top(), box.width(), TITLE), 8, 8)
        if scale * 15 >= 5:
            font = QFont(nodes.title_font)
            font.setPixelSize(15)
            painter.setFont(font)
            painter.setPen(nodes.strong)
            painter.drawText(QRectF(box.left() + 12, box.top(), box.width() - 24, TITLE),
                             int(Qt.AlignmentFlag.AlignVCenter), group.title)  # fmt: skip
        if scale >= 0.45:
            painter.setPen(QPen(nodes.muted, 1.5))
            right, bottom = box.right() - 5, box.bottom() - 5
            for step in (5.0, 10.0):
                painter.drawLine(QPointF(right - step, bottom), QPointF(right, bottom - step))


def frame_at(groups: Sequence[Group], place: QPointF) -> tuple[int, str] | None:
    """(index, "title" or "grip") of the frame whose handle is at `place`; the topmost, which is painted last."""
    for index in range(len(groups) - 1, -1, -1):
        box = QRectF(*groups[index].rectangle)
        if QRectF(box.right() - GRIP, box.bottom() - GRIP, GRIP, GRIP).contains(place):
            return index, "grip"
        if QRectF(box.left(), box.top(), box.width(), TITLE).contains(place):
            return index, "title"
    return None
