"""The one editor that lies over a value on its node: it opens where the value stands and goes when it is done."""

from __future__ import annotations

from typing import Any, cast

from PySide6.QtCore import QEvent, QObject, QPointF, QRect, QRectF, QSize, Qt, Slot
from PySide6.QtGui import QKeyEvent
from PySide6.QtWidgets import QApplication, QFrame, QWidget

from engine.contracts.node_schema import InputSchema
from engine.contracts.workflow import InputValue, Link, SeedControl
from studio_app.documents.edits import set_input
from studio_app.documents.graph_document import Change
from studio_app.documents.seeds import WORDS, SetSeedControl, control_of
from ui import theme
from ui.bridge.bridge import Bridge
from ui.graph_canvas.acts import Acts
from ui.graph_canvas.choice_popup import Choice
from ui.graph_canvas.geometry import PAD, Row, label_of
from ui.graph_canvas.node_item import NodeItem
from ui.graph_canvas.tools.base import Gesture
from ui.graph_canvas.values.drag import DragNumber
from ui.graph_canvas.values.fields import PromptValue, ValueField
from ui.graph_canvas.values.kinds import choices_of, filtered, kind_of, nothing_to_choose, value_in
from ui.graph_canvas.values.make import make_field
from ui.graph_canvas.values.reader import reader_of
from ui.graph_canvas.values.seed import SeedValue
from ui.widgets.layouts import Column

SMALLEST = {"picture": (220, 48), "curve": (220, 160), "json": (240, 110), "prompt": (260, 84), "colour": (140, 36),
            "file": (220, 36), "seed": (270, 36)}  # fmt: skip


