"""What is on its way in: downloads with speed and time left, and dropped files with what they are before they come."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from pathlib import Path
from time import monotonic

from PySide6.QtCore import Qt, Signal, Slot
from PySide6.QtGui import QResizeEvent
from PySide6.QtWidgets import QProgressBar, QWidget

from engine.models.model_file import ModelFile
from studio_app.models.downloads import Download
from studio_app.models.library import Listed
from ui import theme
from ui.dialogs.page import scrolling
from ui.models.words import size_words, time_left_words
from ui.widgets.basics import Button, ElidedLabel, IconButton, IconLabel, Label, Panel, describe
from ui.widgets.inputs import Toggle
from ui.widgets.layouts import Column, Row

RUNNING = ("finding", "fetching", "checking")
WINDOW_SECONDS = 8.0  # over which speed is measured


class Rate:
    """Bytes per second over the last seconds."""

    def __init__(self) -> None:
        self._seen: deque[tuple[float, int]] = deque()

    def add(self, count: int, now: float) -> float:
        """`count` bytes were there at `now`; the speed, 0 while it is not known."""
        self._seen.append((now, count))
        while len(self._seen) > 2 and now - self._seen[0][0] > WINDOW_SECONDS:
            self._seen.popleft()
        began, first = self._seen[0]
        return (count - first) / (now - began) if now - began > 0.2 else 0.0


class Bar(QProgressBar):
    """A thin bar without words; thousandths, or moving to and fro while the end is not known."""

    def __init__(self, name: str) -> None:
        super().__init__()
        self.setTextVisible(False)
        self.setRange(0, 1000)
        describe(self, name)

    def show_share(self, done: int, total: int) -> None:
        self.setRange(0, 1000 if total else 0)
        self.setValue(round(1000 * done / total) if total else 0)


class DownloadRow(QWidget):
    """One download. `stop`, `again` and `discard` fire with its id, `again` with the page."""

    stop = Signal(str)
    again = Signal(str)
    discard = Signal(str)

    def __init__(self, download: Download) -> None:
        super().__init__()
        self.download = download
        self._rate = Rate()
        column = Column(self, spacing=0.5)
        row = Row(spacing=1)
        self.icon = IconLabel("download", 16, "text_muted")
        self.name = ElidedLabel("", "strong")
        self.words = ElidedLabel("", "small")
        self.main = Button("Stop", kind="quiet", tip="Stops the download; what came is kept.")
        self.cross = IconButton("x", "Discard the download", "Forgets it and what came of it.", size=16)
        row.addWidget(self.icon)
        row.addWidget(self.name, 1)
        row.addWidget(self.main)
        row.addWidget(self.cross)
        column.addLayout(row)
        self.bar = Bar("How much of it is here")
        column.addWidget(self.bar)
        column.addWidget(self.words)
        self.why = Label("", "danger", wrap=True)
        column.addWidget(self.why)
        self.main.clicked.connect(self._main)
        self.cross.clicked.connect(self._discard)
        self.update_to(download)

    def update_to(self, download: Download) -> None:
        self.download = download
        running = download.state in RUNNING
        name = download.name or download.page
        self.name.setText(name)
        self.words.setText(self._said(download))
        self.setAccessibleName(f"{name}: {self.words.text()} {download.failure}".strip())
        self.main.setText("Stop" if running else "Go on")
        describe(
            self.main, self.main.text(), "Stops it; what came is kept." if running else "Goes on where it stopped."
        )
        self.main.setVisible(download.state != "done")
        self.cross.setVisible(not running)
        describe(self.cross, "Discard the download" if download.state != "done" else "Hide this line",
                 "Forgets it and what came of it." if download.state != "done" else "Hides this line.")  # fmt: skip
        self.bar.setVisible(download.state != "done")
        if download.state in ("finding", "checking"):
            self.bar.show_share(0, 0)
        else:
            self.bar.show_share(download.received, download.total or max(1, download.received))
        self.icon.set_icon(
            {"done": "circle-check", "failed": "circle-alert"}.get(download.state, "download"),
            {"done": "success", "failed": "danger"}.get(download.state, "text_muted"),
        )
        self.why.setText(download.failure)
        self.why.setVisible(bool(download.failure))

    def _said(self, download: Download) -> str:
        here = size_words(download.received)
        if download.total:
            here = f"{here} of {size_words(download.total)}"
        if download.state == "fetching":
            speed = self._rate.add(download.received, monotonic())
            words = [here]
            if speed > 0:
                words.append(f"{size_words(round(speed))}/s")
                if download.total:
                    words.append(time_left_words((download.total - download.received) / speed))
            return " · ".join(words)
        return {"finding": "Asking the host", "checking": "Checking the sha256 and what it is", "done": "Imported"}.get(
            download.state, f"{here} are here"
        )

    @Slot()
    def _main(self) -> None:
        if self.download.state in RUNNING:
            self.stop.emit(self.download.id)
        else:
            self._rate = Rate()
            self.again.emit(self.download.page)

    @Slot()
    def _discard(self) -> None:
        self.discard.emit(self.download.id)


@dataclass(frozen=True)
class Arrival:
    """A file or folder that was dropped or chosen: what it is, or why it is refused.

    same  the model it is a newer version of, by name and kind        copy  where its content lies already
    """

    source: Path
    about: ModelFile | None
    refused: str = ""
    same: Listed | None = None
    copy: Path | None = None


class ArrivalRow(QWidget):
    """One arrival, and whether it becomes a version of a model that is here."""

    as_version: Toggle | None
    copy_too: Toggle | None

    def __init__(self, arrival: Arrival) -> None:
        super().__init__()
        self.arrival = arrival
        row = Row(self, spacing=1)
        good = arrival.about is not None
        row.addWidget(IconLabel("circle-check" if good else "circle-alert", 16, "success" if good else "danger"))
        words = Column(spacing=0)
        words.addWidget(ElidedLabel(arrival.source.name, "strong"))
        about = arrival.about
        if about is None:
            text = arrival.refused
        else:
            licence = f"Licence: {about.licence}." if about.licence != "unknown" else (
                "It names no licence; its page does."
            )  # fmt: skip
            text = f"{about.words()}, {size_words(about.size_bytes)}. {licence}"
        if arrival.copy is not None:
            text += f" You have it already: {arrival.copy}."
        detail = Label(text, "muted" if good else "danger", wrap=True)
        words.addWidget(detail)
        row.addLayout(words, 1)
        self.as_version = self.copy_too = None
        if arrival.copy is not None:
            self.copy_too = Toggle("Import again", "Makes a second copy of what you have.")
            row.addWidget(self.copy_too)
        elif arrival.same is not None:
            keeps = "Keeps the one that is here as an older version that you can go back to."
            self.as_version = Toggle(f"New version of “{arrival.same.name}”", keeps)
            self.as_version.setChecked(True)
            row.addWidget(self.as_version)
        self.setAccessibleName(f"{arrival.source.name}: {text}")

    @property
    def wanted(self) -> bool:
        """Whether it is to be imported: what is here already only when asked for."""
        return self.arrival.about is not None and (self.copy_too is None or self.copy_too.isChecked())


class Arrivals(Panel):
    """The list of what was dropped, Import and Cancel. `accepted` fires with [(Arrival, as a version)]."""

    accepted = Signal(object)
    cancelled = Signal()

    def __init__(self) -> None:
        super().__init__(2)
        self._rows: list[ArrivalRow] = []
        self._busy = False
        self._room = theme.px(280)
        column = Column(self, spacing=1, margins=(1.5, 1))
        self.title = Label("", "strong")
        column.addWidget(self.title)
        self._inside = QWidget()
        self._list = Column(self._inside, spacing=1)
        self._list.setAlignment(Qt.AlignmentFlag.AlignTop)
        self._area = scrolling(self._inside)
        column.addWidget(self._area)
        self.bar = Bar("How much is copied")
        column.addWidget(self.bar)
        buttons = Row(spacing=1)
        buttons.addStretch(1)
        self.cancel = Button("Cancel", kind="quiet", tip="Imports nothing more.")
        self.go = Button("Import", "download", kind="primary", tip="Copies them into the studio's model folder.")
        buttons.addWidget(self.cancel)
        buttons.addWidget(self.go)
        column.addLayout(buttons)
        self.go.clicked.connect(self._accept)
        self.cancel.clicked.connect(self.cancelled)
        theme.notifier.changed.connect(self._rescale)
        self._rescale()
        self.hide()

    def wait(self, count: int) -> None:
        """Files are being looked at."""
        self.clear()
        self._busy = True
        self.title.setText("Looking at the file" if count == 1 else f"Looking at {count} files")
        self.bar.show_share(0, 0)
        self.bar.show()
        self.go.hide()
        self.show()

    def offer(self, arrivals: list[Arrival]) -> None:
        self.clear()
        good = sum(arrival.about is not None for arrival in arrivals)
        known = sum(arrival.copy is not None for arrival in arrivals)
        bad = len(arrivals) - good
        words = ["1 new model" if good - known == 1 else f"{good - known} new models"] if good > known else []
        words += ["1 that you have"] * (known == 1) + [f"{known} that you have"] * (known > 1)
        words += [f"{bad} refused"] * (bad > 0)
        self.title.setText(", ".join(words) if words else "There is nothing to import")
        for arrival in sorted(arrivals, key=lambda a: (a.about is None, a.copy is not None)):
            row = ArrivalRow(arrival)
            if row.copy_too is not None:
                row.copy_too.toggled.connect(self._count)
            self._rows.append(row)
            self._list.addWidget(row)
        self.go.setVisible(bool(good))
        self.cancel.setText("Cancel" if good else "Close")
        self._count()
        self.bar.hide()
        self._area.show()
        self.show()
        self._rescale()
        (self.go if self.go.isEnabled() and good else self.cancel).setFocus()

    @Slot()
    def _count(self) -> None:
        wanted = sum(row.wanted for row in self._rows)
        self.go.setText("Import" if wanted <= 1 else f"Import {wanted}")
        self.go.setEnabled(wanted > 0)

    def copying(self, name: str, done: int, total: int) -> None:
        """Importing is under way: `done` of `total` bytes."""
        if not self._busy:
            self._busy = True
            self._drop_rows()
            self.go.hide()
            self.cancel.setText("Cancel")
            self.bar.show()
            self.show()
        self.title.setText(f"Importing {name}")
        self.bar.show_share(done, total)

    def clear(self) -> None:
        self._drop_rows()
        self._busy = False
        self.hide()

    def _drop_rows(self) -> None:
        self._rows = []
        self._area.hide()
        while (old := self._list.takeAt(0)) is not None:
            widget = old.widget()
            if widget is not None:
                widget.hide()
                widget.deleteLater()

    def resizeEvent(self, event: QResizeEvent) -> None:
        super().resizeEvent(event)
        self._rescale()

    @Slot()
    def _rescale(self) -> None:
        """As high as its rows need, up to a limit where it scrolls."""
        wanted = self._list.totalHeightForWidth(max(1, self.width() - theme.space(3)))
        self._area.setFixedHeight(max(1, min(self._room, wanted)))

    def set_room(self, height: int) -> None:
        """The pixels its rows may take before they scroll."""
        self._room = height
        self._rescale()

    @Slot()
    def _accept(self) -> None:
        rows = [row for row in self._rows if row.wanted]
        if rows:
            self.accepted.emit([(r.arrival, r.as_version is not None and r.as_version.isChecked()) for r in rows])
