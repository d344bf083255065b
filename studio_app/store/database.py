"""The one SQLite file: connections, transactions, opening, and what to do when it can't be opened."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from engine.contracts.errors import StorageError
from studio_app.files import set_aside, storage_error
from studio_app.store.schema import NewerDatabase, migrate

if TYPE_CHECKING:
    import sqlite3

BUSY_SECONDS = 10.0


class Database:
    """One file, one connection per thread, WAL, every write in a BEGIN IMMEDIATE transaction.

    `fresh` says that the file is new, because there was none or what was there was unusable and has been set aside;
    the caller fills it from the journal.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.fresh = False
        self._local = threading.local()
        self._lock = threading.Lock()
        self._connections: list[sqlite3.Connection] = []
        self._closed = False

    def open(self) -> None:
        """Make or migrate the file. Raises StorageError with one sentence when that can't be done."""
        import sqlite3

        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            existed = self.path.exists()
            self.fresh = not existed
        except OSError as error:
            raise storage_error(error, self.path) from error
        try:
            self._open_once()
        except NewerDatabase:
            raise StorageError(
                f"{self.path} was written by a newer studio", fix="Update Tessera Studio, or choose another data folder"
            ) from None
        except sqlite3.OperationalError as error:
            raise StorageError(
                f"the library {self.path} can't be opened ({error})", fix="Choose a data folder that you may write to"
            ) from error
        except sqlite3.DatabaseError:
            if not existed:
                raise
            self._set_aside()
            self._open_once()
            self.fresh = True

    def _open_once(self) -> None:
        import sqlite3

        connection = self.connection()
        migrate(connection)
        found = connection.execute("PRAGMA quick_check(1)").fetchone()
        if found is None or found[0] != "ok":
            raise sqlite3.DatabaseError("the file is damaged")

    def _set_aside(self) -> None:
        self._drop_connections()
        set_aside(self.path)
        for suffix in ("-wal", "-shm"):
            self.path.with_name(self.path.name + suffix).unlink(missing_ok=True)

    def connection(self) -> sqlite3.Connection:
        """This thread's connection."""
        import sqlite3

        found = getattr(self._local, "connection", None)
        if found is not None and found in self._connections:
            return found  # type: ignore[no-any-return]
        if self._closed:
            raise StorageError("the library is closed")
        # isolation_level None: transactions are begun and ended by us alone. Closing happens on another thread.
        made = sqlite3.connect(self.path, timeout=BUSY_SECONDS, isolation_level=None, check_same_thread=False)
        try:
            made.execute("PRAGMA journal_mode = WAL")
            made.execute("PRAGMA synchronous = FULL")  # NORMAL may lose the last transactions in a power cut
            made.execute("PRAGMA foreign_keys = ON")
        except BaseException:
            made.close()
            raise
        self._local.connection = made
        with self._lock:
            self._connections.append(made)
        return made

    @contextlib.contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """Everything in the block or nothing. Raises StorageError when the disk is full or the file locked."""
        import sqlite3

        connection = self.connection()
        try:
            connection.execute("BEGIN IMMEDIATE")
            try:
                yield connection
            except BaseException:
                _roll_back(connection)
                raise
            connection.execute("COMMIT")
        except sqlite3.OperationalError as error:
            _roll_back(connection)
            raise _sentence(error, self.path) from error

    def rows(self, sql: str, values: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        """All rows of a query. Raises StorageError."""
        import sqlite3

        try:
            return self.connection().execute(sql, values).fetchall()
        except sqlite3.DatabaseError as error:
            raise _sentence(error, self.path) from error

    def integrity(self) -> str:
        """ "ok", or the first thing SQLite found wrong."""
        return str(self.rows("PRAGMA integrity_check(1)")[0][0])

    def close(self) -> None:
        self._closed = True
        self._drop_connections()

    def _drop_connections(self) -> None:
        with self._lock:
            connections, self._connections = self._connections, []
        for connection in connections:
            connection.close()


def _roll_back(connection: sqlite3.Connection) -> None:
    import sqlite3

    if connection.in_transaction:
        with contextlib.suppress(sqlite3.Error):
            connection.execute("ROLLBACK")


def _sentence(error: sqlite3.Error, path: Path) -> StorageError:
    text = str(error)
    if "full" in text:
        return StorageError(f"the disk with {path.parent} is full", fix="Free some space or choose another folder")
    if "locked" in text:
        return StorageError(f"the library {path} is busy", fix="Close other programs that use it and try again")
    if "readonly" in text or "unable to open" in text:
        return StorageError(f"{path.parent} can't be written", fix="Choose a folder that you may write to")
    return StorageError(f"the library {path} can't be used ({text})")
