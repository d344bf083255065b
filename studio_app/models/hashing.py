"""The sha256 of every model file, a block at a time: with progress, throttled, stopped within a block, resumed later.

A hash is written to the index when it is whole, so a stopped run goes on with the next file.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from engine.contracts.errors import MissingModel, TesseraError
from studio_app.models.table import Row, write_hash
from studio_app.store.database import Database

BLOCK = 4 * 2**20


@dataclass(frozen=True)
class HashProgress:
    """How far the hashing is; `path` is the file it is at, None at the end."""

    files_done: int
    files: int
    bytes_done: int
    bytes: int
    path: Path | None


def file_sha256(path: Path, step: Callable[[int], bool] = lambda count: True) -> str:
    """The sha256 of a file, "" when `step` (told the bytes so far) said to stop. Raises MissingModel."""
    digest, count = hashlib.sha256(), 0
    try:
        with path.open("rb") as file:
            while block := file.read(BLOCK):
                digest.update(block)
                count += len(block)
                if not step(count):
                    return ""
    except OSError as error:
        raise MissingModel("it can't be read", where=str(path), fix="Check the file and its permissions") from error
    return digest.hexdigest()


@dataclass(frozen=True)
class _Step:
    """Tells of each block of a file, rests after it, and says whether to go on."""

    before: HashProgress
    stop: threading.Event
    progress: Callable[[HashProgress], object]
    rest: float

    def __call__(self, count: int) -> bool:
        self.progress(replace(self.before, bytes_done=self.before.bytes_done + count))
        # 500 MB/s is what a core and a disk do: the rest of a block follows from its size.
        return not self.stop.wait(self.rest * BLOCK / 500e6)


def unhashed(rows: Sequence[Row]) -> list[Row]:
    """Files whose hash is not known, the smallest first; folders have none."""
    wanted = [row for row in rows if not row.sha256 and not row.refused and row.path.is_file()]
    return sorted(wanted, key=lambda row: (row.size, str(row.path)))


def hash_all(
    database: Database,
    indexed: Sequence[Row],
    *,
    stop: threading.Event | None = None,
    progress: Callable[[HashProgress], object] = lambda progress: None,
    rest: float = 0.0,
) -> int:
    """Hash every file of the index whose hash is not known; how many were. `stop` ends it within a block.

    `rest` is how long it rests for each second of work. A file that changes meanwhile is left for the next time.
    """
    stop = stop or threading.Event()
    rows = unhashed(indexed)
    total, at, done = sum(row.size for row in rows), 0, 0
    for row in rows:
        step = _Step(HashProgress(done, len(rows), at, total, row.path), stop, progress, rest)
        sha256 = ""
        with contextlib.suppress(TesseraError, OSError):
            sha256 = file_sha256(row.path, step)
            found = os.stat(row.path)
            if sha256 and (found.st_size, found.st_mtime_ns) == (row.size, row.mtime_ns):
                write_hash(database, row, sha256)
                done += 1
        if stop.is_set():
            break
        at += row.size
    progress(HashProgress(done, len(rows), at, total, None))
    return done
