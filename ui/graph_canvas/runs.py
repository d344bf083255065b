"""Running a workflow, and showing on its nodes what the run says."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from PySide6.QtCore import QObject, Signal, Slot

from engine.contracts.errors import TesseraError
from engine.contracts.job_events import JobEvent
from engine.contracts.job_spec import JobSpec
from studio_app.application import Application
from ui.bridge.bridge import Bridge
from ui.graph_canvas.canvas import Canvas
from ui.graph_canvas.states import NodeState

if TYPE_CHECKING:
    from PySide6.QtGui import QImage


class Runs(QObject):
    """Jobs by canvas. `changed` fires when a job of a canvas starts, gets on or ends; `said` with a sentence."""

    changed = Signal()
    said = Signal(str)

    def __init__(self, app: Application, bridge: Bridge, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._app, self._bridge = app, bridge
        self._jobs: dict[str, Canvas] = {}
        self._running: dict[str, str] = {}  # job → the node that runs
        self._counts: dict[str, tuple[int, int]] = {}  # job → nodes done, nodes planned
        bridge.job_event.connect(self._on_event)

    # ---- asking

    def run(self, canvas: Canvas, targets: Iterable[str] = ()) -> str:
        """Queue the workflow (only what `targets` need, where given); returns the job's id, "" when it can't be."""
        document = canvas.document
        if not document.content.graphs[""].nodes:
            canvas.say("There is nothing to run yet: add nodes first.")
            return ""
        spec = JobSpec(workflow=document.workflow, targets=tuple(targets), title=canvas.tab.title)
        try:
            job = self._app.jobs.submit(spec, export=self._app.default_export())
        except TesseraError as error:
            canvas.say(str(error))
            return ""
        canvas.scene.clear_states()
        self._jobs[job] = canvas
        self.changed.emit()
        return job

    def cancel(self, canvas: Canvas) -> None:
        """Stop what this workflow runs."""
        for job, owner in list(self._jobs.items()):
            if owner is canvas:
                self._app.jobs.cancel(job)

    def jobs_of(self, canvas: Canvas) -> list[str]:
        return [job for job, owner in self._jobs.items() if owner is canvas]

    def progress_of(self, canvas: Canvas) -> tuple[int, int, str]:
        """(nodes done, nodes planned, title of the node that runs) of the job in front."""
        for job in self.jobs_of(canvas):
            done, planned = self._counts.get(job, (0, 0))
            item = canvas.scene.items_by_id.get(self._running.get(job, ""))
            return done, planned, item.title if item is not None else ""
        return 0, 0, ""

    def forget(self, canvas: Canvas) -> None:
        """The canvas goes; its jobs go on in the queue."""
        for job in self.jobs_of(canvas):
            del self._jobs[job]

    def preview(self, job: str) -> QImage | None:
        return self._bridge.preview(job)

    # ---- hearing

    @Slot(object)
    def _on_event(self, event: JobEvent) -> None:
        canvas = self._jobs.get(event.job)
        if canvas is None:
            return
        scene, node = canvas.scene, outer_node(event.node)
        if event.kind == "planned":
            nodes = event.data.get("nodes", ())
            self._counts[event.job] = (0, int(event.data.get("runs", len(nodes))))
            for name in nodes:
                scene.set_state(outer_node(str(name)), NodeState("waiting"))
        elif event.kind == "node_started":
            self._running[event.job] = node
            scene.set_state(node, NodeState("running"))
        elif event.kind == "node_progress":
            done, total = event.data.get("done", 0), event.data.get("total", 0)
            share = done / total if isinstance(total, (int, float)) and total else -1.0
            scene.set_state(node, NodeState("running", min(1.0, share)))
            frame = self._bridge.preview(event.job)
            if frame is not None:
                scene.set_preview(node, frame)
        elif event.kind == "node_finished":
            self._count(event.job)
            scene.set_state(node, NodeState("done", seconds=float(event.data.get("seconds", 0.0))))
        elif event.kind == "node_cached":
            scene.set_state(node, NodeState("cached", text="Nothing it depends on has changed, so it was not run."))
        elif event.kind in {"node_failed", "node_blocked"}:
            self._failed(canvas, node, event)
        elif event.kind == "finished":
            self._finished(canvas, event)
        self.changed.emit()

    def _count(self, job: str) -> None:
        done, planned = self._counts.get(job, (0, 0))
        self._counts[job] = (done + 1, planned)

    def _failed(self, canvas: Canvas, node: str, event: JobEvent) -> None:
        if event.kind == "node_blocked":
            canvas.scene.set_state(node, NodeState("blocked", text="A node before it failed."))
            return
        cause, hint = str(event.data.get("cause", "it failed")), str(event.data.get("hint", ""))
        text = f"{cause}. {hint}" if hint else cause
        canvas.scene.set_state(node, NodeState("failed", text=text, input=str(event.data.get("input", ""))))
        canvas.say(text)

    def _finished(self, canvas: Canvas, event: JobEvent) -> None:
        del self._jobs[event.job]
        self._running.pop(event.job, None)
        self._counts.pop(event.job, None)
        outcome, error = event.data.get("outcome"), str(event.data.get("error", "") or "")
        for name, state in list(canvas.scene.states.items()):
            if state.kind in {"waiting", "running"}:
                canvas.scene.set_state(name, NodeState())
        if outcome == "failed" and error:
            canvas.say(error)
        elif outcome == "cancelled":
            canvas.say("Stopped.")


def outer_node(name: str) -> str:
    """The node of the workflow that an event of a node within a subgraph belongs to ("outer/inner", "outer:inner")."""
    for mark in ("/", ":"):
        name = name.partition(mark)[0]
    return name
