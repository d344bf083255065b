"""The frame: rail, top bar, the work with the inspector beside it, the filmstrip below. And `run`, which opens it."""

from __future__ import annotations

import base64
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from PySide6.QtCore import QByteArray, QEvent, Qt, QTimer, Signal, Slot
from PySide6.QtGui import QCloseEvent, QImageReader, QResizeEvent, QShowEvent
from PySide6.QtWidgets import QApplication, QMainWindow, QSplitter, QStackedWidget

from engine.contracts.errors import EXIT_NO_DISPLAY, EXIT_OK, StorageError
from studio_app.application import Application
from studio_app.paths import DISPLAY_NAME
from ui import appearance, messages, theme
from ui.actions import Actions
from ui.bridge.bridge import Bridge
from ui.panels.filmstrip import Filmstrip
from ui.panels.memory_meter import MemoryWatch
from ui.panels.palette import CommandPalette
from ui.panels.rail import Rail, RailEntry
from ui.panels.run_memory import RunMemoryWatch
from ui.panels.topbar import NoticeBar, TopBar
from ui.widgets.basics import Line, Panel
from ui.widgets.layouts import Column, Row
from ui.widgets.toasts import ToastStack
from ui.window_commands import WindowCommands
from ui.workspace import Workspace
from ui.workspaces import WORKSPACES, WorkspaceEntry

DECODE_MIB = 1024  # Qt's own 256 would show nothing for a picture above 64 megapixels, which the engine can make
SWITCH_SECONDS = 0.0005  # the window waits at most this long for Python code of another thread


