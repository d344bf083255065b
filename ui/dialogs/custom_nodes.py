"""Nodes of a person's own: what was found, where, what it is, and the question whether it may run."""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial

from PySide6.QtCore import Qt, QUrl, Slot
from PySide6.QtGui import QDesktopServices, QShowEvent
from PySide6.QtWidgets import QWidget
from shiboken6 import isValid

from studio_app.application import Application
from studio_app.plugins.plugins import PluginEntry
from ui.bridge.background import Background
from ui.dialogs.page import PageDialog, scrolling
from ui.widgets.basics import Button, IconLabel, Label, LabelRole, Line
from ui.widgets.inputs import Toggle
from ui.widgets.layouts import Column, Row

WHAT_IT_MEANS = (
    "Nodes of your own are programs. Once enabled they can do whatever you can do on this machine: read, change and "
    "delete files, and reach the network. Enable only what you wrote yourself or what comes from somebody you trust."
)
UNTIL_THEN = "Nothing of it runs before you enable it. A file that changes later is off until you enable it again."
CHANGES = "Later changes of these files run without asking again."
_STATES: dict[str, tuple[str, LabelRole]] = {
    "enabled": ("Enabled", "success"), "off": ("Off", "muted"), "changed": ("Off: its code has changed", "warning"),
    "broken": ("Can't be used", "danger"),
}  # fmt: skip


class CustomNodes(PageDialog):
    """`wanted` are node types that a workflow lacks: what names one of them is asked about at once.

    `cards` are those shown, by the plugin's key.
    """

    def __init__(self, app: Application, parent: QWidget, wanted: Iterable[str] = ()) -> None:
        super().__init__("Nodes of your own", parent, 640, 600)
        self._app = app
        self._wanted = frozenset(wanted)
        self._asked: set[str] = set()
        self._put_off: set[str] = set()
        self._background = Background(self)
        self.cards: dict[str, PluginCard] = {}
        self._page = Column(spacing=2, margins=3)
        body = QWidget()
        body.setLayout(self._page)
        self.column.addWidget(scrolling(body), 1)
        foot = Row(spacing=1, margins=2)
        self.folder = Button("Open the folder", "folder-open", tip="Show the folder that your own nodes belong into.")
        self.folder.clicked.connect(self._open_folder)
        again = Button("Look again", "refresh-cw", tip="Look into the folders once more.")
        again.clicked.connect(self.look)
        close = Button("Close", tip="Go back to the work.")
        close.clicked.connect(self.close)
        for button in (self.folder, again):
            foot.addWidget(button)
        foot.addStretch(1)
        foot.addWidget(close)
        self.column.addLayout(foot)

    def showEvent(self, event: QShowEvent) -> None:
        super().showEvent(event)
        self.look()

    def want(self, types: Iterable[str]) -> None:
        """Ask about the plugins that name one of these node types."""
        self._wanted |= frozenset(types)
        self._put_off.clear()
        self.look()

    @Slot()
    def look(self) -> None:
        """See what lies in the folders now; an enabled plugin that is new is tried in a process of its own first."""
        self._background.run(lambda: self._app.plugins.entries(), self._show, self._failed)

    def _show(self, entries: tuple[PluginEntry, ...]) -> None:
        empty(self._page)
        self.cards = {}
        if not entries:
            self._page.addWidget(Label("No nodes of your own yet", "heading"))
            words = "Put Python files or folders with nodes into the folder below, then look again."
            self._page.addWidget(Label(words, "muted", wrap=True))
        order = sorted(entries, key=lambda e: (not self._is_wanted(e), e.state == "enabled", e.name))
        for index, entry in enumerate(order):
            if index:
                self._page.addWidget(Line())
            asks = entry.key in self._asked or (self._is_wanted(entry) and entry.key not in self._put_off)
            card = PluginCard(entry, asks=asks and entry.state in {"off", "changed"}, wanted=self._is_wanted(entry))
            card.ask.clicked.connect(partial(self._ask, entry.key))
            card.enable.clicked.connect(partial(self._enable, card))
            card.not_now.clicked.connect(partial(self._not_now, entry.key))
            card.disable.clicked.connect(partial(self._disable, entry))
            self.cards[entry.key] = card
            self._page.addWidget(card)
        for complaint in self._app.plugins.complaints:
            if all(complaint not in entry.complaints for entry in entries):
                self._page.addWidget(Label(complaint, "warning", wrap=True))
        self._page.addStretch(1)

    def _is_wanted(self, entry: PluginEntry) -> bool:
        return bool(self._wanted & set(entry.types))

    # ---- the answers

    def _ask(self, key: str) -> None:
        self._asked.add(key)
        self._put_off.discard(key)
        self.look()

    def _not_now(self, key: str) -> None:
        self._asked.discard(key)
        self._put_off.add(key)
        self.look()

    def _enable(self, card: PluginCard) -> None:
        """Let exactly the code that is shown run; trying it takes a moment."""
        entry, changes = card.entry, card.changes.isChecked()
        card.show_busy()
        self._asked.discard(entry.key)
        self._background.run(
            lambda: self._app.plugins.enable(entry.key, development=changes, seen=entry.code_hash), self._enabled,
            partial(self._refused, card),
        )  # fmt: skip

    def _enabled(self, entry: PluginEntry) -> None:
        self._wanted -= set(entry.types)
        self.look()

    def _disable(self, entry: PluginEntry) -> None:
        self._background.run(lambda: self._app.plugins.disable(entry.key), lambda found: self.look(), self._failed)

    def _refused(self, card: PluginCard, sentence: str) -> None:
        if isValid(card):
            card.show_problem(sentence)

    def _failed(self, sentence: str) -> None:
        self._app.notifications.post("warning", sentence)

    @Slot()
    def _open_folder(self) -> None:
        folder = self._app.paths.nodes
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            self._failed(f"The folder {folder} can't be made ({error.strerror}).")
            return
        QDesktopServices.openUrl(QUrl.fromLocalFile(str(folder)))


