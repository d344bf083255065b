"""Every model file on this machine: found in place, identified once, searched, tagged, hashed, moved to the trash."""

from __future__ import annotations

import contextlib
import json
import os
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeAlias

from engine.contracts.errors import BadInput, MissingModel, TesseraError, suggest
from engine.models.identify import identify
from engine.models.model_file import KIND_WORDS, ModelFile
from studio_app.events import Signal
from studio_app.models.built_in import BuiltIn, built_in
from studio_app.models.hashing import HashProgress, hash_all
from studio_app.models.layouts import LAYOUT_WORDS, Found, files, layout_of
from studio_app.models.placing import PLACES, Step, files_beside, free_name, identified, put, target_name
from studio_app.models.previews import Previews
from studio_app.models.table import Note, Row, read_notes, read_rows, write_note, write_rows
from studio_app.models.trash import Items, Trash, Trashed
from studio_app.models.versioned import ModelVersions
from studio_app.store.store import Store


@dataclass(frozen=True)
class Listed:
    """One file of the library: what it is (or why it is refused), whose folder it lies in, what a person said of it."""

    path: Path
    file: ModelFile | None
    refused: str
    size_bytes: int
    sha256: str
    folder: Path
    note: Note
    built_in: bool = False  # it came with the studio

    @property
    def name(self) -> str:
        return self.file.name if self.file else self.path.stem

    def words(self) -> str:
        return self.file.words() if self.file else self.refused

    def to_json(self) -> dict[str, Any]:
        about = (
            self.file.to_json() if self.file else {"name": self.name, "kind": "unknown", "size_bytes": self.size_bytes}
        )
        return {
            **about, "path": str(self.path), "folder": str(self.folder), "refused": self.refused,
            "sha256": self.sha256, "words": self.words(), "built_in": self.built_in,
            **{f"note_{k}": v for k, v in self.note.to_json().items()},
        }  # fmt: skip


@dataclass(frozen=True)
class Folder:
    """A searched folder and whose layout it has."""

    path: Path
    layout: str
    there: bool

    def to_json(self) -> dict[str, Any]:
        return {
            "path": str(self.path),
            "layout": self.layout,
            "layout_words": LAYOUT_WORDS[self.layout],
            "there": self.there,
        }


ListedFiles: TypeAlias = list[Listed]  # in ModelLibrary the name `list` is a method
Groups: TypeAlias = list[ListedFiles]
Imported: TypeAlias = tuple[list[Path], list[str]]


