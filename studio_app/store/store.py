"""What the studio remembers, and the order in which it is written.

    blob to a temporary file, fsync, rename
      → one transaction {record unique by (job, node, index), job state, pending export}
        → a line in the journal → the named file in the person's folder

After a crash at any point, `open` brings everything after the last finished step to its end: records missing from the
journal are appended, pending exports written, jobs of dead processes marked as interrupted.
"""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from engine.contracts.codec import dump_json
from engine.contracts.errors import TesseraError
from engine.contracts.job_events import JobEvent
from engine.contracts.job_spec import JobSpec
from engine.contracts.results import ResultRecord
from studio_app.files import storage_error
from studio_app.store.blobs import Blobs
from studio_app.store.database import Database
from studio_app.store.exports import ExportRequest, write_export
from studio_app.store.journal import Journal
from studio_app.store.owner import Owner

DAY = 24 * 3600.0
UNFINISHED = ("queued", "running")
INTERRUPTED = "The studio was closed or stopped before this was finished."


@dataclass(frozen=True)
class StoredJob:
    """A job as the database keeps it. Times are Unix seconds, 0 when not yet."""

    id: str
    number: int
    title: str
    group: str
    status: str
    spec: JobSpec
    created: float
    started: float = 0.0
    finished: float = 0.0
    error: str = ""


@dataclass(frozen=True)
class Recovery:
    """What opening found to repair, in numbers."""

    interrupted: int = 0
    exports_finished: int = 0
    exports_failed: int = 0
    journalled: int = 0
    rebuilt: int = 0


