"""Submits Create's requests, and mirrors what the queue says about them into the results grid."""

from __future__ import annotations

import secrets

from PySide6.QtCore import QObject, Signal, Slot

from engine.contracts.errors import MissingModel
from engine.contracts.job_events import JobEvent
from engine.contracts.results import ResultRecord
from engine.recipes.build import request_of
from engine.recipes.request import ImageRequest
from studio_app.application import Application
from studio_app.documents.create_session import CreateSession, Pace, estimate_seconds, pace_of
from studio_app.jobs.eta import RunTimes, time_words
from ui.bridge.background import Background
from ui.bridge.bridge import Bridge
from ui.create.results_model import JobEntry, ResultsModel

RECENT = 200
REMEMBERED_RUNS = 12


class JobWatch(QObject):
    """running_changed(count), failed(sentence), job_failed(job id), arrived(record id), history_changed (the estimate
    may differ)."""

    running_changed = Signal(int)
    failed = Signal(str)
    job_failed = Signal(str)
    arrived = Signal(str)
    history_changed = Signal()

    def __init__(
        self, app: Application, bridge: Bridge, model: ResultsModel, background: Background, parent: QObject
    ) -> None:
        super().__init__(parent)
        self._app, self._bridge, self._model = app, bridge, model
        self._records = Background(self)  # one thread: pictures arrive in the order they were made
        self._background = background
        self._running: set[str] = set()
        self._timed: dict[str, RunTimes] = {}
        self._paces: dict[str, tuple[str, Pace]] = {}  # job of this session → (model, pace)
        self._earlier: dict[str, Pace] = {}  # model → its best pace in earlier sessions
        bridge.job_event.connect(self._on_event)
        bridge.ready.connect(self.load)
        bridge.engine_state.connect(self._engine_changed)
        if app.wait_ready(0):
            self.load()

    @property
    def pictures(self) -> list[ResultRecord]:
        """Those that are shown, newest first."""
        return self._model.pictures

    # ---- asking

    def submit(self, requests: list[ImageRequest]) -> list[str]:
        """Queue these as one group; the ids of their jobs. Raises what submit_request raises, before any is queued."""
        specs = [self._app.jobs.spec_of(request) for request in requests]
        group = secrets.token_hex(8) if len(specs) > 1 else ""
        export, jobs = self._app.default_export(), []
        for request, spec in zip(requests, specs, strict=True):
            job = self._app.jobs.submit(spec, title=request.prompt, export=export, group=group)
            jobs.append(job)
            self._running.add(job)
            self._model.show_job(self._app.jobs.get(job))
        self.running_changed.emit(len(self._running))
        for request in reversed(requests):
            self._app.prompts.remember(request.prompt)
        return jobs

    @Slot()
    def cancel_all(self) -> None:
        """Stop everything that Create shows as running or waiting."""
        for entry in reversed(self._model.jobs):  # the last first, so that no waiting job starts in between
            if entry.key in self._running:
                self._app.jobs.cancel(entry.key)

    @Slot(str)
    def cancel_or_dismiss(self, job_id: str) -> None:
        """Stop a running job; take a failed one's tile away."""
        if job_id in self._running:
            self._app.jobs.cancel(job_id)
        else:
            self._model.remove(job_id)

    def dismiss_row(self, row: int) -> None:
        entry = self._model.entry(row)
        if isinstance(entry, JobEntry):
            self.cancel_or_dismiss(entry.key)

    # ---- hearing

    @Slot(object)
    def _on_event(self, event: JobEvent) -> None:
        self._time(event)
        if event.kind == "finished":
            self._finished(event)
        elif event.kind == "artifact":
            record_id = event.data.get("record")
            if isinstance(record_id, str):
                self._records.run(lambda: self._app.library.get(record_id), self._arrive, self.failed.emit)
        elif event.kind in ("accepted", "planned", "node_started", "node_progress"):
            self._progress(event)

    def _progress(self, event: JobEvent) -> None:
        try:
            row = self._app.jobs.get(event.job)
        except MissingModel:
            return
        if row.is_finished:
            return
        if event.job not in self._running:
            self._running.add(event.job)
            self.running_changed.emit(len(self._running))
        self._model.show_job(row)
        if self._app.settings.get("create.live_preview"):
            preview = self._bridge.preview(event.job)
            if preview is not None:
                self._model.show_preview(event.job, preview)

    def _finished(self, event: JobEvent) -> None:
        self._running.discard(event.job)
        self.running_changed.emit(len(self._running))
        if event.data.get("outcome") == "failed":
            try:
                self._model.show_job(self._app.jobs.get(event.job))
            except MissingModel:
                self._model.remove(event.job)
            self.failed.emit(str(event.data.get("error") or "The picture could not be made."))
            self.job_failed.emit(event.job)
        else:
            # After the pictures that are still on their way, so that no gap shows between tile and picture.
            self._records.run(lambda: event.job, self._model.remove)

    def _arrive(self, record: ResultRecord) -> None:
        self._model.add_picture(record)
        self.arrived.emit(record.id)

    # ---- the library

    @Slot()
    def load(self) -> None:
        """Show the library's newest pictures and the queue's open jobs. The store must be open."""
        self._records.run(lambda: self._app.library.recent(RECENT), self._show_recent, self.failed.emit)

    def _show_recent(self, records: list[ResultRecord]) -> None:
        here = {record.id for record in records}
        newer = [record for record in self._model.pictures if record.id not in here]
        self._model.set_pictures([*newer, *records])
        self._learn(records)
        for row in reversed(self._app.jobs.recent(50)):
            if not row.is_finished:
                self._running.add(row.id)
                self._model.show_job(row)
        self.running_changed.emit(len(self._running))
        self.history_changed.emit()

    # ---- how long it will take

    @Slot(object)
    def _engine_changed(self, state: str) -> None:
        self.history_changed.emit()

    def _time(self, event: JobEvent) -> None:
        """Time a job's parts; when it has finished, remember its pace."""
        times = self._timed.setdefault(event.job, RunTimes())
        times.observe(event)
        if event.kind != "finished":
            return
        del self._timed[event.job]
        try:
            request = request_of(self._app.jobs.get(event.job).spec)
        except MissingModel:
            return
        if times.drawing is not None and event.data.get("outcome") == "succeeded" and request is not None:
            self._remember(event.job, request, times.drawing, times.around)
            self.history_changed.emit()

    def _remember(self, job: str, request: ImageRequest, drawing: float, around: float) -> None:
        if request.width is None or request.height is None:
            return
        pace = pace_of(request, (request.width, request.height), request.steps or 1, drawing, around)
        self._paces[job] = (request.model.name, pace)
        while len(self._paces) > REMEMBERED_RUNS:
            del self._paces[next(iter(self._paces))]

    def _learn(self, records: list[ResultRecord]) -> None:
        """From what was made before this session only whole times are known, loading included: the best is nearest."""
        for record in records:
            request = request_of(record.spec)
            if request is None or not record.seconds or request.width is None or request.height is None:
                continue
            pace = pace_of(request, (request.width, request.height), request.steps or 1, record.seconds, 0.0)
            known = self._earlier.get(request.model.name)
            if known is None or pace.step < known.step:
                self._earlier[request.model.name] = pace

    def knows_pace(self, session: CreateSession) -> bool:
        """Whether the model of a session was seen at work here."""
        name = session.request.model.name
        return name in self._earlier or any(model == name for model, _ in self._paces.values())

    def estimate(self, session: CreateSession) -> str:
        """What Generate will take, from what the same model took here before."""
        request = session.settled
        past = [pace for model, pace in self._paces.values() if model == request.model.name]
        loaded = bool(past) or self._app.engine.state == "ready"
        earlier = self._earlier.get(request.model.name)
        if not past and earlier is not None:
            past = [earlier]
        each = estimate_seconds(request, session.size, session.steps, past)
        if each is None:
            return "The first picture shows how long one takes" if loaded else "The first picture also loads the model"
        prompts = max(1, len(session.prompts()))
        pictures = max(1, request.count) * prompts
        what = "1 picture" if pictures == 1 else f"{pictures} pictures"
        return f"{what}, {time_words(each * prompts)}{'' if loaded else ', and loading the model'}"

    def close(self) -> None:
        """Stop listening and wait for the worker."""
        self._bridge.job_event.disconnect(self._on_event)
        self._bridge.ready.disconnect(self.load)
        self._bridge.engine_state.disconnect(self._engine_changed)
        self._records.close()
