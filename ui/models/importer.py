"""Files on their way into the library: looked at, offered with what they are, copied with progress, on a worker."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

from PySide6.QtCore import QObject, Signal, Slot

from engine.contracts.errors import Cancelled, TesseraError
from engine.models.model_file import ModelFile
from studio_app.models.layouts import files
from studio_app.models.library import Listed
from studio_app.models.placing import identified, target_name
from studio_app.models.versioned import can_replace
from ui.bridge.background import Background
from ui.bridge.bridge import Bridge
from ui.models.incoming import Arrival, Arrivals

if TYPE_CHECKING:
    from studio_app.application import Application

MOST_FILES = 500  # of one dropped folder


class Importer(QObject):
    """Drives the panel of arrivals. `imported` fires with the paths, `said` with (level, sentence)."""

    imported = Signal(object)
    said = Signal(str, str)

    def __init__(self, app: Application, bridge: Bridge, panel: Arrivals, parent: QObject) -> None:
        super().__init__(parent)
        self._app, self._bridge, self._panel = app, bridge, panel
        self._background = Background(self)
        self._stop = threading.Event()
        self._version_of: Listed | None = None
        panel.accepted.connect(self._import)
        panel.cancelled.connect(self._cancel)

    def look(self, paths: list[Path], version_of: Listed | None = None) -> None:
        """Say what the files are, then ask. With `version_of` the file is to become its newest version."""
        self._stop = stop = threading.Event()
        self._version_of = version_of
        self._panel.wait(len(paths))
        self._background.run(lambda: arrivals_of(self._app, paths, stop), self._offer, self._failed)

    def close(self) -> None:
        self._stop.set()
        self._background.close()

    def _offer(self, arrivals: list[Arrival]) -> None:
        chosen = self._version_of
        if chosen is not None and len(arrivals) == 1 and arrivals[0].about is not None:
            if can_replace(chosen, arrivals[0].source, arrivals[0].about):
                self._import([(Arrival(arrivals[0].source, arrivals[0].about, same=chosen), True)])
                return
            words = arrivals[0].about.words()
            refused = f"It is a {words}; a version of “{chosen.name}” has its kind and its file type."
            arrivals = [Arrival(arrivals[0].source, None, refused)]
        if not self._stop.is_set():
            self._panel.offer(arrivals)

    @Slot(object)
    def _import(self, wanted: list[tuple[Arrival, bool]]) -> None:
        self._stop = stop = threading.Event()
        total = sum(arrival.about.size_bytes for arrival, _ in wanted if arrival.about)
        done = 0
        self._panel.copying(wanted[0][0].source.name, 0, total)

        def work() -> tuple[list[Path], list[str]]:
            places: list[Path] = []
            left: list[str] = []
            for arrival, as_version in wanted:
                name = arrival.source.name

                def step(count: int, name: str = name) -> bool:
                    nonlocal done
                    done += count
                    self._bridge.post(self._show_copying, (name, done, total))
                    return not stop.is_set()

                try:
                    if as_version and arrival.same is not None:
                        history = self._app.model_library.versions.bring_in(arrival.source, arrival.same, step=step)
                        places.append(history.path)
                    else:
                        places.append(self._app.model_library.bring_in(arrival.source, step=step))
                except Cancelled:
                    break
                except TesseraError as error:
                    left.append(str(error))
            return places, left

        self._background.run(work, self._done, self._failed)

    def _show_copying(self, state: tuple[str, int, int]) -> None:
        if not self._stop.is_set():
            self._panel.copying(*state)

    def _done(self, outcome: tuple[list[Path], list[str]]) -> None:
        places, left = outcome
        self._stop.set()
        self._panel.clear()
        for sentence in left:
            self.said.emit("warning", sentence)
        if places:
            one = f"“{places[0].stem}” is in the library."
            self.said.emit("success", one if len(places) == 1 else f"{len(places)} models are in the library.")
        self.imported.emit(places)

    def _failed(self, sentence: str) -> None:
        self._stop.set()
        self._panel.clear()
        self.said.emit("warning", sentence)

    @Slot()
    def _cancel(self) -> None:
        self._stop.set()
        self._panel.clear()


def arrivals_of(app: Application, paths: list[Path], stop: threading.Event) -> list[Arrival]:
    """What the files are; a folder that is no model stands for the model files in it. For worker threads."""
    known = [item for item in app.model_library.list() if item.file is not None]
    by_content = {item.file.fingerprint: item for item in known if item.file}
    own = app.paths.models
    by_name = {(item.file.kind, item.path.stem.lower()): item for item in known if item.file and item.folder == own}
    found: list[Arrival] = []
    for path in paths:
        inside = [path]
        if path.is_dir() and not (path / "model_index.json").is_file():
            inside = [item.path for item in files(path)][:MOST_FILES]
            if not inside:
                found.append(Arrival(path, None, "There is no model file in this folder."))
        for source in inside:
            if stop.is_set():
                return []
            found.append(_arrival(source, by_content, by_name))
    return found


def _arrival(source: Path, by_content: dict[str, Listed], by_name: dict[Any, Listed]) -> Arrival:
    try:
        about: ModelFile = identified(source)
    except TesseraError as error:
        return Arrival(source, None, str(error))
    copy = by_content.get(about.fingerprint)
    same = by_name.get((about.kind, Path(target_name(source, about)).stem.lower()))
    if same is not None and not can_replace(same, source, about):
        same = None
    return Arrival(source, about, same=same, copy=copy.path if copy is not None else None)
