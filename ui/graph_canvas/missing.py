"""Nodes whose type or model is not here: said on the node itself, with what to do, until it is put right."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from PySide6.QtCore import QObject, QTimer, Slot

from engine.contracts.errors import MissingModel, TesseraError
from engine.contracts.references import ModelRef
from engine.contracts.workflow import Node
from studio_app.documents.edits import Edit, set_input
from studio_app.documents.graph_document import Change
from ui.graph_canvas.acts import Acts
from ui.graph_canvas.choice_popup import Choice
from ui.graph_canvas.states import IDLE, NodeState
from ui.widgets.fuzzy import ranked


@dataclass(frozen=True)
class Lack:
    """What a node of the open level lacks: its type, where `ref` is None, else the model in `input`."""

    node: str
    title: str
    sentence: str
    input: str = ""
    ref: ModelRef | None = None


class Missing(QObject):
    """Marks one canvas, and marks again what is changed."""

    def __init__(self, acts: Acts) -> None:
        super().__init__(acts.canvas)
        self._acts = acts
        self._canvas, self._scene = acts.canvas, acts.scene
        self._later = QTimer(self)
        self._later.setSingleShot(True)
        self._later.setInterval(0)
        self._later.timeout.connect(self.mark_all)
        self._scene.shown.connect(self._later.start)
        self._scene.changed_nodes.connect(self._changed)
        self._later.start()

    def lacks(self, names: Iterable[str] | None = None) -> list[Lack]:
        """What these nodes lack, or all of the open level."""
        items = self._scene.items_by_id
        found = []
        for name in items if names is None else names:
            item = items.get(name)
            if item is None:
                continue
            if item.schema.origin == "placeholder":
                sentence = f"This studio has no node “{item.node.type}”. Press S to put another one in its place."
                found.append(Lack(name, item.title, sentence))
            else:
                found += self._models(item.node, item.title)
        return found

    def _models(self, node: Node, title: str) -> list[Lack]:
        found = []
        for key, ref in node.inputs.items():
            if not isinstance(ref, ModelRef) or not ref.identity:
                continue
            try:
                self._canvas.app.models.locate(ref)
            except MissingModel:
                sentence = f"The model “{ref.name or ref.identity}” is not here. Choose another one, or import it."
                found.append(Lack(node.id, title, sentence, key, ref))
            except TesseraError:
                continue  # it is here; what is wrong with it is said when it is loaded
        return found

    @Slot()
    def mark_all(self) -> None:
        self._mark(self._scene.items_by_id)

    @Slot(object)
    def _changed(self, change: Change) -> None:
        self._mark(change.added | change.changed)

    def _mark(self, names: Iterable[str]) -> None:
        names = list(names)
        lacking = {lack.node: lack for lack in reversed(self.lacks(names))}
        for name in names:
            lack = lacking.get(name)
            if lack is not None:
                self._scene.set_state(name, NodeState("missing", text=lack.sentence, input=lack.input))
            elif self._scene.states.get(name, IDLE).kind == "missing":
                self._scene.set_state(name, NodeState())

    # ---- putting it right

    def show(self, lack: Lack) -> None:
        """Bring the node into view."""
        self._canvas.view.walking = True
        self._scene.select([lack.node])
        self._canvas.view.frame_nodes([lack.node])
        self._canvas.view.setFocus()

    def run_command(self, command: str) -> None:
        self._canvas.app.commands.run(command)

    def choose_model(self, lack: Lack) -> None:
        """A list of the models of that kind; the chosen one takes its place wherever the missing one was asked for."""
        ref = lack.ref
        if ref is None:
            return
        entries = self._canvas.app.models.list(ref.kind)
        rows = [Choice(entry.name, help=entry.notice, value=entry.ref) for entry in entries]
        texts = [row.title for row in rows]

        def take(choice: object) -> None:
            if isinstance(choice, Choice):
                self.replace_model(ref, choice.value)

        self.show(lack)
        self._canvas.open_list(
            f"Another model for “{ref.name}”", "Find a model",
            lambda text: [rows[i] for i in ranked(text, texts)], take,
            nothing=f"There is no model of this kind ({ref.kind}) here. Import one under Models.",
        )  # fmt: skip

    def replace_model(self, former: ModelRef, wanted: ModelRef) -> None:
        """One entry of the history for all nodes of the open level that name the missing model."""
        edits: list[Edit] = [
            set_input(name, key, wanted)
            for name, node in self._acts.document.nodes.items()
            for key, value in node.inputs.items()
            if value == former
        ]
        self._acts.do(f"Use “{wanted.name}”", *edits)
