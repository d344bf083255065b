"""Moving nodes and frames, resizing them, panning."""

from __future__ import annotations

from dataclasses import replace
from time import perf_counter

from PySide6.QtCore import QPointF, QRectF, Qt

from studio_app.documents.arrange_edits import SetGroups
from studio_app.documents.edits import InsertOnWire, MoveNodes, insertion, set_size
from studio_app.documents.graph_document import Wire
from ui.graph_canvas.arrange import lift_out
from ui.graph_canvas.frames import SMALLEST, TITLE
from ui.graph_canvas.geometry import GRID, HEADER, NARROWEST
from ui.graph_canvas.node_item import NodeItem
from ui.graph_canvas.tools.base import Gesture
from ui.graph_canvas.view import GraphView

SHAKES, SHAKE_SECONDS, SHAKE_PIXELS = 4, 0.7, 24.0


class Pan(Gesture):
    """The canvas follows the hand."""

    cursor = Qt.CursorShape.ClosedHandCursor

    def __init__(self, view: GraphView, start: QPointF, pixels: QPointF) -> None:
        super().__init__(view, start)
        self._last = pixels
        self.travelled = 0.0

    def move(self, place: QPointF, pixels: QPointF, modifiers: Qt.KeyboardModifier) -> None:
        step = pixels - self._last
        self.travelled += abs(step.x()) + abs(step.y())
        self.view.pan(step.x(), step.y())
        self._last = pixels


class MoveNodesGesture(Gesture):
    """The selected nodes follow the pointer; one dropped on a wire is inserted; one that is shaken leaves its wires."""

    cursor = Qt.CursorShape.SizeAllCursor

    def __init__(self, view: GraphView, start: QPointF, grasped: NodeItem) -> None:
        super().__init__(view, start)
        scene = self.scene
        nodes = scene.document.nodes
        names = [n for n in scene.selected if n in nodes and not nodes[n].pinned]
        self.origins = {name: scene.items_by_id[name].corner for name in names}
        self._grasped = grasped
        self._lone = grasped.node.id if len(names) == 1 and not scene.table.touching(grasped.node.id) else ""
        self._wire: Wire | None = None
        self._offset = (0.0, 0.0)
        self._turns: list[float] = []
        self._heading, self._furthest = 0.0, view.viewportTransform().map(start).x()
        self._shaken = False
        scene.raise_nodes(names)

    def move(self, place: QPointF, pixels: QPointF, modifiers: Qt.KeyboardModifier) -> None:
        if not self.origins:
            self.view.said.emit("This node is pinned; unpin it to move it.")
            return
        dx, dy = place.x() - self.start.x(), place.y() - self.start.y()
        snap = self.view.snap != bool(modifiers & Qt.KeyboardModifier.ControlModifier)
        x, y = self.origins.get(self._grasped.node.id, next(iter(self.origins.values())))
        if snap:
            dx, dy = round((x + dx) / GRID) * GRID - x, round((y + dy) / GRID) * GRID - y
        if (dx, dy) == self._offset:
            return
        self._offset = (dx, dy)
        self._place()
        if len(self.origins) == 1 and not self._lone:
            self._watch_shaking(pixels.x())
        if self._lone:
            self._look_for_wire()

    def _look_for_wire(self) -> None:
        item = self._grasped
        centre = item.rect().topLeft() + QPointF(item.layout.width / 2, min(HEADER, item.layout.height) / 2)
        found = self.scene.table.near(centre.x(), centre.y(), 30.0)
        if found is not None and insertion(self.scene.document, item.node.id, found) is None:
            found = None
        if found != self._wire:
            self._wire = self.view.frames.lit_wire = found
            self.view.viewport().update()

    def _watch_shaking(self, x: float) -> None:
        """Four turns within a breath: take the node out of its wires."""
        step = x - self._furthest
        if step * self._heading > 0:
            self._furthest = x
        if abs(step) < SHAKE_PIXELS or step * self._heading > 0:
            return
        turned = self._heading != 0.0
        self._heading, self._furthest = (1.0 if step > 0 else -1.0), x
        if not turned:
            return
        now = perf_counter()
        self._turns = [t for t in self._turns if now - t < SHAKE_SECONDS] + [now]
        if len(self._turns) >= SHAKES:
            self._turns.clear()
            before = self.scene.document.revision
            self.view.said.emit(lift_out(self.scene.document, self._grasped.node.id))
            self._shaken = self._shaken or self.scene.document.revision != before
            self._place()  # the edit put it back where the document has it

    def _place(self) -> None:
        dx, dy = self._offset
        self.scene.place({name: (x + dx, y + dy) for name, (x, y) in self.origins.items()})

    def release(self, place: QPointF, modifiers: Qt.KeyboardModifier) -> None:
        self.view.frames.lit_wire = None
        dx, dy = self._offset
        if not self.origins or (dx, dy) == (0.0, 0.0):
            return
        places = {name: (x + dx, y + dy) for name, (x, y) in self.origins.items()}
        edits = [MoveNodes(places)]
        document = self.scene.document
        if self._wire is not None:
            document.edit("Insert on the wire", *edits, InsertOnWire(self._lone, self._wire))
        else:
            document.edit("Move" if len(places) == 1 else f"Move {len(places)} nodes", *edits)

    def cancel(self) -> None:
        self.view.frames.lit_wire = None
        if self._shaken:
            self.scene.document.undo()
        self.scene.place(self.origins)


