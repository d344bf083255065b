"""What a run says of a node, as the canvas shows it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

StateKind = Literal["idle", "waiting", "running", "done", "cached", "failed", "blocked", "missing", "unfit"]


@dataclass(frozen=True, slots=True)
class NodeState:
    """`progress` is 0..1 while running, below 0 where unknown; `seconds` how long it took; `input` the field at fault;
    `text` one sentence: what happened and what to do. `done` of `total`: of the nodes within it, if any. `word`: the
    badge's own, of a node that would not fit into memory."""

    kind: StateKind = "idle"
    progress: float = -1.0
    seconds: float = 0.0
    text: str = ""
    input: str = ""
    done: int = 0
    total: int = 0
    word: str = ""

    @property
    def badge(self) -> str:
        """The word at the node's head."""
        if self.kind == "done":
            return f"{self.seconds:.1f} s" if self.seconds < 100 else f"{self.seconds / 60:.0f} min"
        if self.kind == "running" and self.total:
            return f"{self.done} of {self.total}"
        if self.kind == "running":
            return f"{self.progress:.0%}" if self.progress >= 0 else "running"
        return self.word or _BADGES[self.kind]


_BADGES = {"idle": "", "waiting": "waiting", "cached": "cached", "failed": "error", "blocked": "not run",
           "missing": "missing", "unfit": "won’t fit"}  # fmt: skip
IDLE = NodeState()
