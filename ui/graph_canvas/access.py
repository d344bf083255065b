"""The canvas for screen readers: a list of its nodes and wires, each with a name that says what it is and does.

Nodes and wires are no QObjects; Qt asks `GraphInterface` for its children, which are made when they are asked for.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable

from PySide6.QtCore import QObject, QPoint, QRect, QRectF, Qt
from PySide6.QtGui import QAccessible, QAccessibleEvent, QAccessibleInterface, QWindow
from PySide6.QtWidgets import QAccessibleWidget, QWidget
from shiboken6 import isValid

from studio_app.documents.graph_document import Wire
from ui.graph_canvas.states import IDLE
from ui.graph_canvas.view import GraphView
from ui.graph_canvas.words import describe_node, describe_wire, reading_order

Key = str | Wire  # a node's id, or a wire
_kept: list[QAccessibleInterface] = []  # Qt holds them by address only; one for each canvas that was asked for


class GraphInterface(QAccessibleWidget):
    """The view as a list: its nodes in reading order, then its wires."""

    def __init__(self, view: GraphView) -> None:
        super().__init__(view, QAccessible.Role.List, "Graph canvas")
        self._view = weakref.ref(view)
        self._made: dict[Key, PartInterface] = {}  # never dropped: Qt keeps their addresses
        self._keys: list[Key] = []
        self._places: dict[Key, int] = {}
        self._revision: object = None

    @property
    def view(self) -> GraphView | None:
        """None once the canvas is closed."""
        found = self._view()
        return found if found is not None and isValid(found) else None

    def keys(self) -> list[Key]:
        """What can be read, in order; worked out anew only after a change of the graph."""
        view = self.view
        if view is None:
            return []
        scene = view.graph
        revision = (scene.document.revision, scene.document.level)
        if revision != self._revision:
            self._revision = revision
            self._keys = [*reading_order(scene), *scene.table.rows]
            self._places = {key: index for index, key in enumerate(self._keys)}
        return self._keys

    def place_of(self, key: Key) -> int:
        """The index of a part, −1 when it is gone."""
        return self._places.get(key, -1) if self.keys() else -1

    def part(self, key: Key) -> PartInterface:
        found = self._made.get(key)
        if found is None:
            found = self._made[key] = PartInterface(self, key)
            QAccessible.registerAccessibleInterface(found)
        return found

    def childCount(self) -> int:
        return len(self.keys()) + self._has_editor()

    def _has_editor(self) -> bool:
        """Whether a value is being edited: the editor lies in the viewport, which is the last child then."""
        view = self.view
        direct = Qt.FindChildOption.FindDirectChildrenOnly
        return view is not None and any(w.isVisible() for w in view.viewport().findChildren(QWidget, options=direct))

    def child(self, index: int) -> QAccessibleInterface | None:  # type: ignore[override]  # None is no child
        keys, view = self.keys(), self.view
        if 0 <= index < len(keys):
            return self.part(keys[index])
        if view is not None and index == len(keys) and self._has_editor():
            return QAccessible.queryAccessibleInterface(view.viewport())
        return None

    def indexOfChild(self, child: QAccessibleInterface) -> int:
        if isinstance(child, PartInterface):
            return self.place_of(child.key)
        view = self.view
        return len(self.keys()) if view is not None and child.object() is view.viewport() else -1

    def childAt(self, x: int, y: int) -> QAccessibleInterface | None:  # type: ignore[override]  # None: nothing there
        view = self.view
        if view is None:
            return None
        item = view.graph.node_at(view.mapToScene(view.viewport().mapFromGlobal(QPoint(x, y))))
        return self.part(item.node.id) if item is not None else None

    def focusChild(self) -> QAccessibleInterface | None:  # type: ignore[override]  # None: the canvas itself
        view = self.view
        if view is not None and view.hasFocus() and len(view.graph.selected) == 1:
            return self.part(next(iter(view.graph.selected)))
        return None


class PartInterface(QAccessibleInterface):
    """A node or a wire."""

    def __init__(self, graph: GraphInterface, key: Key) -> None:
        super().__init__()
        self._graph, self.key = graph, key

    def isValid(self) -> bool:
        return self._graph.place_of(self.key) >= 0

    def object(self) -> QObject | None:  # type: ignore[override]  # a part is no QObject
        return None

    def window(self) -> QWindow | None:  # type: ignore[override]  # None while it is not shown
        view = self._graph.view
        return view.window().windowHandle() if view is not None else None

    def parent(self) -> QAccessibleInterface | None:  # type: ignore[override]  # None once the canvas is closed
        return self._graph if self._graph.view is not None else None

    def childCount(self) -> int:
        return 0

    def child(self, index: int) -> QAccessibleInterface | None:  # type: ignore[override]  # it has none
        return None

    def childAt(self, x: int, y: int) -> QAccessibleInterface | None:  # type: ignore[override]  # it has none
        return None

    def indexOfChild(self, child: QAccessibleInterface) -> int:
        return -1

    def role(self) -> QAccessible.Role:
        return QAccessible.Role.ListItem

    def text(self, kind: QAccessible.Text) -> str:
        view = self._here()
        if view is None:
            return ""
        if kind == QAccessible.Text.Name:
            if isinstance(self.key, Wire):
                return describe_wire(view.graph, self.key)
            return describe_node(view.graph, self.key)
        if kind == QAccessible.Text.Description and not isinstance(self.key, Wire):
            return view.graph.items_by_id[self.key].schema.doc
        return ""

    def setText(self, kind: QAccessible.Text, text: str) -> None:
        """Titles are given by F2, not by a screen reader."""

    def rect(self) -> QRect:
        """On the screen, in logical pixels."""
        view = self._here()
        if view is None:
            return QRect()
        scene = view.graph
        if isinstance(self.key, Wire):
            x0, y0, x1, y1 = scene.table.ends(scene.table.rows[self.key])
            area = QRectF(x0, y0, x1 - x0, y1 - y0).normalized()
        else:
            area = scene.items_by_id[self.key].rect()
        box = view.viewportTransform().mapRect(area).toRect()
        return QRect(view.viewport().mapToGlobal(box.topLeft()), box.size())

    def state(self) -> QAccessible.State:
        state = QAccessible.State()
        view = self._here()
        if view is None:
            state.invalid = True
            return state
        scene = view.graph
        if not isinstance(self.key, Wire):
            state.focusable = state.selectable = True
            state.selected = self.key in scene.selected
            state.focused = state.selected and view.hasFocus() and len(scene.selected) == 1
            state.busy = scene.states.get(self.key, IDLE).kind == "running"
        port = view.viewport()
        state.offscreen = not QRect(port.mapToGlobal(QPoint(0, 0)), port.size()).intersects(self.rect())
        return state

    def _here(self) -> GraphView | None:
        """The canvas while this part is on it."""
        return self._graph.view if self.isValid() else None


def install() -> None:
    """Let Qt make these interfaces for every canvas; once for a process."""
    if not _installed:
        _installed.append(_factory)
        QAccessible.installFactory(_factory)


_installed: list[Callable[[str, QObject], QAccessibleInterface | None]] = []


def _factory(name: str, thing: QObject) -> QAccessibleInterface | None:
    if not isinstance(thing, GraphView):
        return None
    found = GraphInterface(thing)
    _kept.append(found)
    return found


def tell_focus(view: GraphView) -> None:
    """Say to screen readers which node the keyboard is at."""
    if not QAccessible.isActive():
        return
    graph = QAccessible.queryAccessibleInterface(view)
    selected = view.graph.selected
    if isinstance(graph, GraphInterface) and len(selected) == 1:
        index = graph.place_of(next(iter(selected)))
        if index >= 0:
            event = QAccessibleEvent(view, QAccessible.Event.Focus)
            event.setChild(index)
            QAccessible.updateAccessibility(event)
