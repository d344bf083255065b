"""The model index in the one SQLite file: `model_file`, one row per file, and `model_note`, what a person said of it.

Rows of `model_file` are keyed by path and hold for its size and time; they can be made again at any moment. Notes are
kept by the content's fingerprint, so that they survive renames and moves, and go to the journal too.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from engine.models.model_file import ModelFile
from studio_app.store.database import Database

COLUMNS = "path, size, mtime, body, fingerprint, refused, sha256, hashed_size, hashed_mtime"


@dataclass(frozen=True)
class Row:
    """One indexed file: what it is, or why it is refused. `sha256` is "" until the background has hashed it."""

    path: Path
    size: int
    mtime_ns: int
    body: str
    fingerprint: str
    refused: str
    sha256: str

    @property
    def file(self) -> ModelFile | None:
        return ModelFile.from_json(json.loads(self.body)) if self.body else None


def read_rows(database: Database) -> dict[str, Row]:
    return {
        row[0]: Row(
            Path(row[0]), row[1], row[2], row[3], row[4], row[5], row[6] if (row[7], row[8]) == (row[1], row[2]) else ""
        )
        for row in database.rows(f"SELECT {COLUMNS} FROM model_file")
    }


def write_rows(database: Database, rows: Sequence[Row], gone: Iterable[str] = ()) -> None:
    """Insert or update `rows` and drop the paths `gone`, in one transaction. A hash stays while it still holds."""
    with database.transaction() as connection:
        connection.executemany(
            "INSERT INTO model_file (path, size, mtime, body, fingerprint, refused, sha256, hashed_size, hashed_mtime)"
            " VALUES (?, ?, ?, ?, ?, ?, '', 0, 0) ON CONFLICT (path) DO UPDATE SET size = excluded.size,"
            " mtime = excluded.mtime, body = excluded.body, fingerprint = excluded.fingerprint,"
            " refused = excluded.refused",
            [(str(r.path), r.size, r.mtime_ns, r.body, r.fingerprint, r.refused) for r in rows],
        )
        connection.executemany("DELETE FROM model_file WHERE path = ?", [(path,) for path in gone])


def write_hash(database: Database, row: Row, sha256: str) -> None:
    with database.transaction() as connection:
        connection.execute(
            "UPDATE model_file SET sha256 = ?, hashed_size = ?, hashed_mtime = ? WHERE path = ?",
            (sha256, row.size, row.mtime_ns, str(row.path)),
        )


@dataclass(frozen=True)
class Note:
    """What a person said of a model: tags, a note, whether it is a favourite; `source` is the page it came from."""

    tags: tuple[str, ...] = ()
    text: str = ""
    favourite: bool = False
    source: str = ""

    def is_empty(self) -> bool:
        """Whether nothing was said but where it came from."""
        return not (self.tags or self.text or self.favourite)

    def to_json(self) -> dict[str, Any]:
        return {"tags": list(self.tags), "text": self.text, "favourite": self.favourite, "source": self.source}

    @classmethod
    def from_json(cls, data: Any) -> Note:
        if not isinstance(data, dict) or not isinstance(data.get("tags", []), list):
            return cls()
        tags = tuple(tag for tag in data.get("tags", []) if isinstance(tag, str))
        return cls(tags, str(data.get("text", "")), bool(data.get("favourite")), str(data.get("source", "")))


def read_notes(database: Database) -> dict[str, Note]:
    return {
        fingerprint: Note.from_json(json.loads(body))
        for fingerprint, body in database.rows("SELECT fingerprint, body FROM model_note")
    }


def write_note(database: Database, fingerprint: str, note: Note) -> None:
    with database.transaction() as connection:
        connection.execute(
            "INSERT INTO model_note (fingerprint, body) VALUES (?, ?)"
            " ON CONFLICT (fingerprint) DO UPDATE SET body = excluded.body",
            (fingerprint, json.dumps(note.to_json(), ensure_ascii=False)),
        )
