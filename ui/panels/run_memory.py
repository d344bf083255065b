"""What the running job is to take of the memory, and which part of it runs now: for the meter in the top bar."""

from __future__ import annotations

from dataclasses import dataclass

from PySide6.QtCore import QObject, Signal, Slot

from engine.contracts.errors import MissingModel
from engine.contracts.job_events import JobEvent
from engine.memory.words import size
from studio_app.application import Application
from studio_app.planning import PHASE_WORDS, Planned, Planner
from ui.bridge.background import Background
from ui.bridge.bridge import Bridge

# The start of a node's type → what such nodes do, as the plan names its phases.
_PHASES = {"condition.": "text", "sample.": "denoise", "latent.decode": "decode", "latent.tiled_decode": "decode"}


@dataclass(frozen=True)
class RunMemory:
    """Bytes that the plan foresees at most, 0 while that is not known; the phase that runs, "" between them; the same
    in a sentence."""

    need: int = 0
    phase: str = ""
    words: str = ""


class RunMemoryWatch(QObject):
    """`changed(RunMemory | None)` while a job runs and when it ends. What a run warns of, as of memory that ran out,
    becomes a message."""

    changed = Signal(object)

    def __init__(self, app: Application, bridge: Bridge, parent: QObject) -> None:
        super().__init__(parent)
        self._app = app
        self._planner = Planner(app.models, app.paths.cache / "estimates.json")
        self._background = Background(self)
        self._job = self._phase = ""
        self._planned: Planned | None = None
        bridge.job_event.connect(self._on_event)

    @Slot(object)
    def _on_event(self, event: JobEvent) -> None:
        if event.kind == "planned":
            self._job, self._phase, self._planned = event.job, "", None
            self._background.run(lambda: (event.job, self._plan(event.job)), self._know, lambda sentence: None)
            self._tell()
        elif event.kind == "node_started" and event.job == self._job:
            kind = str(event.data.get("type", ""))
            self._phase = next((phase for start, phase in _PHASES.items() if kind.startswith(start)), "")
            self._tell()
        elif event.kind == "log" and event.data.get("level") == "warning":
            self._app.notifications.post("warning", str(event.data.get("text", "")))
        elif event.kind == "finished" and event.job == self._job:
            self._job = ""
            self.changed.emit(None)

    def _plan(self, job: str) -> Planned | None:
        """On a worker. The plan waits for the engine, which loads what estimating needs."""
        if self._app.engine.state != "ready":
            return None
        try:
            spec = self._app.jobs.get(job).spec
        except MissingModel:
            return None
        return self._planner.in_create(spec, self._app.settings, self._app.node_types())

    def _know(self, answer: tuple[str, Planned | None]) -> None:
        job, planned = answer
        if job == self._job:
            self._planned = planned
            self._tell()

    def _tell(self) -> None:
        need = self._planned.need if self._planned is not None else 0
        words = [f"This run takes at most {size(need)}, as foreseen."] if need else []
        if self._phase:
            words.append(f"Now: {PHASE_WORDS[self._phase]}{self._of_phase()}.")
        self.changed.emit(RunMemory(need, self._phase, " ".join(words)))

    def _of_phase(self) -> str:
        plan = self._planned.plan if self._planned is not None else None
        peak = next((phase.peak for phase in plan.phases if phase.name == self._phase), 0) if plan else 0
        return f", at most {size(peak)}" if peak else ""

    def close(self) -> None:
        """Wait for what the worker still does."""
        self._background.close()
