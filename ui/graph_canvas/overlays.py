"""What floats over a node's picture and changes while it runs: state, progress, preview."""

from __future__ import annotations

from PySide6.QtCore import QPointF, QRectF, Qt
from PySide6.QtGui import QColor, QImage, QPainter, QPainterPath, QPen

from ui import theme
from ui.graph_canvas.geometry import HEADER, PAD
from ui.graph_canvas.node_item import NodeItem
from ui.graph_canvas.node_painter import NodePainter
from ui.graph_canvas.states import NodeState

_TOKENS = {
    "waiting": "text_muted", "running": "accent", "done": "success", "cached": "success", "failed": "danger",
    "blocked": "warning", "missing": "warning", "unfit": "warning",
}  # fmt: skip


def paint_state(painter: QPainter, item: NodeItem, state: NodeState, nodes: NodePainter, *, words: bool = True) -> None:
    """The badge at the head, the bar of progress below it, the ring of a failure. In the node's coordinates."""
    if state.kind == "idle" or item.layout.shape == "note":
        return
    colour = theme.token(_TOKENS[state.kind])
    width, height = item.layout.width, item.layout.height
    painter.setRenderHint(QPainter.RenderHint.Antialiasing, words)
    if state.kind == "running":
        share = state.progress if state.progress >= 0 else 1.0
        painter.fillRect(QRectF(0, min(HEADER, height) - 3, width * share, 3), colour)
    if state.kind in {"running", "failed", "missing", "unfit"}:
        painter.setBrush(Qt.BrushStyle.NoBrush)
        painter.setPen(QPen(colour, 2))
        painter.drawRoundedRect(QRectF(0, 0, width, height), 7, 7)
    if words and item.layout.shape == "box":
        _badge(painter, item, state, colour, nodes)
        if state.input:
            _fault(painter, item, state.input, colour)


def _badge(painter: QPainter, item: NodeItem, state: NodeState, colour: QColor, nodes: NodePainter) -> None:
    painter.setFont(nodes.row_font)
    text = state.badge
    wide = nodes.row_metrics.horizontalAdvance(text) + 24
    box = QRectF(item.layout.width - PAD - wide + 4, 7, wide, HEADER - 12)
    painter.setPen(Qt.PenStyle.NoPen)
    painter.setBrush(nodes.field)
    painter.drawRoundedRect(box, box.height() / 2, box.height() / 2)
    _mark(painter, QPointF(box.left() + 10, box.center().y()), state, colour)
    painter.setPen(colour)
    painter.drawText(box.adjusted(18, 0, -4, 0), int(Qt.AlignmentFlag.AlignVCenter), text)


def _mark(painter: QPainter, centre: QPointF, state: NodeState, colour: QColor) -> None:
    """A shape for each state, so that its colour need not be seen."""
    x, y = centre.x(), centre.y()
    painter.setPen(QPen(colour, 1.8))
    painter.setBrush(Qt.BrushStyle.NoBrush)
    path = QPainterPath()
    if state.kind in {"done", "cached"}:
        path.moveTo(x - 4, y)
        path.lineTo(x - 1, y + 3)
        path.lineTo(x + 4, y - 3)
    elif state.kind == "failed":
        path.moveTo(x - 3, y - 3)
        path.lineTo(x + 3, y + 3)
        path.moveTo(x + 3, y - 3)
        path.lineTo(x - 3, y + 3)
    elif state.kind == "running":
        path.addPolygon([QPointF(x - 3, y - 4), QPointF(x + 4, y), QPointF(x - 3, y + 4), QPointF(x - 3, y - 4)])
    elif state.kind == "unfit":
        path.addPolygon([QPointF(x, y - 4), QPointF(x + 4.5, y + 3.5), QPointF(x - 4.5, y + 3.5), QPointF(x, y - 4)])
    else:
        path.addEllipse(centre, 3.2, 3.2)
    painter.drawPath(path)


def _fault(painter: QPainter, item: NodeItem, name: str, colour: QColor) -> None:
    """A frame around the field that is at fault."""
    row = next((row for row in item.layout.rows if row.input == name), None)
    if row is not None:
        painter.setBrush(Qt.BrushStyle.NoBrush)
        painter.setPen(QPen(colour, 2))
        painter.drawRoundedRect(QRectF(PAD - 2, row.y, item.layout.width - 2 * PAD + 4, row.height), 5, 5)


def paint_result(painter: QPainter, item: NodeItem, text: str, nodes: NodePainter) -> None:
    """The text or numbers that a node gave, as many lines as there is room for; the last is elided."""
    area = item.layout.result
    if area is None:
        return
    box = QRectF(*area).adjusted(8, 0, -8, 0)
    high = nodes.row_metrics.lineSpacing()
    count = max(1, int(box.height() / high))
    lines = nodes.wrapped(text, box.width(), count)
    painter.setFont(nodes.row_font)
    painter.setPen(nodes.strong)
    y = box.top() + (box.height() - high * min(count, max(1, len(lines)))) / 2
    for line in lines:
        painter.drawText(QRectF(box.left(), y, box.width(), high), int(Qt.AlignmentFlag.AlignVCenter), line)
        y += high


def paint_preview(painter: QPainter, item: NodeItem, image: QImage, pixel: float) -> None:
    """The picture, whole and centred in the node's preview area. `pixel`: device pixels for one canvas pixel."""
    area = item.layout.preview
    if area is None or image.isNull():
        return
    box = QRectF(*area)
    scale = min(box.width() / image.width(), box.height() / image.height())
    if scale * pixel > 4:  # a tiny preview is not blown up into a blur
        scale = 4 / pixel
    width, height = image.width() * scale, image.height() * scale
    place = QRectF(box.center().x() - width / 2, box.center().y() - height / 2, width, height)
    painter.drawImage(place, image)
