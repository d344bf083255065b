"""Selecting by a box or a freehand line, and cutting wires with a stroke."""

from __future__ import annotations

from PySide6.QtCore import QPointF, QRectF, Qt
from PySide6.QtGui import QColor, QPainter, QPainterPath, QPen, QPolygonF

from studio_app.documents.edits import Disconnect
from ui import theme
from ui.graph_canvas.tools.base import Gesture
from ui.graph_canvas.view import GraphView


class BoxSelect(Gesture):
    """A rectangle from where the press was; nodes it touches are selected. With Ctrl or Shift they are added."""

    cursor = Qt.CursorShape.CrossCursor

    def __init__(self, view: GraphView, start: QPointF, *, add: bool) -> None:
        super().__init__(view, start)
        self._former = set(self.scene.selected)
        self._before = self._former if add else set()
        self._end = start

    def _box(self) -> QRectF:
        return QRectF(self.start, self._end).normalized()

    def move(self, place: QPointF, pixels: QPointF, modifiers: Qt.KeyboardModifier) -> None:
        stale = self._box()
        self._end = place
        box = self._box()
        self.view.update_area(stale.united(box).adjusted(-4, -4, 4, 4))
        self.scene.select(self._before | {i.node.id for i in self.scene.nodes_in(box) if i.rect().intersects(box)})

    def release(self, place: QPointF, modifiers: Qt.KeyboardModifier) -> None:
        if self._box().isEmpty():
            self.scene.select(self._before)

    def cancel(self) -> None:
        self.scene.select(self._former)

    def paint(self, painter: QPainter) -> None:
        accent = theme.token("accent")
        painter.setPen(QPen(accent, 0))
        painter.setBrush(_soft(accent))
        painter.drawRect(self._box())


class LassoSelect(Gesture):
    """A freehand line around nodes: those whose middle it holds are selected."""

    cursor = Qt.CursorShape.CrossCursor

    def __init__(self, view: GraphView, start: QPointF, *, add: bool) -> None:
        super().__init__(view, start)
        self._former = set(self.scene.selected)
        self._before = self._former if add else set()
        self._line = QPolygonF([start])

    def move(self, place: QPointF, pixels: QPointF, modifiers: Qt.KeyboardModifier) -> None:
        self._line.append(place)
        box = self._line.boundingRect()
        self.view.update_area(box.adjusted(-4, -4, 4, 4))
        held = {
            item.node.id for item in self.scene.nodes_in(box)
            if self._line.containsPoint(item.rect().center(), Qt.FillRule.OddEvenFill)
        }  # fmt: skip
        self.scene.select(self._before | held)

    def cancel(self) -> None:
        self.scene.select(self._former)

    def paint(self, painter: QPainter) -> None:
        accent = theme.token("accent")
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        painter.setPen(QPen(accent, 0, Qt.PenStyle.DashLine))
        painter.setBrush(_soft(accent))
        painter.drawPolygon(self._line)


class CutWires(Gesture):
    """Wires that the stroke crosses are cut when it ends."""

    cursor = Qt.CursorShape.CrossCursor

    def __init__(self, view: GraphView, start: QPointF) -> None:
        super().__init__(view, start)
        self._stroke = [start]

    def move(self, place: QPointF, pixels: QPointF, modifiers: Qt.KeyboardModifier) -> None:
        self._stroke.append(place)
        self.view.viewport().update()

    def release(self, place: QPointF, modifiers: Qt.KeyboardModifier) -> None:
        cut = self.scene.table.crossed(self._stroke)
        if cut:
            self.scene.document.edit(
                "Cut the wire" if len(cut) == 1 else f"Cut {len(cut)} wires", Disconnect(tuple(cut))
            )

    def paint(self, painter: QPainter) -> None:
        path = QPainterPath(self._stroke[0])
        for place in self._stroke[1:]:
            path.lineTo(place)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        painter.setBrush(Qt.BrushStyle.NoBrush)
        pen = QPen(theme.token("danger"), 2, Qt.PenStyle.DashLine)
        pen.setCosmetic(True)
        painter.setPen(pen)
        painter.drawPath(path)


def _soft(colour: QColor) -> QColor:
    colour = QColor(colour)
    colour.setAlphaF(0.14)
    return colour