class Store:
    """Blobs, database and journal of one data folder. Methods may be called on any thread once `open` returned."""

    def __init__(self, data: Path) -> None:
        self.blobs = Blobs(data / "blobs")
        self.database = Database(data / "studio.db")
        self.journal = Journal(data / "journal.jsonl")
        self._owners = data / "owners"
        self._owner: Owner | None = None

    # --- opening and closing

    def open(self) -> Recovery:
        """Open, repair, recover. Raises StorageError when the data folder can't be used."""
        try:
            self._owner = Owner(self._owners)
        except OSError as error:
            raise storage_error(error, self._owners / "owner") from error
        self.database.open()
        rebuilt = self._rebuild() if self.database.fresh else 0
        interrupted = self._mark_interrupted()
        journalled = self._finish_journal()
        finished, failed = self._finish_exports()
        # Temporary files of a dead process may go at once; another living one may be writing its own now.
        self.blobs.clean(DAY if self._owner.others_alive() else 0.0)
        return Recovery(interrupted, finished, failed, journalled, rebuilt)

    def close(self) -> None:
        self.database.close()
        if self._owner:
            self._owner.release()

    @property
    def token(self) -> str:
        return self._owner.token if self._owner else ""

    # --- jobs

    def save_job(self, job: StoredJob, events: Sequence[JobEvent] = ()) -> None:
        """Write a job's state, and what it said since the last time, in one transaction."""
        with self.database.transaction() as connection:
            self._write_job(connection, job, events)

    def jobs(self, limit: int = 200) -> list[StoredJob]:
        """The newest jobs, newest first."""
        rows = self.database.rows(f"SELECT {_JOB_COLUMNS} FROM job ORDER BY number DESC LIMIT ?", (limit,))
        return [job for row in rows if (job := _job(row)) is not None]

    def job(self, job_id: str) -> StoredJob | None:
        rows = self.database.rows(f"SELECT {_JOB_COLUMNS} FROM job WHERE id = ?", (job_id,))
        return _job(rows[0]) if rows else None

    def next_number(self) -> int:
        return int(self.database.rows("SELECT COALESCE(MAX(number), 0) + 1 FROM job")[0][0])

    def events(self, job_id: str) -> list[JobEvent]:
        """What a job said, in order; step progress is not kept."""
        rows = self.database.rows(
            "SELECT sequence, time, kind, node, data FROM job_event WHERE job = ? ORDER BY sequence", (job_id,)
        )
        return [
            JobEvent.from_json(
                {"job": job_id, "sequence": s, "time": t, "kind": k, "node": n or "", "data": json.loads(d or "{}")}
            )
            for s, t, k, n, d in rows
        ]

    def _write_job(self, connection: Any, job: StoredJob, events: Sequence[JobEvent]) -> None:
        connection.execute(
            "INSERT INTO job (id, number, title, job_group, status, owner, spec, created, started, finished, error)"
            " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (id) DO UPDATE SET"
            " status = excluded.status, started = excluded.started, finished = excluded.finished,"
            " error = excluded.error, title = excluded.title",
            (
                job.id, job.number, job.title, job.group, job.status, self.token,
                dump_json(job.spec.to_json(), indent=None), job.created, job.started, job.finished, job.error,
            ),
        )  # fmt: skip
        connection.executemany(
            "INSERT OR IGNORE INTO job_event (job, sequence, time, kind, node, data) VALUES (?, ?, ?, ?, ?, ?)",
            [
                (e.job, e.sequence, round(e.time, 3), e.kind, e.node or None, _compact(e.to_json().get("data")))
                for e in events
            ],
        )

    # --- results

    def keep(
        self, record: ResultRecord, job: StoredJob, export: ExportRequest | None, events: Sequence[JobEvent] = ()
    ) -> bool:
        """One transaction for a record whose blob is already stored, the job's state, and the named file still to
        write; then the journal. False when this (job, node, index) was kept before.

        Raises StorageError; the journal is then made good at the next opening.
        """
        with self.database.transaction() as connection:
            self._write_job(connection, job, events)
            changed = connection.execute(
                "INSERT OR IGNORE INTO result (id, job, node, position, blob, created, body)"
                " VALUES (?, ?, ?, ?, ?, ?, ?)",
                (
                    record.id,
                    record.job,
                    record.node,
                    record.index,
                    record.artifact.sha256,
                    record.created,
                    _body(record),
                ),
            ).rowcount
            if changed and export:
                connection.execute(
                    "INSERT INTO export (result, folder, name, state) VALUES (?, ?, ?, 'pending')",
                    (record.id, str(export.folder), export.name),
                )
        if changed:
            self._journal([record])
        return bool(changed)

    def export(self, record: ResultRecord, request: ExportRequest, *, recovering: bool = False) -> Path:
        """Write the named file of a kept record and note that it is done. Raises StorageError, and notes that."""
        try:
            path = write_export(request, self.blobs.read(record.artifact), recovering=recovering)
        except TesseraError as error:
            self._note_export(record.id, "failed", "", str(error))
            raise
        self._note_export(record.id, "done", str(path), "")
        return path

    def exported_to(self, record_id: str) -> Path | None:
        """Where the named file of a record was written."""
        rows = self.database.rows("SELECT path FROM export WHERE result = ? AND state = 'done'", (record_id,))
        return Path(rows[0][0]) if rows and rows[0][0] else None

    def pending_exports(self) -> int:
        return int(self.database.rows("SELECT COUNT(*) FROM export WHERE state = 'pending'")[0][0])

    def records(self, limit: int = 200) -> list[ResultRecord]:
        """The newest results, newest first."""
        return self._records("ORDER BY result.created DESC, result.rowid DESC LIMIT ?", (limit,))

    def record(self, record_id: str) -> ResultRecord | None:
        found = self._records("WHERE result.id = ?", (record_id,))
        return found[0] if found else None

    def records_of(self, job_id: str) -> list[ResultRecord]:
        return self._records("WHERE result.job = ? ORDER BY result.rowid", (job_id,))

    def result_ids(self, job_ids: Sequence[str]) -> list[tuple[str, str]]:
        """(record id, job id) of the results of these jobs, in the order they were made."""
        wanted = set(job_ids)
        rows = self.database.rows("SELECT id, job FROM result ORDER BY rowid")
        return [(record_id, job_id) for record_id, job_id in rows if job_id in wanted]

    def delete(self, record: ResultRecord) -> None:
        """Forget a result, and its picture unless another result or job still refers to it. Named files stay."""
        sha256 = record.artifact.sha256
        with self.database.transaction() as connection:
            connection.execute("DELETE FROM export WHERE result = ?", (record.id,))
            connection.execute("DELETE FROM result WHERE id = ?", (record.id,))
            used = connection.execute(
                "SELECT EXISTS (SELECT 1 FROM result WHERE blob = ?) OR EXISTS (SELECT 1 FROM job WHERE spec LIKE ?)",
                (sha256, f"%{sha256}%"),
            ).fetchone()[0]
        self.journal.append([{"op": "delete", "id": record.id, "time": round(time.time(), 3)}])
        if not used:
            self.blobs.remove(sha256)

    def _records(self, clause: str, values: tuple[Any, ...]) -> list[ResultRecord]:
        rows = self.database.rows(
            f"SELECT result.body, job.id, job.spec FROM result JOIN job ON job.id = result.job {clause}", values
        )
        specs: dict[str, Any] = {}  # decoded once per job: its pictures share it
        out = []
        for body, job_id, spec in rows:
            if job_id not in specs:
                specs[job_id] = JobSpec.from_json(json.loads(spec))
            out.append(_record(json.loads(body), specs[job_id]))
        return out

    def _note_export(self, record_id: str, state: str, path: str, error: str) -> None:
        with self.database.transaction() as connection:
            connection.execute(
                "UPDATE export SET state = ?, path = ?, error = ? WHERE result = ?", (state, path, error, record_id)
            )

    # --- recovery

    def _mark_interrupted(self) -> int:
        """Jobs whose process is dead did not finish; jobs of another living process are left alone."""
        assert self._owner is not None
        marks = ", ".join("?" for _ in UNFINISHED)
        rows = self.database.rows(f"SELECT id, owner FROM job WHERE status IN ({marks})", UNFINISHED)
        alive = {owner: self._owner.is_alive(owner) for owner in {row[1] or "" for row in rows}}
        dead = [(INTERRUPTED, time.time(), job_id) for job_id, owner in rows if not alive[owner or ""]]
        if dead:
            with self.database.transaction() as connection:
                connection.executemany(
                    "UPDATE job SET status = 'interrupted', error = ?, finished = ? WHERE id = ?", dead
                )
        return len(dead)

    def _finish_journal(self) -> int:
        missing = self._records("WHERE result.journalled = 0", ())
        self._journal(missing)
        return len(missing)

    def _journal(self, records: Sequence[ResultRecord]) -> None:
        if not records:
            return
        self.journal.append([{"op": "result", "record": record.to_json()} for record in records])
        with self.database.transaction() as connection:
            connection.executemany("UPDATE result SET journalled = 1 WHERE id = ?", [(r.id,) for r in records])

    def _finish_exports(self) -> tuple[int, int]:
        """(written, failed) of the named files a crash kept from being written."""
        assert self._owner is not None
        rows = self.database.rows(
            "SELECT export.result, export.folder, export.name, job.owner FROM export"
            " JOIN result ON result.id = export.result JOIN job ON job.id = result.job WHERE export.state = 'pending'"
        )
        done = failed = 0
        for record_id, folder, name, owner in rows:
            record = None if self._owner.is_alive(owner or "") else self.record(record_id)
            if record is None:
                continue
            try:
                self.export(record, ExportRequest(Path(folder), name), recovering=True)
                done += 1
            except TesseraError:
                failed += 1
        return done, failed

    def _rebuild(self) -> int:
        """Fill a new database from the journal: every record whose blob is still here. Returns how many."""
        deleted: set[str] = set()
        records: dict[str, ResultRecord] = {}
        for entry in self.journal.read():
            if entry.get("op") == "delete":
                deleted.add(str(entry.get("id")))
            elif entry.get("op") == "result":
                with contextlib.suppress(TesseraError):
                    record = ResultRecord.from_json(entry.get("record"))
                    records[record.id] = record
        kept = [r for r in records.values() if r.id not in deleted and self.blobs.has(r.artifact)]
        numbers: dict[str, int] = {}
        for record in kept:
            number = numbers.setdefault(record.job, len(numbers) + 1)
            job = StoredJob(
                record.job, number, record.spec.title, "", "succeeded", record.spec, record.created,
                finished=record.created,
            )  # fmt: skip
            self.keep(record, job, None)
        return len(kept)


_JOB_COLUMNS = "id, number, title, job_group, status, spec, created, started, finished, error"


def _job(row: tuple[Any, ...]) -> StoredJob | None:
    job_id, number, title, group, status, spec, created, started, finished, error = row
    try:
        parsed = JobSpec.from_json(json.loads(spec))
    except (TesseraError, ValueError):
        return None  # written by a newer studio: kept in the file, not shown
    return StoredJob(
        job_id, number, title or "", group or "", status, parsed, created or 0.0, started or 0.0, finished or 0.0,
        error or "",
    )  # fmt: skip


def _body(record: ResultRecord) -> str:
    """A record without its spec, which its job's row holds once for all its pictures."""
    data = record.to_json()
    data.pop("spec")
    return dump_json(data, indent=None)


def _record(body: dict[str, Any], spec: JobSpec) -> ResultRecord:
    return replace(ResultRecord.from_json({**body, "spec": {"workflow": {}}}), spec=spec)


def _compact(data: Any) -> str | None:
    return dump_json(data, indent=None) if data else None
