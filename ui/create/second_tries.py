"""A job that memory ran out for, once more with less: its tile says what would fit and starts it."""

from __future__ import annotations

from dataclasses import replace

from PySide6.QtCore import QObject, Signal, Slot

from engine.contracts.errors import MissingModel, OutOfMemory, TesseraError
from engine.recipes.build import request_of
from studio_app.application import Application
from studio_app.documents.create_session import CreateSession
from studio_app.offers import Offer, after_refusal, ran_out
from studio_app.planning import Planner
from ui.bridge.background import Background
from ui.create.job_watch import JobWatch
from ui.create.results_model import ResultsModel


class SecondTries(QObject):
    """`said(sentence)`: that memory ran out, or that a job can't be queued."""

    said = Signal(str)

    def __init__(
        self, app: Application, watch: JobWatch, model: ResultsModel, session: CreateSession, parent: QObject
    ) -> None:
        super().__init__(parent)
        self._app, self._watch, self._model, self._session = app, watch, model, session
        self._planner = Planner(app.models, app.paths.cache / "estimates.json")
        self._background = Background(self)
        self._offers: dict[str, Offer] = {}
        watch.job_failed.connect(self._failed)

    @Slot(str)
    def _failed(self, job: str) -> None:
        if ran_out(self._app.jobs.failure(job)):
            self._background.run(lambda: (job, self._remedy(job)), self._know, lambda sentence: None)

    def _remedy(self, job: str) -> Offer | None:
        """On a worker: what to change, planned as the job was."""
        spec = self._app.jobs.get(job).spec
        request = request_of(spec)
        planned = self._planner.in_create(spec, self._app.settings, self._app.node_types())
        if request is None or planned is None:
            return None
        limits = self._app.models.entry(request.model).defaults
        return after_refusal(self._planner, planned, request, limits)

    def _know(self, answer: tuple[str, Offer | None]) -> None:
        job, offer = answer
        if offer is not None:
            self._offers[job] = offer
            sentence = said(self._app.jobs.failure(job))
            self._model.show_remedy(job, f"{offer.words} and try again", sentence)
            self.said.emit(sentence)

    @Slot(str)
    def start(self, job: str) -> None:
        """Change the form where it still shows the job's model, and queue the job with that change."""
        offer = self._offers.get(job)
        try:
            request = request_of(self._app.jobs.get(job).spec)
        except MissingModel:
            return
        if offer is None or request is None:
            return
        try:
            self._watch.submit([replace(request, **offer.fields)])
        except TesseraError as error:
            self.said.emit(str(error))
            return
        self.said.emit("")
        del self._offers[job]
        self._model.remove(job)
        if self._session.request.model.name == request.model.name:
            self._session.update(**offer.fields)

    def close_down(self) -> None:
        self._background.close()


def said(error: TesseraError) -> str:
    """Why it failed, without the node it happened in and what is the button's to say."""
    cause = error.__cause__
    what = cause.what if isinstance(cause, OutOfMemory) else ""
    return f"Memory ran out: {what}." if what else "Memory ran out."
