"""The thread that watches the model folders and hashes their files beside the work.

Folders are watched by their times, which every file system has and which also show changes made by other machines.
"""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Callable
from pathlib import Path

from engine.contracts.errors import TesseraError
from studio_app.events import Signal
from studio_app.models.hashing import HashProgress
from studio_app.models.layouts import model_roots
from studio_app.models.library import ModelLibrary

REST = 1.0  # seconds rested for each second hashed: half a core and half the disk at most
WATCH_SECONDS = 5.0

log = logging.getLogger(__name__)


class Background:
    """The thread that watches and hashes. `progress` tells of hashing on that thread."""

    def __init__(self, library: ModelLibrary, folders: Callable[[], list[Path]]) -> None:
        self._library, self._folders = library, folders
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self.progress: Signal[HashProgress] = Signal()

    def start(self) -> None:
        """Begin; a second call does nothing."""
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="model-library", daemon=True)
            self._thread.start()

    def close(self) -> None:
        """End within a block of hashing, or a file of scanning."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join()

    def _run(self) -> None:
        seen: dict[str, int] | None = None
        while not self._stop.is_set():
            try:
                now = self._times()
                if now != seen:
                    self._library.scan(self._stop.is_set)
                    seen = now
                    self._library.hash_now(stop=self._stop, progress=self.progress.emit, rest=REST)
            except TesseraError as error:
                log.info("the model folders could not be looked at: %s", error)
            except Exception:
                log.exception("the model library's thread met an error")
            self._stop.wait(WATCH_SECONDS)

    def _times(self) -> dict[str, int]:
        """The times of every folder below the searched ones; they change when files come, go or are renamed."""
        times: dict[str, int] = {}
        for root in self._folders():
            for folder in model_roots(root):
                for place, _, _ in os.walk(folder):
                    try:
                        times[place] = os.stat(place).st_mtime_ns
                    except OSError:
                        continue
                    if self._stop.is_set():
                        return times
        return times
