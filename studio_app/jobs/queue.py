"""The queue of jobs over the engine lane: what people and programs submit to, watch and cancel.

`submit` only makes a row and posts; the recorder's thread resolves, checks, writes and hands over to the lane. The
lane's events come back through the recorder, so that an "artifact" event is sent only when the picture is safe (or
known to be unsaved), and "finished" only when the job's end is in the database.
"""

from __future__ import annotations

import secrets
import threading
import time
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from engine.contracts.errors import MissingModel, StorageError, TesseraError
from engine.contracts.job_events import JobEvent
from engine.contracts.job_spec import JobSpec, Sweep
from engine.recipes.build import build
from engine.recipes.request import ImageRequest
from studio_app.events import Signal
from studio_app.jobs.active import ActiveJob
from studio_app.jobs.resolve import resolve
from studio_app.jobs.results import ResultKeeper
from studio_app.jobs.rows import ExportTarget, JobRow, Status, restored, stored

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from engine.graph.registry import Registry
    from studio_app.engine import Engine
    from studio_app.jobs.recorder import Recorder
    from studio_app.library.library import Library
    from studio_app.models.index import ModelIndex
    from studio_app.store.store import Store
    from studio_app.styles import Styles

MAX_GROUP = 10
REMEMBERED = 500


class Jobs:
    """Every method may be called on any thread and returns at once."""

    def __init__(
        self, *, recorder: Recorder, store: Store, engine: Engine, library: Library, models: ModelIndex, styles: Styles,
        events: Signal[JobEvent], keeper: ResultKeeper,
    ) -> None:  # fmt: skip
        self._recorder, self._store, self._engine = recorder, store, engine
        self._library, self._models, self._styles = library, models, styles
        self._events, self._keeper = events, keeper
        self._lock = threading.RLock()
        self._rows: dict[str, JobRow] = {}
        self._active: dict[str, ActiveJob] = {}
        self._changed = threading.Condition(self._lock)
        self._next = 1
        self._failures: dict[str, TesseraError] = {}
        self._learned: dict[str, float] = {}  # kind of run → seconds a step, measured
        self.store_ready = False

    # --- asking for pictures

    def submit(self, spec: JobSpec, *, title: str = "", export: ExportTarget | None = None, group: str = "") -> str:
        """Queue a job; returns its id at once. A spec that can't run fails as a job, with its sentence.

        Raises StorageError when pictures that could not be saved fill the memory set aside for them.
        """
        if self._library.unsaved_full:
            raise StorageError(
                "pictures that couldn't be saved fill the memory kept for them",
                fix="Save them elsewhere, or free space and save them again, before making more",
            )
        job_id = f"{int(time.time() * 1000):011x}{secrets.token_hex(6)}"
        with self._lock:
            row = JobRow(
                id=job_id, number=self._next, title=title or spec.title or spec.workflow.name or "Job", spec=spec,
                group=group, created=time.time(),
            )  # fmt: skip
            self._next += 1
            self._rows[job_id] = row
            self._active[job_id] = ActiveJob(export)
        self._recorder.start()
        self._recorder.post(lambda: self._launch(job_id))
        return job_id

    def submit_request(
        self, request: ImageRequest, *, title: str = "", export: ExportTarget | None = None, group: str = ""
    ) -> str:
        """Build a request's job and queue it. Raises InvalidRequest, UnknownChoice or MissingModel at once."""
        return self.submit(self.spec_of(request), title=title, export=export, group=group)

    def submit_prompts(
        self, request: ImageRequest, prompts: Sequence[str], *, export: ExportTarget | None = None
    ) -> list[str]:
        """One job for each of 1 to 10 prompts, in one group; empty lines are passed over. Raises as submit_request."""
        from engine.contracts.errors import InvalidRequest

        texts = [text.strip() for text in prompts if text.strip()]
        if not 1 <= len(texts) <= MAX_GROUP:
            raise InvalidRequest(f"{len(texts)} prompts were given", fix=f"Give 1 to {MAX_GROUP}, one on each line")
        specs = [self.spec_of(replace(request, prompt=text)) for text in texts]  # all checked before any is queued
        group = secrets.token_hex(8)
        return [self.submit(spec, export=export, group=group) for spec in specs]

    def spec_of(self, request: ImageRequest) -> JobSpec:
        """The job that a request means here: its model found, its style laid over. Raises as submit_request."""
        model = self._models.entry(request.model)
        style = self._styles.get(request.style).text_for(model) if request.style else None
        return build(replace(request, model=model.ref), model.defaults, style)

    def resubmit(self, job_id: str, *, export: ExportTarget | None = None) -> str:
        """Run a job of before once more, an interrupted one for instance. Raises MissingModel for an unknown id."""
        row = self.get(job_id)
        return self.submit(row.spec, title=row.title, export=export, group=row.group)

    # --- looking

    def get(self, job_id: str) -> JobRow:
        """The job as it is now. Raises MissingModel for an unknown id."""
        with self._lock:
            row = self._rows.get(job_id)
            active = self._active.get(job_id)
        if row is None:
            found = self._store.job(job_id) if self.store_ready else None
            if found is None:
                raise MissingModel("this job is not known here")
            return restored(found, tuple(r.id for r in self._store.records_of(job_id)))
        if active and row.status == "running":
            return replace(row, seconds_left=active.seconds_left(time.time()))
        return row

    def recent(self, limit: int = 100) -> list[JobRow]:
        """The newest jobs, newest first."""
        with self._lock:
            ids = [row.id for row in sorted(self._rows.values(), key=lambda r: -r.number)[:limit]]
        return [self.get(job_id) for job_id in ids]

    def group(self, group: str) -> list[JobRow]:
        """The jobs that were submitted together, in order."""
        with self._lock:
            ids = [r.id for r in sorted(self._rows.values(), key=lambda r: r.number) if group and r.group == group]
        return [self.get(job_id) for job_id in ids]

    def preview(self, job_id: str) -> npt.NDArray[np.uint8] | None:
        """The newest frame [H, W, 3] of the picture forming, once; None when there is no newer one."""
        return self._engine.preview(job_id)

    def wait(self, job_id: str, timeout: float | None = None) -> JobRow:
        """Block until the job has finished, or `timeout` seconds have passed; the row either way."""
        with self._changed:
            self._changed.wait_for(lambda: self._is_over(job_id), timeout)
        return self.get(job_id)

    def resolved(self, spec: JobSpec) -> JobSpec:
        """A spec as a run would see it, its models and files told apart by content. Raises MissingModel."""
        return resolve(spec, self._models, self._store.blobs)

    def failure(self, job_id: str) -> TesseraError:
        """Why a job of this session failed, as the error it was; else what its row says."""
        with self._lock:
            found = self._failures.get(job_id)
        return found or TesseraError(self.get(job_id).error or "it failed")

    def _is_over(self, job_id: str) -> bool:
        row = self._rows.get(job_id)
        return row is None or row.is_finished

    # --- stopping

    def cancel(self, job_id: str) -> None:
        """Stop a job: at once while queued, at the next step while running. A finished one stays as it is."""
        with self._lock:
            active = self._active.get(job_id)
            if active is None:
                return
            active.cancelled = True
            launched = active.launched
        if launched:
            self._engine.lane.cancel(job_id)

    def cancel_all(self) -> None:
        """Stop every job that is queued or running."""
        with self._lock:
            waiting = sorted(self._active, key=lambda job_id: -self._rows[job_id].number)
        for job_id in waiting:  # the last first, so that no queued job starts in between
            self.cancel(job_id)

    # --- on the recorder's thread

    def opened(self) -> None:
        """Take over what the store knows of earlier sessions; called once it is open."""
        rows = {job.id: restored(job) for job in reversed(self._store.jobs(REMEMBERED))}
        results: dict[str, list[str]] = {}
        for record_id, job_id in self._store.result_ids(tuple(rows)):
            results.setdefault(job_id, []).append(record_id)
        with self._lock:
            first = self._store.next_number()
            for job_id, row in self._rows.items():  # submitted before the store was open
                rows[job_id] = replace(row, number=first + row.number - 1)
            self._rows = {
                job_id: replace(row, results=tuple(results[job_id])) if job_id in results else row
                for job_id, row in rows.items()
            }
            self._next += first - 1
            self.store_ready = True

    def _launch(self, job_id: str) -> None:
        with self._lock:
            active, row = self._active[job_id], self._rows[job_id]
        try:
            spec = resolve(row.spec, self._models, self._store.blobs)
        except TesseraError as error:
            self._announce(job_id, "accepted", "", {})
            self._fail(job_id, error)
            return
        self._replace(job_id, spec=spec)
        active.begin(_runs(spec), self._learned.get(_kind(spec)))
        self._announce(job_id, "accepted", "", {})
        self._save(job_id)
        lane = self._engine.lane
        with self._lock:
            cancelled = active.cancelled
            active.launched = lane is not None and not cancelled
        if cancelled:
            self._finish(job_id, "cancelled", "")
        elif lane is None:
            self._fail(job_id, TesseraError(self._engine.error or "the engine could not be started"))
        else:
            if self._engine.state == "cold" and _loads_models(spec, lane.registry):
                self._engine.warm()  # the lane loads torch first, with the right number of threads
            post = self._recorder.post
            lane.submit(
                job_id,
                spec,
                lambda event: post(lambda: self._on_event(job_id, event)),
                lambda node, artifact: post(lambda: self._on_artifact(job_id, node, artifact)),
                lambda result: post(lambda: self._on_done(job_id, result)),
            )
            if active.cancelled:  # between the look above and the lane knowing the job
                lane.cancel(job_id)

    def _on_event(self, job_id: str, event: JobEvent) -> None:
        if event.kind in ("accepted", "finished", "artifact"):
            return  # said by the queue itself, when the writing is done
        with self._lock:
            active = self._active.get(job_id)
        if active is None:
            return
        if event.kind == "planned":
            self._replace(job_id, status="running", started=time.time())
            self._save(job_id)
        elif event.kind == "node_started":
            self._replace(job_id, node=event.node, step=0.0, steps=0.0, text="")
        elif event.kind == "node_progress":
            self._progress(job_id, active, event)
        self._announce(job_id, event.kind, event.node, event.data, event.time)

    def _progress(self, job_id: str, active: ActiveJob, event: JobEvent) -> None:
        done, total = float(event.data.get("done", 0)), float(event.data.get("total", 0))
        if active.is_sampling(self._rows[job_id].spec, event.node):
            active.clock.observe(done, total, event.time)
        self._replace(
            job_id, node=event.node, step=done, steps=total, text=str(event.data.get("text", "")),
            fraction=active.clock.fraction, seconds_left=active.clock.seconds_left(event.time),
        )  # fmt: skip

    def _on_artifact(self, job_id: str, node: str, artifact: Any) -> None:
        with self._lock:
            active, row = self._active.get(job_id), self._rows[job_id]
        if active is None:
            return
        index = active.next_index(node)
        kept = self._keeper.keep(row, node, index, artifact, active.export, active.take_events())
        active.failures += 0 if kept.saved else 1
        self._replace(job_id, results=(*self._rows[job_id].results, kept.record.id))
        self._announce(job_id, "artifact", node, kept.event_data())
        if self._library.unsaved_full and not active.cancelled:
            self.cancel(job_id)

    def _on_done(self, job_id: str, result: Any) -> None:
        with self._lock:
            active = self._active.get(job_id)
        if active is None:
            return
        if active.clock.seconds_per_step:
            self._learned[_kind(self._rows[job_id].spec)] = active.clock.seconds_per_step
        if result.outcome == "failed":
            self._fail(job_id, result.error or (result.failures[0] if result.failures else TesseraError("it failed")))
        else:
            self._finish(job_id, result.outcome, "")

    def _fail(self, job_id: str, error: TesseraError) -> None:
        with self._lock:
            self._failures[job_id] = error
        self._finish(job_id, "failed", str(error))

    def _finish(self, job_id: str, status: Status, error: str) -> None:
        with self._lock:
            row = self._rows[job_id]
        succeeded = status == "succeeded"
        now = time.time()
        self._replace(
            job_id, notify=False, status=status, error=error, finished=now, seconds_left=0.0 if succeeded else None,
            fraction=1.0 if succeeded else row.fraction,
        )  # fmt: skip
        data: dict[str, Any] = {"outcome": status, "seconds": round(now - (row.started or row.created), 3)}
        if error:
            data["error"] = error
        event = self._event(job_id, "finished", "", data)
        self._save(job_id)
        with self._changed:
            self._active.pop(job_id, None)
            self._changed.notify_all()
        self._events.emit(event)

    def _announce(self, job_id: str, kind: Any, node: str, data: Any, at: float | None = None) -> None:
        self._events.emit(self._event(job_id, kind, node, data, at))

    def _event(self, job_id: str, kind: Any, node: str, data: Any, at: float | None = None) -> JobEvent:
        """The next event of a job, numbered by the queue, and remembered for the next writing."""
        with self._lock:
            active = self._active[job_id]
            event = JobEvent(
                job=job_id, sequence=active.next_sequence(), time=at or time.time(), kind=kind, node=node, data=data
            )
        active.remember(event)
        return event

    def _replace(self, job_id: str, *, notify: bool = False, **changes: Any) -> None:
        with self._changed:
            self._rows[job_id] = replace(self._rows[job_id], **changes)
            if notify:
                self._changed.notify_all()

    def _save(self, job_id: str) -> None:
        """Write the state; when that can't be done the session goes on in memory (the person was told once)."""
        with self._lock:
            row, active = self._rows[job_id], self._active.get(job_id)
        if self.store_ready and active:
            self._keeper.guarded(lambda: self._store.save_job(stored(row), active.take_events()))


def _loads_models(spec: JobSpec, registry: Registry) -> bool:
    """Whether the job will want torch."""
    return any(n.type.startswith("load.") and registry.find(n.type) is not None for n in spec.workflow.nodes)


def _runs(spec: JobSpec) -> int:
    """How many times the graph is gone through."""
    lengths = [len(b.values) for b in spec.bindings.values() if isinstance(b, Sweep)]
    if not lengths:
        return 1
    if spec.combine == "zip":
        return min(lengths)
    total = 1
    for length in lengths:
        total *= length
    return total


def _kind(spec: JobSpec) -> str:
    """Runs that take about the same time a step: the same model, size, batch and sampler."""
    parts = []
    for node in spec.workflow.nodes:
        for name in ("checkpoint", "width", "height", "batch_size", "sampler", "cfg"):
            value = node.inputs.get(name)
            if value is not None:
                parts.append(f"{name}={getattr(value, 'identity', value)}")
    return " ".join(parts)
