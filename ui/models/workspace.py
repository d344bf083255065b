"""The Models page: what is on this machine, what each file is, and bringing more in."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from PySide6.QtCore import QTimer, Slot
from PySide6.QtGui import (
    QDragEnterEvent,
    QDropEvent,
    QHideEvent,
    QImage,
    QPixmap,
    QShowEvent,
)
from PySide6.QtWidgets import QWidget

from engine.contracts.errors import MissingModel
from engine.contracts.references import ModelRef
from studio_app.application import Application
from studio_app.models.downloads import Download
from studio_app.models.hashing import HashProgress
from studio_app.models.library import Listed
from studio_app.models.versions import History
from ui.bridge.background import Background
from ui.bridge.bridge import Bridge
from ui.models.acts import ModelActs
from ui.models.cards_model import CardsModel, Filter, with_words
from ui.models.columns import ModelsColumns
from ui.models.downloads_panel import DownloadsPanel
from ui.models.importer import Importer
from ui.models.ways_in import WaysIn
from ui.models.words import prompt_words
from ui.panels.thumbnails import Thumbnails, decode_small

RELOAD_AFTER_MS = 120


class ModelsWorkspace(ModelsColumns):
    """What is listed, what is known of the chosen one, and what came in. Holds no truth."""

    def __init__(self, app: Application, bridge: Bridge) -> None:
        super().__init__()
        self._app, self._bridge = app, bridge
        self.setAccessibleName("Models")
        self.setAcceptDrops(True)
        self._background = Background(self)
        self._usable: dict[Path, ModelRef] = {}
        self._copies: dict[Path, list[Path]] = {}
        self._wanted: Path | None = None  # to be chosen once it is listed
        self._opened = self._closed = False
        self.cards = CardsModel(self)
        self.thumbnails = Thumbnails(self)
        self._make(self.cards, self._pixmap, DownloadsPanel(app, bridge, self._background))
        self._lay_out()
        self._reload = QTimer(self)
        self._reload.setSingleShot(True)
        self._reload.setInterval(RELOAD_AFTER_MS)
        self.importer = Importer(app, bridge, self.arrivals, self)
        self.ways = WaysIn(app, self, self.importer, self.downloads, self.side, self.look_again)
        self.acts = ModelActs(app, self._background, self.details, self)
        self._connect()
        handlers: dict[str, Callable[[], object]] = {
            "models.import": self.ways.ask_files, "models.import_folder": self.ways.ask_folder,
            "models.fetch": self.ways.ask_address,
            "models.undo_remove": self.acts.undo_remove, "models.look_again": self.look_again,
        }  # fmt: skip
        self._unbind = [app.commands.bind(command, handler) for command, handler in handlers.items()]
        self._unsubscribe = [
            app.model_library.changed.subscribe(lambda count: bridge.post(self._later, None)),
            app.model_background.progress.subscribe(lambda progress: bridge.post(self._show_hashing, progress)),
        ]

    # ---- following the widgets

    def _connect(self) -> None:
        self._reload.timeout.connect(self.reload)
        self.side.filter_changed.connect(self._filter)
        self.side.folder_wanted.connect(self.ways.add_folder)
        self.side.folder_unwanted.connect(self.ways.remove_folder)
        self.side.menu_opens.connect(self.ways.offer_folders)
        self.import_button.clicked.connect(self.ways.ask_files)
        self.empty.button.clicked.connect(self.ways.ask_files)
        self.nothing.button.clicked.connect(self._show_all)
        self.again.clicked.connect(self.look_again)
        self.downloads.finished.connect(self._fetched)
        self.downloads.offline_unwanted.connect(lambda: self._app.settings.set("network.offline", False))
        self.importer.imported.connect(self._imported)
        self.importer.said.connect(self._say)
        self.grid.selectionModel().currentChanged.connect(self._choose)
        self.grid.opened.connect(self.use)
        self.grid.remove_wanted.connect(self.acts.remove)
        self.grid.star_wanted.connect(self.acts.star)
        self.acts.moved.connect(self._moved)
        self.acts.picture_changed.connect(self._picture_changed)
        self.thumbnails.ready.connect(self._picture_came)
        details = self.details
        details.use_wanted.connect(self.use)
        details.version_wanted.connect(self.ways.ask_version)
        details.item_wanted.connect(self.choose)
        self._bridge.setting.connect(self._setting_changed)

    # ---- what is listed

    @Slot()
    def reload(self) -> None:
        """List again from the index, on a worker."""

        def work() -> Any:
            library = self._app.model_library
            own = library.list(scan=False)
            items = [*own, *library.built_in()]
            usable = {entry.path: entry.ref for entry in self._app.models.list()}
            copies = {
                item.path: [other.path for other in group if other is not item]
                for group in library.duplicates(own)
                for item in group
            }
            return with_words(items), library.previews.chosen(), library.folders(), usable, copies

        self._background.run(work, self._listed, lambda sentence: self._say("warning", sentence))

    def _later(self, _: object) -> None:
        if not self._reload.isActive():
            self._reload.start()

    def _listed(self, found: Any) -> None:
        items, chosen_pictures, folders, self._usable, self._copies = found
        current = self._wanted or (self.details.item.path if self.details.item else None)
        scrolled = self.grid.verticalScrollBar().value()
        self.cards.set_items(items, chosen_pictures)
        self.side.show_folders(folders)
        self._show_filtered()
        self.grid.verticalScrollBar().setValue(scrolled)
        if current is not None:
            self._wanted = None
            self.choose(current)

    @Slot(object)
    def _filter(self, wanted: Filter) -> None:
        current = self.details.item.path if self.details.item else None
        self.cards.set_filter(wanted)
        self._show_filtered()
        row = self.cards.row_of(current) if current else -1
        if row >= 0:
            self.grid.setCurrentIndex(self.cards.index(row))

    def _show_filtered(self) -> None:
        counts, shown = self.cards.counts(), self.cards.rowCount()
        self.side.show_counts(counts)
        self.side.show_bases(self.cards.bases())
        total = counts[""]
        self._stack.setVisible(bool(total))
        self._stack.setCurrentWidget(self.grid if shown else self.nothing)
        self.empty.setVisible(counts["built in"] == total and self.cards.filter == Filter())
        words = "1 model" if total == 1 else f"{total:,} models"
        self.heading.setText("Models" if not total else words if shown == total else f"{shown:,} of {words}")

    @Slot()
    def _show_all(self) -> None:
        self.side.show_filter(Filter())
        self._filter(Filter())

    @Slot()
    def look_again(self) -> None:
        """Scan every folder now."""
        self._background.run(self._app.model_library.scan, lambda count: self.reload(), self._warn)

    def choose(self, path: Path) -> None:
        """Select a card, also one that the filter hides; none when the file is gone."""
        row = self.cards.row_of(path)
        if row < 0 and self.cards.filter != Filter():
            self._show_all()
            row = self.cards.row_of(path)
        if row >= 0:
            self.grid.setCurrentIndex(self.cards.index(row))
            self._show_details(self.cards.item(row))
        else:
            self.grid.setCurrentIndex(self.cards.index(-1))
            self._show_details(None)

    @Slot()
    def _choose(self) -> None:
        item = self.grid.chosen()
        if item is not None:
            self._show_details(item)

    # ---- one model

    def _show_details(self, item: Listed | None) -> None:
        usable = ""
        if item is not None and item.file is not None:
            usable = "Use in Create" if item.path in self._usable else "Add to the prompt" if prompt_words(item) else ""
        fingerprint = item.file.fingerprint if item is not None and item.file else ""
        chosen_picture = fingerprint in self.cards.chosen_pictures
        self.details.show_item(item, usable=usable, chosen_picture=chosen_picture)
        if item is None or item.file is None:
            return
        about, library = item.file, self._app.model_library
        own = item.path.is_relative_to(self._app.paths.models)

        self.details.show_copies(self._copies.get(item.path, []))

        def work() -> tuple[History | None, QImage]:
            history = library.versions.of(item) if own else None
            data = library.previews.read(item.path, about)
            return history, decode_small(data, 640) if data else QImage()

        def show(found: tuple[History | None, QImage]) -> None:
            now = self.details.item
            if now is not None and now.path == item.path:
                self.details.show_history(found[0], offer=own)
                self.details.show_picture(found[1])

        self._background.run(work, show, self._warn)

    def _pixmap(self, item: Listed, edge: int) -> QPixmap | None:
        about = item.file
        if about is None or not (about.preview or about.fingerprint in self.cards.chosen_pictures):
            return None

        def read() -> bytes:
            data = self._app.model_library.previews.read(item.path, about)
            if data is None:
                raise MissingModel("the preview can't be read")
            return data

        # Only of the chosen one can there be another later; its key says so.
        chosen = "+" if about.fingerprint in self.cards.chosen_pictures else ""
        return self.thumbnails.get(f"{about.fingerprint}{chosen}", read, edge)

    @Slot(str)
    def _picture_changed(self, fingerprint: str) -> None:
        self.thumbnails.forget(f"{fingerprint}+")
        self.reload()

    @Slot(object)
    def _moved(self, path: Path | None) -> None:
        """Files changed places: choose `path`, or the neighbour of the card that is gone."""
        if path is None and self.details.item is not None:
            row = self.cards.row_of(self.details.item.path)
            neighbour = self.cards.item(row + 1) or self.cards.item(row - 1)
            path = neighbour.path if neighbour is not None and row >= 0 else None
            self.details.show_item(None)
        self._wanted = path
        self.reload()

    @Slot(str)
    def _picture_came(self, key: str) -> None:
        self.cards.touch(key.rstrip("+"))

    @Slot(object)
    def use(self, item: Listed) -> None:
        """Put a model to work on the Create page."""
        if item.path in self._usable:
            self.model_wanted.emit(self._usable[item.path])
        elif prompt_words(item):
            self.words_wanted.emit(prompt_words(item))
        else:
            self._say("info", f"“{item.name}” is used by nodes: choose it in a node of the Graph page.")

    # ---- what came in

    @Slot(object)
    def _imported(self, places: list[Path]) -> None:
        self._wanted = places[0] if places else None
        self.reload()

    @Slot(object)
    def _fetched(self, download: Download) -> None:
        self._wanted = download.path
        self._say("success", f"“{download.name}” is in the library.")
        self.reload()

    def dragEnterEvent(self, event: QDragEnterEvent) -> None:
        data = event.mimeData()
        if data.hasUrls() and any(url.isLocalFile() or url.scheme() == "https" for url in data.urls()):
            event.acceptProposedAction()

    def dropEvent(self, event: QDropEvent) -> None:
        event.acceptProposedAction()
        self.ways.drop(event.mimeData().urls())

    # ---- following

    def _show_hashing(self, progress: HashProgress) -> None:
        going = progress.path is not None and progress.bytes > 0
        self.hashing.setVisible(going)
        self.hash_bar.setVisible(going)
        if going and progress.path is not None:
            self.hashing.setText(f"sha256 of {progress.path.name}, {progress.files_done + 1} of {progress.files}")
            self.hash_bar.show_share(progress.bytes_done, progress.bytes)
        elif progress.files_done:
            self._later(None)

    @Slot(object)
    def _setting_changed(self, change: tuple[str, Any]) -> None:
        key, value = change
        if key == "network.offline":
            running = self.downloads.running()
            self.downloads.show_offline(bool(value))
            if value and running:
                count = "1 download stops" if running == 1 else f"{running} downloads stop"
                self._say("info", f"Offline: {count}. What came is kept, and goes on where it stopped.")
        elif key == "models.folders":
            self._later(None)

    @Slot(str, str)
    def _say(self, level: Any, sentence: str) -> None:
        self._app.notifications.post(level, sentence)

    def _warn(self, sentence: str) -> None:
        self._say("warning", sentence)

    # ---- Workspace

    def showEvent(self, event: QShowEvent) -> None:
        super().showEvent(event)
        if not self._opened:
            self._opened = True
            self.downloads.open()
            self.look_again()

    def hideEvent(self, event: QHideEvent) -> None:
        super().hideEvent(event)
        self.details.keep_note()

    def take_focus(self) -> None:
        widget: QWidget = self.grid if self.cards.rowCount() else self.empty.button
        widget.setFocus()

    def save_state(self) -> dict[str, Any]:
        wanted = self.cards.filter
        return {"kind": wanted.kind, "base": wanted.base, "favourites": wanted.favourites}

    def restore_state(self, state: dict[str, Any]) -> None:
        words = {name: state.get(name) for name in ("kind", "base")}
        kind, base = (value if isinstance(value, str) else "" for value in words.values())
        wanted = Filter("", kind, base, state.get("favourites") is True)
        self.side.show_filter(wanted)
        self.cards.set_filter(wanted)

    def close_down(self) -> None:
        if self._closed:
            return
        self._closed = True
        self.details.keep_note()
        for undo in (*self._unbind, *self._unsubscribe):
            undo()
        self.downloads.close_down()
        self.importer.close()
        self._background.close()
        self.thumbnails.close()
