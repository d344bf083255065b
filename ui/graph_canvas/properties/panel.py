"""The inspector of the Graph page: the values of the selected nodes, how they look, how they run, and their help."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, cast

from PySide6.QtCore import Qt, QTimer, Slot
from PySide6.QtGui import QShowEvent
from PySide6.QtWidgets import QLineEdit, QScrollArea, QWidget
from shiboken6 import isValid

from engine.contracts.node_schema import InputSchema
from engine.contracts.workflow import InputValue, Link, NodeMode, SeedControl
from engine.graph.subgraphs import SUBGRAPH
from studio_app import looking
from studio_app.application import Application
from studio_app.documents.content import MAIN
from studio_app.documents.edits import SetInputs, set_colour, set_mode, set_title
from studio_app.documents.seeds import WORDS, SetSeedControl, control_of
from ui import theme
from ui.bridge.background import Background
from ui.bridge.bridge import Bridge
from ui.graph_canvas.acts import FRAME_COLOURS
from ui.graph_canvas.geometry import NOTE, is_value, label_of, shows_text
from ui.graph_canvas.node_item import NodeItem
from ui.graph_canvas.properties.result import ResultBox
from ui.graph_canvas.states import IDLE, NodeState
from ui.graph_canvas.values.editor import ValueEditor
from ui.graph_canvas.values.fields import PromptValue, ValueField
from ui.graph_canvas.values.kinds import kind_of, value_in
from ui.graph_canvas.values.make import make_field
from ui.graph_canvas.values.menu import reset_all
from ui.graph_canvas.values.reader import reader_of
from ui.graph_canvas.values.running import Running, go_to_fault
from ui.graph_canvas.values.seed import SeedValue
from ui.widgets.basics import Button, IconButton, Label, Line, describe
from ui.widgets.containers import Fold
from ui.widgets.inputs import Choice
from ui.widgets.layouts import Column, Flow, Row

if TYPE_CHECKING:
    from engine.graph.explain import Explanation

WIDTH = 300
WHY_MS = 250
MOST_VALUES = 60  # rows for one selection
MODES: tuple[tuple[NodeMode, str], ...] = (
    ("active", "Runs"), ("mute", "Muted: left out"), ("bypass", "Bypassed: values pass"),
)  # fmt: skip
_ACTIONS = {
    "run": "It will run", "maybe": "It may run", "cached": "It will not run again", "pinned": "It will not run",
    "not_needed": "It is not needed",
}  # fmt: skip
_OWN_ROW = frozenset({"prompt", "picture", "curve", "json", "seed"})


class PropertiesPanel(QWidget):
    """Shows the selection of the canvas in front: built anew when other nodes are selected, else brought in step."""

    def __init__(self, app: Application, bridge: Bridge, running: Running) -> None:
        super().__init__()
        self._app, self._bridge, self._running = app, bridge, running
        self._background = Background(self)
        self._editor: ValueEditor | None = None
        self._shown: tuple[object, ...] = ()
        self._merge = 0
        self.fields: dict[str, ValueField] = {}
        self._state: Label | None = None
        self._why: Label | None = None
        self._go_button: Button | None = None
        self.result: ResultBox | None = None
        self.title: QLineEdit | None = None
        self.setAccessibleName("Properties")
        outer = Column(self, spacing=0)
        self.area = QScrollArea()
        self.area.setWidgetResizable(True)
        self.area.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self.area.setFrameShape(QScrollArea.Shape.NoFrame)
        self.area.setFocusPolicy(Qt.FocusPolicy.NoFocus)
        outer.addWidget(self.area)
        self.setMinimumWidth(theme.px(WIDTH))
        self._timer = QTimer(self)
        self._timer.setSingleShot(True)
        self._timer.setInterval(WHY_MS)
        self._timer.timeout.connect(self._ask_why)
        running.planned.connect(self.refresh)

    # ---- following

    def show_editor(self, editor: ValueEditor | None) -> None:
        """The canvas in front, or what is selected there, is another."""
        self._editor = editor
        self.refresh()

    def showEvent(self, event: QShowEvent) -> None:
        super().showEvent(event)
        self.refresh()

    @Slot()
    def refresh(self) -> None:
        """Bring everything in step with the document; nothing is done while it is hidden."""
        if not self.isVisible():
            return
        editor = self._editor
        items = self._items()
        key: tuple[object, ...] = (
            editor, tuple(i.node.id for i in items), tuple(id(i.schema) for i in items),
            tuple(frozenset(i.links()) for i in items), editor.document.level if editor else (),
        )  # fmt: skip
        if editor is not None and not items and editor.document.graph_id != MAIN:
            head = editor.document.content.subgraphs[editor.document.graph_id]
            key = (*key, head.inputs, head.outputs, head.name, head.library)
        if key != self._shown:
            self._shown = key
            self._build(items)
        self._update(items)
        if len(items) == 1:
            self._timer.start()

    def _items(self) -> list[NodeItem]:
        if self._editor is None:
            return []
        scene = self._editor.scene
        return [item for name, item in scene.items_by_id.items() if name in scene.selected]

    # ---- building

    def _build(self, items: Sequence[NodeItem]) -> None:
        self.fields, self._state, self._why, self.title, self._go_button = {}, None, None, None, None
        self.result = None
        page = QWidget()
        column = Column(page, spacing=1, margins=2)
        editor = self._editor
        if editor is None:
            column.addWidget(Label("Open a workflow to see its nodes here.", "muted", wrap=True))
        elif not items:
            self._build_nothing(column, editor)
        else:
            self._build_head(column, editor, items)
            if len(items) == 1 and shows_text(items[0].schema):
                self.result = ResultBox()
                column.addWidget(self.result)
            self._build_values(column, editor, items)
            self._build_looks(column, editor, items)
            if len(items) == 1:
                self._build_help(column, items[0])
        column.addStretch(1)
        replace_page(self.area, page)

    def _build_nothing(self, column: Column, editor: ValueEditor) -> None:
        document = editor.document
        if document.graph_id != MAIN:
            from ui.graph_canvas.properties.sockets import SocketsEditor

            column.addWidget(SocketsEditor(editor, self._app))
            return
        column.addWidget(Label(editor.canvas.tab.title, "heading", wrap=True))
        if document.workflow.description:
            column.addWidget(Label(document.workflow.description, "muted", wrap=True))
        column.addWidget(Label("Select nodes to see and change their values here.", "muted", wrap=True))
        _, whole, fits = self._running.plan_in_words()
        if whole:
            column.addWidget(Line())
            column.addWidget(Label("Memory", "strong"))
            column.addWidget(Label(whole, "muted" if fits else "warning", wrap=True))

    def _build_head(self, column: Column, editor: ValueEditor, items: Sequence[NodeItem]) -> None:
        if len(items) > 1:
            column.addWidget(Label(f"{len(items)} nodes", "heading"))
            kinds = sorted({item.schema.title for item in items})
            column.addWidget(Label(", ".join(kinds[:4]) + (" …" if len(kinds) > 4 else ""), "muted", wrap=True))
            return
        item = items[0]
        name = item.node.id
        title = QLineEdit(item.node.title)
        title.setPlaceholderText(item.schema.title)
        describe(title, "Title", "What the node is called here; empty for its own name.")
        title.editingFinished.connect(lambda: self._give_title(name, title.text()))
        self.title = title
        column.addWidget(title)
        column.addWidget(Label(f"{item.schema.title} · {item.schema.category}", "small", wrap=True))
        self._state = Label("", "normal", wrap=True)
        column.addWidget(self._state)
        go = Button("Go to the field", tip="Open the value that is at fault.")
        go.clicked.connect(lambda: go_to_fault(editor.canvas, editor, name))
        go.hide()
        self._go_button = go
        column.addWidget(go)
        if item.schema.origin == "placeholder" and self._app.commands.is_bound("app.custom_nodes"):
            own = Button("Nodes of your own…", "shield-check", tip="See whether a plugin that is off has this node.")
            own.clicked.connect(lambda: self._app.commands.run("app.custom_nodes"))
            column.addWidget(own)
        if item.node.type.startswith(SUBGRAPH):
            inside = Button("Open", "boxes", tip="Show what is in the subgraph.")
            inside.clicked.connect(lambda: editor.acts.open_node(name))
            column.addWidget(inside)

    def _give_title(self, name: str, text: str) -> None:
        editor = self._editor
        if editor is not None and name in editor.document.nodes and editor.document.nodes[name].title != text:
            editor.acts.do("Rename", set_title(name, text))

    def _build_values(self, column: Column, editor: ValueEditor, items: Sequence[NodeItem]) -> None:
        shared = common_inputs(items)
        if not shared:
            return
        row = Row()
        row.addWidget(Label("Values" if len(items) == 1 else "Values in common", "strong"), 1)
        if len(items) == 1:
            name = items[0].node.id
            reset = IconButton("undo", "Reset all values", "Give every value its default back.", size=16)
            reset.clicked.connect(lambda: reset_all(editor, name))
            row.addWidget(reset)
        column.addLayout(row)
        for name, schema in shared[:MOST_VALUES]:
            label = label_of(name, schema)
            links = [item.node.inputs[name] for item in items if isinstance(item.node.inputs.get(name), Link)]
            if links:
                column.addWidget(self._link_row(editor, label, cast(Link, links[0])))
                continue
            field = make_field(self._app, self._bridge, label, schema)
            self.fields[name] = field
            field.changed.connect(self._setter(name))
            field.said.connect(editor.canvas.say)
            if isinstance(field, PromptValue):
                field.editor.set_model(reader_of(editor.document, items[0].node.id))
            if isinstance(field, SeedValue):
                field.control_changed.connect(partial(self._set_control, name))
            column.addWidget(_labelled(label, schema, field))

    def _link_row(self, editor: ValueEditor, label: str, link: Link) -> QWidget:
        """Where a value comes from, and the way there."""
        source = editor.scene.items_by_id.get(link.node)
        words = f"{source.title if source else 'a node that is gone'}: {link.output.replace('_', ' ')}"
        go = Button(words, "arrow-right", kind="quiet", tip="Go to the node that gives it.")
        go.clicked.connect(lambda: self._go(editor, link.node))
        holder = QWidget()
        row = Row(holder)
        row.addWidget(Label(label, "muted"))
        row.addWidget(go, 1)
        return holder

    def _go(self, editor: ValueEditor, node: str) -> None:
        item = editor.scene.items_by_id.get(node)
        if item is not None:
            editor.scene.select([node])
            editor.view.ensure_seen(item.rect())

    def _setter(self, name: str) -> Callable[[object], None]:
        self._merge += 1
        merge = f"properties {name} {self._merge}"

        def give(value: object) -> None:
            editor, items = self._editor, self._items()
            if editor is not None and items:
                edits = [SetInputs(item.node.id, {name: cast(InputValue, value)}) for item in items]
                editor.acts.do(f"Set {editor.label(items[0].node.id, name)}", *edits, merge=merge)

        return give

    def _set_control(self, name: str, control: str) -> None:
        """What becomes of the seeds of the selected nodes after a run."""
        editor, wanted = self._editor, cast(SeedControl, control)
        if editor is not None:
            editor.acts.do(WORDS[wanted], *(SetSeedControl(item.node.id, name, wanted) for item in self._items()))

    def _build_looks(self, column: Column, editor: ValueEditor, items: Sequence[NodeItem]) -> None:
        names = [item.node.id for item in items]
        column.addWidget(Line())
        mode = Choice("How it runs", "Muted nodes are left out; bypassed ones let values pass.")
        for value, words in MODES:
            mode.addItem(words, value)
        modes = {item.node.mode for item in items}
        mode.setCurrentIndex(mode.findData(modes.pop()) if len(modes) == 1 else -1)
        mode.activated.connect(lambda index: editor.acts.do("How it runs", set_mode(names, MODES[index][0])))
        column.addWidget(mode)
        holder = QWidget()
        flow = Flow(holder, spacing=0.5)
        for colour in ("", *FRAME_COLOURS):
            swatch = IconButton("x" if not colour else "circle", f"Colour {colour or 'none'}", size=16)
            swatch.setFixedSize(theme.px(32), theme.px(32))
            if colour:
                swatch.setStyleSheet(f"background: {colour};")
            swatch.clicked.connect(lambda checked=False, c=colour: editor.acts.do("Colour", set_colour(names, c)))
            flow.addWidget(swatch)
        column.addWidget(holder)

    def _build_help(self, column: Column, item: NodeItem) -> None:
        column.addWidget(Line())
        self._why = Label("", "muted", wrap=True)
        column.addWidget(self._why)
        if item.node.type != NOTE:
            text = item.schema.doc.strip() or "It has no description."
            column.addWidget(Fold("Help", Label(text, "muted", wrap=True), opened=True))

    # ---- bringing in step

    def _update(self, items: Sequence[NodeItem]) -> None:
        editor = self._editor
        if editor is None or not items:
            return
        for name, field in self.fields.items():
            schema = field.item
            values = [value_in(schema, item.node.inputs, name) for item in items]
            mixed = any(value != values[0] for value in values)
            if isinstance(field, SeedValue):
                field.show_control(control_of(items[0].node, name))
            if field.isAncestorOf(self._focused()) and not mixed:
                typed = editor.document.nodes[items[0].node.id].inputs.get(name)
                if typed is not None or not self._focused():
                    continue
            field.show_value(values[0], mixed=mixed)
        if len(items) == 1:
            self._show_state(editor, items[0])

    def _focused(self) -> QWidget:
        found = self.focusWidget()
        return found if found is not None and found.hasFocus() else self

    def _show_state(self, editor: ValueEditor, item: NodeItem) -> None:
        state: NodeState = editor.scene.states.get(item.node.id, IDLE)
        plan = self._running.plans.get(item.node.id)
        parts = [state.text or (f"Done in {state.badge}." if state.kind == "done" else state.badge)]
        if plan is not None:
            parts.append(looking.plan_words(plan))
        if self.result is not None:
            self.result.show_text(editor.scene.texts.get(item.node.id))
        if self._state is not None:
            self._state.setText(" ".join(part for part in parts if part))
            self._state.set_role("danger" if state.kind == "failed" else "muted")
            self._state.setVisible(bool(self._state.text()))
        if self._go_button is not None:
            self._go_button.setVisible(state.kind == "failed" and state.input in editor.editable(item.node.id))
        if self.title is not None and not self.title.hasFocus() and self.title.text() != item.node.title:
            self.title.setText(item.node.title)

    @Slot()
    def _ask_why(self) -> None:
        """Ask on a worker why the node would run again."""
        editor, items = self._editor, self._items()
        if editor is None or len(items) != 1 or editor.document.level or self._why is None:
            return
        workflow, node, label = editor.document.workflow, items[0].node.id, self._why

        def show(found: Explanation | None) -> None:
            if isValid(label):
                label.setText(f"{_ACTIONS[found.action]}: {found.reason}." if found is not None else "")

        def quiet(sentence: str) -> None:
            if isValid(label):  # a workflow that can't run has nothing to explain: the run itself says why
                label.setText("")

        self._background.run(lambda: looking.why(self._app, workflow, node), show, quiet)

    def close_down(self) -> None:
        self._timer.stop()
        self._editor = None
        self._background.close()


def replace_page(area: QScrollArea, page: QWidget) -> None:
    """Show another page; the one before goes later, since what it holds may be what asked for this."""
    before = area.takeWidget()
    if before is not None:
        before.hide()
        before.deleteLater()
    area.setWidget(page)


def common_inputs(items: Sequence[NodeItem]) -> list[tuple[str, InputSchema]]:
    """The inputs with a value of their own that all these nodes have, by name, type and choices."""
    first = items[0].schema
    found = [(i.name, i) for i in first.inputs if is_value(i) and not i.variadic]
    for item in items[1:]:
        there = {(i.name, i.type, i.choices, i.model_kind) for i in item.schema.inputs}
        found = [(n, i) for n, i in found if (n, i.type, i.choices, i.model_kind) in there]
    return found


def _labelled(label: str, schema: InputSchema, field: ValueField) -> QWidget:
    """A label beside a small field, above a large one."""
    holder = QWidget()
    words = Label(label, "muted")
    words.setToolTip(schema.tooltip)
    words.setBuddy(field)
    if kind_of(schema) in _OWN_ROW:
        column = Column(holder, spacing=0.5)
        column.addWidget(words)
        column.addWidget(field)
    else:
        row = Row(holder)
        row.addWidget(words, 2)
        row.addWidget(field, 3)
    return holder
