"""An artifact of the engine → a record that is safe on disk, or known not to be."""

from __future__ import annotations

import hashlib
import logging
import os
import platform
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from engine.contracts.errors import StorageError
from engine.contracts.job_events import JobEvent
from engine.contracts.job_spec import JobSpec
from engine.contracts.references import BlobRef
from engine.contracts.results import NumericsPlan, ResultRecord
from engine.contracts.workflow import ModelRef
from engine.recipes.build import request_of
from studio_app.jobs.naming import file_name
from studio_app.jobs.rows import ExportTarget, JobRow, stored
from studio_app.library.library import Library
from studio_app.notifications import Action, Notifications
from studio_app.store.exports import ExportRequest
from studio_app.store.store import Store
from studio_app.version import VERSION

if TYPE_CHECKING:
    from engine.graph.values import Artifact

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Kept:
    """What became of an artifact. `path` is the named file, `why` the sentence when something could not be written."""

    record: ResultRecord
    saved: bool
    path: Path | None = None
    why: str = ""

    def event_data(self) -> dict[str, Any]:
        """The data of its "artifact" event."""
        record = self.record
        data: dict[str, Any] = {
            "blob": record.artifact.to_json(), "record": record.id, "width": record.width, "height": record.height,
        }  # fmt: skip
        if self.path:
            data["path"] = str(self.path)
        if not self.saved:
            data["unsaved"] = True
        if self.why:
            data["error"] = self.why
        return data


class ResultKeeper:
    """Does the writing of results in the store's order, and tells the person in one sentence when it can't."""

    def __init__(self, store: Store, library: Library, notifications: Notifications, ready: Callable[[], bool]) -> None:
        self._store, self._library, self._notifications, self._ready = store, library, notifications, ready
        self._complained = ""

    def keep(
        self, row: JobRow, node: str, index: int, artifact: Artifact, export: ExportTarget | None,
        events: Sequence[JobEvent] = (),
    ) -> Kept:  # fmt: skip
        """Store one artifact. Never raises StorageError: a picture that can't be written stays in memory."""
        record = record_of(row, node, index, artifact)
        try:
            self._require_ready()
            self._store.blobs.write(artifact.data, artifact.media_type, record.artifact.name)
            request = _export_request(record, export)
            self._store.keep(record, stored(row), request, events)
        except StorageError as error:
            self._library.hold(record, artifact.data, str(error))
            self._complain(f"{error} The picture is kept in memory until you save it elsewhere.")
            return Kept(record, saved=False, why=str(error))
        if request is None:
            return Kept(record, saved=True)
        try:
            return Kept(record, saved=True, path=self._store.export(record, request))
        except StorageError as error:
            self._complain(f"{error} The picture is safe in the library.")
            return Kept(record, saved=True, why=str(error))

    def keep_again(self, record: ResultRecord, data: bytes, row: JobRow) -> None:
        """Another try for a picture that waits in memory. Raises StorageError."""
        self._require_ready()
        self._store.blobs.write(data, record.artifact.media_type, record.artifact.name)
        self._store.keep(record, stored(row), None)

    def guarded(self, write: Callable[[], None]) -> None:
        """Do a writing whose failure must not stop the job."""
        try:
            write()
        except StorageError as error:
            self._complain(str(error))

    def _require_ready(self) -> None:
        if not self._ready():
            raise StorageError("the library can't be used", fix="Choose a data folder that you may write to")

    def _complain(self, sentence: str) -> None:
        if sentence != self._complained:  # once, not for each of sixty pictures
            self._complained = sentence
            self._notifications.post("error", sentence, Action("library.save_unsaved", "Save elsewhere…"))


def record_of(row: JobRow, node: str, index: int, artifact: Artifact) -> ResultRecord:
    """The record of an artifact; the same (job, node, index) gives the same id."""
    digest = hashlib.sha256(artifact.data).hexdigest()
    facts = dict(artifact.facts)
    seed = facts.pop("seed", None)
    now = time.time()
    return ResultRecord(
        id=hashlib.sha256(f"{row.id}\n{node}\n{index}".encode()).hexdigest()[:24],
        job=row.id,
        node=node,
        index=index,
        artifact=BlobRef(sha256=digest, media_type=artifact.media_type, size=len(artifact.data), name=artifact.name),
        spec=row.spec,
        numerics=_numerics(facts),
        versions=versions(),
        created=now,
        seconds=round(now - row.started, 3) if row.started else 0.0,
        parents=_parents(row.spec),
        width=artifact.width,
        height=artifact.height,
        seed=seed if isinstance(seed, int) else _seed(row.spec, index),
        parameters=str(facts.pop("parameters", "")),
        facts={key: value for key, value in facts.items() if isinstance(value, (str, int, float, bool))},
    )


def versions() -> dict[str, str]:
    """Of the studio and, where loaded, of what the arithmetic is done with."""
    found = {"tessera": VERSION, "python": platform.python_version()}
    for name in ("torch", "diffusers", "numpy"):
        version = getattr(sys.modules.get(name), "__version__", None)
        if version:
            found[name] = str(version)
    return found


def _numerics(facts: dict[str, Any]) -> NumericsPlan:
    torch = sys.modules.get("torch")
    threads = int(torch.get_num_threads()) if torch else os.cpu_count() or 1
    plan = NumericsPlan(threads=threads)
    names = {item.name for item in fields(NumericsPlan)} - {"extra"}
    known = {name: facts.pop(name) for name in names & facts.keys()}
    return replace(plan, **known)


def _parents(spec: JobSpec) -> tuple[BlobRef, ...]:
    """The pictures a job started from."""
    found = {
        value.sha256: value
        for node in spec.workflow.nodes
        for value in node.inputs.values()
        if isinstance(value, BlobRef) and value.sha256
    }
    return tuple(found.values())


def _seed(spec: JobSpec, index: int) -> int | None:
    request = request_of(spec)
    return request.seed + index if request else None


def _export_request(record: ResultRecord, export: ExportTarget | None) -> ExportRequest | None:
    if export is None:
        return None
    if record.facts.get("preview"):
        return None  # shown, not saved
    if not export.pattern:
        return ExportRequest(export.folder, record.artifact.name or "picture.png")
    models = [v for n in record.spec.workflow.nodes for v in n.inputs.values() if isinstance(v, ModelRef)]
    return ExportRequest(export.folder, file_name(export.pattern, record, models[0].name if models else ""))
