"""The document as it lies on the canvas: one thin item for each node, one row of a table for each wire.

It listens to the document and says which part of the canvas is out of date; it paints nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import cast

from PySide6.QtCore import QPointF, QRectF, Qt, Signal
from PySide6.QtGui import QImage
from PySide6.QtWidgets import QGraphicsScene

from engine.contracts.node_schema import NodeSchema
from engine.contracts.workflow import Link
from studio_app.documents.graph_document import Change, GraphDocument, Wire
from ui.graph_canvas.geometry import RADIUS, layout_of
from ui.graph_canvas.node_item import FURTHEST, NodeItem, place_of
from ui.graph_canvas.states import IDLE, NodeState
from ui.graph_canvas.wires import Ends, WireTable, bounds_of

EVERYWHERE = QRectF(-FURTHEST - 1e5, -FURTHEST - 1e5, 2 * FURTHEST + 2e5, 2 * FURTHEST + 2e5)
_TOUCHES = Qt.ItemSelectionMode.IntersectsItemBoundingRect


class GraphScene(QGraphicsScene):
    """`items_by_id`, `table` and `selected` are to be read; they change only here.

    dirty              a part of the canvas (QRectF, scene pixels) is to be painted again
    selection_changed  other nodes are selected
    shown              the document was shown anew: another level, or all of it
    changed_nodes      the Change after it was taken over
    """

    dirty = Signal(QRectF)
    selection_changed = Signal()
    shown = Signal()
    changed_nodes = Signal(object)

    def __init__(self, document: GraphDocument) -> None:
        super().__init__()
        self.document = document
        self.items_by_id: dict[str, NodeItem] = {}
        self.table = WireTable()
        self.selected: set[str] = set()
        self.states: dict[str, NodeState] = {}
        self.previews: dict[str, QImage] = {}
        self.texts: dict[str, str] = {}  # what nodes gave that is no picture
        self.revision = 0  # rises with every change of what is painted
        self._raised = 0.0
        self._stop = document.subscribe(self.apply)
        self.rebuild()

    def close(self) -> None:
        self._stop()

    # ---- following the document

    def rebuild(self) -> None:
        """Show the open level from nothing."""
        self.clear()
        self.items_by_id = {}
        self.table = WireTable()
        self._raised = 0.0
        self.states, self.previews, self.texts = {}, {}, {}  # of another level's nodes, which may have the same ids
        nodes = self.document.nodes
        graph, schemas = self.document.graph, self.document.schemas
        for name, node in nodes.items():
            self._add(name, schemas.of(graph, node))
        self._fit_index()
        self.table.set_many(self._ends(self.document.wires()))
        self.selected &= self.items_by_id.keys()
        self._touch_all()
        self.shown.emit()
        self.selection_changed.emit()

    def apply(self, change: Change) -> None:
        """Take over a change of the document."""
        if change.level:
            self.selected.clear()
            self.rebuild()
            return
        document = self.document
        stale: list[QRectF] = []
        for name in change.removed:
            item = self.items_by_id.pop(name, None)
            if item is not None:
                stale.append(item.sceneBoundingRect())
                self.removeItem(item)
        for name in change.added:
            if name not in self.items_by_id:
                self._add(name, document.schema(name))
            stale.append(self.items_by_id[name].sceneBoundingRect())
        shown = (change.changed | change.rewired | change.moved) - change.added
        for name in shown:
            item = self.items_by_id.get(name)
            if item is None:
                continue
            stale.append(item.sceneBoundingRect())
            node = document.nodes[name]
            if name in change.changed or name in change.rewired:
                schema = document.schema(name)
                item.take_over(node, schema, layout_of(node, schema))
            else:
                item.node = node
                item.move_to(*place_of(node))
            stale.append(item.sceneBoundingRect())
        if change.subgraphs:
            stale += self._refresh_schemas()
        stale += self._rewire(change)
        if not self.sceneRect().contains(self._extent(change.added | change.moved)):
            self._fit_index()
        gone = self.selected - self.items_by_id.keys()
        self.selected -= gone
        self.revision += 1
        if change.groups or len(stale) > 200:
            self._touch_all()
        else:
            self._touch(stale)
        self.changed_nodes.emit(change)
        if gone or change.changed & self.selected or change.rewired & self.selected:
            self.selection_changed.emit()

    def _add(self, name: str, schema: NodeSchema) -> None:
        node = self.document.graph.nodes[name]
        item = NodeItem(node, schema, layout_of(node, schema))
        self.items_by_id[name] = item
        self.addItem(item)

    def _extent(self, names: frozenset[str]) -> QRectF:
        corners = [self.items_by_id[name].corner for name in names if name in self.items_by_id]
        if not corners:
            return self.sceneRect()
        xs, ys = zip(*corners, strict=True)
        return QRectF(QPointF(min(xs), min(ys)), QPointF(max(xs), max(ys)))

    def _fit_index(self) -> None:
        """Let the tree of places divide what there is: over the whole canvas it would be one leaf."""
        box = self.bounds()
        if not self.sceneRect().contains(box) or self.sceneRect().isEmpty():
            self.setSceneRect(box.adjusted(-2000, -2000, 2000, 2000))

    def _refresh_schemas(self) -> list[QRectF]:
        """A subgraph's sockets may be others now: lay its instances out again."""
        stale = []
        for name, item in self.items_by_id.items():
            schema = self.document.schema(name)
            if schema is not item.schema:
                stale.append(item.sceneBoundingRect())
                item.take_over(item.node, schema, layout_of(item.node, schema))
                stale.append(item.sceneBoundingRect())
                self.table.set_many(self._ends((*self._wires_into(name), *self.document.wires_from(name))))
        return stale

    def _rewire(self, change: Change) -> list[QRectF]:
        """Bring the table's rows of every node that changed in step; returns where wires were and are."""
        stale: list[QRectF] = []
        table = self.table
        if change.removed or change.rewired:
            for wire in {w for name in change.removed | change.rewired for w in table.touching(name)}:
                stale.append(bounds_of(*table.ends(table.rows[wire])))
                table.remove(wire)
        wires: set[Wire] = set()
        for name in change.moved:
            wires |= table.touching(name)
        for name in change.added | change.changed | change.rewired:
            if name in self.items_by_id:
                wires.update(self._wires_into(name))
                wires.update(self.document.wires_from(name))
        return stale + self._place_wires(wires)

    def _place_wires(self, wires: Iterable[Wire]) -> list[QRectF]:
        stale, rows = [], []
        table = self.table
        for wire, ends, kind in self._ends(wires):
            row = table.rows.get(wire)
            if row is not None:
                stale.append(bounds_of(*table.ends(row)))
            stale.append(bounds_of(*ends))
            rows.append((wire, ends, kind))
        table.set_many(rows)
        return stale

    def _wires_into(self, name: str) -> list[Wire]:
        inputs = self.document.graph.nodes[name].inputs
        return [Wire(v.node, v.output, name, key) for key, v in inputs.items() if v.__class__ is Link]

    def _ends(self, wires: Iterable[Wire]) -> list[tuple[Wire, Ends, str]]:
        found: list[tuple[Wire, Ends, str]] = []
        items = self.items_by_id
        for wire in wires:
            source, target = items.get(wire.source), items.get(wire.target)
            if source is None or target is None:
                continue
            out = source.layout.outputs.get(wire.output)
            into = target.layout.inputs.get(wire.input)
            x0, y0 = source.corner
            x1, y1 = target.corner
            if out is not None:
                x0, y0, kind = x0 + out[0], y0 + out[1], out[2]
            else:
                x0, y0, kind = x0 + source.layout.width, y0 + 16.0, "*"
            if into is not None:
                x1, y1 = x1 + into[0], y1 + into[1]
                if kind == "*":
                    kind = into[2]
            else:
                y1 += 16.0
            found.append((wire, (x0, y0, x1, y1), kind))
        return found

    # ---- moving without an edit (a drag in progress)

    def place(self, places: Mapping[str, tuple[float, float]]) -> None:
        """Show nodes elsewhere than the document has them, until the edit that follows."""
        stale: list[QRectF] = []
        wires: set[Wire] = set()
        for name, (x, y) in places.items():
            item = self.items_by_id.get(name)
            if item is None:
                continue
            stale.append(item.sceneBoundingRect())
            item.move_to(x, y)
            stale.append(item.sceneBoundingRect())
            wires |= self.table.touching(name)
        stale += self._place_wires(wires)
        self.revision += 1
        self._touch(stale)

    # ---- finding

    def nodes_in(self, area: QRectF) -> list[NodeItem]:
        """The nodes that touch `area`, the lowest first; sockets count."""
        return cast(list[NodeItem], self.items(area, _TOUCHES, Qt.SortOrder.AscendingOrder))

    def node_at(self, place: QPointF) -> NodeItem | None:
        """The topmost node whose box holds `place`."""
        found = self.items(QRectF(place.x(), place.y(), 0.01, 0.01), _TOUCHES, Qt.SortOrder.DescendingOrder)
        return next((item for item in cast(list[NodeItem], found) if item.rect().contains(place)), None)

    def socket_at(self, place: QPointF, reach: float = RADIUS + 5) -> tuple[NodeItem, str, bool] | None:
        """(node, socket, whether it is an output) nearest to `place`, at most `reach` scene pixels away."""
        area = QRectF(place.x() - reach, place.y() - reach, 2 * reach, 2 * reach)
        best: tuple[float, NodeItem, str, bool] | None = None
        for item in self.nodes_in(area):
            x, y = place.x() - item.corner[0], place.y() - item.corner[1]
            for is_output, sockets in ((False, item.layout.inputs), (True, item.layout.outputs)):
                for name, (sx, sy, _) in sockets.items():
                    gap = (sx - x) ** 2 + (sy - y) ** 2
                    if gap <= reach * reach and (best is None or gap <= best[0]):
                        best = (gap, item, name, is_output)
        return best[1:] if best is not None else None

    def bounds(self, names: Iterable[str] | None = None) -> QRectF:
        """The box around these nodes, or around everything with the frames; null when there is nothing."""
        found = QRectF()
        if names is None:
            for group in self.document.groups:
                found = found.united(QRectF(*group.rectangle))
            names = self.items_by_id
        for name in names:
            item = self.items_by_id.get(name)
            if item is not None:
                found = found.united(item.rect())
        return found

    # ---- selection, states, previews

    def select(self, names: Iterable[str], *, add: bool = False) -> None:
        wanted = {name for name in names if name in self.items_by_id}
        if add:
            wanted |= self.selected
        if wanted == self.selected:
            return
        changed = wanted ^ self.selected
        self.selected = wanted
        if len(changed) > 200:
            self._touch_all()
        else:
            self._touch([self.items_by_id[name].sceneBoundingRect() for name in changed if name in self.items_by_id])
        self.selection_changed.emit()

    def raise_nodes(self, names: Iterable[str]) -> None:
        """Bring nodes before all others."""
        self._raised += 1
        for name in names:
            item = self.items_by_id.get(name)
            if item is not None:
                item.setZValue(self._raised)

    def set_state(self, name: str, state: NodeState) -> None:
        """What a run says of a node of the open level."""
        if self.states.get(name, IDLE) == state:
            return
        before = self.states.get(name, IDLE)
        self.states[name] = state
        self.touch_node(name, anew=state.kind != before.kind or state.kind != "running")

    def show_states(self, states: Mapping[str, NodeState]) -> None:
        """These are the states of the open level's nodes, and no others."""
        for name in self.states.keys() | states.keys():
            item = self.items_by_id.get(name)
            if item is not None:
                item.version += 1
        self.states = dict(states)
        self._touch_all()

    def set_preview(self, name: str, image: QImage | None) -> None:
        if image is None:
            self.previews.pop(name, None)
        else:
            self.previews[name] = image
        self.touch_node(name, anew=True)

    def set_text(self, name: str, text: str | None) -> None:
        if self.texts.get(name) == text:
            return
        if text is None:
            self.texts.pop(name, None)
        else:
            self.texts[name] = text
        self.touch_node(name, anew=True)

    def touch_node(self, name: str, *, anew: bool = False) -> None:
        """Show a node again; `anew`: its picture is out of date, else only what floats over it changed."""
        item = self.items_by_id.get(name)
        if item is not None:
            item.version += anew
            self.dirty.emit(item.sceneBoundingRect())

    def _touch(self, areas: list[QRectF]) -> None:
        whole = QRectF()
        for area in areas:
            whole = whole.united(area)
        if not whole.isNull():
            self.dirty.emit(whole)

    def _touch_all(self) -> None:
        self.revision += 1
        self.dirty.emit(EVERYWHERE)
