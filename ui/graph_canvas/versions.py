"""The versions of a workflow: what has changed since each, in a small picture and in words; and going back."""

from __future__ import annotations

from datetime import datetime

from PySide6.QtCore import QPointF, QRectF, QSize, Qt, Slot
from PySide6.QtGui import QColor, QPainter, QPaintEvent, QPen
from PySide6.QtWidgets import QLabel, QListWidget, QListWidgetItem, QSizePolicy, QWidget

from engine.contracts.errors import TesseraError, clip
from engine.contracts.references import BlobRef, ModelRef
from engine.contracts.workflow import InputValue, Link, Node, Workflow
from engine.graph.registry import Registry
from studio_app.application import Application
from studio_app.workflows.difference import InputChange, WorkflowDifference, diff
from studio_app.workflows.versions import Version
from studio_app.workflows.workflows import OpenWorkflow
from ui import theme
from ui.dialogs.page import PageDialog, scrolling
from ui.widgets.basics import Button, Label, describe
from ui.widgets.layouts import Column, Row

_TOKENS = {"added": "success", "removed": "danger", "changed": "warning", "": "text_muted"}
_SIGNS = {"added": "+", "removed": "−", "changed": "~"}
SIZE = (240.0, 160.0)  # of a node, for the small picture


class DifferenceMap(QWidget):
    """Both workflows in one small picture: what was added is green and marked +, removed red −, changed amber ~."""

    def __init__(self) -> None:
        super().__init__()
        self.kinds: dict[str, str] = {}
        self._nodes: dict[str, Node] = {}
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)

    def sizeHint(self) -> QSize:
        return QSize(theme.px(320), theme.px(190))

    def show_difference(self, old: Workflow, new: Workflow, found: WorkflowDifference) -> None:
        here = found.of()
        self._nodes = {n.id: n for n in (*old.nodes, *new.nodes)}
        self.kinds = {n.id: "added" for n in here.added} | {n.id: "removed" for n in here.removed}
        self.kinds |= {c.node: "changed" for c in here.changed if c.inputs or c.fields}
        counts = [f"{list(self.kinds.values()).count(kind)} {kind}" for kind in ("added", "removed", "changed")]
        self.setAccessibleName(f"Changes: {', '.join(counts)}")
        self.update()

    def paintEvent(self, event: QPaintEvent) -> None:
        painter = QPainter(self)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        painter.setBrush(theme.token("surface0"))
        painter.setPen(Qt.PenStyle.NoPen)
        painter.drawRoundedRect(self.rect(), theme.corner(), theme.corner())
        boxes = {name: QRectF(QPointF(*node.position), QPointF(node.position[0] + SIZE[0], node.position[1] + SIZE[1]))
                 for name, node in self._nodes.items()}  # fmt: skip
        whole = QRectF()
        for box in boxes.values():
            whole = whole.united(box)
        if whole.isEmpty():
            return
        room = QRectF(self.rect()).adjusted(*(theme.space(1) * sign for sign in (1, 1, -1, -1)))
        scale = min(room.width() / whole.width(), room.height() / whole.height(), 0.5)
        painter.translate(room.center())
        painter.scale(scale, scale)
        painter.translate(-whole.center())
        painter.setPen(QPen(theme.token("line"), 2 / scale))
        for name, node in self._nodes.items():
            for value in node.inputs.values():
                if isinstance(value, Link) and value.node in boxes:
                    source, target = boxes[value.node], boxes[name]
                    painter.drawLine(QPointF(source.right(), source.center().y()),
                                     QPointF(target.left(), target.center().y()))  # fmt: skip
        font = theme.font(1)
        font.setPixelSize(max(1, round(theme.font_pixels(1) / scale)))
        painter.setFont(font)
        for name, box in boxes.items():
            kind = self.kinds.get(name, "")
            colour = theme.token(_TOKENS[kind])
            fill = QColor(colour)
            fill.setAlpha(60 if kind else 30)
            painter.setBrush(fill)
            painter.setPen(QPen(colour, (2 if kind else 1) / scale))
            painter.drawRoundedRect(box, 12, 12)
            if kind:
                painter.drawText(box, int(Qt.AlignmentFlag.AlignCenter), _SIGNS[kind])


