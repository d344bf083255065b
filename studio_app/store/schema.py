"""The tables of the one SQLite file, made and migrated by sqlite-utils. `PRAGMA user_version` counts the migrations.

job       one row per job: its spec, state and who runs it     job_event  what it said, without progress
result    one row per artifact, unique by (job, node, index)    export     named files: pending, done or failed
model_file  what each file in the model folders is               model_note what a person said of a model
model_version  each version of a model of the studio's own folder    model_history  which of them is in force
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import sqlite3


def _first(db: Any) -> None:
    db["job"].create(
        {
            "id": str, "number": int, "title": str, "job_group": str, "status": str, "owner": str, "spec": str,
            "created": float, "started": float, "finished": float, "error": str,
        },
        pk="id", not_null={"number", "status", "spec"}, if_not_exists=True,
    )  # fmt: skip
    db["job"].create_index(["number"], if_not_exists=True)
    db["job"].create_index(["status"], if_not_exists=True)
    db["job_event"].create(
        {"job": str, "sequence": int, "time": float, "kind": str, "node": str, "data": str},
        pk=("job", "sequence"), if_not_exists=True,
    )  # fmt: skip
    db["result"].create(
        {
            "id": str, "job": str, "node": str, "position": int, "blob": str, "created": float, "body": str,
            "journalled": int,
        },
        pk="id", not_null={"job", "node", "position", "blob", "body"}, defaults={"journalled": 0},
        foreign_keys=[("job", "job", "id")], if_not_exists=True,
    )  # fmt: skip
    db["result"].create_index(["job", "node", "position"], unique=True, if_not_exists=True)
    db["result"].create_index(["created"], if_not_exists=True)
    db["result"].create_index(["blob"], if_not_exists=True)
    db["export"].create(
        {"result": str, "folder": str, "name": str, "state": str, "path": str, "error": str},
        pk="result", not_null={"folder", "name", "state"}, foreign_keys=[("result", "result", "id")],
        if_not_exists=True,
    )  # fmt: skip
    db["export"].create_index(["state"], if_not_exists=True)


def _model_files(db: Any) -> None:
    db["model_file"].create(
        {
            "path": str, "size": int, "mtime": int, "body": str, "fingerprint": str, "refused": str, "sha256": str,
            "hashed_size": int, "hashed_mtime": int,
        },
        pk="path", not_null={"size", "mtime", "body", "fingerprint", "refused", "sha256"}, if_not_exists=True,
    )  # fmt: skip
    db["model_file"].create_index(["fingerprint"], if_not_exists=True)
    db["model_file"].create_index(["sha256"], if_not_exists=True)
    db["model_note"].create({"fingerprint": str, "body": str}, pk="fingerprint", not_null={"body"}, if_not_exists=True)


def _model_versions(db: Any) -> None:
    db["model_history"].create(
        {"id": str, "path": str, "current": int, "wanted": int}, pk="id", not_null={"path", "current", "wanted"},
        if_not_exists=True,
    )  # fmt: skip
    db["model_version"].create(
        {"history": str, "number": int, "body": str}, pk=("history", "number"), not_null={"body"},
        foreign_keys=[("history", "model_history", "id")], if_not_exists=True,
    )  # fmt: skip


MIGRATIONS: tuple[Callable[[Any], None], ...] = (_first, _model_files, _model_versions)


def migrate(connection: sqlite3.Connection) -> None:
    """Bring the file to the newest schema, each step whole or not at all. Raises NewerDatabase."""
    version = connection.execute("PRAGMA user_version").fetchone()[0]
    if version == len(MIGRATIONS):
        return
    if version > len(MIGRATIONS):
        raise NewerDatabase
    import sqlite_utils

    connection.execute("BEGIN IMMEDIATE")
    try:
        # Read again under the lock: another process may have migrated in between.
        version = connection.execute("PRAGMA user_version").fetchone()[0]
        for step in MIGRATIONS[version:]:
            step(sqlite_utils.Database(connection))
        connection.execute(f"PRAGMA user_version = {len(MIGRATIONS)}")
        connection.execute("COMMIT")
    except BaseException:
        connection.execute("ROLLBACK")
        raise


class NewerDatabase(Exception):
    """The file was written by a newer studio; it must not be touched."""
