"""Small work off the GUI thread: reading, decoding and copying files. Its results come back on the GUI thread."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from PySide6.QtCore import QObject, QRunnable, QThreadPool, Signal, Slot

from engine.contracts.errors import TesseraError

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class _Outcome:
    deliver: Callable[[Any], object] | None
    value: Any


class _Task(QRunnable):
    def __init__(
        self,
        work: Callable[[], Any],
        done: Callable[[Any], object] | None,
        failed: Callable[[str], object] | None,
        finished: Callable[[_Outcome], object],
    ) -> None:
        super().__init__()
        self._work, self._done, self._failed, self._finished = work, done, failed, finished

    def run(self) -> None:
        try:
            outcome = _Outcome(self._done, self._work())
        except (TesseraError, OSError) as error:
            outcome = _Outcome(self._failed, str(error))
        except Exception:
            log.exception("background work failed")
            outcome = _Outcome(self._failed, "Something went wrong that the studio did not expect; its log has more.")
        self._finished(outcome)


class Background(QObject):
    """A pool of `threads` workers. After `close` nothing is delivered any more."""

    _finished = Signal(object)

    def __init__(self, parent: QObject | None = None, *, threads: int = 1) -> None:
        super().__init__(parent)
        self._open = True
        self._pool = QThreadPool(self)
        self._pool.setMaxThreadCount(threads)
        self._finished.connect(self._deliver)

    def run(
        self,
        work: Callable[[], Any],
        done: Callable[[Any], object] | None = None,
        failed: Callable[[str], object] | None = None,
    ) -> None:
        """`work()` on a worker, then `done(result)` here; or `failed(sentence)` when it raised."""
        if self._open:
            self._pool.start(_Task(work, done, failed, self._finished.emit))

    def close(self) -> None:
        """Forget what has not started, wait for what has."""
        self._open = False
        self._pool.clear()
        self._pool.waitForDone()

    @Slot(object)
    def _deliver(self, outcome: _Outcome) -> None:
        if self._open and outcome.deliver is not None:
            outcome.deliver(outcome.value)
