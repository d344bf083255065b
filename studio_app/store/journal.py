"""A line of JSON for each record made or deleted, beside the blobs, so that the database can be rebuilt."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from engine.contracts.codec import dump_json
from studio_app.files import storage_error


class Journal:
    """Append-only; a torn last line, as a crash leaves it, is closed by the next append and skipped in reading."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def append(self, entries: Iterable[dict[str, Any]]) -> None:
        """Write and sync entries. Raises StorageError."""
        data = "".join(dump_json(entry, indent=None) + "\n" for entry in entries).encode()
        if not data:
            return
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with open(self.path, "ab+") as file:
                end = file.seek(0, os.SEEK_END)
                if end:
                    file.seek(end - 1)
                    if file.read(1) != b"\n":
                        data = b"\n" + data
                file.write(data)  # append mode: one write at the end, whole beside other processes' lines
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            raise storage_error(error, self.path) from error

    def read(self) -> Iterator[dict[str, Any]]:
        """The entries in order; lines that are no JSON object are passed over."""
        try:
            file = open(self.path, "rb")  # noqa: SIM115
        except OSError:
            return
        with file:
            for line in file:
                try:
                    entry = json.loads(line)
                except ValueError:
                    continue
                if isinstance(entry, dict):
                    yield entry
