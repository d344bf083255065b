"""What lies under the nodes: the ground with its dots, frames and wires; kept as one picture while nothing changes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from PySide6.QtCore import QPointF, QRectF, Qt
from PySide6.QtGui import QPainter, QPen, QPixmap, QPolygonF, QTransform

from ui.graph_canvas.frames import paint_frames
from ui.graph_canvas.pixmaps import whole_pixel
from ui.graph_canvas.sockets import colour_of

if TYPE_CHECKING:
    from ui.graph_canvas.passes import FramePainter

NEAR = 0.45  # the scale from which wires are smooth
STRIP = 64  # pixels: of an area thinner than this only parts of wires are painted
LAYER_MARGIN = 96  # pixels around the window that the picture under the nodes has more, for pans
DOTS = 40.0  # scene pixels between the dots of the ground
_PLAIN = QTransform()


class UnderNodes:
    """Paints for one FramePainter, whose colours and lit wires it takes."""

    def __init__(self, look: FramePainter) -> None:
        self._look, self.scene = look, look.scene
        self._dots: tuple[float, QPolygonF] = (0.0, QPolygonF())
        self._under_key: tuple[object, ...] = ()
        self._under: tuple[QPointF, QPixmap] | None = None

    def forget(self) -> None:
        """The kept picture is of another look."""
        self._under_key, self._under = (), None

    def paint(self, painter: QPainter, transform: QTransform, area: QRectF) -> None:
        scale = transform.m11()
        self._ground(painter, transform, area, scale)
        paint_frames(painter, self.scene.document.groups, area, scale, self._look.nodes)
        self.wires(painter, area, scale)

    def from_layer(self, painter: QPainter, transform: QTransform, area: QRectF, ratio: float) -> bool:
        """Paint what lies under the nodes from a picture of it, a little larger than the window, that is kept while
        nothing of it changes: smooth wires cost more than all else in a frame. False when something did change since
        the last frame; a drag would make the picture anew each time and is faster without."""
        scene, scale, dx, dy = self.scene, transform.m11(), transform.dx(), transform.dy()
        key = (
            scene.table.revision, scene.revision, scene.document.groups, scale, ratio, self._look.faded,
            self._look.hidden_wire, self._look.lit_wire, frozenset(scene.selected), round(dx % 1.0, 3),
            round(dy % 1.0, 3),
        )  # fmt: skip
        if key != self._under_key:
            self._under_key, self._under = key, None
            return False
        seen = transform.mapRect(area)
        if self._under is None or not self._layer_box(transform, ratio).contains(seen):
            self._under = self._layer(painter, transform, ratio)
        corner, picture = self._under
        painter.setWorldTransform(_PLAIN)
        painter.drawPixmap(QPointF(whole_pixel(corner.x() + dx, ratio), whole_pixel(corner.y() + dy, ratio)), picture)
        painter.setWorldTransform(transform)
        return True

    def _layer_box(self, transform: QTransform, ratio: float) -> QRectF:
        """Where the kept picture lies in the window now."""
        assert self._under is not None
        corner, picture = self._under
        return QRectF(
            corner.x() + transform.dx(), corner.y() + transform.dy(),
            picture.width() / ratio, picture.height() / ratio,
        )  # fmt: skip

    def _layer(self, painter: QPainter, transform: QTransform, ratio: float) -> tuple[QPointF, QPixmap]:
        """(its corner in pixels of the scene, the picture) for the window as it stands and a margin around it."""
        window = painter.device()
        width, height = window.width() + 2 * LAYER_MARGIN, window.height() + 2 * LAYER_MARGIN
        picture = QPixmap(round(width * ratio), round(height * ratio))
        picture.setDevicePixelRatio(ratio)
        picture.fill(self._look.ground)
        moved = transform * QTransform.fromTranslate(LAYER_MARGIN, LAYER_MARGIN)
        inner = QPainter(picture)
        inner.setWorldTransform(moved)
        self.paint(inner, moved, moved.inverted()[0].mapRect(QRectF(0, 0, width, height)))
        inner.end()
        return QPointF(-LAYER_MARGIN - transform.dx(), -LAYER_MARGIN - transform.dy()), picture

    def _ground(self, painter: QPainter, transform: QTransform, area: QRectF, scale: float) -> None:
        """Dots, a row at a time from one polygon."""
        first_x, first_y = _down(area.left()), _down(area.top())
        across = int(area.width() / DOTS) + 2
        if self._dots[0] < across:
            self._dots = (across + 16, QPolygonF([QPointF(i * DOTS, 0) for i in range(across + 16)]))
        painter.setRenderHint(QPainter.RenderHint.Antialiasing, False)
        painter.setPen(QPen(self._look.grain, 1.5 if scale > 0.8 else 1.0))
        pen = painter.pen()
        pen.setCosmetic(True)
        painter.setPen(pen)
        y = first_y
        while y <= area.bottom():
            painter.setWorldTransform(QTransform.fromTranslate(first_x, y) * transform)
            painter.drawPoints(self._dots[1])
            y += DOTS
        painter.setWorldTransform(transform)

    def wires(self, painter: QPainter, area: QRectF, scale: float) -> None:
        table = self.scene.table
        rows, spans = table.crossing(area, 3.0 + 2.0 / scale)
        if not len(rows):
            return
        thin = min(area.width(), area.height()) * scale < STRIP
        kinds = table.kind_of_rows(rows)
        near = scale >= NEAR
        painter.setRenderHint(QPainter.RenderHint.Antialiasing, near)
        painter.setBrush(Qt.BrushStyle.NoBrush)
        if self._look.faded:
            painter.setOpacity(0.25)
        selected, hidden, strongest = self.scene.selected, self._look.hidden_wire, self._look.lit_wire
        lit: list[int] = []
        last = -1
        for index in kinds.argsort(kind="stable").tolist():
            row, number = int(rows[index]), int(kinds[index])
            wire = table.wires[row]
            if wire == hidden:
                continue
            if wire.source in selected or wire.target in selected or wire == strongest:
                lit.append(row)
                continue
            if number != last:
                painter.setPen(self._wire_pen(table.kinds[number], scale, 2.2))
                last = number
            painter.drawPath(table.part(row, *spans[index].tolist()) if thin else table.path(row))
        for row in lit:
            wire = table.wires[row]
            strong = wire == strongest
            painter.setPen(self._wire_pen(table.kind(row), scale, 5.0 if strong else 3.4))
            painter.drawPath(table.path(row))
        painter.setOpacity(1.0)

    def _wire_pen(self, kind: str, scale: float, width: float) -> QPen:
        pen = QPen(colour_of(kind))
        pen.setCapStyle(Qt.PenCapStyle.FlatCap)
        if scale >= NEAR:
            pen.setWidthF(max(width, 1.5 / scale))
        else:
            pen.setWidthF(1.0 if width < 3 else 2.0)
            pen.setCosmetic(True)
        return pen


def _down(value: float) -> float:
    return value // DOTS * DOTS
