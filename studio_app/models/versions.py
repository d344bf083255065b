"""Versions of a model: one lies at the model's path, the others in `.versions`, and they change places by renaming.

    models/loras/style.safetensors                                 the version in force
    models/.versions/style-3fa94c1d/1/style.safetensors            one of the others

Which version is in force is written in the database before a file is moved and read off the files afterwards: it is
the one that does not lie in `.versions`. A crash between two steps is repaired by `repair` at the next start. What
is known of each version also goes to the journal, from which an empty database is filled again.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import secrets
import shutil
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from engine.contracts.errors import BadInput, MissingModel
from studio_app.files import storage_error, sync_folder
from studio_app.store.database import Database
from studio_app.store.store import Store

FOLDER = ".versions"


@dataclass(frozen=True)
class Version:
    """number  counted from 1             added       Unix seconds
    name    of the file it came in     sha256      "" for a diffusers folder
    source  the address or path it came from          note  what changed, in a person's words
    """

    number: int
    name: str
    added: float
    fingerprint: str
    sha256: str = ""
    source: str = ""
    note: str = ""
    size_bytes: int = 0
    precision: str = ""

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, data: Any) -> Version | None:
        """None for what is no version, as a damaged line of the journal."""
        try:
            return cls(**{name: data[name] for name in cls.__dataclass_fields__ if name in data})
        except (TypeError, KeyError):
            return None


@dataclass(frozen=True)
class History:
    """The versions of one model, the oldest first. `lost` are numbers whose file is no longer there."""

    id: str
    path: Path
    current: int
    versions: tuple[Version, ...]
    lost: frozenset[int] = frozenset()

    def version(self, number: int) -> Version:
        """Raises MissingModel."""
        for version in self.versions:
            if version.number == number:
                return version
        has = ", ".join(str(version.number) for version in self.versions)
        raise MissingModel(f"there is no version {number}", where=self.path.stem, fix=f"It has {has}")

    def to_json(self) -> dict[str, Any]:
        return {
            "path": str(self.path), "current": self.current,
            "versions": [
                {**version.to_json(), "current": version.number == self.current, "lost": version.number in self.lost}
                for version in self.versions
            ],
        }  # fmt: skip


class Versions:
    """The histories of the models below `folder()`. The store must be open; callers hold the library's lock."""

    def __init__(self, store: Store, folder: Callable[[], Path]) -> None:
        self._store, self._folder = store, folder

    @property
    def _database(self) -> Database:
        return self._store.database

    # --- reading

    def all(self) -> list[History]:
        versions: dict[str, list[Version]] = {}
        for history, body in self._database.rows("SELECT history, body FROM model_version ORDER BY history, number"):
            version = Version.from_json(json.loads(body))
            if version is not None:
                versions.setdefault(history, []).append(version)
        out = []
        for key, path, current, _ in self._rows():
            known = tuple(versions.get(key, ()))
            lying = {version.number for version in known if self._place(key, version).exists()}
            lost = {v.number for v in known} - lying - {current}
            out.append(History(key, self._folder() / path if path else Path(), current, known, frozenset(lost)))
        return out

    def of(self, path: Path, fingerprint: str) -> History | None:
        """The history of the model at `path`; one that was moved by hand is known by its content and follows it."""
        histories = self.all()
        for history in histories:
            if history.path == path:
                return history
        for history in histories:
            elsewhere = history.path == Path() or not history.path.exists()
            if elsewhere and fingerprint and history.version(history.current).fingerprint == fingerprint:
                if not path.is_relative_to(self._folder()):
                    return None
                self._write_history(history.id, path, history.current, 0)
                return replace(history, path=path)
        return None

    # --- changing

    def begin(self, path: Path, first: Version) -> History:
        """The history of a model that had none; what lies at `path` is its version 1. Raises StorageError."""
        stem = re.sub(r"[^\w.-]+", "_", path.stem)[:40]
        history = History(f"{stem}-{secrets.token_hex(4)}", path, 1, (replace(first, number=1),))
        self._write_history(history.id, path, 1, 0)
        self._write_version(history.id, history.versions[0])
        return history

    def add(self, history: History, name: str, bring: Callable[[Path], Version]) -> History:
        """Keep one more version: `bring(target)` puts its file or folder, called `name`, at `target` and tells what it
        is. It is not in force yet. Raises what `bring` raises, or StorageError.
        """
        number = max((v.number for v in history.versions), default=0) + 1
        place = self._folder() / FOLDER / history.id / str(number)
        partial = place.with_name(f"{number}.part")
        try:
            shutil.rmtree(partial, ignore_errors=True)
            partial.mkdir(parents=True)
            version = replace(bring(partial / name), number=number, name=name)
            shutil.rmtree(place, ignore_errors=True)  # of a crash before its record was written
            os.replace(partial, place)
            sync_folder(place.parent)
        except OSError as error:
            raise storage_error(error, place) from error
        finally:
            shutil.rmtree(partial, ignore_errors=True)
        self._write_version(history.id, version)
        return replace(history, versions=(*history.versions, version))

    def record(self, history: History, version: Version) -> History:
        """Keep what is known of the file that a person put in the place of the current version."""
        number = max(v.number for v in history.versions) + 1
        version = replace(version, number=number)
        self._write_version(history.id, version)
        self._write_history(history.id, history.path, number, 0)
        return replace(
            history, current=number, versions=(*history.versions, version), lost=history.lost | {history.current}
        )

    def set_current(self, history: History, number: int) -> History:
        """Let version `number` take the model's place. Raises MissingModel, BadInput or StorageError."""
        wanted = history.version(number)
        if number == history.current:
            return history
        if not self._place(history.id, wanted).exists():
            raise MissingModel(f"the file of version {number} is gone", where=history.path.stem)
        if not history.path.exists():
            raise BadInput("the model is not in its place", where=str(history.path), fix="Bring it back first")
        self._write_history(history.id, history.path, history.current, number)
        try:
            self._move(history, number)
        except OSError as error:
            with contextlib.suppress(OSError):
                self._move_back(history)
            self._write_history(history.id, history.path, history.current, 0)
            raise storage_error(error, history.path) from error
        self._write_history(history.id, history.path, number, 0)
        return replace(history, current=number)

    def set_note(self, history: History, number: int, note: str) -> History:
        """Write what changed with a version. Raises MissingModel or StorageError."""
        changed = replace(history.version(number), note=note.strip())
        self._write_version(history.id, changed)
        kept = tuple(changed if v.number == number else v for v in history.versions)
        return replace(history, versions=kept)

    def leave(self, history: History) -> None:
        """The model went into the trash: another file at its path is another model. `of` finds it when it is back."""
        self._write_history(history.id, Path(), history.current, 0)

    # --- after a crash, after the loss of the database

    def repair(self) -> int:
        """Bring to its end what was cut off between two steps; how many histories needed it."""
        repaired = 0
        shelf = self._folder() / FOLDER
        for partial in shelf.glob("*/*.part"):
            shutil.rmtree(partial, ignore_errors=True)
        wanted = {key: number for key, _, _, number in self._rows()}
        for history in self.all():
            numbers = {version.number for version in history.versions}
            lying = {v.number for v in history.versions if self._place(history.id, v).exists()}
            goal = wanted[history.id] or history.current
            if history.path == Path() or goal not in numbers:
                continue
            try:
                if wanted[history.id]:
                    self._move(history, goal)
                elif not history.path.exists() and history.current in lying:
                    self._put(history, history.current)
                elif len(numbers - lying) == 1 and history.current in lying and history.path.exists():
                    goal = (numbers - lying).pop()  # the journal did not hear of the last change
                else:
                    continue
            except OSError:
                continue
            self._write_history(history.id, history.path, goal, 0)
            repaired += 1
        return repaired

    def rebuild(self) -> int:
        """Fill empty tables from the journal; how many histories it told of."""
        if self._rows():
            return 0
        states: dict[str, tuple[str, int]] = {}
        versions: dict[tuple[str, int], Version] = {}
        for entry in self._store.journal.read():
            key = str(entry.get("history"))
            if entry.get("op") == "model_history" and isinstance(entry.get("current"), int):
                states[key] = (str(entry.get("path", "")), entry["current"])
            elif entry.get("op") == "model_version":
                version = Version.from_json(entry.get("version"))
                if version is not None:
                    versions[key, version.number] = version
        with self._database.transaction() as connection:
            connection.executemany(
                "INSERT INTO model_history (id, path, current, wanted) VALUES (?, ?, ?, 0)",
                [(key, path, current) for key, (path, current) in states.items()],
            )
            connection.executemany(
                "INSERT INTO model_version (history, number, body) VALUES (?, ?, ?)",
                [(key, n, _dump(version)) for (key, n), version in versions.items() if key in states],
            )
        return len(states)

    # --- moving files

    def _place(self, history: str, version: Version) -> Path:
        return self._folder() / FOLDER / history / str(version.number) / version.name

    def _move(self, history: History, number: int) -> None:
        """Current version aside, `number` into its place; each step only if it is still to be done. Raises OSError."""
        wanted, aside = history.version(number), self._place(history.id, history.version(history.current))
        if self._place(history.id, wanted).exists() and history.path.exists():
            aside.parent.mkdir(parents=True, exist_ok=True)
            os.rename(history.path, aside)
            sync_folder(aside.parent)
        if not history.path.exists():
            self._put(history, number)

    def _put(self, history: History, number: int) -> None:
        place = self._place(history.id, history.version(number))
        history.path.parent.mkdir(parents=True, exist_ok=True)
        os.rename(place, history.path)
        sync_folder(history.path.parent)
        with contextlib.suppress(OSError):
            place.parent.rmdir()

    def _move_back(self, history: History) -> None:
        if not history.path.exists():
            self._put(history, history.current)

    # --- records

    def _rows(self) -> Sequence[tuple[Any, ...]]:
        return self._database.rows("SELECT id, path, current, wanted FROM model_history ORDER BY id")

    def _write_history(self, key: str, path: Path, current: int, wanted: int) -> None:
        """`wanted` is the version that is being moved into place, 0 when none is; it is not for the journal."""
        # Relative, so that a data folder may be moved as a whole.
        kept = path.relative_to(self._folder()).as_posix() if path != Path() else ""
        with self._database.transaction() as connection:
            connection.execute(
                "INSERT INTO model_history (id, path, current, wanted) VALUES (?, ?, ?, ?) ON CONFLICT (id)"
                " DO UPDATE SET path = excluded.path, current = excluded.current, wanted = excluded.wanted",
                (key, kept, current, wanted),
            )
        if not wanted:
            self._store.journal.append([{"op": "model_history", "history": key, "path": kept, "current": current}])

    def _write_version(self, key: str, version: Version) -> None:
        with self._database.transaction() as connection:
            connection.execute(
                "INSERT INTO model_version (history, number, body) VALUES (?, ?, ?)"
                " ON CONFLICT (history, number) DO UPDATE SET body = excluded.body",
                (key, version.number, _dump(version)),
            )
        self._store.journal.append([{"op": "model_version", "history": key, "version": version.to_json()}])


def version_now(
    name: str, fingerprint: str, *, added: float = 0.0, sha256: str = "", source: str = "", note: str = "",
    size_bytes: int = 0, precision: str = "",
) -> Version:  # fmt: skip
    """A version that has no number yet; `added` is now unless given."""
    return Version(0, name, added or time.time(), fingerprint, sha256, source, note.strip(), size_bytes, precision)


def _dump(version: Version) -> str:
    return json.dumps(version.to_json(), ensure_ascii=False, separators=(",", ":"))