class PluginCard(QWidget):
    """One plugin. `asks`: the question stands open, with all that a person needs to answer it."""

    def __init__(self, entry: PluginEntry, *, asks: bool, wanted: bool) -> None:
        super().__init__()
        self.entry = entry
        column = Column(self, spacing=1)
        head = Row(spacing=1)
        head.addWidget(Label(entry.name, "heading", wrap=True), 1)
        words, role = _STATES[entry.state]
        self.state = Label(f"{words}, with whatever is changed in it" if entry.development else words, role)
        head.addWidget(self.state)
        column.addLayout(head)
        if wanted and entry.state != "enabled":
            column.addWidget(Label("A node of the workflow in front comes from it.", "strong", wrap=True))
        column.addWidget(Label(entry.place, "muted", wrap=True))
        if entry.types:
            column.addWidget(Label(f"Nodes: {', '.join(entry.types)}", "muted", wrap=True))
        for complaint in entry.complaints:
            column.addWidget(Label(complaint, "warning", wrap=True))
        self.problem = Label("", "danger", wrap=True)
        self.problem.hide()
        self.ask = Button("Enable…", tip=f"See what “{entry.name}” is, and what enabling it means.")
        self.enable = Button("Enable", "check", tip=f"Let the nodes of “{entry.name}” run, as they are now.")
        self.not_now = Button("Not now", tip="Leave it off; nothing of it runs.")
        self.disable = Button("Turn off", tip=f"Stop the nodes of “{entry.name}” from running.")
        self.changes = Toggle("I write it myself: let it run whatever I change", CHANGES)
        if asks:
            self._build_question(column, entry)
        column.addWidget(self.problem)
        buttons = Row(spacing=1)
        for button, shown in (
            (self.enable, asks), (self.not_now, asks), (self.ask, entry.state in {"off", "changed"} and not asks),
            (self.disable, entry.state == "enabled" or (entry.state == "broken" and bool(entry.code_hash))),
        ):  # fmt: skip
            if shown:
                buttons.addWidget(button)
            else:
                button.setParent(self)
                button.hide()
        buttons.addStretch(1)
        column.addLayout(buttons)
        if not asks:
            self.changes.setParent(self)
            self.changes.hide()

    def _build_question(self, column: Column, entry: PluginEntry) -> None:
        files = "1 file" if entry.files == 1 else f"{entry.files} files"
        told = Label(f"{files}, {size_words(entry.size)}", "normal")
        column.addWidget(told)
        parts = " ".join(entry.code_hash[i : i + 16] for i in range(0, 64, 16))  # so that it can wrap
        digest = Label(f"SHA-256 {parts}", "small", wrap=True)
        digest.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
        column.addWidget(digest)
        row = Row(spacing=1)
        row.addWidget(IconLabel("triangle-alert", 16, "warning"), 0, Qt.AlignmentFlag.AlignTop)
        row.addWidget(Label(WHAT_IT_MEANS, wrap=True), 1)
        column.addLayout(row)
        column.addWidget(Label(UNTIL_THEN, "muted", wrap=True))
        column.addWidget(self.changes)

    def show_busy(self) -> None:
        """It is being tried in a process of its own."""
        self.state.setText("Being tried…")
        self.state.set_role("muted")
        self.problem.hide()
        for button in (self.enable, self.not_now):
            button.setEnabled(False)

    def show_problem(self, sentence: str) -> None:
        words, role = _STATES[self.entry.state]
        self.state.setText(words)
        self.state.set_role(role)
        self.problem.setText(sentence)
        self.problem.show()
        for button in (self.enable, self.not_now):
            button.setEnabled(True)


def size_words(size: int) -> str:
    """ "812 bytes", "2.1 KiB"."""
    if size < 1024:
        return "1 byte" if size == 1 else f"{size} bytes"
    return f"{size / 1024:.1f} KiB" if size < 2**20 else f"{size / 2**20:.1f} MiB"


def empty(column: Column) -> None:
    """Take everything out of a column; what it held goes later, since it may be what asked for this."""
    while (item := column.takeAt(0)) is not None:
        widget = item.widget()
        if widget is not None:
            widget.hide()
            widget.deleteLater()
