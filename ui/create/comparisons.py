"""Makes the exact picture of a fast one's seed, and shows both when it is there."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from PySide6.QtCore import QObject, Qt, Slot
from PySide6.QtWidgets import QWidget

from engine.contracts.errors import TesseraError
from engine.contracts.results import ResultRecord
from engine.recipes.build import request_of
from engine.recipes.request import ImageRequest
from studio_app.application import Application
from ui.bridge.background import Background
from ui.create.difference import NOT_FAST, Difference, Pair, exact_request, read_pair
from ui.create.job_watch import JobWatch


class Comparisons(QObject):
    """`say(sentence)` tells the person how it goes. `dialog` is the one that was opened last."""

    def __init__(
        self, app: Application, watch: JobWatch, background: Background, say: Callable[[str], object], parent: QWidget
    ) -> None:
        super().__init__(parent)
        self._app, self._watch, self._background, self._say, self._window = app, watch, background, say, parent
        self._wanted: dict[str, ResultRecord] = {}  # job of an exact picture → the fast one it is to be laid over
        self.dialog: Difference | None = None
        watch.arrived.connect(self._arrived)

    def ask(self, record: ResultRecord) -> None:
        """Queue the exact picture, or take the one that was made before; a picture that was not made fast is refused in
        a sentence."""
        request = exact_request(record)
        if request is None:
            self._say(NOT_FAST)
            return
        exact = next((made for made in self._watch.pictures if _made_from(made) == request), None)
        if exact is not None:
            self._background.run(lambda: read_pair(self._app.library, record, exact), self._show, self._say)
            return
        try:
            self._wanted.update(dict.fromkeys(self._watch.submit([request]), record))
        except TesseraError as error:
            self._say(str(error))
        else:
            self._say("The exact picture is being made; then both are shown over each other.")

    @Slot(str)
    def _arrived(self, record_id: str) -> None:
        if self._wanted:
            self._background.run(lambda: self._read(record_id), self._show, self._say)

    def _read(self, record_id: str) -> Pair | None:
        exact = self._app.library.get(record_id)
        fast = self._wanted.pop(exact.job, None)
        return None if fast is None else read_pair(self._app.library, fast, exact)

    def _show(self, pair: Pair | None) -> None:
        if pair is not None:
            self.dialog = Difference(pair, self._window)
            self.dialog.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
            self.dialog.show()
            self._say("")


def _made_from(record: ResultRecord) -> ImageRequest | None:
    """The request that asks for this very picture; None where Create did not make it, or not exactly."""
    request = request_of(record.spec)
    if request is None or record.numerics.quantisation != "none":
        return None
    return replace(request, seed=request.seed if record.seed is None else record.seed, count=1)
