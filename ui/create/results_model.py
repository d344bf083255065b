"""The results grid's list: jobs first, then pictures, newest first. A mirror of queue and library."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import TypeAlias

from PySide6.QtCore import QAbstractListModel, QModelIndex, QObject, QPersistentModelIndex, Qt
from PySide6.QtGui import QImage

from engine.contracts.errors import clip
from engine.contracts.results import ResultRecord
from engine.recipes.build import request_of
from studio_app.jobs.rows import JobRow

Index: TypeAlias = QModelIndex | QPersistentModelIndex
ENTRY = Qt.ItemDataRole.UserRole


@dataclass(frozen=True)
class JobEntry:
    """A job that waits, runs, or failed. `preview` is the newest frame of the picture forming; `remedy` what would let
    a failed one run, in words, and `said` why it failed, where that can be said shorter than its error does."""

    row: JobRow
    preview: QImage | None = field(default=None, compare=False)
    remedy: str = ""
    said: str = ""

    @property
    def key(self) -> str:
        return self.row.id

    @property
    def failed(self) -> bool:
        return self.row.status in ("failed", "interrupted")

    @property
    def pictures(self) -> int:
        """How many pictures the job makes."""
        request = request_of(self.row.spec)
        return 1 if request is None else request.count

    def status_text(self) -> str:
        """Where the job stands, in words."""
        row = self.row
        if self.failed:
            return self.said or row.error or "It did not finish."
        if row.status == "queued":
            return "Waiting"
        if not row.steps:
            return "Getting ready"
        text = f"Step {row.step:g} of {row.steps:g}"
        if row.seconds_left is not None and row.seconds_left > 0.5:
            text += f", {short_time(row.seconds_left)} left"
        return text


@dataclass(frozen=True)
class PictureEntry:
    """A finished picture."""

    record: ResultRecord

    @property
    def key(self) -> str:
        return self.record.id


Entry: TypeAlias = JobEntry | PictureEntry


class ResultsModel(QAbstractListModel):
    """Entries by key. Pictures that wait for deletion (undo is still possible) are left out."""

    def __init__(self, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._jobs: list[JobEntry] = []
        self._pictures: list[PictureEntry] = []

    # ---- reading

    def rowCount(self, parent: Index = QModelIndex()) -> int:  # noqa: B008  (Qt's own signature)
        return 0 if parent.isValid() else len(self._jobs) + len(self._pictures)

    def entry(self, row: int) -> Entry | None:
        if 0 <= row < len(self._jobs):
            return self._jobs[row]
        row -= len(self._jobs)
        return self._pictures[row] if 0 <= row < len(self._pictures) else None

    def row_of(self, key: str) -> int:
        """The row of a job or record id, −1 when it is not here."""
        keys = [*(job.key for job in self._jobs), *(picture.key for picture in self._pictures)]
        return keys.index(key) if key in keys else -1

    @property
    def jobs(self) -> list[JobEntry]:
        return list(self._jobs)

    @property
    def pictures(self) -> list[ResultRecord]:
        return [entry.record for entry in self._pictures]

    def data(self, index: Index, role: int = Qt.ItemDataRole.DisplayRole) -> object:
        entry = self.entry(index.row())
        if entry is None:
            return None
        if role == ENTRY:
            return entry
        if role in (Qt.ItemDataRole.AccessibleTextRole, Qt.ItemDataRole.ToolTipRole):
            return describe_entry(entry)
        return None

    def flags(self, index: Index) -> Qt.ItemFlag:
        flags = Qt.ItemFlag.ItemIsEnabled | Qt.ItemFlag.ItemIsSelectable
        if isinstance(self.entry(index.row()), PictureEntry):
            flags |= Qt.ItemFlag.ItemIsDragEnabled
        return flags

    # ---- changing

    def set_pictures(self, records: Iterable[ResultRecord]) -> None:
        """Show exactly these, in order."""
        self.beginResetModel()
        self._pictures = [PictureEntry(record) for record in records]
        self.endResetModel()

    def add_picture(self, record: ResultRecord, place: int = 0) -> None:
        """Put a picture at `place` among the pictures; one that is here already stays."""
        if self.row_of(record.id) >= 0:
            return
        place = min(place, len(self._pictures))
        row = len(self._jobs) + place
        self.beginInsertRows(QModelIndex(), row, row)
        self._pictures.insert(place, PictureEntry(record))
        self.endInsertRows()

    def show_job(self, row: JobRow) -> None:
        """Add a job (after those that are here) or show how it stands now."""
        at = self.row_of(row.id)
        if at < 0:
            at = len(self._jobs)
            self.beginInsertRows(QModelIndex(), at, at)
            self._jobs.append(JobEntry(row))
            self.endInsertRows()
        else:
            self._jobs[at] = replace(self._jobs[at], row=row)
            self._touch(at)

    def show_preview(self, job_id: str, preview: QImage) -> None:
        at = self.row_of(job_id)
        if 0 <= at < len(self._jobs):
            self._jobs[at] = replace(self._jobs[at], preview=preview)
            self._touch(at)

    def show_remedy(self, job_id: str, remedy: str, said: str = "") -> None:
        """What would let a failed job run: its tile gets the button for it."""
        at = self.row_of(job_id)
        if 0 <= at < len(self._jobs):
            self._jobs[at] = replace(self._jobs[at], remedy=remedy, said=said)
            self._touch(at)

    def remove(self, key: str) -> int:
        """Take out a job or picture; returns its place among its own kind, −1 when it was not here."""
        row = self.row_of(key)
        if row < 0:
            return -1
        self.beginRemoveRows(QModelIndex(), row, row)
        if row < len(self._jobs):
            del self._jobs[row]
            place = row
        else:
            place = row - len(self._jobs)
            del self._pictures[place]
        self.endRemoveRows()
        return place

    def picture_ready(self, key: str) -> None:
        """A small picture was loaded: paint its tile again."""
        row = self.row_of(key)
        if row >= 0:
            self._touch(row)

    def _touch(self, row: int) -> None:
        index = self.index(row)
        self.dataChanged.emit(index, index)


def short_time(seconds: float) -> str:
    """ "20 s" or "3 min": as short as a tile needs it."""
    return f"{max(1, round(seconds))} s" if seconds < 90 else f"{round(seconds / 60)} min"


def describe_entry(entry: Entry) -> str:
    """What a tile is, for screen readers and on hover."""
    if isinstance(entry, JobEntry):
        several = f" {entry.pictures} pictures." if entry.pictures > 1 else ""
        remedy = f" Enter: {entry.remedy}." if entry.remedy else ""
        return f"{clip(entry.row.title, 120)}.{several} {entry.status_text()}{remedy}"
    record = entry.record
    request = request_of(record.spec)
    prompt = clip(request.prompt, 160) if request else record.spec.title or "Picture"
    seed = "" if record.seed is None else f", seed {record.seed}"
    return f"{prompt} ({record.width} × {record.height}{seed})"
