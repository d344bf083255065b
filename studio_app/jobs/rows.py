"""A job as the queue shows it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from engine.contracts.job_spec import JobSpec
from studio_app.store.store import StoredJob

Status = Literal["queued", "running", "succeeded", "failed", "cancelled", "interrupted"]
FINISHED: tuple[Status, ...] = ("succeeded", "failed", "cancelled", "interrupted")


@dataclass(frozen=True)
class ExportTarget:
    """Where finished pictures go as named files. `pattern` is without extension, in jobs.naming's
    syntax; an empty one takes the name that the workflow gave."""

    folder: Path
    pattern: str = "%date%-%prompt%-%seed%"


@dataclass(frozen=True)
class JobRow:
    """One job: immutable; the queue replaces it with each change. Times are Unix seconds, 0 when not yet.

    fraction       0..1 of the steps that are done       step, steps   of the node that works now
    seconds_left   None while nothing is known           results       ids of what was made so far
    """

    id: str
    number: int
    title: str
    spec: JobSpec
    status: Status = "queued"
    group: str = ""
    created: float = 0.0
    started: float = 0.0
    finished: float = 0.0
    error: str = ""
    node: str = ""
    text: str = ""
    step: float = 0.0
    steps: float = 0.0
    fraction: float = 0.0
    seconds_left: float | None = None
    results: tuple[str, ...] = ()

    @property
    def is_finished(self) -> bool:
        return self.status in FINISHED


def stored(row: JobRow) -> StoredJob:
    """What the database keeps of a row."""
    return StoredJob(
        row.id, row.number, row.title, row.group, row.status, row.spec, row.created, row.started, row.finished,
        row.error,
    )  # fmt: skip


def restored(job: StoredJob, results: tuple[str, ...] = ()) -> JobRow:
    """A row of an earlier session."""
    status: Status = job.status if job.status in FINISHED else "interrupted"
    return JobRow(
        id=job.id, number=job.number, title=job.title, spec=job.spec, status=status, group=job.group,
        created=job.created, started=job.started, finished=job.finished, error=job.error, results=results,
        fraction=1.0 if status == "succeeded" else 0.0,
    )  # fmt: skip
