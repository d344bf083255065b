"""What the pointer does: decides by what lies under a press which gesture begins, and keeps the hover."""

from __future__ import annotations

from collections.abc import Callable
from html import escape

from PySide6.QtCore import QEvent, QPointF, Qt
from PySide6.QtGui import QHelpEvent, QKeyEvent, QMouseEvent, QPainter
from PySide6.QtWidgets import QToolTip

from engine.contracts.errors import TesseraError
from engine.contracts.workflow import Link
from studio_app.documents.edits import AddReroute, collapse
from studio_app.documents.graph_document import Wire
from ui.graph_canvas.frames import frame_at
from ui.graph_canvas.geometry import HEADER, PAD, REROUTE_HEIGHT, REROUTE_WIDTH, Row
from ui.graph_canvas.node_item import NodeItem
from ui.graph_canvas.sockets import name_words, words_for
from ui.graph_canvas.tools.base import Gesture, LooseEnd
from ui.graph_canvas.tools.moving import MoveFrame, MoveNodesGesture, Pan, ResizeFrame, ResizeNode
from ui.graph_canvas.tools.selecting import BoxSelect, CutWires, LassoSelect
from ui.graph_canvas.tools.wiring import WireGesture
from ui.graph_canvas.view import GraphView

SLACK = 4.0  # viewport pixels a press may wander and still be a click
WIRE_REACH = 7.0
GRIP = 16.0
_SHIFT, _CTRL, _ALT = (
    Qt.KeyboardModifier.ShiftModifier, Qt.KeyboardModifier.ControlModifier, Qt.KeyboardModifier.AltModifier,
)  # fmt: skip

# (node, row, place in the scene) → a gesture that begins on a value, or None: numbers are dragged, for one
ValueGesture = Callable[[NodeItem, Row, QPointF], Gesture | None]