class VersionsDialog(PageDialog):
    """The list of versions, newest first; beside it what differs between the chosen one and the tab as it is."""

    def __init__(self, app: Application, tab: OpenWorkflow, parent: QWidget) -> None:
        super().__init__(f"Versions of “{clip(tab.title)}”", parent, 860, 620)
        self._app, self._tab = app, tab
        row = Row(spacing=2, margins=2)
        self.column.addLayout(row, 1)
        left = Column(spacing=1)
        self.list = QListWidget()
        self.list.setFixedWidth(theme.px(260))
        describe(self.list, "Versions", "The states that were saved, the newest first.")
        left.addWidget(self.list, 1)
        self.keep = Button("Keep this state", "save", tip="Add what is open now to the versions.")
        self.keep.clicked.connect(self._keep)
        left.addWidget(self.keep)
        row.addLayout(left)
        right = Column(spacing=1)
        self.heading = Label("", "heading", wrap=True)
        right.addWidget(self.heading)
        self.map = DifferenceMap()
        right.addWidget(self.map)
        self._body = QWidget()
        self._lines = Column(self._body, spacing=0.5)
        right.addWidget(scrolling(self._body), 1)
        self.restore = Button("Restore this version", "history", kind="primary",
                              tip="Put it in place of what is open; Undo takes that back.")  # fmt: skip
        self.restore.clicked.connect(self._restore)
        foot = Row()
        foot.addStretch(1)
        foot.addWidget(self.restore)
        right.addLayout(foot)
        row.addLayout(right, 1)
        self.versions: list[Version] = []
        self.sentences: list[tuple[str, str]] = []
        self.list.currentRowChanged.connect(self._show)
        self.reload()

    @Slot()
    def reload(self) -> None:
        """Read the list again and show the newest."""
        try:
            self.versions = self._app.workflows.versions.list(self._tab.document.workflow.id)
        except TesseraError as error:
            self.versions = []
            self.heading.setText(str(error))
        self.list.clear()
        for version in self.versions:
            when = datetime.fromtimestamp(version.time).strftime("%d.%m.%Y %H:%M:%S")
            nodes = "1 node" if version.nodes == 1 else f"{version.nodes} nodes"
            self.list.addItem(QListWidgetItem(f"{when}\n{version.note or nodes}"))
        self.restore.setEnabled(bool(self.versions))
        self.map.setVisible(bool(self.versions))
        if self.versions:
            self.list.setCurrentRow(0)
        else:
            self._clear()
            self.heading.setText("There is no version yet: each save keeps one, and so does “Keep this state”.")

    @Slot(int)
    def _show(self, row: int) -> None:
        if not 0 <= row < len(self.versions):
            return
        self._clear()
        try:
            old = self._app.workflows.versions.read(self.versions[row])
        except TesseraError as error:
            self.heading.setText(str(error))
            self.restore.setEnabled(False)
            return
        new = self._tab.document.workflow
        found = diff(old, new)
        self.restore.setEnabled(bool(found))
        self.heading.setText("What was changed since" if found else "This is what is open now.")
        self.map.show_difference(old, new, found)
        self.sentences = sentences(old, new, found, self._app.node_types())
        for kind, text in self.sentences:
            role = {"added": "success", "removed": "danger", "changed": "warning"}.get(kind, "muted")
            label = Label(f"{_SIGNS.get(kind, ' ')} {text}", role, wrap=True)  # type: ignore[arg-type]  # its roles
            label.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
            self._lines.addWidget(label)
        self._lines.addStretch(1)

    def _clear(self) -> None:
        self.sentences = []
        while (item := self._lines.takeAt(0)) is not None:
            widget = item.widget()
            if isinstance(widget, QLabel):
                widget.hide()
                widget.deleteLater()

    @Slot()
    def _keep(self) -> None:
        try:
            self._app.workflows.versions.add(self._tab.document.workflow, "Kept by you")
        except TesseraError as error:
            self.heading.setText(str(error))
            return
        self.reload()

    @Slot()
    def _restore(self) -> None:
        row = self.list.currentRow()
        if 0 <= row < len(self.versions):
            try:
                self._app.workflows.restore_version(self._tab, self.versions[row])
            except TesseraError as error:
                self.heading.setText(str(error))
                return
            self.accept()


def sentences(old: Workflow, new: Workflow, found: WorkflowDifference, registry: Registry) -> list[tuple[str, str]]:
    """(kind of change, sentence) for everything that differs."""
    told: list[tuple[str, str]] = []
    if found.names:
        told.append(("changed", f"Name: “{clip(old.name)}” → “{clip(new.name)}”"))
    if found.form:
        told.append(("changed", "The form"))
    names = {s.id: s.name or s.id for s in (*old.subgraphs, *new.subgraphs)}
    nodes = {n.id: n for w in (old, new) for group in (w.nodes, *(s.nodes for s in w.subgraphs)) for n in group}

    def title(node: Node) -> str:
        kind = registry.types.get(node.type)
        return clip(node.title or (kind.schema.title if kind is not None else node.type))

    for graph in found.graphs:
        where = f" (in “{clip(names.get(graph.graph, graph.graph))}”)" if graph.graph else ""
        told += [("added", f"{title(node)}{where}") for node in graph.added]
        told += [("removed", f"{title(node)}{where}") for node in graph.removed]
        for change in graph.changed:
            head = title(nodes[change.node]) + where
            told += [("changed", f"{head}: {_input(each)}") for each in change.inputs]
            told += [("changed", f"{head}: {name.replace('_', ' ')}") for name in change.fields]
        moved = sum(change.moved for change in graph.changed)
        if moved:
            told.append(("", f"{moved} moved{where}"))
        if graph.groups:
            told.append(("changed", f"Frames{where}"))
        if graph.sockets:
            told.append(("changed", f"Sockets{where}"))
    return told


def _input(change: InputChange) -> str:
    return f"{change.name.replace('_', ' ')} {_value(change.old)} → {_value(change.new)}"


def _value(value: InputValue) -> str:
    if value is None:
        return "nothing"
    if isinstance(value, Link):
        return f"wire from {clip(value.node)}"
    if isinstance(value, (ModelRef, BlobRef)):
        return f"“{clip(value.name)}”"
    return f"“{clip(' '.join(value.split()), 80)}”" if isinstance(value, str) else clip(str(value), 60)
