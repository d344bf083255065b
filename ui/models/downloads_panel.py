"""Import by address: the field, and a row for each download of this session or left from an earlier one."""

from __future__ import annotations

from typing import TYPE_CHECKING

from PySide6.QtCore import Qt, Signal, Slot
from PySide6.QtGui import QResizeEvent
from PySide6.QtWidgets import QLineEdit, QWidget

from studio_app.events import Unsubscribe
from studio_app.models.downloads import Download
from studio_app.models.sources import is_sha256
from ui import theme
from ui.bridge.background import Background
from ui.bridge.bridge import Bridge
from ui.dialogs.page import scrolling
from ui.models.incoming import RUNNING, DownloadRow
from ui.widgets.basics import Button, IconLabel, Label, Panel, describe
from ui.widgets.layouts import Column, Row

if TYPE_CHECKING:
    from studio_app.application import Application


class DownloadsPanel(QWidget):
    """`finished` fires with a Download that is done; `offline_unwanted` when the person wants to go online."""

    finished = Signal(object)
    offline_unwanted = Signal()

    def __init__(self, app: Application, bridge: Bridge, background: Background) -> None:
        super().__init__()
        self._app, self._bridge, self._background = app, bridge, background
        self._rows: dict[str, DownloadRow] = {}
        self._following: list[Unsubscribe] = []
        column = Column(self, spacing=1)
        row = Row(spacing=1)
        self.field = QLineEdit()
        self.field.setPlaceholderText("Address of a model: Hugging Face, Civitai or any https")
        self.field.setClearButtonEnabled(True)
        describe(self.field, "Address of a model", "Paste the page or the file's address.")
        self.sha256 = QLineEdit()
        self.sha256.setPlaceholderText("sha256, if you know it")
        self.sha256.setClearButtonEnabled(True)
        describe(
            self.sha256, "sha256 of the model",
            "The 64 digits that the file must have. Without them, what its host says is checked, where it says any.",
        )  # fmt: skip
        self.fetch = Button("Fetch", "globe", tip="Downloads the model; what is cut off goes on where it stopped.")
        row.addWidget(self.field, 3)
        row.addWidget(self.sha256, 1)
        row.addWidget(self.fetch)
        column.addLayout(row)
        self.offline = QWidget()
        said = Row(self.offline, spacing=1)
        said.addWidget(IconLabel("wifi-off", 16, "warning"))
        said.addWidget(Label("The studio is offline, so nothing is fetched."), 1)
        self.online = Button("Go online", tip="Turns the offline switch off.")
        said.addWidget(self.online)
        column.addWidget(self.offline)
        self.problem = Label("", "danger", wrap=True)
        self.problem.hide()
        column.addWidget(self.problem)
        self.list = Panel(2)
        inside = Column(self.list, spacing=0, margins=(1.5, 1))
        rows = QWidget()
        self._list = Column(rows, spacing=1.5)
        self._list.setAlignment(Qt.AlignmentFlag.AlignTop)
        self._area = scrolling(rows)
        inside.addWidget(self._area)
        column.addWidget(self.list)
        self._room = theme.px(200)
        self.list.hide()
        self.fetch.clicked.connect(self.start)
        self.field.returnPressed.connect(self.start)
        for field in (self.field, self.sha256):
            field.textEdited.connect(self.problem.hide)
        self.sha256.returnPressed.connect(self.start)
        self.online.clicked.connect(self.offline_unwanted)
        self.show_offline(bool(app.settings.get("network.offline")))

    def open(self) -> None:
        """Begin to follow the downloads, with those that lie unfinished. The HTTP client is made on a worker."""

        def follow(left: list[Download]) -> None:
            changed = self._app.downloads.changed
            self._following.append(changed.subscribe(lambda download: self._bridge.post(self._changed, download)))
            for download in left:
                self._changed(download)

        self._background.run(lambda: self._app.downloads.list(), follow, self._say)

    def close_down(self) -> None:
        for undo in self._following:
            undo()

    def set_room(self, height: int) -> None:
        """The pixels the rows may take before they scroll."""
        self._room = height
        self._fit()

    def resizeEvent(self, event: QResizeEvent) -> None:
        super().resizeEvent(event)
        self._fit()

    def _fit(self) -> None:
        wanted = self._list.totalHeightForWidth(max(1, self.width() - theme.space(3)))
        self._area.setFixedHeight(max(1, min(self._room, wanted)))

    def running(self) -> int:
        return sum(row.download.state in RUNNING for row in self._rows.values())

    def show_offline(self, offline: bool) -> None:
        self.offline.setVisible(offline)
        self.fetch.setEnabled(not offline)

    @Slot()
    def start(self) -> None:
        """Fetch what the field names."""
        page = self.field.text().strip()
        if not page:
            self._say("Paste the address of a model first.")
            self.field.setFocus()
            return
        if self.offline.isVisibleTo(self):
            return
        wanted = "".join(self.sha256.text().split()).lower()
        if wanted and not is_sha256(wanted):
            self._say("A sha256 has 64 digits from 0 to 9 and a to f.")
            self.sha256.setFocus()
            return
        self.field.clear()
        self.sha256.clear()
        self._begin(page, wanted)

    def _begin(self, page: str, sha256: str) -> None:
        self.problem.hide()

        def work() -> Download:
            return self._app.downloads.get(self._app.downloads.start(page, sha256))

        self._background.run(work, self._changed, self._say)

    @Slot(str)
    def _again(self, page: str) -> None:
        """Go on with a download, with the sha256 that was given for it."""
        asked = next((row.download.asked for row in self._rows.values() if row.download.page == page), "")
        self._begin(page, asked)

    @Slot(str)
    def _stop(self, key: str) -> None:
        self._app.downloads.stop(key)

    @Slot(str)
    def _discard(self, key: str) -> None:
        row = self._rows.pop(key, None)
        if row is not None:
            row.hide()
            row.deleteLater()
        self.list.setVisible(bool(self._rows))
        self._fit()
        if row is not None and row.download.state != "done":
            self._background.run(lambda: self._app.downloads.discard(key), None, self._say)

    def _changed(self, download: Download) -> None:
        row = self._rows.get(download.id)
        was = row.download.state if row is not None else ""
        if row is None:
            row = self._rows[download.id] = DownloadRow(download)
            row.stop.connect(self._stop)
            row.again.connect(self._again)
            row.discard.connect(self._discard)
            self._list.insertWidget(0, row)
        else:
            row.update_to(download)
        self.list.show()
        self._fit()
        if download.state == "done" and was != "done":
            self.finished.emit(download)

    def _say(self, sentence: str) -> None:
        self.problem.setText(sentence)
        self.problem.show()
