"""Which process a job belongs to: a locked file that the system unlocks when the process dies, however it dies."""

from __future__ import annotations

import contextlib
import os
import secrets
import sys
from pathlib import Path


def lock_file(descriptor: int) -> None:
    """Lock a file for this process, without waiting. Raises OSError when another holds it."""
    if sys.platform == "win32":
        import msvcrt

        msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
    else:
        import fcntl

        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)


class Owner:
    """This process's claim in `folder`, held until `release` or death. Raises OSError where nothing can be written."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        self.token = secrets.token_hex(8)
        self._descriptor = os.open(folder / self.token, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
        lock_file(self._descriptor)

    def is_alive(self, token: str) -> bool:
        """Whether the process behind a token still runs. The file of a dead one is removed."""
        if token == self.token:
            return True
        if not token:
            return False
        path = self._folder / token
        try:
            descriptor = os.open(path, os.O_RDWR)
        except OSError:
            return False
        try:
            lock_file(descriptor)
        except OSError:
            return True
        else:
            path.unlink(missing_ok=True)
            return False
        finally:
            os.close(descriptor)

    def others_alive(self) -> bool:
        """Whether another process uses this folder now; the files of dead ones are removed on the way."""
        tokens = [path.name for path in self._folder.iterdir()]
        alive = [self.is_alive(token) for token in tokens if token != self.token]
        return any(alive)

    def release(self) -> None:
        if self._descriptor >= 0:
            with contextlib.suppress(OSError):
                (self._folder / self.token).unlink(missing_ok=True)
            os.close(self._descriptor)
            self._descriptor = -1
