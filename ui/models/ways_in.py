"""The ways a model comes in: files and folders by dialog or drop, an address, folders searched in place."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from PySide6.QtCore import QObject, QUrl, Slot
from PySide6.QtGui import QGuiApplication
from PySide6.QtWidgets import QFileDialog, QWidget

from engine.models.contents import SUFFIXES
from studio_app.application import Application
from studio_app.models.layouts import usual_folders
from studio_app.models.library import Listed
from ui.models.downloads_panel import DownloadsPanel
from ui.models.importer import Importer
from ui.models.side import Side

MODEL_FILTER = f"Models ({' '.join(f'*{suffix}' for suffix in SUFFIXES)});;All files (*)"


class WaysIn(QObject):
    """Asks and hands on; what is found and copied is the importer's, the library's and the downloads' business."""

    def __init__(
        self, app: Application, page: QWidget, importer: Importer, downloads: DownloadsPanel, side: Side,
        look_again: Callable[[], object],
    ) -> None:  # fmt: skip
        super().__init__(page)
        self._app, self._page, self._importer = app, page, importer
        self._downloads, self._side, self._look_again = downloads, side, look_again

    @Slot(object)
    def ask_version(self, item: Listed) -> None:
        if item.path.is_dir():
            chosen = QFileDialog.getExistingDirectory(self._page, f"Newer version of {item.name}")
        else:
            chosen, _ = QFileDialog.getOpenFileName(self._page, f"Newer version of {item.name}", "", MODEL_FILTER)
        if chosen:
            self._importer.look([Path(chosen)], item)

    @Slot()
    def ask_files(self) -> None:
        chosen, _ = QFileDialog.getOpenFileNames(self._page, "Import models", "", MODEL_FILTER)
        if chosen:
            self._importer.look([Path(path) for path in chosen])

    @Slot()
    def ask_folder(self) -> None:
        chosen = QFileDialog.getExistingDirectory(self._page, "Import the models of a folder")
        if chosen:
            self._importer.look([Path(chosen)])

    @Slot()
    def ask_address(self) -> None:
        """Put the cursor into the address field, with what the clipboard holds if that is an address."""
        text = QGuiApplication.clipboard().text().strip()
        if text.startswith("https://") and not self._downloads.field.text():
            self._downloads.field.setText(text)
        self._downloads.field.setFocus()
        self._downloads.field.selectAll()

    def drop(self, urls: list[QUrl]) -> None:
        """Files and folders are looked at before they are copied; an address is fetched."""
        paths = [Path(url.toLocalFile()) for url in urls if url.isLocalFile()]
        if paths:
            self._importer.look(paths)
        elif urls:
            self._downloads.field.setText(urls[0].toString())
            self._downloads.start()

    # ---- folders

    @Slot()
    def offer_folders(self) -> None:
        known = {folder.path for folder in self._app.model_library.folders()}
        self._side.offer([(layout, path) for layout, path in usual_folders() if path not in known])

    @Slot(str)
    def add_folder(self, path: str) -> None:
        """Search one more folder; "" asks for it."""
        path = path or QFileDialog.getExistingDirectory(self._page, "Search a folder for models, where it is")
        known: list[Any] = self._app.settings.get("models.folders")
        if path and path not in known:
            self._app.settings.set("models.folders", [*known, path])
            self._look_again()

    @Slot(str)
    def remove_folder(self, path: str) -> None:
        known: list[Any] = self._app.settings.get("models.folders")
        kept = [item for item in known if not (isinstance(item, str) and Path(item).expanduser() == Path(path))]
        self._app.settings.set("models.folders", kept)
        self._look_again()
