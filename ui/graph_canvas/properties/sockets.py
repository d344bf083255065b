"""The open subgraph: its name, its exposed inputs and outputs in order, and the library it may be kept in."""

from __future__ import annotations

from typing import Literal

from PySide6.QtWidgets import QLineEdit, QWidget

from engine.contracts.errors import TesseraError
from engine.contracts.workflow import Socket
from studio_app.application import Application
from studio_app.documents.subgraph_edits import HideSocket, OrderSockets, RenameSocket, RenameSubgraph, UpdateSubgraph
from ui.graph_canvas.values.editor import ValueEditor
from ui.widgets.basics import Button, IconButton, Label, describe
from ui.widgets.layouts import Column, Row

Side = Literal["inputs", "outputs"]


class SocketsEditor(QWidget):
    """Each act is an edit of the document; the panel builds this anew when the sockets changed."""

    def __init__(self, editor: ValueEditor, app: Application) -> None:
        super().__init__()
        self._editor, self._app = editor, app
        document = editor.document
        head = document.content.subgraphs[document.graph_id]
        column = Column(self, spacing=1)
        self.name = QLineEdit(head.name)
        self.name.setPlaceholderText("Subgraph")
        describe(self.name, "Name of the subgraph", "What its nodes are called.")
        self.name.editingFinished.connect(self._rename)
        column.addWidget(self.name)
        column.addWidget(Label("Right-click a value or socket inside to expose it.", "small", wrap=True))
        self.rows: dict[tuple[Side, str], QLineEdit] = {}
        sides: tuple[tuple[Side, str, tuple[Socket, ...]], ...] = (
            ("inputs", "Inputs", head.inputs), ("outputs", "Outputs", head.outputs),
        )  # fmt: skip
        for side, words, sockets in sides:
            column.addWidget(Label(words, "strong"))
            for index, socket in enumerate(sockets):
                column.addLayout(self._socket_row(side, socket.name, index, [s.name for s in sockets]))
            if not sockets:
                column.addWidget(Label("None yet.", "muted"))
        self.keep = Button("Keep as a node of my own", "library",
                           tip="Save it to the library: it appears in the search of every workflow.")  # fmt: skip
        self.keep.clicked.connect(self.save_to_library)
        column.addWidget(self.keep)
        self.update_all = Button("Take the library's version", "refresh-cw",
                                 tip="Bring every instance here up to date with the library.")  # fmt: skip
        self.update_all.clicked.connect(self.take_from_library)
        self.update_all.setVisible(bool(head.library))
        column.addWidget(self.update_all)

    def _socket_row(self, side: Side, name: str, index: int, names: list[str]) -> Row:
        row = Row(spacing=0.5)
        line = QLineEdit(name)
        describe(line, f"Name of {name}", "What the socket is called outside.")
        line.editingFinished.connect(lambda: self._rename_socket(side, name, line))
        self.rows[side, name] = line
        row.addWidget(line, 1)
        for step, icon, words in ((-1, "chevron-up", "Up"), (1, "chevron-down", "Down")):
            move = IconButton(icon, f"{words}: {name}", "Change the order of the sockets.", size=16)
            move.setEnabled(0 <= index + step < len(names))
            move.clicked.connect(lambda checked=False, s=step: self._move(side, names, index, s))
            row.addWidget(move)
        hide = IconButton("x", f"Expose no longer: {name}", "Take the socket away; wires at it go.", size=16)
        hide.clicked.connect(lambda: self._editor.acts.do("Hide the socket", HideSocket(side, name)))
        row.addWidget(hide)
        return row

    def _rename(self) -> None:
        document = self._editor.document
        head = document.content.subgraphs.get(document.graph_id)
        if head is not None and self.name.text() != head.name:
            self._editor.acts.do("Rename the subgraph", RenameSubgraph(head.id, self.name.text()))

    def _rename_socket(self, side: Side, name: str, line: QLineEdit) -> None:
        if line.text() != name and not self._editor.acts.do("Rename", RenameSocket(side, name, line.text())):
            line.setText(name)

    def _move(self, side: Side, names: list[str], index: int, step: int) -> None:
        order = list(names)
        order.insert(index + step, order.pop(index))
        self._editor.acts.do("Order the sockets", OrderSockets(side, tuple(order)))

    def save_to_library(self) -> None:
        """Write the subgraph to the library; its instances here remember where it is kept."""
        document, canvas = self._editor.document, self._editor.canvas
        graph_id = document.graph_id
        try:
            kept = self._app.workflows.library.save_node(document.workflow, graph_id)
        except TesseraError as error:
            canvas.say(str(error))
            return
        if document.content.subgraphs[graph_id].library != kept.id:
            self._editor.acts.do("Keep in the library", RenameSubgraph(graph_id, library=kept.id))
        canvas.say(f"“{kept.name}” is in the library; the search finds it in every workflow.")

    def take_from_library(self) -> None:
        document, canvas = self._editor.document, self._editor.canvas
        head = document.content.subgraphs[document.graph_id]
        try:
            parts = self._app.workflows.library.node(head.library)
        except TesseraError as error:
            canvas.say(str(error))
            return
        if self._editor.acts.do("Take the library's version", UpdateSubgraph(parts)):
            canvas.say("Every instance in this workflow is up to date.")
