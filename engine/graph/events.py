"""What a job says while it runs: deltas with a sequence number, and previews as a latest-wins mailbox."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from engine.contracts.job_events import EventKind, JobEvent

Frame = npt.NDArray[np.uint8]
OnEvent = Callable[[JobEvent], None]


class EventStream:
    """Numbers the events of one job and hands them on, one at a time whatever thread they come from."""

    def __init__(self, job: str, on_event: OnEvent | None) -> None:
        self.job, self.on_event = job, on_event
        self._sequence = 0
        self._lock = threading.RLock()

    def emit(self, kind: EventKind, node: str = "", data: Mapping[str, Any] | None = None) -> None:
        if self.on_event is None:
            return
        with self._lock:
            event = JobEvent(
                job=self.job,
                sequence=self._sequence,
                time=round(time.time(), 3),
                kind=kind,
                node=node,
                data={} if data is None else data,
            )
            self._sequence += 1
            self.on_event(event)


class PreviewBox:
    """Holds only the newest frame of a job. `wanted` is true once a person's eye has taken the last one."""

    __slots__ = ("_frame", "_lock", "wanted")

    def __init__(self) -> None:
        self._frame: Frame | None = None
        self._lock = threading.Lock()
        self.wanted = True

    def __call__(self, node_id: str, frame: Frame) -> None:
        with self._lock:
            self._frame = frame
            self.wanted = False

    def take(self) -> Frame | None:
        """The newest frame not yet taken, or None."""
        with self._lock:
            frame, self._frame = self._frame, None
            self.wanted = True
            return frame
