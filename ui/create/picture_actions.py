"""What can be done with a finished picture besides making another: save, copy, drag out, show its file."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from PySide6.QtCore import QObject, QUrl
from PySide6.QtGui import QDesktopServices, QGuiApplication, QImage
from PySide6.QtWidgets import QFileDialog, QWidget

from engine.contracts.results import ResultRecord
from studio_app.application import Application
from ui.bridge.background import Background
from ui.panels.drag_out import DragOut, file_mime, file_name, suffix_of

SAVE_FILTER = "PNG (*.png);;WebP (*.webp);;JPEG (*.jpg *.jpeg)"


class PictureActions(QObject):
    """`say(sentence)` tells the person how it went, at the place where they are looking."""

    def __init__(self, app: Application, background: Background, say: Callable[[str], object], parent: QWidget) -> None:
        super().__init__(parent)
        self._app, self._background, self._say, self._window = app, background, say, parent
        self.out = DragOut(app, parent, say)

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

        def read() -> tuple[QImage, Path]:
            return QImage.fromData(self._app.library.read(record)), self.out.path(record)

        def put(found: tuple[QImage, Path]) -> None:
            image, path = found
            data = file_mime(path)
            data.setImageData(image)
            QGuiApplication.clipboard().setMimeData(data)
            self._say("The picture is on the clipboard.")

        self.out.run(read, put, self._say)

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

    def drag(self, record: ResultRecord) -> None:
        """Hand the picture to another program as a file with a name."""
        self.out.start(record)

    def close(self) -> None:
        self.out.close()
