"""Dragging pictures out of the studio: as files with names a person recognises, found or made in a worker thread."""

from __future__ import annotations

import re
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from PySide6.QtCore import QMimeData, Qt, QUrl, Signal
from PySide6.QtGui import QDrag, QGuiApplication
from PySide6.QtWidgets import QWidget

from engine.contracts.results import ResultRecord
from engine.recipes.build import request_of
from ui.bridge.background import Background

if TYPE_CHECKING:
    from studio_app.application import Application

SUFFIXES = {"image/png": ".png", "image/webp": ".webp", "image/jpeg": ".jpg"}
_UNSAFE = re.compile(r"[^\w\- ]+")


class DragOut(Background):
    """One worker that finds a picture's file and then starts the drag, if the button is still held.

    `ready` fires with the QMimeData that a drag hands over, just before it starts; `say(sentence)` tells what went
    wrong. Copies made for dragging are deleted by `close`.
    """

    ready = Signal(object)

    def __init__(self, app: Application, source: QWidget, say: Callable[[str], object]) -> None:
        super().__init__(source)
        self._app, self._source, self._say = app, source, say
        self._folder: Path | None = None

    def start(self, record: ResultRecord) -> None:
        """Begin a drag of this picture from the widget it was pressed in."""
        self.run(lambda: self.path(record), self._drag, self._say)

    def path(self, record: ResultRecord) -> Path:
        """The picture's own file, else a copy in a folder of ours. Slow: for worker threads.

        Raises TesseraError or OSError when there is no picture any more or no room for the copy.
        """
        own = self._app.library.exported_to(record)
        if own is not None and own.is_file():
            return own
        data = self._app.library.read(record)
        if self._folder is None:
            self._folder = Path(tempfile.mkdtemp(prefix="tessera-drag-"))
        path = self._folder / file_name(record)
        path.write_bytes(data)
        return path

    def _drag(self, path: Path) -> None:
        mime = file_mime(path)
        self.ready.emit(mime)
        if QGuiApplication.mouseButtons() & Qt.MouseButton.LeftButton:
            drag = QDrag(self._source)
            drag.setMimeData(mime)
            drag.exec(Qt.DropAction.CopyAction)

    def close(self) -> None:
        super().close()
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)


def file_mime(path: Path) -> QMimeData:
    """A drag that hands over a file."""
    data = QMimeData()
    data.setUrls([QUrl.fromLocalFile(str(path))])
    return data


def suffix_of(record: ResultRecord) -> str:
    return SUFFIXES.get(record.artifact.media_type, ".png")


def file_name(record: ResultRecord) -> str:
    """A file name a person recognises: the prompt's first words and the seed."""
    request = request_of(record.spec)
    words = _UNSAFE.sub(" ", request.prompt if request else record.spec.title or "picture")
    stem = " ".join(words.split())[:60].strip() or "picture"
    seed = "" if record.seed is None else f" {record.seed}"
    return f"{stem}{seed}{suffix_of(record)}"