class Pointer:
    """Belongs to one view. `value_gesture` may be set by who edits values."""

    def __init__(self, view: GraphView) -> None:
        self.view, self.scene = view, view.graph
        self.gesture: Gesture | None = None
        self.value_gesture: ValueGesture = lambda item, row, place: None
        self.go_to_fault: Callable[[str], object] = lambda node: None  # a click on the badge of one that failed
        self.flow: Callable[[Wire], str] = lambda wire: ""  # rich text: what flows along a wire
        self._pressed: QPointF | None = None  # viewport pixels
        self._button = Qt.MouseButton.NoButton
        self._begin: Callable[[], Gesture | None] | None = None
        self._click: Callable[[], object] | None = None
        view.pointer = self

    # ---- events

    def press(self, event: QMouseEvent) -> None:
        if self.gesture is not None or self._pressed is not None:
            return
        place, modifiers = self.view.to_scene(event.position()), event.modifiers()
        self._pressed, self._button = event.position(), event.button()
        self._begin = self._click = None
        self.view.walking = False
        if event.button() == Qt.MouseButton.MiddleButton:
            self._start(Pan(self.view, place, event.position()))
        elif event.button() == Qt.MouseButton.RightButton:
            self._press_right(place, event)
        elif event.button() == Qt.MouseButton.LeftButton:
            self._press_left(place, modifiers)

    def move(self, event: QMouseEvent) -> None:
        place = self.view.to_scene(event.position())
        if self.gesture is None and self._pressed is not None and self._begin is not None:
            if (event.position() - self._pressed).manhattanLength() < SLACK:
                return
            begin, self._begin = self._begin, None
            gesture = begin()
            if gesture is not None:
                self._start(gesture)
        if self.gesture is not None:
            self._guarded(lambda g: g.move(place, event.position(), event.modifiers()))
        elif self._pressed is None:
            self._hover(place)

    def release(self, event: QMouseEvent) -> None:
        if event.button() != self._button:
            return
        self._pressed, self._button = None, Qt.MouseButton.NoButton
        place = self.view.to_scene(event.position())
        gesture, self.gesture = self.gesture, None
        click, self._begin = self._click, None
        if gesture is not None:
            self.gesture = None
            self._try(lambda: gesture.release(place, event.modifiers()))
            self.view.viewport().unsetCursor()
            self.view.viewport().update()
        elif click is not None:
            self._try(click)

    def double_click(self, event: QMouseEvent) -> None:
        place = self.view.to_scene(event.position())
        if event.button() != Qt.MouseButton.LeftButton:
            return
        item = self.scene.node_at(place)
        if item is not None:
            self._double_on(item, place)
        elif (wire := self.wire_at(place)) is not None:
            self.add_reroute(wire, place)
        elif frame_at(self.scene.document.groups, place) is None:
            self.view.search_wanted.emit(place, None)
        else:
            self.view.frame_wanted.emit(place)

    def _double_on(self, item: NodeItem, place: QPointF) -> None:
        y = place.y() - item.corner[1]
        row = item.layout.row_at(y)
        if row is not None and row.kind != "slot":
            if row.schema is None or row.schema.type != "BOOLEAN":  # the first click of the two turned the switch
                self.view.edit_wanted.emit(item.node.id, row.input)
        else:
            self.view.open_wanted.emit(item.node.id)

    def key(self, event: QKeyEvent) -> bool:
        """Escape gives a gesture up; whether it did."""
        if event.key() == Qt.Key.Key_Escape and self.gesture is not None:
            self.cancel()
            return True
        return False

    def cancel(self) -> None:
        """Give the gesture up."""
        gesture, self.gesture = self.gesture, None
        self._pressed = self._begin = self._click = None
        if gesture is not None:
            gesture.cancel()
            self.view.viewport().unsetCursor()
            self.view.viewport().update()

    def leave(self) -> None:
        if self.gesture is None:
            self._set_hover("", None)

    def paint(self, painter: QPainter) -> None:
        if self.gesture is not None:
            self.gesture.paint(painter)

    # ---- presses

    def _press_left(self, place: QPointF, modifiers: Qt.KeyboardModifier) -> None:
        add = bool(modifiers & (_SHIFT | _CTRL))
        if modifiers & _CTRL and modifiers & _ALT:
            self._begin = lambda: CutWires(self.view, place)
            return
        scale = self.view.scale_factor
        socket = self.scene.socket_at(place, max(11.0, 9.0 / scale)) if scale > 0.25 else None
        if socket is not None and self._press_socket(*socket, place):
            return
        item = self.scene.node_at(place)
        if item is not None:
            self._press_node(item, place, modifiers)
            return
        frame = frame_at(self.scene.document.groups, place)
        if frame is not None:
            index, part = frame
            carry = MoveFrame if part == "title" else ResizeFrame
            self._begin = lambda: carry(self.view, place, index)
            self._click = lambda: self.scene.select(())
            return
        wire = self.wire_at(place)
        if wire is not None:
            self._press_wire(wire, place, modifiers)
        else:
            draw = LassoSelect if modifiers & _ALT else BoxSelect
            self._begin = lambda: draw(self.view, place, add=add)
            if not add:
                self._click = lambda: self.scene.select(())

    def _press_right(self, place: QPointF, event: QMouseEvent) -> None:
        if event.modifiers() & _CTRL:
            self._begin = lambda: CutWires(self.view, place)
            return
        start, globally = event.position(), event.globalPosition().toPoint()
        self._begin = lambda: Pan(self.view, place, start)
        self._click = lambda: self._menu(place, lambda: self.view.menu_wanted.emit(globally, place))

    def _menu(self, place: QPointF, open_menu: Callable[[], object]) -> None:
        item = self.scene.node_at(place)
        if item is not None and item.node.id not in self.scene.selected:
            self.scene.select([item.node.id])
        open_menu()

    def _press_socket(self, item: NodeItem, name: str, is_output: bool, place: QPointF) -> bool:
        if item.layout.collapsed or (item.layout.shape == "reroute" and not is_output and item.rect().contains(place)):
            return False
        if is_output:
            kind = self.scene.document.schemas.output_type(self.scene.document.graph, item.node, name) or "*"
            self._begin = lambda: WireGesture(self.view, place, LooseEnd(item.node.id, name, True, kind))
            return True
        value = item.node.inputs.get(name)
        if isinstance(value, Link) and value.node in self.scene.items_by_id:
            former = Wire(value.node, value.output, item.node.id, name)
            self._begin = lambda: self._pull_off(former, place)
        else:
            kind = item.layout.inputs[name][2]
            self._begin = lambda: WireGesture(self.view, place, LooseEnd(item.node.id, name, False, kind))
        return True

    def _pull_off(self, wire: Wire, place: QPointF, *, at_source: bool = False) -> Gesture | None:
        """Take a wire by one of its ends; the other stays where it is."""
        document = self.scene.document
        source = self.scene.items_by_id.get(wire.source)
        if source is None:
            return None
        if at_source:
            kind = self.scene.items_by_id[wire.target].layout.inputs.get(wire.input, (0, 0, "*"))[2]
            return WireGesture(self.view, place, LooseEnd(wire.target, wire.input, False, kind, wire))
        kind = document.schemas.output_type(document.graph, source.node, wire.output) or "*"
        return WireGesture(self.view, place, LooseEnd(wire.source, wire.output, True, kind, wire))

    def _press_wire(self, wire: Wire, place: QPointF, modifiers: Qt.KeyboardModifier) -> None:
        x0, y0, x1, y1 = self.scene.table.ends(self.scene.table.rows[wire])
        nearer_source = abs(place.x() - x0) + abs(place.y() - y0) < abs(place.x() - x1) + abs(place.y() - y1)
        if modifiers & _ALT:
            self._click = lambda: self.add_reroute(wire, place)
        else:
            self._begin = lambda: self._pull_off(wire, place, at_source=nearer_source)
            self._click = lambda: self.scene.select((wire.source, wire.target))

    def _press_node(self, item: NodeItem, place: QPointF, modifiers: Qt.KeyboardModifier) -> None:
        name = item.node.id
        x, y = place.x() - item.corner[0], place.y() - item.corner[1]
        layout = item.layout
        if layout.shape == "box" and y < HEADER and x < PAD + 14 and not modifiers:
            self._click = lambda: self.scene.document.edit(
                "Unfold" if item.node.collapsed else "Fold", collapse([name], not item.node.collapsed)
            )
        elif y < HEADER and x > layout.width * 0.6 and self._has_failed(name) and not modifiers:
            self._click = lambda: self.go_to_fault(name)
        elif layout.shape != "reroute" and not layout.collapsed and min(x - layout.width, y - layout.height) > -GRIP:
            self._begin = lambda: ResizeNode(self.view, place, item)
            return
        elif not modifiers:
            row = layout.row_at(y)
            if row is not None and row.kind != "slot" and not isinstance(item.node.inputs.get(row.input), Link):
                self._click = lambda: self.view.edit_wanted.emit(name, row.input)
                gesture = self.value_gesture(item, row, place)
                if gesture is not None:
                    self._choose(name, modifiers)
                    self._begin = lambda: gesture
                    return
        self._choose(name, modifiers)
        self._begin = lambda: MoveNodesGesture(self.view, place, item)

    def _has_failed(self, name: str) -> bool:
        state = self.scene.states.get(name)
        return state is not None and state.kind == "failed"

    def _choose(self, name: str, modifiers: Qt.KeyboardModifier) -> None:
        """Select as a press does: a selected node keeps the others, so that all can be dragged."""
        selected = self.scene.selected
        if modifiers & (_SHIFT | _CTRL):
            self.scene.select(selected - {name} if name in selected else selected | {name})
        elif name not in selected:
            self.scene.select([name])
        else:
            before = self._click

            def click() -> None:
                if before is not None:
                    before()
                self.scene.select([name])

            self._click = click
        self.scene.raise_nodes([name])

    # ---- finding and hovering

    def wire_at(self, place: QPointF) -> Wire | None:
        return self.scene.table.near(place.x(), place.y(), WIRE_REACH / self.view.scale_factor)

    def add_reroute(self, wire: Wire, place: QPointF) -> None:
        corner = (place.x() - REROUTE_WIDTH / 2, place.y() - REROUTE_HEIGHT / 2)
        self._try(lambda: self.scene.document.edit("Add a reroute", AddReroute(wire, corner)))

    def _hover(self, place: QPointF) -> None:
        item = self.scene.node_at(place)
        if item is not None:
            self._set_hover(item.node.id, None)
        else:
            self._set_hover("", self.wire_at(place) if self.view.scale_factor > 0.2 else None)

    def _set_hover(self, node: str, wire: Wire | None) -> None:
        frames = self.view.frames
        if node != frames.hovered:
            before, frames.hovered = frames.hovered, node
            for name in (before, node):
                if name:
                    self.scene.touch_node(name)
        if wire != frames.lit_wire:
            for one in (frames.lit_wire, wire):
                row = self.scene.table.rows.get(one) if isinstance(one, Wire) else None
                if row is not None:
                    self.view.update_area(self.scene.table.path(row).boundingRect().adjusted(-6, -6, 6, 6))
            frames.lit_wire = wire

    def tool_tip(self, event: QHelpEvent | QEvent) -> bool:
        """What is under the pointer, in a sentence."""
        if not isinstance(event, QHelpEvent):
            return False
        place = self.view.to_scene(QPointF(event.pos()))
        text = self.explain(place)
        if text:
            wire = self.wire_at(place) if self.scene.node_at(place) is None else None
            flow = self.flow(wire) if wire is not None else ""
            QToolTip.showText(event.globalPos(), f"<qt>{escape(text)}{flow}</qt>", self.view)
        else:
            QToolTip.hideText()
        return True

    def explain(self, place: QPointF) -> str:
        """Socket: name, type and what it is for. Row: its tooltip. Title: the node's doc, or why it failed."""
        found = self.scene.socket_at(place)
        if found is not None:
            item, name, is_output = found
            if is_output:
                output = item.schema.output(name)
                kind, tip = item.layout.outputs[name][2], output.tooltip if output else ""
            else:
                schema = self.scene.document.input_schema(item.node.id, name)
                kind, tip = item.layout.inputs[name][2], schema.tooltip if schema else ""
            words = name_words(name)
            return f"{words} ({words_for(kind)}){': ' + tip if tip else ''}"
        over = self.scene.node_at(place)
        if over is not None:
            row = over.layout.row_at(place.y() - over.corner[1])
            if row is not None and row.schema is not None and row.kind != "slot":
                return row.schema.tooltip
            state = self.scene.states.get(over.node.id)
            return state.text if state is not None and state.text else over.schema.doc.partition("\n")[0]
        wire = self.wire_at(place)
        if wire is not None:
            return f"{wire.output.replace('_', ' ')} → {wire.input.replace('_', ' ')}: " + words_for(
                self.scene.table.kind(self.scene.table.rows[wire])
            )
        return ""

    # ---- inner

    def _start(self, gesture: Gesture) -> None:
        self.gesture = gesture
        self._click = None
        self.view.viewport().setCursor(gesture.cursor)

    def _guarded(self, act: Callable[[Gesture], object]) -> None:
        gesture = self.gesture
        if gesture is not None:
            self._try(lambda: act(gesture))

    def _try(self, act: Callable[[], object]) -> None:
        """What the document refuses is said, in its own sentence."""
        try:
            act()
        except TesseraError as error:
            self.view.said.emit(str(error))
