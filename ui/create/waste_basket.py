"""Deleting with undo: a picture leaves the grid at once and the library a little later."""

from __future__ import annotations

import contextlib
from collections.abc import Callable

from PySide6.QtCore import QObject, QTimer, Slot

from engine.contracts.errors import TesseraError
from engine.contracts.results import ResultRecord
from studio_app.application import Application
from ui.bridge.background import Background
from ui.create.results_model import ResultsModel
from ui.create.results_panel import MessageBar

UNDO_MS = 10_000


class WasteBasket(QObject):
    """Holds deleted pictures for ten seconds, or until the studio closes."""

    def __init__(
        self, app: Application, model: ResultsModel, background: Background, message: MessageBar, parent: QObject
    ) -> None:
        super().__init__(parent)
        self._app, self._model, self._background, self._message = app, model, background, message
        self._held: list[tuple[ResultRecord, int]] = []
        self._timer = QTimer(self)
        self._timer.setSingleShot(True)
        self._timer.setInterval(UNDO_MS)
        self._timer.timeout.connect(self._time_is_up)

    @property
    def held(self) -> list[ResultRecord]:
        return [record for record, _ in self._held]

    def throw(self, records: list[ResultRecord]) -> None:
        """Take pictures out of the grid; `undo` brings back all that were not emptied yet."""
        for record in records:
            place = self._model.remove(record.id)
            if place >= 0:
                self._held.append((record, place))
        count = len(self._held)
        if count:
            self._message.say("Picture deleted." if count == 1 else f"{count} pictures deleted.", "Undo")
            self._timer.start()

    @Slot()
    def undo(self) -> None:
        self._timer.stop()
        held, self._held = self._held, []
        for record, place in reversed(held):
            self._model.add_picture(record, place)

    @Slot()
    def _time_is_up(self) -> None:
        held, self._held = self._held, []
        if self._message.action.text() == "Undo":
            self._message.hide()
        for record, _ in held:
            self._background.run(self._deletion(record), None, self._message.say)

    def _deletion(self, record: ResultRecord) -> Callable[[], None]:
        return lambda: self._app.library.delete(record.id)

    def empty(self) -> None:
        """Delete what is held now; used when closing."""
        self._timer.stop()
        held, self._held = self._held, []
        for record, _ in held:
            with contextlib.suppress(TesseraError):  # it stays in the library, and nobody is left to tell
                self._app.library.delete(record.id)
