"""The open tabs of this process, so written down that after a crash or a restart all of them come back.

    session/<token>/lock            held while the process lives
    session/<token>/tabs.json       the tabs in their order: file, open level, view
    session/<token>/<tab>.jsonl     the journal of each

A new process takes over the tabs of dead ones; those of a living one are left alone.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import threading
from dataclasses import dataclass, replace
from pathlib import Path

from engine.contracts.codec import Document, dump_json, parse_json
from engine.contracts.errors import InvalidDocument, StorageError
from studio_app.documents.journal import JournalWriter
from studio_app.files import storage_error, write_atomically
from studio_app.store.owner import lock_file

TABS = "tabs.json"
LOCK = "lock"
JOURNAL = ".jsonl"


@dataclass(frozen=True, kw_only=True)
class View(Document):
    """What of a canvas is seen: the centre in canvas pixels, the scale, and the subgraphs opened on the way."""

    centre: tuple[float, float] = (0.0, 0.0)
    scale: float = 0.0  # 0 frames everything
    level: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Tab(Document):
    """One open workflow. `path` is empty for one that has no file; time and size are the file's when it was opened."""

    id: str
    path: str = ""
    time: int = 0
    size: int = 0
    view: View = View()


@dataclass(frozen=True, kw_only=True)
class Tabs(Document):
    format = "tessera.session"

    tabs: tuple[Tab, ...] = ()
    current: str = ""
    closed: bool = False  # its process ended in order


class Session:
    """This process's folder of tabs. `put` notes, the writer's thread writes."""

    def __init__(self, root: Path, writer: JournalWriter) -> None:
        self._root, self._writer = root, writer
        self._token = secrets.token_hex(8)
        self._descriptor = -1
        self._lock = threading.Lock()
        self._waiting: Tabs | None = None

    @property
    def folder(self) -> Path:
        return self._root / self._token

    def journal_path(self, tab: str) -> Path:
        return self.folder / f"{tab}{JOURNAL}"

    def start(self) -> Tabs:
        """Claim a folder and take over the tabs of dead processes. Raises StorageError."""
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            self._descriptor = os.open(self.folder / LOCK, os.O_RDWR | os.O_CREAT, 0o600)
            lock_file(self._descriptor)
        except OSError as error:
            raise storage_error(error, self.folder) from error
        dead = [d for d in map(_claimed, sorted(self._others(), key=_age)) if d is not None]
        taken = Tabs(
            tabs=tuple(tab for found in dead for tab in found.tabs),
            current=next((found.current for found in reversed(dead) if found.current), ""),
            closed=all(found.closed for found in dead if found.tabs),
        )
        try:
            self.put(replace(taken, closed=False))
            self.flush()  # before the journals move: a crash on the way loses neither
            for found in dead:
                for tab in found.tabs:
                    os.replace(found.folder / f"{tab.id}{JOURNAL}", self.journal_path(tab.id))
                _remove(found.folder)
        except OSError as error:
            raise storage_error(error, self.folder) from error
        finally:
            for found in dead:
                os.close(found.descriptor)
        return taken

    def put(self, tabs: Tabs) -> None:
        """Note which tabs there are."""
        with self._lock:
            self._waiting = tabs
        self._writer.wake(self)

    def flush(self) -> None:
        """Write the tabs. Raises StorageError; they go on waiting then."""
        with self._lock:
            waiting, self._waiting = self._waiting, None
        if waiting is None or self._descriptor < 0:
            return
        try:
            write_atomically(self.folder / TABS, dump_json(waiting.to_json()).encode("utf-8", "surrogatepass"))
        except StorageError:
            with self._lock:
                self._waiting = self._waiting or waiting
            raise

    def release(self) -> None:
        """Let the folder go; its tabs wait for the next process. A folder without tabs is removed."""
        if self._descriptor < 0:
            return
        if not any(self.folder.glob(f"*{JOURNAL}")):
            _remove(self.folder)
        os.close(self._descriptor)
        self._descriptor = -1

    def _others(self) -> list[Path]:
        return [path for path in self._root.iterdir() if path.is_dir() and path != self.folder]


@dataclass(frozen=True)
class _Dead:
    """The folder of a process that is gone, locked for us."""

    folder: Path
    descriptor: int
    tabs: tuple[Tab, ...]
    current: str
    closed: bool


def _claimed(folder: Path) -> _Dead | None:
    """The tabs of a dead process; one that its list lost is found by its journal. None where the process lives."""
    try:
        descriptor = os.open(folder / LOCK, os.O_RDWR | os.O_CREAT, 0o600)
    except OSError:
        return None
    try:
        lock_file(descriptor)
    except OSError:
        os.close(descriptor)
        return None
    try:
        told = Tabs.from_json(parse_json((folder / TABS).read_bytes(), TABS), TABS)
    except (OSError, InvalidDocument):
        told = Tabs()
    known = {tab.id: tab for tab in told.tabs}
    journals = {path.stem for path in folder.glob(f"*{JOURNAL}")}
    order = [*(name for name in known if name in journals), *sorted(journals - known.keys())]
    return _Dead(folder, descriptor, tuple(known.get(name, Tab(id=name)) for name in order), told.current, told.closed)


def _age(folder: Path) -> float:
    try:
        return (folder / TABS).stat().st_mtime
    except OSError:
        return 0.0


def _remove(folder: Path) -> None:
    for name in (TABS, LOCK):
        with contextlib.suppress(OSError):
            (folder / name).unlink(missing_ok=True)
    with contextlib.suppress(OSError):
        folder.rmdir()
