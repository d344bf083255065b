"""Laying a wire: what it can reach glows, the rest steps back, and a place that refuses it says why."""

from __future__ import annotations

from PySide6.QtCore import QPointF, QRectF, Qt
from PySide6.QtGui import QColor, QPainter, QPen

from engine.contracts.workflow import Link
from engine.graph.ports import compatible
from studio_app.documents.edits import Connect, Disconnect, Rewire
from studio_app.documents.graph_document import Wire
from ui import theme
from ui.graph_canvas.geometry import RADIUS, NodeLayout
from ui.graph_canvas.node_item import NodeItem
from ui.graph_canvas.sockets import colour_of, shape_path
from ui.graph_canvas.tools.base import Gesture, LooseEnd
from ui.graph_canvas.view import GraphView
from ui.graph_canvas.wires import wire_path

_REACH = 22.0  # viewport pixels within which a socket draws the wire to itself


class WireGesture(Gesture):
    """A wire from a socket to the pointer. Let go on a socket or node it is laid; on nothing the search opens."""

    cursor = Qt.CursorShape.CrossCursor

    def __init__(self, view: GraphView, start: QPointF, end: LooseEnd) -> None:
        super().__init__(view, start)
        self.end = end
        item = self.scene.items_by_id[end.node]
        self._anchor = item.output_place(end.socket) if end.is_output else item.input_place(end.socket)
        self._place = start
        self._target: tuple[NodeItem, str] | None = None
        self._refusal = ""
        document = self.scene.document
        # No circles: an output can't go back to what feeds it, nor an input come from what it feeds.
        self._barred = document.upstream([end.node]) if end.is_output else document.downstream([end.node])
        self._fitting: dict[NodeLayout, tuple[str, ...]] = {}
        frames = view.frames
        frames.faded = True
        frames.hidden_wire = end.former
        items = self.scene.items_by_id.items()
        fitting = {name for name, other in items if name not in self._barred and self._fits(other.layout)}
        frames.reachable = frozenset(fitting | {end.node})
        view.viewport().update()

    def _fits(self, layout: NodeLayout) -> tuple[str, ...]:
        """The sockets of a layout that the wire may end at, by type."""
        found = self._fitting.get(layout)
        if found is None:
            kind = self.end.kind
            if self.end.is_output:
                found = tuple(name for name, (_, _, wanted) in layout.inputs.items() if compatible(kind, wanted))
            else:
                found = tuple(name for name, (_, _, gives) in layout.outputs.items() if compatible(gives, kind))
            self._fitting[layout] = found
        return found

    def wire_to(self, node: str, socket: str) -> Wire:
        """The wire from the loose end to a socket of another node."""
        if self.end.is_output:
            return Wire(self.end.node, self.end.socket, node, socket)
        return Wire(node, socket, self.end.node, self.end.socket)

    def move(self, place: QPointF, pixels: QPointF, modifiers: Qt.KeyboardModifier) -> None:
        self._place = place
        self._refusal = ""
        self._target = self._find(place)
        if self._target is not None:
            item, socket = self._target
            self._refusal = self.scene.document.can_connect(self.wire_to(item.node.id, socket))
        self.view.viewport().update()

    def _find(self, place: QPointF) -> tuple[NodeItem, str] | None:
        """The socket meant: the nearest that fits, else the nearest of the right side, else the best of the node."""
        reach = max(RADIUS + 4, _REACH / self.view.scale_factor)
        best: tuple[float, NodeItem, str] | None = None
        for item in self.scene.nodes_in(QRectF(place.x() - reach, place.y() - reach, 2 * reach, 2 * reach)):
            if item.node.id == self.end.node:
                continue
            sockets = item.layout.inputs if self.end.is_output else item.layout.outputs
            fits = self._fits(item.layout) if item.node.id not in self._barred else ()
            for name, (x, y, _) in sockets.items():
                gap = abs(item.corner[0] + x - place.x()) + abs(item.corner[1] + y - place.y())
                gap += 0.0 if name in fits else 6.0
                if gap <= reach and (best is None or gap < best[0]):
                    best = (gap, item, name)
        if best is not None:
            return best[1], best[2]
        over = self.scene.node_at(place)
        if over is None or over.node.id == self.end.node:
            return None
        fits = self._fits(over.layout)
        if not fits:
            sockets = over.layout.inputs if self.end.is_output else over.layout.outputs
            return (over, next(iter(sockets))) if sockets else None
        free = (
            [name for name in fits if not isinstance(over.node.inputs.get(name), Link)] if self.end.is_output else fits
        )
        exact = [
            n
            for n in free
            if (over.layout.inputs if self.end.is_output else over.layout.outputs)[n][2] == self.end.kind
        ]
        return over, (exact or free or fits)[0]

    def release(self, place: QPointF, modifiers: Qt.KeyboardModifier) -> None:
        self._done()
        self.move(place, place, modifiers)
        document, former = self.scene.document, self.end.former
        if self._target is None:
            if former is not None:
                document.edit("Take the wire off", Disconnect((former,)))
            elif self._far_enough(place):
                self.view.search_wanted.emit(place, self.end)
            return
        wire = self.wire_to(self._target[0].node.id, self._target[1])
        if self._refusal:
            self.view.said.emit(self._refusal)
            return
        if wire != former:
            document.edit("Connect", Rewire(former, wire) if former is not None else Connect(wire))

    def _far_enough(self, place: QPointF) -> bool:
        return (place - self._anchor).manhattanLength() * self.view.scale_factor > 24

    def cancel(self) -> None:
        self._done()

    def _done(self) -> None:
        frames = self.view.frames
        frames.faded, frames.reachable, frames.hidden_wire = False, frozenset(), None
        self.view.viewport().update()

    def paint(self, painter: QPainter) -> None:
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        self._glow(painter)
        tip = self._place
        if self._target is not None:
            item, socket = self._target
            tip = item.input_place(socket) if self.end.is_output else item.output_place(socket)
        a, b = (self._anchor, tip) if self.end.is_output else (tip, self._anchor)
        colour = theme.token("danger") if self._refusal else colour_of(self.end.kind)
        pen = QPen(colour, max(3.0, 2.0 / self.view.scale_factor))
        if self._refusal:
            pen.setStyle(Qt.PenStyle.DashLine)
        pen.setCapStyle(Qt.PenCapStyle.RoundCap)
        painter.setPen(pen)
        painter.setBrush(Qt.BrushStyle.NoBrush)
        painter.drawPath(wire_path(a.x(), a.y(), b.x(), b.y()))
        if self._refusal:
            say_beside(painter, self.view, tip, self._refusal)

    def _glow(self, painter: QPainter) -> None:
        """A ring about every socket that would take the wire."""
        if self.view.scale_factor < 0.25:
            return
        for item in self.scene.nodes_in(self.view.visible_area()):
            if item.node.id in self._barred:
                continue
            sockets = item.layout.inputs if self.end.is_output else item.layout.outputs
            for name in self._fits(item.layout):
                x, y, kind = sockets[name]
                painter.translate(item.corner[0] + x, item.corner[1] + y)
                halo = QColor(colour_of(kind))
                halo.setAlphaF(0.35)
                painter.setPen(QPen(halo, 7))
                painter.setBrush(colour_of(kind))
                painter.drawPath(shape_path(kind, RADIUS))
                painter.translate(-item.corner[0] - x, -item.corner[1] - y)


