"""Pictures and files by content: blobs/ab/abcdef… holds the bytes whose sha256 is abcdef….

A blob is written to a temporary file, synced and renamed, so that a name in the store always stands for whole bytes.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import secrets
import time
from collections.abc import Iterator
from pathlib import Path

from engine.contracts.errors import MissingModel, StorageError
from engine.contracts.references import BlobRef
from studio_app.files import PARTIAL_SUFFIX, storage_error, sync_folder


class Blobs:
    """The blob store (engine.graph.node.BlobStore). Any thread and any process may write; the same content once."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def path(self, ref: BlobRef | str) -> Path:
        """Where a blob lies or would lie."""
        sha256 = ref if isinstance(ref, str) else ref.sha256
        if not sha256:
            name = "" if isinstance(ref, str) else ref.name
            raise MissingModel(f"the picture “{name or 'without a name'}” has not been chosen yet")
        return self.root / sha256[:2] / sha256

    def has(self, ref: BlobRef) -> bool:
        return bool(ref.sha256) and self.path(ref).is_file()

    def write(self, data: bytes, media_type: str, name: str = "") -> BlobRef:
        """Store bytes; returns their reference. Raises StorageError with one sentence; nothing is left behind then."""
        sha256 = hashlib.sha256(data).hexdigest()
        ref = BlobRef(sha256=sha256, media_type=media_type, size=len(data), name=name)
        path = self.path(ref)
        with contextlib.suppress(OSError):
            if path.stat().st_size == len(data):
                return ref
        temporary = path.with_name(f"{sha256[:16]}.{secrets.token_hex(6)}{PARTIAL_SUFFIX}")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            try:
                with open(temporary, "xb") as file:
                    file.write(data)
                    file.flush()
                    os.fsync(file.fileno())
                os.replace(temporary, path)
            finally:
                with contextlib.suppress(OSError):
                    temporary.unlink(missing_ok=True)
            sync_folder(path.parent)
        except OSError as error:
            raise storage_error(error, path) from error
        return ref

    def read(self, ref: BlobRef) -> bytes:
        """The bytes. When their number is not what the reference says they are hashed.

        Raises MissingModel when the blob is not here, StorageError when it is damaged.
        """
        path = self.path(ref)
        try:
            data = path.read_bytes()
        except FileNotFoundError as error:
            name = ref.name or f"{ref.sha256[:12]}…"
            raise MissingModel(f"the picture “{name}” is no longer in the library") from error
        except OSError as error:
            raise StorageError(f"{path} can't be read ({error.strerror})") from error
        if len(data) != ref.size and hashlib.sha256(data).hexdigest() != ref.sha256:
            raise StorageError(f"{path} is damaged", fix="Restore it from a backup, or delete it and make it again")
        return data

    def verify(self, sha256: str) -> bool:
        """Whether the stored bytes are what their name says."""
        try:
            return hashlib.sha256(self.path(sha256).read_bytes()).hexdigest() == sha256
        except OSError:
            return False

    def remove(self, sha256: str) -> None:
        """Forget a blob. A missing one does no harm."""
        with contextlib.suppress(OSError):
            self.path(sha256).unlink()

    def all(self) -> Iterator[str]:
        """The sha256 of every blob here."""
        for folder in sorted(self.root.iterdir()) if self.root.is_dir() else ():
            if len(folder.name) == 2 and folder.is_dir():
                yield from sorted(p.name for p in folder.iterdir() if len(p.name) == 64)

    def clean(self, older_than: float) -> int:
        """Delete temporary files a crash left, when older than so many seconds (others may be in use); how many."""
        removed, limit = 0, time.time() - older_than
        for path in self.root.glob(f"??/*{PARTIAL_SUFFIX}"):
            with contextlib.suppress(OSError):
                if path.stat().st_mtime <= limit:
                    path.unlink()
                    removed += 1
        return removed