class ValueEditor(QObject):
    """Edits the values of one canvas. All that one opening of the editor changes is one entry of the history."""

    def __init__(self, acts: Acts, bridge: Bridge) -> None:
        super().__init__(acts.canvas)
        self.acts, self.bridge = acts, bridge
        self.canvas, self.view, self.scene, self.document = acts.canvas, acts.view, acts.scene, acts.document
        self.frame: QFrame | None = None
        self.field: ValueField | None = None
        self.place: tuple[str, str] = ("", "")  # node and input that are edited, or were last
        self._session = 0
        self._revision = -1
        self._before: InputValue = None
        self.view.edit_wanted.connect(self.edit)
        self.view.moved.connect(self._follow)
        self.scene.changed_nodes.connect(self._document_changed)
        self.scene.shown.connect(self.close_editor)
        self.canvas.pointer.value_gesture = self._gesture
        self.canvas.typed = self.type_at
        application = QApplication.instance()
        assert isinstance(application, QApplication)
        application.focusChanged.connect(self._focus_moved)

    # ---- opening

    @Slot(str, str)
    def edit(self, node: str, name: str, text: str = "") -> None:
        """Change a value: toggle a switch, open a list, or lay the editor over the row; `text` was typed already."""
        self.close_editor()
        item = self.scene.items_by_id.get(node)
        schema = self.schema_of(node, name)
        if item is None or schema is None:
            return
        if isinstance(item.node.inputs.get(name), Link):
            self.canvas.say("A wire gives this value; take the wire away to set it here.")
            return
        self.place = node, name
        if node not in self.scene.selected:
            self.scene.select([node])
        kind = kind_of(schema)
        value = value_in(schema, item.node.inputs, name)
        if kind == "toggle":
            self.set_value(node, name, not value, f"toggle {self._next_session()}")
        elif kind in {"choice", "model"}:
            self._choose(item, name, schema)
        else:
            self._open(item, name, schema, value, text)

    def schema_of(self, node: str, name: str) -> InputSchema | None:
        """The schema of an input that has a value of its own; a note's text counts as a prompt."""
        return self.document.input_schema(node, name) if node in self.document.nodes else None

    def label(self, node: str, name: str) -> str:
        schema = self.schema_of(node, name)
        return label_of(name, schema) if schema is not None else name

    def _choose(self, item: NodeItem, name: str, schema: InputSchema) -> None:
        node, rows, label = item.node.id, choices_of(self.canvas.app, schema), label_of(name, schema)
        row = self._row(item, name)
        at = QPointF(item.corner[0] + PAD, item.corner[1] + (row.y + row.height + 4 if row else item.layout.height))

        def take(choice: object) -> None:
            self.set_value(node, name, cast(Choice, choice).value)

        self.canvas.open_list(label, f"{label}: type a few letters", lambda text: filtered(rows, text), take, at,
                              nothing_to_choose(schema))  # fmt: skip

    def _open(self, item: NodeItem, name: str, schema: InputSchema, value: InputValue, text: str) -> None:
        self._next_session()
        self._before = value
        label = label_of(name, schema)
        field = make_field(self.canvas.app, self.bridge, label, schema)
        frame = _Frame(self.view.viewport(), label)
        Column(frame, margins=0).addWidget(field)
        frame.setProperty("place", (item.node.id, name))
        if isinstance(field, PromptValue):
            field.editor.set_compact(True)
            field.editor.set_model(reader_of(self.document, item.node.id))
        field.show_value(value)
        if isinstance(field, SeedValue):
            field.show_control(control_of(item.node, name))
            field.control_changed.connect(self._control)
        self.frame, self.field = frame, field
        self._revision = self.document.revision
        self._follow()
        frame.show()
        frame.raise_()
        field.changed.connect(self._changed)
        field.said.connect(self.canvas.say)
        field.finished.connect(self._finished)
        for widget in (field, *field.findChildren(QWidget)):
            widget.installEventFilter(self)
        field.begin(text)

    def _next_session(self) -> int:
        self._session += 1
        return self._session

    # ---- changing

    def set_value(self, node: str, name: str, value: object, merge: str = "") -> bool:
        """Set an input as an entry of the history; whether it could be."""
        label = f"Set {self.label(node, name)}"
        return self.acts.do(label, set_input(node, name, cast(InputValue, value)), merge=merge)

    @Slot(object)
    def _changed(self, value: object) -> None:
        node, name = self.place
        if self.set_value(node, name, value, f"value {node}.{name} {self._session}"):
            self._revision = self.document.revision

    @Slot(str)
    def _control(self, control: str) -> None:
        """What becomes of the seed after a run: an entry of its own, which Escape leaves."""
        node, name = self.place
        wanted = cast(SeedControl, control)
        self.document.seal()
        if self.acts.do(WORDS[wanted], SetSeedControl(node, name, wanted)):
            self._before, self._revision = self._value_now(), self.document.revision
            self._next_session()
            self.canvas.say(f"{WORDS[wanted]}.")

    @Slot()
    def _finished(self) -> None:
        self.close_editor()
        self.view.setFocus()

    def give_up(self) -> None:
        """Escape: what this opening changed is taken back."""
        changed = self._before != self._value_now()
        mine = self.document.revision == self._revision
        frame, self.frame, self.field = self.frame, None, None
        if frame is not None:
            frame.hide()
            frame.deleteLater()
        if changed and mine and self.document.can_undo:
            self.document.undo()
        self.view.setFocus()

    def _value_now(self) -> InputValue:
        node, name = self.place
        schema = self.schema_of(node, name)
        return None if schema is None else value_in(schema, self.document.nodes[node].inputs, name)

    @Slot()
    def close_editor(self) -> None:
        """Done: what was typed counts."""
        frame = self.frame
        if frame is None:
            return
        focused = QApplication.focusWidget()
        if focused is not None and frame.isAncestorOf(focused):
            focused.clearFocus()  # a number that is being typed is read when it loses the keyboard
        self.frame = self.field = None
        frame.hide()
        frame.deleteLater()
        self.document.seal()

    def next_value(self, back: bool = False) -> None:
        """Go on to the next value of the node that can be edited here; after the last comes the first."""
        node, name = self.place
        names = self.editable(node)
        if not names:
            self.close_editor()
            return
        at = names.index(name) if name in names else -1
        self.edit_only(node, names[(at + (-1 if back else 1)) % len(names)])

    def edit_only(self, node: str, name: str) -> None:
        """As `edit`, but a switch is only gone to: Space or Enter turns it."""
        schema = self.schema_of(node, name)
        if schema is None or kind_of(schema) != "toggle":
            self.edit(node, name)
            return
        self.close_editor()
        item = self.scene.items_by_id[node]
        self.place = node, name
        self._open(item, name, schema, value_in(schema, item.node.inputs, name), "")

    def editable(self, node: str) -> list[str]:
        """The inputs of a node that are edited on it, from above."""
        item = self.scene.items_by_id.get(node)
        if item is None:
            return []
        linked = item.links()
        return [row.input for row in item.layout.rows if row.kind != "slot" and row.input not in linked]

    def type_at(self, text: str) -> bool:
        """A digit typed while one node is chosen begins to write its number: the one edited last, else the first."""
        if len(self.scene.selected) != 1 or not text or text not in "0123456789.-":
            return False
        node = next(iter(self.scene.selected))
        names = [n for n in self.editable(node) if self._is_number(node, n)]
        if not names:
            return False
        last = self.place[1] if self.place[0] == node and self.place[1] in names else names[0]
        self.edit(node, last, text)
        return True

    def _is_number(self, node: str, name: str) -> bool:
        schema = self.schema_of(node, name)
        return schema is not None and kind_of(schema) in {"number", "seed"}

    # ---- where it lies

    def _row(self, item: NodeItem, name: str) -> Row | None:
        return next((row for row in item.layout.rows if row.input == name and row.kind != "slot"), None)

    @Slot()
    def _follow(self) -> None:
        """Lie over the row, wherever it is seen now; at least as large as can be read."""
        frame = self.frame
        item = self.scene.items_by_id.get(self.place[0])
        if frame is None or item is None:
            return
        row = self._row(item, self.place[1])
        layout = item.layout
        if row is not None:
            box = QRectF(item.corner[0] + PAD, item.corner[1] + row.y, layout.width - 2 * PAD, row.height)
        else:
            box = item.rect()  # a note, or an input that stands in the properties only
        seen = self.view.viewportTransform().mapRect(box)
        schema = self.schema_of(*self.place)
        wide, high = SMALLEST.get(kind_of(schema) if schema is not None else "text", (120, 36))
        size = QSize(max(round(seen.width()), theme.px(wide)), max(round(seen.height()), theme.px(high)))
        corner = seen.topLeft().toPoint()
        if row is not None and row.kind == "value":  # taller than its row: over its middle
            corner.setY(round(seen.center().y() - size.height() / 2))
        frame.setGeometry(QRect(corner, size))

    @Slot(object)
    def _document_changed(self, change: object) -> None:
        """Show what undo or another hand set; go when the node went."""
        node, name = self.place
        if self.field is None or not isinstance(change, Change):
            return
        if (
            change.level
            or node not in self.document.nodes
            or isinstance(self.document.nodes[node].inputs.get(name), Link)
        ):
            self.close_editor()
        elif node in change.changed and self.document.revision != self._revision:
            schema = self.schema_of(node, name)
            focused = QApplication.focusWidget()
            typing = focused is not None and self.frame is not None and self.frame.isAncestorOf(focused)
            if isinstance(self.field, SeedValue):
                self.field.show_control(control_of(self.document.nodes[node], name))
            if schema is not None and not typing:
                self.field.show_value(value_in(schema, self.document.nodes[node].inputs, name))
        self._follow()

    # ---- pointer and keys

    def _gesture(self, item: NodeItem, row: Row, place: QPointF) -> Gesture | None:
        """Numbers are dragged sideways."""
        if row.schema is None or kind_of(row.schema) not in {"number", "seed"}:
            return None
        return DragNumber(self.view, place, item.node.id, row.input, row.schema, self._next_session())

    @Slot(QWidget, QWidget)
    def _focus_moved(self, old: QWidget | None, new: QWidget | None) -> None:
        """The keyboard went elsewhere: done. A window of its own (a colour dialog) does not count."""
        frame = self.frame
        if frame is None or new is None or new is frame or frame.isAncestorOf(new):
            return
        if new.window() is self.view.window():
            self.close_editor()

    def eventFilter(self, watched: QObject, event: QEvent) -> bool:
        if self.frame is None or not isinstance(event, QKeyEvent):
            return False
        key = event.key()
        plain = not event.modifiers() & ~Qt.KeyboardModifier.ShiftModifier
        if event.type() == QEvent.Type.ShortcutOverride:
            event.accept()  # while a value is edited keys are its own, not the window's commands
            return False
        if event.type() != QEvent.Type.KeyPress:
            return False
        if key == Qt.Key.Key_Escape:
            self.give_up()
            return True
        if key in {Qt.Key.Key_Tab, Qt.Key.Key_Backtab} and plain:
            self.next_value(back=key == Qt.Key.Key_Backtab)
            return True
        return False

    def close_down(self) -> None:
        self.close_editor()


class _Frame(QFrame):
    """What holds the editor: opaque, so that the painted value does not shine through."""

    def __init__(self, parent: QWidget, label: str) -> None:
        super().__init__(parent)
        self.setAttribute(Qt.WidgetAttribute.WA_StyledBackground)
        self.setProperty("surface", "float")
        self.setAccessibleName(f"Value of {label}")

    def keyPressEvent(self, event: QKeyEvent) -> None:
        event.accept()  # what the field leaves is not the canvas's: Enter would open the editor again

    def mousePressEvent(self, event: Any) -> None:
        event.accept()  # a press beside the field is none on the canvas below

    def wheelEvent(self, event: Any) -> None:
        event.accept()
