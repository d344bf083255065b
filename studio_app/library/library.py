"""The pictures made and brought in: what is kept on disk, and what waits in memory while it can't be."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from engine.contracts.errors import InvalidImage, MissingModel, StorageError
from engine.contracts.references import BlobRef
from engine.contracts.results import ResultRecord
from studio_app.files import storage_error, write_atomically
from studio_app.library.formats import convert
from studio_app.store.store import Store

_MAX_PICTURE_BYTES = 512 * 1024 * 1024


@dataclass(frozen=True)
class UnsavedPicture:
    """A picture that could not be written, and why."""

    record: ResultRecord
    data: bytes
    why: str


class Library:
    """Reads may come from any thread, also before the store is open: then there is nothing yet.

    `unsaved` holds pictures in memory while the disk is full or the folder can't be written, up to `budget()` bytes
    and one picture more; then no new job is taken until some are saved elsewhere.
    """

    def __init__(self, store: Store, ready: Callable[[], bool], budget: Callable[[], int]) -> None:
        self._store, self._ready, self._budget = store, ready, budget
        self._lock = threading.Lock()
        self._unsaved: dict[str, UnsavedPicture] = {}

    # --- looking

    def recent(self, limit: int = 200) -> list[ResultRecord]:
        """The newest results, newest first, with those that wait in memory before them."""
        waiting = [u.record for u in reversed(self.unsaved)]
        if not self._ready():
            return waiting[:limit]
        return [*waiting, *self._store.records(limit)][:limit]

    def of_job(self, job_id: str) -> list[ResultRecord]:
        """The results of one job in the order they were made."""
        waiting = [u.record for u in self.unsaved if u.record.job == job_id]
        kept = self._store.records_of(job_id) if self._ready() else []
        return sorted([*kept, *waiting], key=lambda r: (r.node, r.index))

    def get(self, record_id: str) -> ResultRecord:
        """One result. Raises MissingModel when it is not (or no longer) in the library."""
        with self._lock:
            waiting = self._unsaved.get(record_id)
        if waiting:
            return waiting.record
        found = self._store.record(record_id) if self._ready() else None
        if found is None:
            raise MissingModel("this picture is no longer in the library")
        return found

    def read(self, what: ResultRecord | BlobRef) -> bytes:
        """The bytes of a picture. Raises MissingModel or StorageError."""
        ref = what.artifact if isinstance(what, ResultRecord) else what
        with self._lock:
            waiting = next((u for u in self._unsaved.values() if u.record.artifact.sha256 == ref.sha256), None)
        return waiting.data if waiting else self._store.blobs.read(ref)

    def path(self, ref: BlobRef) -> Path:
        """Where a picture's bytes lie on disk; the file has no extension and must not be changed."""
        return self._store.blobs.path(ref)

    def exported_to(self, record: ResultRecord) -> Path | None:
        """The named file in the person's folder, where one was written."""
        return self._store.exported_to(record.id) if self._ready() else None

    # --- changing

    def import_picture(self, source: Path | bytes, name: str = "") -> BlobRef:
        """Bring a picture in. Raises InvalidImage when it is not a real, whole image, StorageError when it can't be
        kept."""
        data = _read_file(source) if isinstance(source, Path) else source
        name = name or (source.name if isinstance(source, Path) else "picture")
        from engine.media import images

        images.decode(data, name)  # the only proof that every pixel is there
        return self._store.blobs.write(data, images.probe(data, name).media_type, name)

    def save_as(self, record: ResultRecord, path: Path) -> Path:
        """Write a picture to a file of the person's choice, over what is there. Raises StorageError.

        The extension decides the format; in the format it was made in, the bytes are the very ones in the library.
        """
        data = self.read(record)
        path = write_atomically(path, convert(data, record.artifact.media_type, path.suffix, record.artifact.name))
        self._release(record.id)
        return path

    def delete(self, record_id: str) -> None:
        """Forget a picture. Named files in the person's folder stay."""
        record = self.get(record_id)
        if not self._release(record_id):
            self._store.delete(record)

    # --- pictures that could not be written

    @property
    def unsaved(self) -> list[UnsavedPicture]:
        """What waits in memory, oldest first."""
        with self._lock:
            return list(self._unsaved.values())

    @property
    def unsaved_full(self) -> bool:
        with self._lock:
            return sum(len(u.data) for u in self._unsaved.values()) >= self._budget()

    def hold(self, record: ResultRecord, data: bytes, why: str) -> None:
        """Keep a picture in memory because it could not be written."""
        with self._lock:
            self._unsaved[record.id] = UnsavedPicture(record, data, why)

    def retry_unsaved(self, keep: Callable[[ResultRecord, bytes], None]) -> int:
        """Try to keep each waiting picture once more with `keep`; how many could be. Stops at the first failure."""
        saved = 0
        for item in self.unsaved:
            try:
                keep(item.record, item.data)
            except StorageError:
                break
            self._release(item.record.id)
            saved += 1
        return saved

    def _release(self, record_id: str) -> bool:
        with self._lock:
            return self._unsaved.pop(record_id, None) is not None


def _read_file(path: Path) -> bytes:
    try:
        if path.is_dir():
            raise InvalidImage("it is a folder, not a picture", where=path.name)
        if path.stat().st_size > _MAX_PICTURE_BYTES:
            raise InvalidImage(f"it is larger than {_MAX_PICTURE_BYTES // 2**20} MB", where=path.name)
        return path.read_bytes()
    except FileNotFoundError:
        raise InvalidImage("there is no such file", where=str(path)) from None
    except OSError as error:
        raise InvalidImage(f"it can't be read ({error.strerror})", where=str(path)) from storage_error(error, path)