def say_beside(painter: QPainter, view: GraphView, place: QPointF, text: str) -> None:
    """One sentence in a box beside `place` (scene pixels), in the size of the interface, inside the window."""
    at = view.viewportTransform().map(place)
    painter.save()
    painter.resetTransform()
    painter.setFont(theme.font(0))
    width = min(theme.px(340), view.viewport().width() - theme.space(4))
    flags = int(Qt.AlignmentFlag.AlignLeft | Qt.TextFlag.TextWordWrap)
    words = painter.boundingRect(QRectF(0, 0, width, 1000), flags, text)
    box = words.adjusted(0, 0, theme.space(2), theme.space(1.5))
    box.moveTo(at.x() + theme.space(2), at.y() + theme.space(1))
    port = QRectF(view.viewport().rect())
    box.moveRight(min(box.right(), port.right() - 4))
    box.moveBottom(min(box.bottom(), port.bottom() - 4))
    painter.setPen(QPen(theme.token("danger"), 1))
    painter.setBrush(theme.token("surface4"))
    painter.drawRoundedRect(box, theme.corner(), theme.corner())
    painter.setPen(theme.token("text_strong"))
    painter.drawText(box.adjusted(theme.space(1), theme.space(0.75), -theme.space(1), 0), flags, text)
    painter.restore()
