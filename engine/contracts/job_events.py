"""What a running job says. Deltas only; previews are not events but a latest-wins mailbox of frames."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal

from engine.contracts.codec import Document

EventKind = Literal[
    "accepted", "planned", "node_started", "node_progress", "node_finished", "node_cached", "node_failed",
    "node_blocked", "artifact", "log", "finished",
]  # fmt: skip
Outcome = Literal["succeeded", "failed", "cancelled"]


@dataclass(frozen=True, kw_only=True)
class JobEvent(Document):
    """One thing that happened. `sequence` counts from 0 within the job; `time` is Unix seconds.

    data, by kind:
      planned        {"nodes": [ids to run], "cached": n, "runs": n}
      node_started   {"type"}
      node_progress  {"done", "total", "text"?}   (steps, tiles, bytes)
      node_finished  {"seconds"}
      node_failed    {"type", "cause", "hint", "inputs"}
      artifact       {"blob", "record", "width"?, "height"?, "path"?}
      log            {"level", "text"}
      finished       {"outcome", "succeeded", "failed", "blocked", "seconds", "error"?}
    """

    job: str
    sequence: int
    time: float
    kind: EventKind
    node: str = ""
    data: Mapping[str, Any] = field(default_factory=dict)

    format: ClassVar[str] = ""
