"""How long a job takes: what past ones went into, and what is left, from the time steps have really taken."""

from __future__ import annotations

import statistics
from collections import deque

from engine.contracts.job_events import JobEvent


class RunTimes:
    """What the time of one job went into, learned from its events.

    Steps are timed between two `node_progress` events of a sampling node, so that neither the loading of the model nor
    the warm-up before step 0 counts as drawing. Events may be left out (the bridge keeps only the newest progress of
    a drain): the time between two that are seen is spread over the steps between them.
    """

    def __init__(self) -> None:
        self._types: dict[str, str] = {}
        self._last: dict[str, tuple[float, float]] = {}  # node → (done, time)
        self._steps: dict[str, list[float]] = {}  # node → seconds of its steps: a second pass has slower ones
        self._totals: dict[str, float] = {}
        self.around = 0.0

    def observe(self, event: JobEvent) -> None:
        """One event of the job, in its order."""
        if event.kind == "node_started":
            self._types[event.node] = str(event.data.get("type", ""))
            self._last.pop(event.node, None)
        elif event.kind == "node_progress" and self._is_sampling(event.node):
            done, before = float(event.data.get("done", 0)), self._last.get(event.node)
            if before is not None and done > before[0]:
                self._steps.setdefault(event.node, []).append(max(0.0, event.time - before[1]) / (done - before[0]))
                self._totals[event.node] = self._totals.get(event.node, 0.0) + done - before[0]
            self._last[event.node] = (done, event.time)
        elif event.kind == "node_finished" and not self._is_sampling(event.node) and not self._is_loading(event.node):
            self.around += float(event.data.get("seconds", 0.0))

    def _is_sampling(self, node: str) -> bool:
        return self._types.get(node, "").startswith("sample.")

    def _is_loading(self, node: str) -> bool:
        return self._types.get(node, "").startswith("load.")

    @property
    def drawing(self) -> float | None:
        """Seconds of all steps: each sampler's median step times their number. None when no step was timed."""
        if not self._steps:
            return None
        return sum(statistics.median(seconds) * self._totals[node] for node, seconds in self._steps.items())


class StepClock:
    """Fed with "step `done` of `total` at `time`"; answers how many seconds are left.

    The median of the last steps is used: one slow step (a first step that compiles, a machine that slept) does not
    throw the answer. `runs` is how many times the steps are gone through (sweeps). Without a measured step `learned`
    seconds a step, from an earlier job of the same kind, are used; with neither there is no answer.
    """

    def __init__(self, runs: int = 1, learned: float | None = None) -> None:
        self._runs, self._learned = max(1, runs), learned
        self._durations: deque[float] = deque(maxlen=24)
        self._last: tuple[float, float, float] | None = None  # (done, total, time)
        self._finished_runs = 0

    def observe(self, done: float, total: float, time: float) -> None:
        """`done` may be fractional; going back means that the next run has begun."""
        if self._last is not None:
            before, of, at = self._last
            if done > before:
                self._durations.append(max(0.0, time - at) / (done - before))
            elif done < before:
                self._finished_runs = min(self._finished_runs + 1, self._runs - 1)
            elif of == total:
                return  # the same step said twice tells nothing about time
        self._last = (done, total, time)

    @property
    def seconds_per_step(self) -> float | None:
        return statistics.median(self._durations) if self._durations else self._learned

    @property
    def fraction(self) -> float:
        """How much of all runs is done, 0..1."""
        if self._last is None or self._last[1] <= 0:
            return 0.0
        return min(1.0, (self._finished_runs + self._last[0] / self._last[1]) / self._runs)

    def seconds_left(self, now: float) -> float | None:
        """Seconds until the last step is done, or None when nothing is known yet."""
        each = self.seconds_per_step
        if each is None or self._last is None:
            return None
        done, total, at = self._last
        steps = (total - done) + (self._runs - 1 - self._finished_runs) * total
        return max(0.0, steps * each - max(0.0, now - at)) if steps > 0 else 0.0


def time_words(seconds: float) -> str:
    """ "about 2 minutes" for a person: coarser the longer it is."""
    if seconds < 1.5:
        return "about a second"
    if seconds < 55:
        step = 1 if seconds < 10 else 5
        return f"about {max(2, round(seconds / step) * step)} seconds"
    minutes = round(seconds / 60)
    if minutes < 55:
        return "about a minute" if minutes <= 1 else f"about {minutes} minutes"
    hours = round(seconds / 1800) / 2
    return "about an hour" if hours <= 1 else f"about {hours:g} hours"