class MainWindow(QMainWindow):
    """Shows the application and sends it commands; holds no truth but where its own panels are.

    `first_shown` fires once, after the window has been painted for the first time.
    """

    first_shown = Signal()

    def __init__(self, app: Application, bridge: Bridge, workspaces: Sequence[WorkspaceEntry] = WORKSPACES) -> None:
        super().__init__()
        self.app, self.bridge = app, bridge
        self._entries = tuple(workspaces)
        self._pages: dict[int, Workspace] = {}
        self._shown_once = False
        self._state: dict[str, Any] = dict(app.settings.get("ui.state"))
        self.setWindowTitle(DISPLAY_NAME)
        self.setWindowIcon(theme.icon("layers", 24, token="accent"))
        app.commands.remap(app.settings.get("ui.shortcuts"))
        self.actions_ = Actions(self, app.commands)
        self._build()
        self.commands = WindowCommands(self)
        self._connect()
        self._restore()

    # ---- building

    def _build(self) -> None:
        root = Panel(1)
        row = Row(root, spacing=0)
        entries = []
        for entry in self._entries:
            action = self.actions_.action(entry.command)
            entries.append(RailEntry(entry.title, entry.icon, action.statusTip(), action.shortcut().toString()))
        self.rail = Rail(entries, self.actions_)
        row.addWidget(self.rail)
        row.addWidget(Line(vertical=True))
        column = Column(spacing=0)
        row.addLayout(column, 1)
        self.topbar = TopBar(self.actions_)
        column.addWidget(self.topbar)
        self.notice = NoticeBar()
        self.notice.hide()
        column.addWidget(self.notice)
        self.pages = QStackedWidget()
        self.filmstrip = Filmstrip(self.app, self.bridge)
        self.below = QSplitter(Qt.Orientation.Vertical)
        self.below.addWidget(self.pages)
        self.below.addWidget(self.filmstrip)
        self.below.setStretchFactor(0, 1)
        self.below.setCollapsible(0, False)
        self.below.setSizes([700, theme.px(88)])
        self.inspectors = QStackedWidget()
        self.beside = QSplitter(Qt.Orientation.Horizontal)
        self.beside.addWidget(self.below)
        self.beside.addWidget(self.inspectors)
        self.beside.setStretchFactor(0, 1)
        self.beside.setCollapsible(0, False)
        for splitter in (self.below, self.beside):
            splitter.setHandleWidth(1)
        column.addWidget(self.beside, 1)
        self.setCentralWidget(root)
        self.toasts = ToastStack(root)
        self.palette_ = CommandPalette(root)
        self.memory = MemoryWatch(self)
        self.run_memory = RunMemoryWatch(self.app, self.bridge, self)

    def _connect(self) -> None:
        self.rail.chosen.connect(self.show_workspace)
        self.topbar.model.model_chosen.connect(self._choose_model)
        self.topbar.inspector.toggled.connect(self.show_inspector)
        self.topbar.offline.toggled.connect(self._set_offline)
        self.notice.dismissed.connect(self._dismiss_notice)
        self.memory.measured.connect(self.topbar.meter.set_use)
        self.run_memory.changed.connect(self.topbar.meter.set_run)
        self.filmstrip.picked.connect(self._show_result)
        self.filmstrip.filled.connect(self._place_filmstrip)
        self.toasts.action.connect(self.run_command)
        self.bridge.notification.connect(self.toasts.show_message)
        self.bridge.engine_state.connect(self.topbar.meter.set_engine)
        self.bridge.ready.connect(self._on_ready)
        self.bridge.setting.connect(self._on_setting)
        self.topbar.show_offline(bool(self.app.settings.get("network.offline")))

    # ---- pages

    @property
    def page(self) -> Workspace | None:
        """The workspace that is shown."""
        return self._pages.get(self._current) if self._pages else None

    @Slot(int)
    def show_workspace(self, index: int) -> None:
        """Go to a workspace, building it the first time."""
        if index not in self._pages:
            entry = self._entries[index]
            page = entry.make(self.app, self.bridge)
            self._pages[index] = page
            self.pages.addWidget(page)
            page.model_changed.connect(self._follow_model)
            page.sent.connect(self._hand_over)
            page.model_wanted.connect(self._use_model)
            page.words_wanted.connect(self._use_words)
            inspector = page.inspector()
            if inspector is not None:
                self.inspectors.addWidget(inspector)
            saved = self._state.get("pages", {}).get(entry.title)
            if isinstance(saved, dict):
                page.restore_state(saved)
            page.set_mode(self.app.settings.get("ui.mode"))
        self._current = index
        page = self._pages[index]
        self.pages.setCurrentWidget(page)
        self.rail.select(index)
        inspector = page.inspector()
        self.topbar.inspector.setVisible(inspector is not None)
        if inspector is not None:
            self.inspectors.setCurrentWidget(inspector)
        self.show_inspector(bool(self._state.get("inspector", False)))
        self.topbar.show_models(page.model() is not None)
        self._follow_model(page.model())

    @Slot(bool)
    def show_inspector(self, shown: bool) -> None:
        page = self.page
        there = page is not None and page.inspector() is not None
        self._state["inspector"] = shown
        self.inspectors.setVisible(shown and there)
        self.topbar.inspector.setChecked(shown)
        self.actions_.action("view.inspector").setChecked(shown)

    def show_filmstrip(self, shown: bool) -> None:
        """The person's choice, kept from now on."""
        self._state["filmstrip"] = shown
        self._place_filmstrip()

    def filmstrip_wanted(self) -> bool:
        """As chosen; before any choice the advanced level has it and the simple one, whose grid shows the same, not."""
        chosen = self._state.get("filmstrip")
        return chosen if isinstance(chosen, bool) else self.app.settings.get("ui.mode") == "advanced"

    @Slot()
    def _place_filmstrip(self) -> None:
        """It takes no room while it has nothing to show."""
        wanted = self.filmstrip_wanted()
        self.filmstrip.setVisible(wanted and not self.filmstrip.is_empty)
        self.actions_.action("view.filmstrip").setChecked(wanted)

    def inspector_shown(self) -> bool:
        return bool(self._state.get("inspector", False))

    @Slot(str)
    def run_command(self, command_id: str) -> None:
        self.app.commands.run(command_id)

    @Slot(str)
    def _show_result(self, record_id: str) -> None:
        self.show_workspace(0)
        page = self.page
        if page is not None:
            page.show_result(record_id)

    @Slot(str, object)
    def _hand_over(self, title: str, thing: object) -> None:
        """One page gives another something to go on with."""
        index = next((i for i, entry in enumerate(self._entries) if entry.title == title), None)
        if index is not None:
            self.show_workspace(index)
            self._pages[index].receive(thing)

    # ---- the model

    @Slot(object)
    def _choose_model(self, ref: Any) -> None:
        page = self.page
        if page is not None:
            page.set_model(ref)
        self._show_notice()

    @Slot(object)
    def _follow_model(self, ref: Any) -> None:
        if ref is not None:
            self.topbar.model.show_model(ref)
        self._show_notice()

    @Slot(object)
    def _use_model(self, ref: Any) -> None:
        """Another page chose a model for Create."""
        self.load_models()
        self.show_workspace(0)
        self._choose_model(ref)
        self._follow_model(ref)

    @Slot(str)
    def _use_words(self, words: str) -> None:
        self.show_workspace(0)
        page = self.page
        if page is not None:
            page.add_words(words)

    def _show_notice(self) -> None:
        entry = self.topbar.model.current()
        hidden = self._state.get("notices_hidden", [])
        about_it = self.page is not None and self.page.model() is not None
        text = entry.notice if about_it and entry is not None and entry.name not in hidden else ""
        self.notice.say(text)

    @Slot()
    def _dismiss_notice(self) -> None:
        entry = self.topbar.model.current()
        if entry is not None:
            hidden = [name for name in self._state.get("notices_hidden", []) if isinstance(name, str)]
            self._state["notices_hidden"] = [*hidden, entry.name]
        self._show_notice()

    def load_models(self) -> None:
        """Fill the chooser with what is on this machine."""
        self.topbar.model.set_entries(self.app.models.list())
        page = self.page
        self._follow_model(page.model() if page is not None else None)

    # ---- what the application says

    @Slot()
    def _on_ready(self) -> None:
        self.filmstrip.reload()

    @Slot(object)
    def _on_setting(self, change: tuple[str, Any]) -> None:
        key, value = change
        if key in appearance.KEYS:
            appearance.apply(self.app)
        elif key == "network.offline":
            self.topbar.show_offline(bool(value))
        elif key == "ui.shortcuts":
            self.app.commands.remap(value)
        elif key == "ui.mode":
            self._place_filmstrip()
            for page in self._pages.values():
                page.set_mode(value)
        elif key == "models.folders":
            self.app.models.refresh()
            self.load_models()

    @Slot(bool)
    def _set_offline(self, offline: bool) -> None:
        self.remember("network.offline", offline)

    def remember(self, key: str, value: Any) -> None:
        """Set a setting; a disk that can't keep it is said, and the value holds for this session."""
        try:
            self.app.settings.set(key, value)
        except StorageError as error:
            self.app.notifications.post("warning", str(error))

    # ---- where things are

    def _restore(self) -> None:
        geometry = self.app.settings.get("ui.geometry")
        if not (geometry and self.restoreGeometry(QByteArray(base64.b64decode(geometry)))):
            self.resize(1440, 900)
            screen = self.screen()
            if screen is not None:
                room = screen.availableGeometry()
                self.resize(min(1440, room.width()), min(900, room.height()))
        for name, splitter in (("below", self.below), ("beside", self.beside)):
            sizes = self._state.get(name)
            if isinstance(sizes, list) and len(sizes) == 2 and all(isinstance(n, int) and n >= 0 for n in sizes):
                splitter.setSizes(sizes)
        self._place_filmstrip()
        titles = [entry.title for entry in self._entries]
        wanted = self._state.get("workspace")
        self._current = titles.index(wanted) if wanted in titles else 0
        self.show_workspace(self._current)

    def save(self) -> None:
        """Keep the geometry, the panels and each page's state in the settings."""
        pages = dict(self._state.get("pages", {}))
        for index, page in self._pages.items():
            pages[self._entries[index].title] = page.save_state()
        self._state.update(
            below=self.below.sizes() if self.filmstrip.isVisible() else self._state.get("below"),
            beside=self.beside.sizes() if self.inspectors.isVisible() else self._state.get("beside"),
            workspace=self._entries[self._current].title,
            pages=pages,
        )
        geometry = base64.b64encode(self.saveGeometry().data()).decode()
        self.remember("ui.geometry", geometry)
        self.remember("ui.state", {key: value for key, value in self._state.items() if value is not None})

    def showEvent(self, event: QShowEvent) -> None:
        super().showEvent(event)
        if not self._shown_once:
            self._shown_once = True
            QTimer.singleShot(0, self, self._after_first_paint)

    @Slot()
    def _after_first_paint(self) -> None:
        self.repaint()
        self.first_shown.emit()

    def resizeEvent(self, event: QResizeEvent) -> None:
        super().resizeEvent(event)
        self.toasts.bottom_margin = self.filmstrip.height() if self.filmstrip.isVisible() else 0

    def changeEvent(self, event: QEvent) -> None:
        super().changeEvent(event)
        if event.type() == QEvent.Type.WindowStateChange:
            self.actions_.action("view.full_screen").setChecked(self.isFullScreen())

    def closeEvent(self, event: QCloseEvent) -> None:
        self.save()
        self.memory.close()
        self.run_memory.close()
        self.commands.close_down()
        self.filmstrip.close_down()
        for page in self._pages.values():
            page.close_down()
        self.bridge.close()
        self.actions_.close()
        super().closeEvent(event)


