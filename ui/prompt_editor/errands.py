"""Small looks off the window's thread whose answers may be overtaken: of each kind only the newest matters."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from typing import Any

from PySide6.QtCore import QObject
from shiboken6 import isValid

from engine.contracts.errors import TesseraError
from ui.bridge.bridge import Bridge

log = logging.getLogger(__name__)

_Errand = tuple[Callable[[], Any], Callable[[Any], object]]


class Errands(QObject):
    """One thread for each kind while it has something to do; it never keeps the studio from closing."""

    def __init__(self, bridge: Bridge, parent: QObject) -> None:
        super().__init__(parent)
        self._bridge = bridge
        self._running: set[str] = set()
        self._next: dict[str, _Errand] = {}

    @property
    def busy(self) -> bool:
        return bool(self._running)

    def run(self, kind: str, work: Callable[[], Any], done: Callable[[Any], object]) -> None:
        """`work()` on a thread, then `done(result)` here unless something newer of this kind was asked for."""
        self._next[kind] = (work, done)
        if kind not in self._running:
            self._start(kind)

    def _start(self, kind: str) -> None:
        work, done = self._next.pop(kind)
        self._running.add(kind)
        bridge = self._bridge

        def go() -> None:
            result: Any = None
            try:
                result = work()
            except (TesseraError, OSError) as error:
                log.info("a look at a prompt failed: %s", error)
            except Exception:
                log.exception("a look at a prompt failed")
            bridge.post(self._arrived, (kind, done, result))

        threading.Thread(target=go, name=f"tessera-prompt-{kind}", daemon=True).start()

    def _arrived(self, answer: tuple[str, Callable[[Any], object], Any]) -> None:
        if not isValid(self):
            return
        kind, done, result = answer
        self._running.discard(kind)
        if kind in self._next:
            self._start(kind)
        elif result is not None:
            done(result)
