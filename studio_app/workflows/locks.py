"""Who edits a file: a lock beside the studio's own data, which the system lets go when its process dies."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

from studio_app.store.owner import lock_file


class EditLock:
    """A claim on a file that holds until `release` or death. Two claims in one process exclude each other too."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    @classmethod
    def claim(cls, folder: Path, path: Path) -> EditLock | None:
        """The claim, None when another window or process has it. A folder that can't be written locks nothing."""
        name = hashlib.sha256(os.fsencode(path.resolve())).hexdigest()[:32]
        try:
            folder.mkdir(parents=True, exist_ok=True)
            descriptor = os.open(folder / name, os.O_RDWR | os.O_CREAT, 0o600)
        except OSError:
            return cls(-1)
        try:
            lock_file(descriptor)
        except OSError:
            os.close(descriptor)
            return None
        return cls(descriptor)

    def release(self) -> None:
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1