class ResizeNode(Gesture):
    cursor = Qt.CursorShape.SizeFDiagCursor

    def __init__(self, view: GraphView, start: QPointF, item: NodeItem) -> None:
        super().__init__(view, start)
        self._item = item
        self._merge = f"resize {item.node.id} {perf_counter()}"

    def move(self, place: QPointF, pixels: QPointF, modifiers: Qt.KeyboardModifier) -> None:
        x, y = self._item.corner
        width, height = max(NARROWEST, place.x() - x), max(HEADER, place.y() - y)
        if self.view.snap:
            width, height = round(width / GRID) * GRID, round(height / GRID) * GRID
        if (width, height) != self._item.node.size:
            name = self._item.node.id
            self.scene.document.edit("Resize", set_size({name: (width, height)}), merge=self._merge)

    def release(self, place: QPointF, modifiers: Qt.KeyboardModifier) -> None:
        self.scene.document.seal()

    def cancel(self) -> None:
        self.scene.document.undo()


class MoveFrame(Gesture):
    """A frame carries the nodes and frames that lie wholly in it."""

    cursor = Qt.CursorShape.SizeAllCursor

    def __init__(self, view: GraphView, start: QPointF, index: int) -> None:
        super().__init__(view, start)
        groups = self.scene.document.groups
        self._groups = groups
        box = QRectF(*groups[index].rectangle)
        self._carried = [i for i, g in enumerate(groups) if i == index or box.contains(QRectF(*g.rectangle))]
        inside = [item for item in self.scene.nodes_in(box) if box.contains(item.rect().center())]
        self._origins = {item.node.id: item.corner for item in inside if not item.node.pinned}
        self._offset = (0.0, 0.0)
        self._merge = f"frame {index} {perf_counter()}"

    def move(self, place: QPointF, pixels: QPointF, modifiers: Qt.KeyboardModifier) -> None:
        dx, dy = place.x() - self.start.x(), place.y() - self.start.y()
        if self.view.snap:
            dx, dy = round(dx / GRID) * GRID, round(dy / GRID) * GRID
        if (dx, dy) == self._offset:
            return
        self._offset = (dx, dy)
        groups = list(self._groups)
        for index in self._carried:
            x, y, width, height = groups[index].rectangle
            groups[index] = replace(groups[index], rectangle=(x + dx, y + dy, width, height))
        places = {name: (x + dx, y + dy) for name, (x, y) in self._origins.items()}
        moves = [MoveNodes(places)] if places else []
        self.scene.document.edit("Move the frame", SetGroups(tuple(groups)), *moves, merge=self._merge)

    def release(self, place: QPointF, modifiers: Qt.KeyboardModifier) -> None:
        self.scene.document.seal()

    def cancel(self) -> None:
        if self._offset != (0.0, 0.0):
            self.scene.document.undo()


class ResizeFrame(Gesture):
    cursor = Qt.CursorShape.SizeFDiagCursor

    def __init__(self, view: GraphView, start: QPointF, index: int) -> None:
        super().__init__(view, start)
        self._index = index
        self._merge = f"frame size {index} {perf_counter()}"

    def move(self, place: QPointF, pixels: QPointF, modifiers: Qt.KeyboardModifier) -> None:
        groups = list(self.scene.document.groups)
        x, y, *_ = groups[self._index].rectangle
        size = max(SMALLEST[0], place.x() - x), max(SMALLEST[1], TITLE, place.y() - y)
        if self.view.snap:
            size = round(size[0] / GRID) * GRID, round(size[1] / GRID) * GRID
        groups[self._index] = replace(groups[self._index], rectangle=(x, y, *size))
        self.scene.document.edit("Resize the frame", SetGroups(tuple(groups)), merge=self._merge)

    def release(self, place: QPointF, modifiers: Qt.KeyboardModifier) -> None:
        self.scene.document.seal()


__all__ = ["MoveFrame", "MoveNodesGesture", "Pan", "ResizeFrame", "ResizeNode"]
