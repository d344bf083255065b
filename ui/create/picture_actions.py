"""What can be done with a finished picture besides making another: save, copy, drag out, show its file."""

from __future__ import annotations

import re
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

from PySide6.QtCore import QMimeData, QObject, QUrl
from PySide6.QtGui import QDesktopServices, QGuiApplication, QImage
from PySide6.QtWidgets import QFileDialog, QWidget

from engine.contracts.errors import TesseraError
from engine.contracts.results import ResultRecord
from engine.recipes.build import request_of
from studio_app.application import Application
from ui.create.background import Background
from ui.create.mime import file_mime

SUFFIXES = {"image/png": ".png", "image/webp": ".webp", "image/jpeg": ".jpg"}
SAVE_FILTER = "PNG (*.png);;WebP (*.webp);;JPEG (*.jpg *.jpeg)"
_UNSAFE = re.compile(r"[^\w\- ]+")


class PictureActions(QObject):
    """`say(sentence)` tells the person how it went, at the place where they are looking."""

    def __init__(self, app: Application, background: Background, say: Callable[[str], object], parent: QWidget) -> None:
        super().__init__(parent)
        self._app, self._background, self._say, self._window = app, background, say, parent
        self._drag_folder: Path | None = None

    def save_as(self, record: ResultRecord) -> None:
        """Ask where, then write in the background."""
        folder = self._app.output_folder()
        name = file_name(record)
        start = folder / name if folder.is_dir() else Path.home() / name
        chosen, _ = QFileDialog.getSaveFileName(self._window, "Save picture as", str(start), SAVE_FILTER)
        if chosen:
            self.save_to(record, Path(chosen))

    def save_to(self, record: ResultRecord, path: Path) -> None:
        """Write a picture to a file; a name without extension gets the one it was made with."""
        target = path if path.suffix else path.with_suffix(suffix_of(record))
        self._background.run(
            lambda: self._app.library.save_as(record, target), lambda saved: self._say(f"Saved as {saved}."), self._say
        )

    def copy(self, record: ResultRecord) -> None:
        """Put the picture, and its file for programs that want one, on the clipboard."""

        def put(image: QImage) -> None:
            data = QMimeData()
            data.setImageData(image)
            path = self.file_for(record)
            if path is not None:
                data.setUrls([QUrl.fromLocalFile(str(path))])
            QGuiApplication.clipboard().setMimeData(data)
            self._say("The picture is on the clipboard.")

        self._background.run(lambda: QImage.fromData(self._app.library.read(record)), put, self._say)

    def copy_parameters(self, record: ResultRecord) -> None:
        """Put prompt and settings on the clipboard as the text other programs read too."""
        QGuiApplication.clipboard().setText(record.parameters or record.spec.title)
        self._say("Prompt and settings are on the clipboard.")

    def show_file(self, record: ResultRecord) -> None:
        """Open the folder of the picture's own file."""
        path = self._app.library.exported_to(record)
        if path is None or not path.exists():
            self._say("This picture has no file of its own yet. Use “Save as…” to make one.")
        else:
            QDesktopServices.openUrl(QUrl.fromLocalFile(str(path.parent)))

    def mime(self, record: ResultRecord) -> QMimeData | None:
        """What a drag of this picture hands over: a file with a name."""
        path = self.file_for(record)
        return None if path is None else file_mime(path)

    def file_for(self, record: ResultRecord) -> Path | None:
        """The picture's own file, or a copy made for dragging, deleted when the studio closes."""
        own = self._app.library.exported_to(record)
        if own is not None and own.is_file():
            return own
        try:
            data = self._app.library.read(record)
            if self._drag_folder is None:
                self._drag_folder = Path(tempfile.mkdtemp(prefix="tessera-drag-"))
            path = self._drag_folder / file_name(record)
            path.write_bytes(data)
        except (TesseraError, OSError) as error:
            self._say(str(error))
            return None
        return path

    def close(self) -> None:
        if self._drag_folder is not None:
            shutil.rmtree(self._drag_folder, ignore_errors=True)


def suffix_of(record: ResultRecord) -> str:
    return SUFFIXES.get(record.artifact.media_type, ".png")


def file_name(record: ResultRecord) -> str:
    """A file name a person recognises: the prompt's first words and the seed."""
    request = request_of(record.spec)
    words = _UNSAFE.sub(" ", request.prompt if request else record.spec.title or "picture")
    stem = " ".join(words.split())[:60].strip() or "picture"
    seed = "" if record.seed is None else f" {record.seed}"
    return f"{stem}{seed}{suffix_of(record)}"
