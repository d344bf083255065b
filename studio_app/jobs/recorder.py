"""One thread that does the studio's writing, in the order it was asked for."""

from __future__ import annotations

import logging
import queue
import threading
from collections.abc import Callable

log = logging.getLogger(__name__)
Task = Callable[[], None]


class Recorder:
    """Runs tasks one after the other on its own thread, so that neither the window nor the engine waits for a disk."""

    def __init__(self, name: str = "studio-store") -> None:
        self._tasks: queue.SimpleQueue[Task | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._started = False

    def start(self) -> None:
        if not self._started:
            self._started = True
            self._thread.start()

    def post(self, task: Task) -> None:
        """Do `task` after everything posted before. Any thread may post, also before `start`."""
        self._tasks.put(task)

    def flush(self, timeout: float | None = None) -> bool:
        """Wait until everything posted so far is done. False when that took longer than `timeout` seconds."""
        if not self._started or threading.current_thread() is self._thread:
            return True
        done = threading.Event()
        self.post(done.set)
        return done.wait(timeout)

    def close(self, timeout: float = 10.0) -> None:
        """Finish what was posted, then end."""
        if self._started:
            self._tasks.put(None)
            self._thread.join(timeout)

    def _run(self) -> None:
        while (task := self._tasks.get()) is not None:
            try:
                task()
            except Exception:
                log.exception("a task of the studio's recorder failed")