def run(argv: Sequence[str] = ()) -> int:
    """Open the window and stay until it is closed; returns the exit code. `--data-dir PATH` keeps all data there.

    The window is painted before the store is opened and before torch is thought of; both follow in the background.
    """
    if not has_display():
        sys.stderr.write(
            "There is no display to open a window on. `python3 main.py generate PROMPT` works without one.\n"
        )
        return EXIT_NO_DISPLAY
    prepare_process()
    qt = QApplication.instance() or QApplication([DISPLAY_NAME])
    assert isinstance(qt, QApplication)
    qt.setApplicationName(DISPLAY_NAME)
    app = Application(_data_dir(argv))
    messages.log_to(app.paths.data / "logs" / "studio.log")
    messages.install(app.notifications)
    appearance.apply(app)
    appearance.follow_system(app)
    window = open_window(app)
    code = qt.exec()
    window.deleteLater()
    app.close()
    return EXIT_OK if code == 0 else code


def prepare_process() -> None:
    """Let the window's thread have the interpreter soon when it wants it, whatever other threads do."""
    sys.setswitchinterval(SWITCH_SECONDS)
    QImageReader.setAllocationLimit(DECODE_MIB)
    # PySide reads the source of every module that anything imports, looking for its own name; over torch's three
    # thousand modules that is .4 s of processor time and pauses of 50 ms. Only our own modules can have it.
    feature: Any = sys.modules.get("shibokensupport.feature")
    if feature is not None and hasattr(feature, "_mod_uses_pyside"):
        feature._mod_uses_pyside = lambda module: module.__name__.partition(".")[0] in {"ui", "PySide6", "__main__"}


def open_window(app: Application) -> MainWindow:
    """The window of `app`, shown; the application starts once it has been painted."""
    bridge = Bridge()
    window = MainWindow(app, bridge)
    bridge.setParent(window)
    window.first_shown.connect(window.commands.start_application)
    window.show()
    return window


def has_display() -> bool:
    """Whether a window can be opened: always on Windows and macOS; else a display or a platform that needs none."""
    if sys.platform in {"win32", "darwin"}:
        return True
    platform = os.environ.get("QT_QPA_PLATFORM", "").split(":")[0]
    if platform in {"offscreen", "minimal", "vnc", "linuxfb", "eglfs"}:
        return True
    return bool(os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"))


def _data_dir(argv: Sequence[str]) -> Path | None:
    for index, argument in enumerate(argv):
        if argument == "--data-dir" and index + 1 < len(argv):
            return Path(argv[index + 1])
        if argument.startswith("--data-dir="):
            return Path(argument.partition("=")[2])
    return None
