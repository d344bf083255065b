"""What the engine is given to work with, and how it is told to stop."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from engine.contracts.errors import Cancelled
from engine.contracts.references import ModelRef
from engine.graph.node import BlobStore


class ModelLocator(Protocol):
    """Where models lie on this machine."""

    def locate(self, ref: ModelRef) -> Path:
        """The file or folder of a model. Raises MissingModel."""
        ...

    def list(self, kind: str) -> list[ModelRef]: ...


@dataclass
class Services:
    """The parts nodes reach through their context. `session` may be a function that makes it, called on first use."""

    blobs: BlobStore
    models: ModelLocator
    session: Any = None
    device: str = "cpu"
    _made: Any = field(default=None, repr=False)

    def get_session(self) -> Any:
        """The session, made on the first call if `session` is a factory."""
        if self._made is None:
            self._made = self.session() if callable(self.session) else self.session
        return self._made

    @property
    def has_session(self) -> bool:
        return self._made is not None or (self.session is not None and not callable(self.session))


class CancelToken:
    """Says once that a job should stop. Any thread may cancel; the running node looks between steps."""

    __slots__ = ("_callbacks", "_cancelled", "_lock")

    def __init__(self) -> None:
        self._cancelled = False
        self._lock = threading.Lock()
        self._callbacks: list[Callable[[], None]] = []

    def cancel(self) -> None:
        with self._lock:
            if self._cancelled:
                return
            self._cancelled = True
            callbacks, self._callbacks = self._callbacks, []
        for callback in callbacks:
            callback()

    @property
    def cancelled(self) -> bool:
        return self._cancelled

    def check(self) -> None:
        """Raises Cancelled once `cancel` was called."""
        if self._cancelled:
            raise Cancelled

    def on_cancel(self, callback: Callable[[], None]) -> None:
        """Call back when cancelled, on the cancelling thread; at once if it already was."""
        with self._lock:
            if not self._cancelled:
                self._callbacks.append(callback)
                return
        callback()
