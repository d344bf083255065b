"""Brings what worker threads say to the GUI thread: one wake-up, drained at most 60 times a second.

Worker threads only append to a queue. The first one after a drain posts a single wake-up; everything that arrives in
the same sixtieth of a second is delivered in one go, and of the progress of one node only the newest is kept, so that
a thousand events a second cost the window no more than sixty.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from time import perf_counter
from typing import TYPE_CHECKING, Any

from PySide6.QtCore import QObject, Qt, QTimer, Signal, Slot
from PySide6.QtGui import QImage

from engine.contracts.job_events import JobEvent

if TYPE_CHECKING:
    from studio_app.application import Application

FRAME_SECONDS = 1 / 60
DRAIN_SECONDS = 0.006  # a drain hands over this much work, then lets the window paint


class Bridge(QObject):
    """Signals of the application, on the GUI thread. Connect only slots of QObjects.

    job_event      JobEvent, in the order of each job
    engine_state   "cold", "loading", "ready" or "failed"
    notification   studio_app.notifications.Notification
    ready          the store is open and jobs are taken
    setting        (key, value) of a setting that was watched with `watch`
    """

    job_event = Signal(object)
    engine_state = Signal(object)
    notification = Signal(object)
    setting = Signal(object)
    ready = Signal()
    _woken = Signal()

    def __init__(self, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._app: Application | None = None
        self._queue: deque[tuple[Callable[[Any], object], Any]] = deque()
        self._lock = threading.Lock()
        self._awake = False
        self._last = 0.0
        self._frame: tuple[str, QImage] | None = None  # the newest preview and its job
        self._undo: list[Callable[[], object]] = []
        self._timer = QTimer(self)
        self._timer.setSingleShot(True)
        self._timer.setTimerType(Qt.TimerType.PreciseTimer)
        self._timer.timeout.connect(self._drain)
        self._woken.connect(self._on_woken, Qt.ConnectionType.QueuedConnection)

    def start(self, app: Application) -> None:
        """Subscribe to the application. Messages posted before are delivered first."""
        self.close()
        self._app = app
        for message in app.notifications.recent():
            self.post(self.notification.emit, message)
        self._undo = [
            app.events.subscribe(lambda event: self.post(self.job_event.emit, event)),
            app.notifications.subscribe(lambda message: self.post(self.notification.emit, message)),
            app.engine.on_state(lambda state: self.post(self.engine_state.emit, state)),
        ]

    def announce_ready(self) -> None:
        """Fire `ready` once the application is: waits for it in a thread of its own."""
        app = self._app
        assert app is not None, "start the bridge first"

        def wait() -> None:
            app.wait_ready()
            self.post(lambda _: self.ready.emit(), None)

        threading.Thread(target=wait, name="tessera-ready", daemon=True).start()

    def watch(self, key: str) -> None:
        """Let `setting` fire with (key, value) whenever the setting changes, whoever changes it."""
        assert self._app is not None, "start the bridge first"
        self._undo.append(self._app.settings.subscribe(key, lambda value: self.post(self.setting.emit, (key, value))))

    def close(self) -> None:
        """End every subscription and drop what was not delivered yet."""
        for undo in self._undo:
            undo()
        self._undo = []
        self._app = None
        self._timer.stop()
        self._queue.clear()

    def preview(self, job_id: str) -> QImage | None:
        """The newest preview frame of a running job as a picture of its own, or None. Pull it when painting.

        The engine hands each frame out once; it is kept here, since more than one place shows it.
        """
        if self._app is None:
            return None
        frame = self._app.jobs.preview(job_id)
        if frame is None:
            return self._frame[1] if self._frame is not None and self._frame[0] == job_id else None
        height, width = frame.shape[:2]
        data = frame.tobytes()  # contiguous; the picture below is copied, so that it owns its pixels
        image = QImage(data, width, height, 3 * width, QImage.Format.Format_RGB888)
        self._frame = job_id, image.convertToFormat(QImage.Format.Format_RGB32)
        return self._frame[1]

    def post(self, deliver: Callable[[Any], object], value: Any) -> None:
        """Call `deliver(value)` on the GUI thread, in order; nothing after `close`. From any thread."""
        with self._lock:
            if self._app is None:
                return
            self._queue.append((deliver, value))
            if self._awake:
                return
            self._awake = True
        self._woken.emit()

    @Slot()
    def _on_woken(self) -> None:
        wait = FRAME_SECONDS - (perf_counter() - self._last)
        if wait > 0:
            self._timer.start(round(wait * 1000) or 1)
        else:
            self._drain()

    @Slot()
    def _drain(self) -> None:
        with self._lock:
            batch = list(self._queue)
            self._queue.clear()
            self._awake = False
        if self._app is None:
            return
        started = self._last = perf_counter()
        kept = _newest_progress(batch)
        for index, (deliver, value) in enumerate(kept):
            deliver(value)
            if perf_counter() - started > DRAIN_SECONDS and index + 1 < len(kept):
                with self._lock:
                    self._queue.extendleft(reversed(kept[index + 1 :]))
                    self._awake = True
                self._timer.start(round(FRAME_SECONDS * 1000))
                return


def _newest_progress(
    batch: list[tuple[Callable[[Any], object], Any]],
) -> list[tuple[Callable[[Any], object], Any]]:
    """`batch` without the progress events that a later one of the same job and node overtakes."""
    newest: dict[tuple[str, str], int] = {}
    for index, (_, value) in enumerate(batch):
        if isinstance(value, JobEvent) and value.kind == "node_progress":
            newest[(value.job, value.node)] = index
    return [
        item
        for index, item in enumerate(batch)
        if not (isinstance(item[1], JobEvent) and item[1].kind == "node_progress")
        or newest[(item[1].job, item[1].node)] == index
    ]
