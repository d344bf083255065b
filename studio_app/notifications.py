"""The one door for messages to a person. Any thread may post; whoever shows them subscribes."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal

from studio_app.events import Signal, Unsubscribe

Level = Literal["info", "success", "warning", "error"]


@dataclass(frozen=True)
class Action:
    """Something a message offers to do: the id of a command (studio_app.commands) and the button's text."""

    command: str
    text: str


@dataclass(frozen=True)
class Notification:
    level: Level
    text: str
    action: Action | None = None
    time: float = field(default_factory=time.time)


class Notifications:
    """Keeps the last 200 messages, so that one posted before the window opened is still shown."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._recent: deque[Notification] = deque(maxlen=200)
        self._signal: Signal[Notification] = Signal()

    def post(self, level: Level, text: str, action: Action | None = None) -> Notification:
        """Show `text`, a plain sentence, to the person."""
        message = Notification(level, text, action)
        with self._lock:
            self._recent.append(message)
        self._signal.emit(message)
        return message

    def recent(self) -> list[Notification]:
        """What was posted, oldest first."""
        with self._lock:
            return list(self._recent)

    def subscribe(self, subscriber: Callable[[Notification], object]) -> Unsubscribe:
        """`subscriber(notification)` is called on the thread that posts."""
        return self._signal.subscribe(subscriber)
