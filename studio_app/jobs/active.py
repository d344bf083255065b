"""What the queue remembers of a job only while it is queued or running."""

from __future__ import annotations

from collections import Counter

from engine.contracts.job_events import JobEvent
from engine.contracts.job_spec import JobSpec
from studio_app.jobs.eta import StepClock
from studio_app.jobs.rows import ExportTarget

_UNKEPT = ("node_progress",)  # many, and worth nothing afterwards


class ActiveJob:
    """Touched on the recorder's thread, except `cancelled` and `launched`, which the queue's lock guards."""

    def __init__(self, export: ExportTarget | None) -> None:
        self.export = export
        self.cancelled = False
        self.launched = False
        self.failures = 0
        self.clock = StepClock()
        self._sequence = 0
        self._indices: Counter[str] = Counter()
        self._events: list[JobEvent] = []

    def begin(self, runs: int, learned: float | None) -> None:
        self.clock = StepClock(runs, learned)

    def next_sequence(self) -> int:
        self._sequence += 1
        return self._sequence - 1

    def next_index(self, node: str) -> int:
        """The place of a node's next artifact among its artifacts."""
        self._indices[node] += 1
        return self._indices[node] - 1

    def remember(self, event: JobEvent) -> None:
        if event.kind not in _UNKEPT:
            self._events.append(event)

    def take_events(self) -> list[JobEvent]:
        """What was said since the last writing."""
        events, self._events = self._events, []
        return events

    def is_sampling(self, spec: JobSpec, node_id: str) -> bool:
        """Whether a node's steps are the ones that take the time."""
        return any(n.id == node_id and n.type.startswith("sample.") for n in spec.workflow.nodes)

    def seconds_left(self, now: float) -> float | None:
        return self.clock.seconds_left(now)
