"""A workflow as a form: the inputs its author exposed, in groups, with help. In edit mode the author arranges them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import cast

from PySide6.QtCore import QPoint, Qt, Signal, Slot
from PySide6.QtWidgets import QLineEdit, QScrollArea, QWidget

from engine.contracts.errors import TesseraError
from engine.contracts.workflow import FormField, InputValue, SeedControl
from studio_app.application import Application
from studio_app.documents.content import MAIN
from studio_app.documents.edits import Edit, SetForm
from studio_app.documents.form_fields import ShownField, document_fields, exposed, hidden, reordered, set_field
from studio_app.documents.graph_document import Change, GraphDocument
from studio_app.documents.seeds import WORDS, field_control, set_field_control
from ui import theme
from ui.bridge.bridge import Bridge
from ui.graph_canvas.choice_popup import Choice, ChoicePopup
from ui.graph_canvas.geometry import is_value, label_of
from ui.graph_canvas.properties.panel import replace_page
from ui.graph_canvas.values.fields import ValueField
from ui.graph_canvas.values.kinds import filtered, kind_of
from ui.graph_canvas.values.make import make_field
from ui.graph_canvas.values.seed import SeedValue
from ui.widgets.basics import Button, IconButton, Label, Panel, describe
from ui.widgets.layouts import Column, Row

WIDEST = 640
_LARGE = frozenset({"prompt", "picture", "curve", "json"})


class FormView(Panel):
    """Shows and sets the form of an open document. `said` fires with one sentence, `run_wanted` for Run."""

    said = Signal(str)
    run_wanted = Signal()

    def __init__(
        self, app: Application, bridge: Bridge, document: GraphDocument, parent: QWidget | None = None
    ) -> None:
        super().__init__(0, parent)
        self._app, self._bridge, self.document = app, bridge, document
        self._shown: object = None
        self._popup: ChoicePopup | None = None
        self._merge = 0
        self.editing = False
        self.fields: dict[str, ValueField] = {}
        self.labels: dict[str, QLineEdit] = {}
        self.groups: dict[str, QLineEdit] = {}
        self.setAccessibleName("Form of the workflow")
        outer = Column(self, spacing=0)
        head = Row(spacing=1, margins=(2, 1.5, 2, 1))
        self.title = Label("", "heading")
        head.addWidget(self.title, 1)
        self.edit = Button("Arrange", "sliders-horizontal", tip="Choose what the form shows, in what order and groups.")
        self.edit.setCheckable(True)
        self.edit.toggled.connect(self.set_editing)
        head.addWidget(self.edit)
        self.run = Button("Run", "play", kind="primary", tip="Make what the workflow makes.")
        self.run.clicked.connect(self.run_wanted)
        head.addWidget(self.run)
        outer.addLayout(head)
        self.area = QScrollArea()
        self.area.setWidgetResizable(True)
        self.area.setFrameShape(QScrollArea.Shape.NoFrame)
        self.area.setFocusPolicy(Qt.FocusPolicy.NoFocus)
        outer.addWidget(self.area, 1)
        self._stop = document.subscribe(self._changed)
        self.refresh()

    # ---- following the document

    def _changed(self, change: Change) -> None:
        if self.isVisible():
            self.refresh()

    @Slot()
    def refresh(self) -> None:
        """Bring the form in step; it is built anew when other fields are in it."""
        groups = document_fields(self.document)
        shape = (self.editing, tuple((g.title, tuple((f.key, f.label, f.help, f.linked, f.problem) for f in g.fields))
                                     for g in groups))  # fmt: skip
        self.title.setText(self.document.content.top.name or "Form")
        if shape != self._shown:
            self._shown = shape
            self._build([field for group in groups for field in group.fields])
        for group in groups:
            for shown in group.fields:
                field = self.fields.get(shown.key)
                if isinstance(field, SeedValue):
                    field.show_control(field_control(self.document, shown.key))
                if field is not None and not _has_keyboard(field):
                    field.show_value(shown.value)

    @Slot(bool)
    def set_editing(self, editing: bool) -> None:
        self.editing = editing
        self.edit.setChecked(editing)
        self.refresh()

    # ---- building

    def _build(self, shown: Sequence[ShownField]) -> None:
        self.fields, self.labels, self.groups = {}, {}, {}
        page = QWidget()
        centre = Row(page, margins=2)
        centre.addStretch(1)
        holder = QWidget()
        holder.setMaximumWidth(theme.px(WIDEST))
        column = Column(holder, spacing=1)
        centre.addWidget(holder, 100)
        centre.addStretch(1)
        if not shown and not self.editing:
            words = "This form is empty. Choose “Arrange” to put inputs of the workflow into it."
            column.addWidget(Label(words, "muted", wrap=True))
        group = None
        for index, each in enumerate(shown):
            if each.field.group != group:
                group = each.field.group
                if group:
                    column.addWidget(Label(group, "heading"))
            column.addWidget(self._edit_row(each, index, shown) if self.editing else self._value_row(each))
        if self.editing:
            add = Button("Add an input…", "plus", tip="Choose an input of a node to show in the form.")
            add.clicked.connect(lambda: self._ask_input(add))
            column.addWidget(add)
        column.addStretch(1)
        replace_page(self.area, page)

    def _value_row(self, shown: ShownField) -> QWidget:
        holder = QWidget()
        column = Column(holder, spacing=0.25)
        words = Label(shown.label, "normal")
        if shown.problem or shown.linked:
            column.addWidget(words)
            why = shown.problem or "A wire of the workflow gives this value."
            column.addWidget(Label(why, "warning" if shown.problem else "muted", wrap=True))
            return holder
        field = make_field(self._app, self._bridge, shown.label, shown.schema)
        self.fields[shown.key] = field
        if isinstance(field, SeedValue):
            field.control_changed.connect(lambda control, key=shown.key: self._set_control(key, control))
        field.changed.connect(self._setter(shown.key))
        field.said.connect(self.said)
        if kind_of(shown.schema) in _LARGE:
            column.addWidget(words)
            column.addWidget(field)
        else:
            row = Row()
            row.addWidget(words, 1)
            row.addWidget(field, 1)
            column.addLayout(row)
        if shown.help:
            column.addWidget(Label(shown.help[:1].upper() + shown.help[1:], "small", wrap=True))
        return holder

    def _edit_row(self, shown: ShownField, index: int, all_shown: Sequence[ShownField]) -> QWidget:
        holder = QWidget()
        row = Row(holder, spacing=0.5)
        label, group = QLineEdit(shown.field.label), QLineEdit(shown.field.group)
        label.setPlaceholderText(shown.label)
        group.setPlaceholderText("Group")
        describe(label, f"Label of {shown.label}", "What stands beside the field; empty for the input's own name.")
        describe(group, f"Group of {shown.label}", "Fields of one group stand under one heading.")
        label.editingFinished.connect(lambda: self._change(shown.field, label=label.text().strip()))
        group.editingFinished.connect(lambda: self._change(shown.field, group=group.text().strip()))
        self.labels[shown.key], self.groups[shown.key] = label, group
        row.addWidget(label, 3)
        row.addWidget(group, 2)
        keys = [each.key for each in all_shown]
        for step, icon, words in ((-1, "chevron-up", "Up"), (1, "chevron-down", "Down")):
            move = IconButton(icon, f"{words}: {shown.label}", "Change the order of the form.", size=16)
            move.setEnabled(0 <= index + step < len(keys))
            move.clicked.connect(lambda checked=False, s=step: self._move(keys, index, s))
            row.addWidget(move)
        out = IconButton("x", f"Take out: {shown.label}", "Take the field out of the form.", size=16)
        where = shown.field
        out.clicked.connect(lambda: self._do("Out of the form", hidden(self.document, where.node, where.input)))
        row.addWidget(out)
        return holder

    # ---- setting

    def _setter(self, key: str) -> Callable[[object], None]:
        self._merge += 1
        merge = f"form {key} {self._merge}"

        def give(value: object) -> None:
            try:
                set_field(self.document, key, cast(InputValue, value), merge=merge)
            except TesseraError as error:
                self.said.emit(str(error))

        return give

    def _set_control(self, key: str, control: SeedControl) -> None:
        set_field_control(self.document, key, control)
        self.said.emit(f"{WORDS[control]}.")

    def _do(self, label: str, edit: Edit) -> None:
        try:
            self.document.edit(label, edit)
        except TesseraError as error:
            self.said.emit(str(error))

    def _change(self, field: FormField, **changes: str) -> None:
        """Give a field another label or group, where it stands."""
        changed = replace(field, **changes)  # type: ignore[arg-type]  # label and group are texts
        if changed != field:
            form = tuple(changed if (f.node, f.input) == (field.node, field.input) else f
                         for f in self.document.content.form)  # fmt: skip
            self._do("Change the form", SetForm(form))

    def _move(self, keys: list[str], index: int, step: int) -> None:
        order = list(keys)
        order.insert(index + step, order.pop(index))
        self._do("Order the form", reordered(self.document, order))

    # ---- adding

    def inputs(self) -> list[Choice]:
        """The inputs that could be in the form and are not."""
        document = self.document
        graph = document.content.graphs[MAIN]
        there = {(f.node, f.input) for f in document.content.form}
        found = []
        for node in graph.nodes.values():
            schema = document.schemas.of(graph, node)
            for item in schema.inputs:
                if is_value(item) and not item.variadic and (node.id, item.name) not in there:
                    field = FormField(node=node.id, input=item.name)
                    title = f"{label_of(item.name, item)}"
                    found.append(Choice(title, node.title or schema.title, item.type, item.tooltip, field))
        return found

    def _ask_input(self, button: QWidget) -> None:
        rows = self.inputs()
        if self._popup is None:
            self._popup = ChoicePopup(self)
        self._popup.open_at(
            button.mapTo(self, QPoint(0, 0)), "Add an input", "An input of a node: type a few letters",
            lambda text: filtered(rows, text), lambda choice: self.add_field(choice.value),
            "Every input that fits is in the form already.",
        )  # fmt: skip

    def add_field(self, field: FormField) -> None:
        self._do("Into the form", exposed(self.document, field))

    def close_down(self) -> None:
        self._stop()


def _has_keyboard(field: ValueField) -> bool:
    from PySide6.QtWidgets import QApplication

    focused = QApplication.focusWidget()
    return focused is not None and (focused is field or field.isAncestorOf(focused))