class ModelLibrary:
    """The files of the searched folders, kept in the one SQLite file and read again only where size or time changed.

    `folders` is asked at each scan; the first is the studio's own, where imports go. `opened` opens the store when it
    is not yet. `starter` is where the starter model lies. Methods may be called on any thread. `changed` tells after a
    scan that found a difference.
    """

    def __init__(
        self, store: Store, opened: Callable[[], None], folders: Callable[[], list[Path]], trash: Path,
        starter: Path | None = None,
    ) -> None:  # fmt: skip
        self._store, self._opened, self._folders = store, opened, folders
        self._trash, self._starter = Trash(trash), starter
        self._built_in: list[BuiltIn] | None = None
        self.previews = Previews(trash.parent / "model_previews")
        self.versions = ModelVersions(self, store, lambda: self._folders()[0])
        self._lock = threading.RLock()
        self._decoded: dict[tuple[str, str], ModelFile | None] = {}
        self.changed: Signal[int] = Signal()

    # --- looking

    def folders(self) -> list[Folder]:
        own, *more = self._folders()
        return [Folder(own, "studio", own.is_dir()), *(Folder(path, layout_of(path), path.is_dir()) for path in more)]

    def scan(self, cancel: Callable[[], bool] = lambda: False) -> int:
        """Bring the index up to date; how many files were new, changed or gone."""
        with self._lock:
            self._opened()
            known = read_rows(self._store.database)
            seen: set[str] = set()
            fresh: list[Row] = []
            for folder in self._folders():
                for found in files(folder):
                    if cancel():
                        return 0
                    path = str(found.path)
                    if path in seen:
                        continue
                    seen.add(path)
                    row = known.get(path)
                    if row is None or (row.size, row.mtime_ns) != (found.size, found.mtime_ns):
                        fresh.append(_row(found))
            gone = known.keys() - seen
            if fresh or gone:
                write_rows(self._store.database, fresh, gone)
        if fresh or gone:
            self.changed.emit(len(fresh) + len(gone))
        return len(fresh) + len(gone)

    def list(self, kind: str = "", text: str = "", *, scan: bool = True) -> ListedFiles:
        """The files by name, of one kind if given, whose name, kind, tags or trigger words hold all of `text`."""
        if scan:
            self.scan()
        rows, notes = self.rows(), read_notes(self._store.database)
        folders = [str(folder) for folder in self._folders()]
        words = text.lower().split()
        out = []
        for row in rows:
            listed = self._listed(row, folders, notes)
            if kind and (listed.file is None or listed.file.kind != kind):
                continue
            if words and not all(word in searchable(listed) for word in words):
                continue
            out.append(listed)
        return sorted(out, key=lambda item: (not item.note.favourite, item.name.lower(), str(item.path)))

    def built_in(self) -> ListedFiles:
        """What comes with the studio: the starter, its ControlNet and its LoRA."""
        if self._built_in is None:
            self._built_in = built_in(self._starter) if self._starter is not None else []
        self._opened()
        notes = read_notes(self._store.database)
        return [
            Listed(one.path, one.file, "", one.file.size_bytes, "", one.path.parent,
                   notes.get(one.file.fingerprint, Note()), built_in=True)
            for one in self._built_in
        ]  # fmt: skip

    def rows(self) -> Sequence[Row]:
        """The index as it stands, without looking at the folders."""
        self._opened()
        return [*read_rows(self._store.database).values()]

    def find(self, name: str) -> Listed:
        """The file with this name, path or sha256 (ten digits are enough). Raises MissingModel or BadInput."""
        listed = self.list()
        path = str(Path(name).expanduser().absolute())
        exact = [item for item in listed if str(item.path) == path or (item.sha256 and item.sha256 == name)]
        found = exact or [item for item in listed if name in (item.name, item.path.name)]
        if not found and len(name) >= 10:
            found = [item for item in listed if item.sha256.startswith(name.lower())]
        found = found or [item for item in self.built_in() if name == item.name or path == str(item.path)]
        if len(found) > 1:
            places = ", ".join(str(item.path) for item in found[:4])
            raise BadInput(f"“{name}” names {len(found)} files", fix=f"Name one by its path: {places}")
        if not found:
            raise MissingModel(
                f"no model file “{name}” is in the searched folders", fix=suggest(name, [i.name for i in listed])
            )
        return found[0]

    def duplicates(self, listed: Sequence[Listed] | None = None) -> Groups:
        """Groups of files with the same content among `listed` (else all), by sha256 once hashed, else by fingerprint
        and size.
        """
        groups: dict[tuple[str, int], list[Listed]] = {}
        items = self.list(scan=False) if listed is None else listed
        hashes = {item.path: item.sha256 for item in items}
        for item in items:
            if item.file is not None:
                groups.setdefault((item.file.fingerprint, item.size_bytes), []).append(item)
        out = []
        for group in groups.values():
            known = {hashes[item.path] for item in group if hashes[item.path]}
            if len(group) > 1 and len(known) <= 1:
                out.append(group)
        return out

    def hash_now(
        self,
        *,
        stop: threading.Event | None = None,
        progress: Callable[[HashProgress], object] = lambda progress: None,
        rest: float = 0.0,
    ) -> int:
        """Hash the files whose sha256 is not known; how many were. See studio_app.models.hashing."""
        return hash_all(self._store.database, self.rows(), stop=stop, progress=progress, rest=rest)

    @contextlib.contextmanager
    def held(self) -> Iterator[None]:
        """Nobody scans or changes files meanwhile; the store is open. Raises StorageError."""
        with self._lock:
            self._opened()
            yield

    # --- what a person says

    def note(self, listed: Listed, note: Note) -> None:
        """Keep tags, text and favourite for this content. Raises StorageError, or BadInput for a refused file."""
        if listed.file is None:
            raise BadInput(f"{listed.path.name} is refused, so nothing can be noted of it")
        tags = tuple(dict.fromkeys(" ".join(tag.split()) for tag in note.tags if tag.strip()))
        kept = replace(note, tags=tags)
        write_note(self._store.database, listed.file.fingerprint, kept)
        entry = {"op": "model_note", "fingerprint": listed.file.fingerprint, **kept.to_json()}
        self._store.journal.append([entry])
        self.changed.emit(1)

    def remember_source(self, path: Path, page: str, about: Sequence[tuple[str, str]] = ()) -> None:
        """Note where the file at `path` came from, and what its host says of it. Raises StorageError."""
        found = next((item for item in self.list(scan=False) if item.path == path), None)
        if found is not None:
            said = "\n".join(f"{name.replace('_', ' ')}: {value}" for name, value in about)
            self.note(found, replace(found.note, source=page, text=found.note.text or said))

    # --- changing files

    def bring_in(self, source: Path, *, move: bool = False, step: Step = lambda count: True) -> Path:
        """Copy a model file or diffusers folder into the studio's model folder; pickles are converted. Returns where.

        With `move` the source is gone afterwards; it must then lie on the same disk. `step` as in `placing.put`.

        Raises UnsafeModel (refused, with the reason), MissingModel, BadInput (unknown), StorageError or Cancelled.
        """
        about = identified(source)
        place = self._folders()[0] / PLACES[about.kind]
        target = put(source, about, free_name(place / target_name(source, about)), move=move, step=step)
        self.scan()
        return target

    def bring_in_all(self, folder: Path) -> Imported:
        """Import every model file below `folder`: (where they went, why others were not)."""
        done, left = [], []
        for found in files(folder):
            try:
                done.append(self.bring_in(found.path))
            except (BadInput, MissingModel) as error:
                left.append(str(error))
        return done, left

    def remove(self, listed: Listed) -> Trashed:
        """Move a file with its preview to the trash folder of the data folder.

        Raises StorageError, or BadInput for what comes with the studio.
        """
        if listed.built_in:
            raise BadInput(f"“{listed.name}” comes with the studio, so it can't be removed")
        with self.versions.leaving(listed):
            trashed = self._trash.put(listed.path, files_beside(listed.path))
        self.scan()
        return trashed

    def restore(self, trashed: Trashed) -> Path:
        """Undo a removal. Raises StorageError when something else stands in its place."""
        path = self._trash.restore(trashed)
        self.scan()
        return path

    def trashed(self) -> Items:
        """What lies in the trash, newest first."""
        return self._trash.list()

    # --- at the start

    def recover(self) -> None:
        """After a crash or the loss of the database: notes, versions, and files between two places."""
        self.restore_notes()
        self.versions.recover()

    def restore_notes(self) -> int:
        """Take the notes of the journal into an index that has none, as after the loss of the database."""
        self._opened()
        if read_notes(self._store.database):
            return 0
        notes = {
            str(entry.get("fingerprint")): Note.from_json(entry)
            for entry in self._store.journal.read()
            if entry.get("op") == "model_note"
        }
        for fingerprint, note in notes.items():
            write_note(self._store.database, fingerprint, note)
        return len(notes)

    def _listed(self, row: Row, folders: Sequence[str], notes: dict[str, Note]) -> Listed:
        path = str(row.path)
        key = (path, row.fingerprint or row.refused)
        if key not in self._decoded:
            self._decoded[key] = row.file
        file = self._decoded[key]
        folder = next((f for f in folders if path == f or path.startswith(f + os.sep)), "")
        note = notes.get(row.fingerprint, Note()) if row.fingerprint else Note()
        return Listed(row.path, file, row.refused, row.size, row.sha256, Path(folder), note)


def _row(found: Found) -> Row:
    try:
        about = identify(found.path, siblings=found.siblings)
    except TesseraError as error:
        return Row(found.path, found.size, found.mtime_ns, "", "", str(error), "")
    body = json.dumps(about.to_json(), ensure_ascii=False, separators=(",", ":"))
    return Row(found.path, found.size, found.mtime_ns, body, about.fingerprint, "", "")


def searchable(item: Listed) -> str:
    """The lower-case words by which a file is found."""
    about = item.file
    more = (*about.trigger_words, about.title, KIND_WORDS[about.kind], about.family) if about else ()
    return " ".join((item.name, str(item.path), item.words(), item.note.text, *item.note.tags, *more)).lower()
