"""Seen from far away: rectangles and lines in batches, which are kept until something changes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from PySide6.QtCore import QLineF, QRectF, Qt
from PySide6.QtGui import QColor, QPainter, QPen

from ui.graph_canvas.geometry import HEADER
from ui.graph_canvas.sockets import colour_of

if TYPE_CHECKING:
    from ui.graph_canvas.passes import FramePainter


class FarBand:
    """Paints for one FramePainter, whose colours it takes."""

    def __init__(self, look: FramePainter) -> None:
        self._look, self.scene = look, look.scene
        self._far: tuple[object, dict[str, list[QRectF]], dict[str, list[QRectF]], dict[str, list[QLineF]]] | None = (
            None
        )

    def forget(self) -> None:
        """The kept batches have another look's colours."""
        self._far = None

    def paint(self, painter: QPainter, area: QRectF, scale: float) -> None:
        painter.setRenderHint(QPainter.RenderHint.Antialiasing, False)
        bodies, stripes, lines = self._batches(area)
        for kind, found in lines.items():
            colour = colour_of(kind)
            colour.setAlphaF(0.55)
            pen = QPen(colour, 1)
            pen.setCosmetic(True)
            painter.setPen(pen)
            painter.drawLines(found)
        painter.setPen(Qt.PenStyle.NoPen)
        for group in (bodies, stripes):
            for colour_name, boxes in group.items():
                painter.setBrush(QColor(colour_name))
                painter.drawRects(boxes)
        self._far_marks(painter, area, scale)

    def _batches(
        self, area: QRectF
    ) -> tuple[dict[str, list[QRectF]], dict[str, list[QRectF]], dict[str, list[QLineF]]]:
        """Rectangles by colour and lines by socket type: of everything when most is seen, kept until it changes; else
        only of what is."""
        scene = self.scene
        rows = scene.table.visible(area)
        whole = len(rows) * 2 >= len(scene.table)
        key = scene.revision
        if whole and self._far is not None and self._far[0] == key:
            return self._far[1:]
        items = list(scene.items_by_id.values()) if whole else scene.nodes_in(area)
        bodies: dict[str, list[QRectF]] = {}
        stripes: dict[str, list[QRectF]] = {}
        paint = self._look.nodes
        base = self._look.nodes.head.name()
        for item in items:
            node, layout = item.node, item.layout
            x, y = item.corner
            name = paint.tinted(paint.head, node, 0.5).name() if node.colour else base
            bodies.setdefault(name, []).append(QRectF(x, y, layout.width, layout.height))
            stripes.setdefault(paint.stripe_name(node, item.schema), []).append(
                QRectF(x, y, layout.width, HEADER * 0.7)
            )
        if whole:
            rows = scene.table.all_rows()
        lines = {
            kind: [QLineF(*end) for end in ends.tolist()] for kind, ends in scene.table.lines(rows).items() if len(ends)
        }
        if whole:
            self._far = (key, bodies, stripes, lines)
        return bodies, stripes, lines

    def _far_marks(self, painter: QPainter, area: QRectF, scale: float) -> None:
        scene = self.scene
        items = scene.items_by_id
        boxes = [items[name].rect() for name in scene.selected if name in items]
        if boxes:
            painter.setBrush(Qt.BrushStyle.NoBrush)
            painter.setPen(QPen(self._look.accent, 2 / scale))
            painter.drawRects(boxes)
        painter.setPen(Qt.PenStyle.NoPen)
        for name, state in scene.states.items():
            if name in items and state.kind in {"running", "failed"}:
                painter.setBrush(self._look.nodes.danger if state.kind == "failed" else self._look.accent)
                painter.drawRect(items[name].rect())
