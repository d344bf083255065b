"""What comes from outside: files dropped on the canvas and foreign text from the clipboard, each in a tab of its own.

Reading happens in a worker, so that a huge or hostile file holds nothing up; what can't be read is one sentence.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from PySide6.QtCore import QObject, Signal

from engine.contracts.errors import InvalidDocument
from studio_app.application import Application
from studio_app.documents.clipboard import MAX_TEXT
from studio_app.workflows.opening import Opened, open_dropped, open_file
from ui.bridge.background import Background

MOST_FILES = 20  # opened by one drop


class Exchange(QObject):
    """`opened` fires with (name, Opened): a workflow to show in a new tab, with its report. `own_file` with a path
    that holds a workflow of the studio's own, to be opened with its file. `refused` with one sentence."""

    opened = Signal(str, object)
    own_file = Signal(object)
    refused = Signal(str)

    def __init__(self, app: Application, parent: QObject) -> None:
        super().__init__(parent)
        self._app = app
        self._background = Background(self)

    def open_paths(self, paths: list[Path]) -> None:
        """Open each file that holds a workflow."""
        for path in paths[:MOST_FILES]:
            self._read(path.name, lambda path=path: self._file(path))  # type: ignore[misc]  # bound at once
        if len(paths) > MOST_FILES:
            self.refused.emit(f"{len(paths)} files were dropped; the first {MOST_FILES} are opened.")

    def open_text(self, text: str) -> bool:
        """Open the text of another program, e.g. ComfyUI's; whether it may be one."""
        head = text.lstrip("\ufeff \t\r\n")[:1]
        if len(text) > MAX_TEXT or not (head == "{" or ("Steps: " in text and "Sampler: " in text)):
            return False
        self._read("clipboard", lambda: open_dropped(
            text.encode("utf-8", "surrogatepass"), "clipboard", self._app.node_types(), self._app.models.locate
        ))  # fmt: skip
        return True

    def _file(self, path: Path) -> Opened | Path:
        """A path where the file is a workflow of ours, which stays its file; else what was understood of it."""
        if path.suffix.lower() == ".json" and path.is_file():
            with path.open("rb") as file:
                if b'"tessera.workflow"' in file.read(4096):
                    return path
        return open_file(path, self._app.node_types(), self._app.models.locate)

    def _read(self, name: str, work: Callable[[], Opened | Path]) -> None:
        def done(found: Opened | Path) -> None:
            if isinstance(found, Path):
                self.own_file.emit(found)
            elif not found.workflow.nodes:
                self.refused.emit(str(InvalidDocument("it holds no nodes", where=name)))
            else:
                self.opened.emit(name, found)

        self._background.run(work, done, self.refused.emit)

    def close(self) -> None:
        """Wait for what is being read."""
        self._background.close()
