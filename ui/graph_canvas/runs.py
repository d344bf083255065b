"""Running workflows, and showing on their nodes what the runs say."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from functools import partial

from PySide6.QtCore import QObject, Signal, Slot
from PySide6.QtGui import QImage

from engine.contracts.errors import InvalidWorkflow, TesseraError, clip
from engine.contracts.job_events import JobEvent
from engine.contracts.job_spec import JobSpec
from studio_app.application import Application
from studio_app.jobs.eta import time_words
from studio_app.looking import LONGEST
from ui.bridge.bridge import Bridge
from ui.graph_canvas.canvas import Canvas
from ui.graph_canvas.made import show_made
from ui.graph_canvas.states import NodeState

MOST_RUNS = 100
MANY = 50  # nodes whose states change at once: shown as a whole
CACHED = "Nothing it depends on has changed, so it was not run."


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

    def watch(self, canvas: Canvas) -> None:
        """A canvas was opened: whichever level it shows, its nodes show what runs said and what they made."""
        canvas.scene.shown.connect(partial(self._level_shown, canvas))

    def _level_shown(self, canvas: Canvas) -> None:
        states = canvas.record.of_level()
        if states:
            canvas.scene.show_states(states)
            self._show_made(canvas, states)

    # ---- asking

    def run(self, canvas: Canvas, targets: Iterable[str] = (), *, anew: bool = False) -> str:
        """Queue the workflow (only what `targets` need, where given); returns the job's id, "" when it can't be.

        What nothing has changed for since it last ran is not run again, unless all is to be made `anew`.
        """
        document = canvas.document
        if not document.content.graphs[""].nodes:
            canvas.say("There is nothing to run yet: add nodes first.")
            return ""
        spec = JobSpec(workflow=document.workflow, targets=tuple(targets), anew=anew, title=canvas.tab.title)
        try:
            job = self._app.jobs.submit(spec, export=self._app.default_export())
        except TesseraError as error:
            canvas.say(by_title(canvas, str(error)))
            return ""
        if not self.jobs_of(canvas):
            canvas.record.clear()
            canvas.scene.show_states({})
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
            return done, planned, canvas.record.title(self._running.get(job, ""))
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
        node = event.node
        if event.kind == "planned":
            nodes = event.data.get("nodes", ())
            self._counts[event.job] = (0, int(event.data.get("runs", len(nodes))))
            self._say(canvas, {str(name): NodeState("waiting") for name in nodes})
        elif event.kind == "node_started":
            self._running[event.job] = node
            self._say(canvas, {node: NodeState("running")})
        elif event.kind == "node_progress":
            self._progress(canvas, event)
        elif event.kind == "node_finished":
            self._count(event.job)
            self._over(canvas, node, NodeState("done", seconds=float(event.data.get("seconds", 0.0))))
        elif event.kind == "node_cached":
            self._over(canvas, node, NodeState("cached", text=CACHED))
        elif event.kind in {"node_failed", "node_blocked"}:
            self._failed(canvas, event)
        elif event.kind == "log" and node:
            canvas.record.note(node, clip(str(event.data.get("text", "")), LONGEST))
        elif event.kind == "finished":
            self._finished(canvas, event)
        self.changed.emit()

    def _say(self, canvas: Canvas, states: Mapping[str, NodeState]) -> dict[str, NodeState]:
        """Note what a run says of nodes, and show it on those of the open level; returns these."""
        shown = canvas.record.here(canvas.record.say(states))
        if len(shown) > MANY:
            canvas.scene.show_states(canvas.record.of_level())
        else:
            for name, state in shown.items():
                canvas.scene.set_state(name, state)
        return shown

    def _over(self, canvas: Canvas, node: str, state: NodeState) -> None:
        """A node has its result: it is shown at once, on the node around it too."""
        self._show_made(canvas, self._say(canvas, {node: state}))

    def _show_made(self, canvas: Canvas, names: Iterable[str]) -> None:
        if self.previews:
            for name in names:
                show_made(self._app, canvas, name)

    def _progress(self, canvas: Canvas, event: JobEvent) -> None:
        done, total = event.data.get("done", 0), event.data.get("total", 0)
        share = done / total if isinstance(total, (int, float)) and total else -1.0
        shown = self._say(canvas, {event.node: NodeState("running", min(1.0, share))})
        frame = self._bridge.preview(event.job) if self.previews else None
        if frame is not None:
            canvas.record.frame(event.node, frame)
        for name in shown if frame is not None else ():
            item = canvas.scene.items_by_id.get(name)
            inside = canvas.run_name(name) != event.node
            draws = inside or (item is not None and any(output.type == "LATENT" for output in item.schema.outputs))
            if item is not None and item.layout.preview is not None and draws:
                canvas.scene.set_preview(name, frame)

    def _count(self, job: str) -> None:
        done, planned = self._counts.get(job, (0, 0))
        self._counts[job] = (done + 1, planned)

    def _failed(self, canvas: Canvas, event: JobEvent) -> None:
        if event.kind == "node_blocked":
            self._say(canvas, {event.node: NodeState("blocked", text="A node before it failed.")})
            return
        cause, hint = str(event.data.get("cause", "it failed")), str(event.data.get("hint", ""))
        text = f"{cause}. {hint}" if hint else cause
        given = event.data.get("inputs")
        names = list(given) if isinstance(given, dict) else []
        self._say(canvas, {event.node: NodeState("failed", text=text, input=field_named(cause, names))})
        canvas.say(text)

    def _finished(self, canvas: Canvas, event: JobEvent) -> None:
        del self._jobs[event.job]
        self._running.pop(event.job, None)
        self._counts.pop(event.job, None)
        for name, state in canvas.record.here(canvas.record.over()).items():
            canvas.scene.set_state(name, state)
        outcome, error = event.data.get("outcome"), str(event.data.get("error", "") or "")
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
            if problem.node and canvas.record.title(problem.node):
                what = f"{problem.what[:1].upper()}{problem.what[1:]}"
                text = ". ".join(part.rstrip(".") for part in (what, problem.fix) if part) + "."
                self._say(canvas, {problem.node: NodeState("failed", text=text, input=problem.input)})

    # ---- what nodes made

    def show_previews(self, canvases: Iterable[Canvas], shown: bool) -> None:
        self.previews = shown
        for canvas in canvases:
            for node in list(canvas.scene.items_by_id):
                if shown:
                    show_made(self._app, canvas, node)
                elif node in canvas.scene.previews:
                    canvas.scene.set_preview(node, None)
                else:
                    canvas.scene.set_text(node, None)


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
