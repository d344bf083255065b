"""What a run needs of the values, and says of them: new seeds, faults to go to, what flows, whether it fits."""

from __future__ import annotations

from base64 import b64encode
from html import escape
from typing import TYPE_CHECKING

from PySide6.QtCore import QBuffer, QIODevice, QObject, QTimer, Signal, Slot

from engine.contracts.workflow import Workflow
from engine.memory.words import time
from studio_app import looking, planning
from studio_app.application import Application
from studio_app.documents.graph_document import GraphDocument, Wire
from studio_app.documents.seeds import advance
from ui.bridge.background import Background
from ui.graph_canvas.canvas import Canvas
from ui.graph_canvas.made import picture_of
from ui.graph_canvas.run_record import source_of
from ui.graph_canvas.runs import Runs
from ui.graph_canvas.values.editor import ValueEditor

if TYPE_CHECKING:
    from studio_app.planning import Planned

PLAN_MS = 700  # after the last change, the plan is made anew
THUMBNAIL = 160  # pixels of the picture in a tip


class Running(QObject):
    """Shared by all canvases of the page. `planned` fires when the plans of the workflow in front are known."""

    planned = Signal()

    def __init__(self, app: Application, runs: Runs, parent: QObject) -> None:
        super().__init__(parent)
        self._app, self._runs = app, runs
        self._background = Background(self)
        self._document: GraphDocument | None = None
        self._seen = (0, -1)  # the document and its revision when it was last looked at
        self._asked: Workflow | None = None
        self.plans: dict[str, Planned] = {}
        self.sentence = ""  # why there are no plans
        self._timer = QTimer(self)
        self._timer.setSingleShot(True)
        self._timer.setInterval(PLAN_MS)
        self._timer.timeout.connect(self._plan)

    def attach(self, canvas: Canvas, editor: ValueEditor) -> None:
        """Let a canvas go to its faults and tell what flows along its wires."""
        canvas.pointer.go_to_fault = lambda node: go_to_fault(canvas, editor, node)
        canvas.pointer.flow = lambda wire: self.flow(canvas, wire)

    def run(
        self, canvas: Canvas, editor: ValueEditor, targets: tuple[str, ...], count: int, *, anew: bool = False
    ) -> list[str]:
        """Queue the workflow `count` times; after each, seeds that do not stay become what comes next."""
        editor.close_editor()
        jobs = []
        for _ in range(max(1, count)):
            job = self._runs.run(canvas, targets, anew=anew)
            if not job:
                break
            jobs.append(job)
            advance(canvas.document)
        return jobs

    # ---- what flows

    def flow(self, canvas: Canvas, wire: Wire) -> str:
        """Rich text: type, size and picture of what went along a wire last, "" when it is not kept."""
        source = source_of(canvas.document, wire.source, wire.output)
        found = looking.flowing(self._app, *source, THUMBNAIL) if source is not None else None
        if found is None:
            return ""
        text = f"<br>{escape(found.words)}"
        if found.text:
            text += f"<br>{escape(found.text[:300])}"
        image = picture_of(found)
        if not image.isNull():
            buffer = QBuffer()
            buffer.open(QIODevice.OpenModeFlag.WriteOnly)
            image.save(buffer, "PNG")  # type: ignore[call-overload]  # Qt takes the format as str
            text += f'<br><img src="data:image/png;base64,{b64encode(buffer.data().data()).decode()}">'
        return text

    # ---- whether it fits

    def watch(self, document: GraphDocument | None) -> None:
        """The workflow in front, whenever it changed: planned once changes rest. Costs nothing during a drag."""
        now = (id(document), document.revision if document is not None else -1)
        if now != self._seen:
            self._document, self._seen = document, now
            self._timer.start()

    @Slot()
    def _plan(self) -> None:
        workflow = self._document.workflow if self._document is not None else None
        if workflow is None or not workflow.nodes:
            self._asked = None
            self._known(([], ""))
            return
        if workflow is self._asked:
            return
        self._asked = workflow
        self._background.run(lambda: looking.plans(self._app, workflow), self._known, self._failed)

    def _known(self, found: tuple[list[Planned], str]) -> None:
        planned, self.sentence = found
        self.plans = {each.node: each for each in planned}
        self.planned.emit()

    def _failed(self, sentence: str) -> None:
        self._known(([], sentence))

    def plan_in_words(self) -> tuple[str, str, bool]:
        """(a few words for the run bar, all of it, whether everything fits)."""
        if not self.plans:
            return "", self.sentence, True
        whole = "\n".join(looking.plan_words(each) for each in self.plans.values())
        heaviest = planning.heaviest(list(self.plans.values()))
        assert heaviest is not None
        if heaviest.refused:
            return "Does not fit", whole, False
        seconds = sum(each.plan.seconds for each in self.plans.values() if each.plan is not None)
        if not seconds:
            return "", whole, True
        return f"Fits: {planning.share_words(heaviest)}, about {time(seconds)}", whole, True

    def close_down(self) -> None:
        self._timer.stop()
        self._background.close()


def go_to_fault(canvas: Canvas, editor: ValueEditor, node: str) -> None:
    """Select the node that failed, at whatever level, say what is wrong and open the field that is at fault."""
    *level, inner = canvas.record.fault(canvas.run_name(node)).split(":")
    if tuple(level) != canvas.document.level:
        canvas.go_to_level(tuple(level))
        node = inner
    state = canvas.scene.states.get(node)
    item = canvas.scene.items_by_id.get(node)
    if state is None or item is None:
        return
    canvas.scene.select([node])
    canvas.view.ensure_seen(item.rect())
    canvas.say(state.text)
    if state.input in editor.editable(node):
        editor.edit_only(node, state.input)
