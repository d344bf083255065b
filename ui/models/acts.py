"""What can be done with one model: noted, pictured, put back to a version, moved to the trash. On a worker."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from PySide6.QtCore import QObject, QUrl, Signal, Slot
from PySide6.QtGui import QDesktopServices, QGuiApplication
from PySide6.QtWidgets import QFileDialog, QWidget

from engine.contracts.errors import MissingModel
from studio_app.application import Application
from studio_app.models.library import Listed
from studio_app.models.table import Note
from studio_app.models.trash import Trashed
from studio_app.models.versions import History
from studio_app.notifications import Action
from ui.bridge.background import Background
from ui.create.start_picture import PICTURE_FILTER
from ui.models.details import ModelDetails


class ModelActs(QObject):
    """Does what the details panel asks for.

    moved           (path to choose next or None): the files changed, list them again
    picture_changed (fingerprint): another preview was chosen
    """

    moved = Signal(object)
    picture_changed = Signal(str)

    def __init__(self, app: Application, background: Background, details: ModelDetails, page: QWidget) -> None:
        super().__init__(page)
        self._app, self._background, self._page = app, background, page
        self._trashed: list[Trashed] = []
        details.remove_wanted.connect(self.remove)
        details.note_changed.connect(self.keep_note)
        details.picture_wanted.connect(self.set_picture)
        details.rollback_wanted.connect(self.roll_back)
        details.changelog_written.connect(self.write_changelog)
        details.copy_wanted.connect(self.copy)
        details.show_wanted.connect(self.show_place)
        details.open_wanted.connect(self.open_page)

    @Slot(object, object)
    def keep_note(self, item: Listed, note: Note) -> None:
        self._background.run(lambda: self._app.model_library.note(item, note), None, self._warn)

    @Slot(object)
    def star(self, item: Listed) -> None:
        note = item.note
        self.keep_note(item, Note(note.tags, note.text, not note.favourite, note.source))

    @Slot(object, object)
    def set_picture(self, item: Listed, source: str | Path) -> None:
        """Take a preview from a file (asked for when "file"), from the newest result, or "none"."""
        about, previews, library = item.file, self._app.model_library.previews, self._app.library
        if about is None:
            return
        if source == "file":
            chosen, _ = QFileDialog.getOpenFileName(self._page, f"Preview of {item.name}", "", PICTURE_FILTER)
            if not chosen:
                return
            source = Path(chosen)

        def work() -> None:
            if isinstance(source, Path):
                previews.choose(about, source.read_bytes())
            elif source == "result":
                records = library.recent(1)
                if not records:
                    raise MissingModel("there is no picture in the library yet", fix="Make one on the Create page")
                previews.choose(about, library.read(records[0]))
            else:
                previews.forget(about)

        self._background.run(work, lambda _: self.picture_changed.emit(about.fingerprint), self._warn)

    @Slot(object, int)
    def roll_back(self, item: Listed, number: int) -> None:
        def done(history: History) -> None:
            self._say("success", f"Version {history.current} of “{item.name}” is in force.")
            self.moved.emit(history.path)

        self._background.run(lambda: self._app.model_library.versions.use(item, number), done, self._warn)

    @Slot(object, int, str)
    def write_changelog(self, item: Listed, number: int, text: str) -> None:
        self._background.run(lambda: self._app.model_library.versions.note(item, number, text), None, self._warn)

    @Slot(object)
    def remove(self, item: Listed) -> None:
        """Move a model to the trash, with a message that brings it back."""

        def done(trashed: Trashed) -> None:
            self._trashed.append(trashed)
            undo = Action("models.undo_remove", "Undo")
            self._app.notifications.post("info", f"“{item.name}” was moved to the trash.", undo)
            self.moved.emit(None)

        self._background.run(lambda: self._app.model_library.remove(item), done, self._warn)

    @Slot()
    def undo_remove(self) -> None:
        """Bring back what was removed last."""
        if not self._trashed:
            self._say("info", "Nothing was moved to the trash since the studio started.")
            return
        trashed = self._trashed.pop()

        self._background.run(lambda: self._app.model_library.restore(trashed), self.moved.emit, self._warn)

    @Slot(str)
    def copy(self, text: str) -> None:
        QGuiApplication.clipboard().setText(text)
        self._say("info", "Copied.")

    @Slot(object)
    def show_place(self, path: Path) -> None:
        QDesktopServices.openUrl(QUrl.fromLocalFile(str(path.parent)))

    @Slot(str)
    def open_page(self, address: str) -> None:
        QDesktopServices.openUrl(QUrl(address))

    def _say(self, level: Any, sentence: str) -> None:
        self._app.notifications.post(level, sentence)

    def _warn(self, sentence: str) -> None:
        self._say("warning", sentence)
