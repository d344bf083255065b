"""What left this machine and why: one line of JSON for each request, kept in the data folder, newest last."""

from __future__ import annotations

import contextlib
import json
import os
import threading
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

MOST_BYTES = 1 << 20


@dataclass(frozen=True)
class Call:
    """One request. `path` has no query, which may hold secrets; `failure` is "" when an answer came.

    time      seconds since 1970        seconds   until the last byte
    sent, received   bytes of the bodies
    """

    time: float
    purpose: str
    method: str
    host: str
    path: str
    status: int = 0
    sent: int = 0
    received: int = 0
    seconds: float = 0.0
    failure: str = ""

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


class Ledger:
    """Any thread may add. When the file passes 1 MiB it becomes `<name>.1` and a new one begins."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock = threading.Lock()

    def add(self, call: Call) -> None:
        """Append one call. A disk that is full stops no request: the line is then lost and nothing else."""
        line = json.dumps(call.to_json(), ensure_ascii=False, separators=(",", ":")) + "\n"
        with self._lock, contextlib.suppress(OSError):
            self.path.parent.mkdir(parents=True, exist_ok=True)
            if self.path.exists() and self.path.stat().st_size > MOST_BYTES:
                os.replace(self.path, self.path.with_name(f"{self.path.name}.1"))
            with self.path.open("a", encoding="utf-8") as file:
                file.write(line)

    def recent(self, count: int = 100) -> list[Call]:
        """The newest calls, newest first; lines that can't be read are left out."""
        lines: list[str] = []
        for path in (self.path.with_name(f"{self.path.name}.1"), self.path):
            with self._lock, contextlib.suppress(OSError, UnicodeDecodeError):
                lines.extend(path.read_text(encoding="utf-8").splitlines())
        calls: list[Call] = []
        for line in reversed(lines):
            if len(calls) == count:
                break
            with contextlib.suppress(ValueError, TypeError):
                calls.append(Call(**json.loads(line)))
        return calls
