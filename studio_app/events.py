"""Observers: a list of callables that can be called from any thread, each subscription undone by what it returns."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from typing import Generic, TypeVar

T = TypeVar("T")
Unsubscribe = Callable[[], None]

log = logging.getLogger(__name__)


class Signal(Generic[T]):
    """Calls every subscriber with each value, in order of subscription, on the thread that emits.

    A subscriber that raises is logged and does not keep the others from hearing.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._subscribers: tuple[Callable[[T], object], ...] = ()

    def subscribe(self, subscriber: Callable[[T], object]) -> Unsubscribe:
        """Returns a callable that ends the subscription; calling it twice does no harm."""
        with self._lock:
            self._subscribers = (*self._subscribers, subscriber)

        def unsubscribe() -> None:
            with self._lock:
                self._subscribers = tuple(s for s in self._subscribers if s is not subscriber)

        return unsubscribe

    def emit(self, value: T) -> None:
        for subscriber in self._subscribers:
            try:
                subscriber(value)
            except Exception:
                log.exception("a subscriber of %s failed", type(value).__name__)
