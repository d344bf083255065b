"""A trash folder inside the data folder: a removed file lies there with a note of where it was, until it is emptied."""

from __future__ import annotations

import contextlib
import json
import secrets
import shutil
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

from engine.contracts.errors import StorageError
from studio_app.files import storage_error, write_atomically


@dataclass(frozen=True)
class Trashed:
    """What was removed: where it was, and the folder of the trash it lies in now."""

    original: Path
    room: Path
    time: float


Items: TypeAlias = list[Trashed]  # in Trash the name `list` is a method


class Trash:
    """Moves files in and out; the note is written first, so that nothing lies there without its origin."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def put(self, path: Path, beside: Sequence[Path] = ()) -> Trashed:
        """Move `path` and the files beside it that belong to it. Raises StorageError."""
        now = time.time()
        room = self._folder / f"{time.strftime('%Y%m%d-%H%M%S', time.localtime(now))}-{secrets.token_hex(4)}"
        names = [path, *beside]
        note = {"original": str(path.absolute()), "time": now, "names": [item.name for item in names]}
        write_atomically(room / "removed.json", json.dumps(note).encode())
        try:
            (room / "files").mkdir()
            for item in names:
                shutil.move(item, room / "files" / item.name)
        except OSError as error:
            raise storage_error(error, path) from error
        return Trashed(path.absolute(), room, now)

    def restore(self, trashed: Trashed) -> Path:
        """Move it back. Raises StorageError when something stands there or the trash was emptied."""
        lying = trashed.room / "files"
        if not lying.is_dir():
            raise StorageError(f"{trashed.original.name} is no longer in the trash")
        names = sorted(lying.iterdir())
        for item in names:
            if (trashed.original.parent / item.name).exists():
                raise StorageError(f"{trashed.original.parent / item.name} is there already", fix="Rename it first")
        try:
            trashed.original.parent.mkdir(parents=True, exist_ok=True)
            for item in names:
                shutil.move(item, trashed.original.parent / item.name)
            shutil.rmtree(trashed.room)
        except OSError as error:
            raise storage_error(error, trashed.original) from error
        return trashed.original

    def list(self) -> Items:
        """What lies here, newest first."""
        found = []
        for note in self._folder.glob("*/removed.json"):
            with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
                data = json.loads(note.read_bytes())
                found.append(Trashed(Path(data["original"]), note.parent, float(data["time"])))
        return sorted(found, key=lambda item: -item.time)
