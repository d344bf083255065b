"""Running a workflow, and showing on its nodes what the run says."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import TYPE_CHECKING

from PySide6.QtCore import QObject, Signal, Slot
from PySide6.QtGui import QImage

from engine.contracts.errors import InvalidWorkflow, TesseraError
from engine.contracts.job_events import JobEvent
from engine.contracts.job_spec import JobSpec
from studio_app import looking
from studio_app.application import Application
from studio_app.jobs.eta import time_words
from ui.bridge.bridge import Bridge
from ui.graph_canvas.canvas import Canvas
from ui.graph_canvas.geometry import shows_preview
from ui.graph_canvas.states import NodeState

if TYPE_CHECKING:
    from studio_app.looking import Seen

MOST_RUNS = 100


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
        self.previews = True  # whether nodes show what they made
        bridge.job_event.connect(self._on_event)

    # ---- asking

    def run(self, canvas: Canvas, targets: Iterable[str] = ()) -> str:
        """Queue the workflow (only what `targets` need, where given); returns the job's id, "" when it can't be.

        What nothing has changed for since it last ran is not run again.
        """
        document = canvas.document
        if not document.content.graphs[""].nodes:
            canvas.say("There is nothing to run yet: add nodes first.")
            return ""
        spec = JobSpec(workflow=document.workflow, targets=tuple(targets), title=canvas.tab.title)
        try:
            job = self._app.jobs.submit(spec, export=self._app.default_export())
        except TesseraError as error:
            canvas.say(by_title(canvas, str(error)))
            return ""
        if not self.jobs_of(canvas):
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

    def time_left(self, canvas: Canvas) -> str:
        """ "about 20 seconds left" of the job in front, "" while nothing is known."""
        for job in self.jobs_of(canvas)[:1]:
            try:
                seconds = self._app.jobs.get(job).seconds_left
            except TesseraError:
                return ""
            return f"{time_words(seconds)} left" if seconds else ""
        return ""

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
            item = scene.items_by_id.get(node)
            draws = item is not None and any(output.type == "LATENT" for output in item.schema.outputs)
            if frame is not None and self.previews and draws:
                scene.set_preview(node, frame)
        elif event.kind == "node_finished":
            self._count(event.job)
            scene.set_state(node, NodeState("done", seconds=float(event.data.get("seconds", 0.0))))
            self.show_made(canvas, node)
        elif event.kind == "node_cached":
            scene.set_state(node, NodeState("cached", text="Nothing it depends on has changed, so it was not run."))
            self.show_made(canvas, node)
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
        given = event.data.get("inputs")
        names = list(given) if isinstance(given, dict) else []
        canvas.scene.set_state(node, NodeState("failed", text=text, input=field_named(cause, names)))
        canvas.say(text)

    def _finished(self, canvas: Canvas, event: JobEvent) -> None:
        del self._jobs[event.job]
        for name, state in canvas.scene.states.items():
            if state.kind in {"done", "cached"}:  # what they gave is known by signature from now on
                self.show_made(canvas, name)
        self._running.pop(event.job, None)
        self._counts.pop(event.job, None)
        outcome, error = event.data.get("outcome"), str(event.data.get("error", "") or "")
        for name, state in list(canvas.scene.states.items()):
            if state.kind in {"waiting", "running"}:
                canvas.scene.set_state(name, NodeState())
        if outcome == "failed":
            self._mark(canvas, event.job)
            canvas.say(by_title(canvas, error))
        elif outcome == "cancelled":
            canvas.say("Stopped.")

    def _mark(self, canvas: Canvas, job: str) -> None:
        """Badges on the nodes that a workflow was refused for, each with its field and the remedy."""
        error = self._app.jobs.failure(job)
        if not isinstance(error, InvalidWorkflow):
            return
        for problem in error.problems:
            node = outer_node(problem.node)
            if node in canvas.scene.items_by_id:
                what = f"{problem.what[:1].upper()}{problem.what[1:]}"
                text = ". ".join(part.rstrip(".") for part in (what, problem.fix) if part) + "."
                canvas.scene.set_state(node, NodeState("failed", text=text, input=problem.input))

    # ---- what nodes made

    def show_made(self, canvas: Canvas, node: str) -> None:
        """The picture or mask that a node of the open level gave, on it."""
        item = canvas.scene.items_by_id.get(node)
        if item is None or not self.previews or not shows_preview(item.schema):
            return
        name = run_name(canvas, node)
        for index, output in enumerate(item.schema.outputs):
            found = looking.flowing(self._app, name, index, output.type, PREVIEW_EDGE) if output.type in SHOWN else None
            if found is not None and found.picture is not None:
                canvas.scene.set_preview(node, picture_of(found))
                return
        found = looking.made(self._app, name)
        if found is not None and found.encoded:
            canvas.scene.set_preview(node, QImage.fromData(found.encoded))
            return
        for wire in canvas.document.wires_into(node) if item.schema.effects.output else ():
            if wire.source not in canvas.scene.previews:
                self.show_made(canvas, wire.source)
            if wire.source in canvas.scene.previews:  # files are not kept in memory: it shows what it was given
                canvas.scene.set_preview(node, canvas.scene.previews[wire.source])
                return

    def show_previews(self, canvases: Iterable[Canvas], shown: bool) -> None:
        self.previews = shown
        for canvas in canvases:
            for node in list(canvas.scene.items_by_id):
                if shown:
                    self.show_made(canvas, node)
                elif node in canvas.scene.previews:
                    canvas.scene.set_preview(node, None)


SHOWN = frozenset({"IMAGE", "MASK"})
PREVIEW_EDGE = 512


def picture_of(found: Seen) -> QImage:
    """A picture that was seen as a QImage of its own; null where it is none."""
    if found.picture is None:
        return QImage()
    height, width = found.picture.shape[:2]
    image = QImage(found.picture.tobytes(), width, height, 3 * width, QImage.Format.Format_RGB888)
    return image.convertToFormat(QImage.Format.Format_RGB32)


def field_named(cause: str, names: Iterable[str]) -> str:
    """The input that a failure's sentence names, "" when it names none or several."""
    words = set(cause.replace("“", " ").replace("”", " ").replace("'", " ").replace(",", " ").split())
    found = [name for name in names if name in words]
    return found[0] if len(found) == 1 else ""


def by_title(canvas: Canvas, sentence: str) -> str:
    """A sentence about a node, which it names by its id, with the title that stands on the canvas."""
    found = re.match(r"node “([^”]+)”", sentence)
    item = canvas.scene.items_by_id.get(found[1]) if found is not None else None
    return sentence if found is None or item is None else f"“{item.title}”{sentence[found.end() :]}"


def run_name(canvas: Canvas, node: str) -> str:
    """A node of the open level as runs name it."""
    return "/".join((*canvas.document.level, node))


def outer_node(name: str) -> str:
    """The node of the workflow that an event of a node within a subgraph belongs to ("outer/inner", "outer:inner")."""
    for mark in ("/", ":"):
        name = name.partition(mark)[0]
    return name
