"""What a person does with versions: import one, look at them, go back. `versions` moves the files.

Only models in the studio's own folder have versions, since other programs' folders are left as they are.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from engine.contracts.errors import InvalidRequest, MissingModel
from engine.models.identify import identify
from engine.models.model_file import ModelFile
from studio_app.models.hashing import file_sha256
from studio_app.models.placing import Step, identified, put, target_name
from studio_app.models.versions import History, Version, Versions, version_now
from studio_app.store.store import Store

if TYPE_CHECKING:
    from studio_app.models.library import Listed, ModelLibrary


class ModelVersions:
    """`ModelLibrary.versions`. Methods may be called on any thread and raise StorageError."""

    def __init__(self, library: ModelLibrary, store: Store, folder: Callable[[], Path]) -> None:
        self._library, self._folder = library, folder
        self._kept = Versions(store, folder)

    def of(self, listed: Listed) -> History | None:
        """The versions of a model; None while it has only the one."""
        with self._library.held():
            history = self._kept.of(listed.path, listed.file.fingerprint) if listed.file else None
            if history is None or not history.path.exists():
                return history
            about = identify(history.path)
            if about.fingerprint != history.version(history.current).fingerprint:
                note = f"Put in the place of version {history.current} by hand."
                return self._kept.record(history, _version(history.path, about, note=note))
            return history

    def same_named(self, source: Path) -> Listed | None:
        """The model of the studio's own folder that `source` is a newer version of by name and kind, if any.

        Raises UnsafeModel, MissingModel or BadInput for what is no model.
        """
        about = identified(source)
        name, own = Path(target_name(source, about)).stem.lower(), self._folder()
        for item in self._library.list(about.kind):
            if item.folder == own and item.path.stem.lower() == name and can_replace(item, source, about):
                return item
        return None

    def bring_in(
        self, source: Path, listed: Listed, *, note: str = "", origin: str = "", move: bool = False,
        step: Step = lambda count: True,
    ) -> History:  # fmt: skip
        """Import a file or folder as the newest version of a model and put it in force; the old one is kept.

        `origin` is where it came from, if not from `source`. Raises UnsafeModel, MissingModel or BadInput for what is
        no model, InvalidRequest for what can't take the model's place, StorageError or Cancelled.
        """
        about = identified(source)
        if listed.file is None or not listed.path.is_relative_to(self._folder()):
            raise InvalidRequest(
                "only models in the studio's own folder have versions", where=listed.path.name, fix="Import it first"
            )
        if not can_replace(listed, source, about):
            raise InvalidRequest(
                f"“{source.name}” is a {about.words()} and “{listed.name}” is a {listed.file.words()}",
                fix="A version has the kind and the file type of its model",
            )

        def bring(target: Path) -> Version:
            put(source, about, target, move=move, step=step)
            return _version(target, identify(target), origin=origin or str(source), note=note)

        with self._library.held():
            history = self.of(listed)
            if history is None:
                first = _version(listed.path, listed.file, origin=listed.note.source, sha256=listed.sha256)
                history = self._kept.begin(listed.path, replace(first, added=listed.path.stat().st_mtime))
            history = self._kept.add(history, target_name(source, about), bring)
            return self.use(listed, history.versions[-1].number)

    def use(self, listed: Listed, number: int) -> History:
        """Put another version in force. Tags and favourite go with it unless that version has its own.

        Raises MissingModel, BadInput or StorageError.
        """
        library = self._library
        with library.held():
            history = self._kept.set_current(self._known(listed), number)
            library.scan()
            now = next((item for item in library.list(scan=False) if item.path == history.path), None)
            if now is not None and now.note.is_empty() and not listed.note.is_empty():
                library.note(now, replace(listed.note, source=history.version(number).source or listed.note.source))
        return history

    def note(self, listed: Listed, number: int, text: str) -> History:
        """Write what changed with a version. Raises MissingModel or StorageError."""
        with self._library.held():
            history = self._kept.set_note(self._known(listed), number, text)
        self._library.changed.emit(1)
        return history

    @contextmanager
    def leaving(self, listed: Listed) -> Iterator[None]:
        """While the model is put into the trash: its versions wait until it is brought back."""
        with self._library.held():
            history = self._kept.of(listed.path, listed.file.fingerprint) if listed.file else None
            yield
            if history is not None:
                self._kept.leave(history)

    def recover(self) -> None:
        """After a crash or the loss of the database. The store is open."""
        self._kept.rebuild()
        self._kept.repair()

    def _known(self, listed: Listed) -> History:
        history = self.of(listed)
        if history is None:
            raise MissingModel("it has only one version", where=listed.name)
        return history


def can_replace(item: Listed, source: Path, about: ModelFile) -> bool:
    """Whether `source` can take the place of `item`: the same kind, and the same file type once it is imported."""
    return (
        item.file is not None
        and item.file.kind == about.kind
        and item.path.is_dir() == source.is_dir()
        and (source.is_dir() or item.path.suffix == Path(target_name(source, about)).suffix)
    )


def _version(path: Path, about: ModelFile, *, origin: str = "", note: str = "", sha256: str = "") -> Version:
    digest = sha256 or ("" if path.is_dir() else file_sha256(path))
    return version_now(
        path.name, about.fingerprint, sha256=digest, source=origin, note=note, size_bytes=about.size_bytes,
        precision=about.precision,
    )  # fmt: skip
