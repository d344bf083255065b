"""The frame: what it loads, what it shows, what its keys do, and that it comes back as it was left."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import pytest
from PySide6.QtCore import Qt
from PySide6.QtGui import QImage
from PySide6.QtTest import QTest
from PySide6.QtWidgets import QAbstractButton, QApplication, QComboBox, QLineEdit, QPlainTextEdit, QSlider, QWidget
from pytestqt.qtbot import QtBot

from engine.contracts.errors import EXIT_NO_DISPLAY
from engine.contracts.references import ModelRef
from studio_app.application import Application
from studio_app.settings.table import TABLE
from ui import appearance, messages, theme
from ui.bridge.bridge import Bridge
from ui.dialogs.preferences import Preferences
from ui.main_window import MainWindow
from ui.workspace import Workspace
from ui.workspaces import WorkspaceEntry

ROOT = Path(__file__).resolve().parents[2]


class Page(Workspace):
    """A workspace that remembers what the frame asked of it."""

    def __init__(self, app: Application, bridge: Bridge) -> None:
        super().__init__()
        self.started: list[str] = []
        self.mode = ""
        self.kept: dict[str, object] = {}
        self.covered: list[bool] = []
        self.focused = 0
        self.side = QWidget()

    def inspector(self) -> QWidget:
        return self.side

    def model(self) -> ModelRef:
        return ModelRef(name="starter")

    def start_with(self, prompt: str) -> None:
        self.started.append(prompt)

    def set_mode(self, mode: str) -> None:
        self.mode = mode

    def take_focus(self) -> None:
        self.focused += 1

    def set_covered(self, covered: bool) -> None:
        self.covered.append(covered)

    def save_state(self) -> dict[str, object]:
        return {"prompt": "a boat"}

    def restore_state(self, state: dict[str, object]) -> None:
        self.kept = state


ENTRIES = (WorkspaceEntry("Create", "sparkles", "view.create", Page),)


@pytest.fixture
def app(tmp_path: Path) -> Iterator[Application]:
    application = Application(tmp_path)
    application.settings.set("engine.warm_up", False)
    application.settings.set("ui.welcomed", True)
    yield application
    application.close()


@pytest.fixture
def window(qtbot: QtBot, app: Application) -> Iterator[MainWindow]:
    made = open_window(app)
    qtbot.addWidget(made)
    made.show()
    yield made
    made.close()


def open_window(app: Application) -> MainWindow:
    appearance.apply(app)
    bridge = Bridge()
    window = MainWindow(app, bridge, ENTRIES)
    bridge.setParent(window)
    return window


def page_of(window: MainWindow) -> Page:
    page = window.page
    assert isinstance(page, Page)
    return page


def test_importing_the_window_loads_nothing_heavy() -> None:
    code = (
        "import sys, ui.main_window, ui.create.workspace\n"
        "heavy = [m for m in ('torch', 'diffusers', 'transformers', 'httpx', 'sqlite3') if m in sys.modules]\n"
        "print(','.join(heavy))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""


def test_without_a_display_one_sentence_names_generate() -> None:
    code = "import os, sys; os.environ.pop('QT_QPA_PLATFORM', None); from ui.main_window import run; sys.exit(run([]))"
    if sys.platform in {"win32", "darwin"}:
        pytest.skip("there is always a display here")
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == EXIT_NO_DISPLAY
    assert done.stderr.count("\n") == 1
    assert "generate" in done.stderr


def test_every_control_has_a_name_and_can_be_reached_by_keyboard(window: MainWindow) -> None:
    controls: list[QWidget] = []
    for kind in (QAbstractButton, QComboBox, QLineEdit, QPlainTextEdit, QSlider):
        controls += [w for w in window.findChildren(kind) if w.isVisible()]
    assert len(controls) >= 7
    for control in controls:
        assert control.accessibleName(), control
        assert control.toolTip(), control.accessibleName()
        assert control.focusPolicy() & Qt.FocusPolicy.TabFocus, control.accessibleName()


def test_the_rail_shows_only_workspaces_that_exist(window: MainWindow) -> None:
    words = [button.text() for button in window.rail.findChildren(QAbstractButton)]
    assert words == ["Create", "Help", "Settings"]


def test_the_palette_finds_a_command_by_letters_and_runs_it(qtbot: QtBot, window: MainWindow) -> None:
    window.app.commands.run("app.palette")
    assert window.palette_.isVisible()
    QTest.keyClicks(window.palette_.query, "theme light")
    QTest.keyClick(window.palette_.query, Qt.Key.Key_Return)
    assert not window.palette_.isVisible()
    assert window.app.settings.get("ui.theme") == "light"


def test_the_palette_offers_only_what_can_be_done(window: MainWindow) -> None:
    window.app.commands.run("app.palette")
    offered = {action.objectName() for action in window.palette_.shown}
    assert "help.about" in offered
    assert "create.generate" not in offered  # this page has not bound it
    undo = window.app.commands.bind("create.generate", lambda: None)
    window.app.commands.run("app.palette")
    assert "create.generate" in {action.objectName() for action in window.palette_.shown}
    undo()
    assert not window.actions_.action("create.generate").isEnabled()


def test_escape_in_the_palette_closes_it_and_cancels_nothing(qtbot: QtBot, window: MainWindow) -> None:
    cancelled: list[bool] = []
    window.app.commands.bind("create.cancel", lambda: cancelled.append(True))
    window.app.commands.run("app.palette")
    QTest.keyClick(window.palette_.query, Qt.Key.Key_Escape)
    assert not window.palette_.isVisible()
    assert cancelled == []


def test_a_changed_theme_or_scale_shows_at_once(qtbot: QtBot, window: MainWindow) -> None:
    window.commands.start_application()
    before = _corner_colour(window)
    with qtbot.waitSignal(theme.notifier.changed):
        window.app.commands.run("view.theme_light")
    assert _corner_colour(window) != before
    with qtbot.waitSignal(theme.notifier.changed):
        window.app.commands.run("view.scale_up")
    assert theme.current_scale() == 1.1


def test_the_offline_switch_is_the_setting(qtbot: QtBot, window: MainWindow) -> None:
    window.commands.start_application()
    QTest.mouseClick(window.topbar.offline, Qt.MouseButton.LeftButton)
    assert window.app.settings.get("network.offline") is True
    qtbot.waitUntil(lambda: window.topbar.offline.text() == "Offline")
    window.app.settings.set("network.offline", False)
    qtbot.waitUntil(lambda: window.topbar.offline.text() == "Local")


def test_the_starter_says_what_it_is_until_the_person_has_read_it(qtbot: QtBot, window: MainWindow) -> None:
    window.load_models()
    entry = window.topbar.model.current()
    assert entry is not None
    assert window.notice.isVisible()
    assert window.notice.text.text() == entry.notice
    QTest.mouseClick(window.notice.cross, Qt.MouseButton.LeftButton)
    assert not window.notice.isVisible()


def test_it_comes_back_as_it_was_left(qtbot: QtBot, app: Application) -> None:
    first = open_window(app)
    qtbot.addWidget(first)
    first.show()
    first.resize(790, 700)
    first.show_filmstrip(False)
    first.show_inspector(True)
    first.close()
    second = open_window(app)
    qtbot.addWidget(second)
    second.show()
    assert (second.width(), second.height()) == (790, 700)
    assert not second.filmstrip.isVisible()
    assert page_of(second).side.isVisible()
    assert page_of(second).kept == {"prompt": "a boat"}
    second.close()


def test_the_welcome_page_sets_the_level_and_makes_a_first_picture(qtbot: QtBot, window: MainWindow) -> None:
    window.app.settings.set("ui.welcomed", False)
    window.commands.start_application()
    welcome = window.commands.welcome
    assert welcome is not None
    assert not window.isHidden()
    QTest.mouseClick(welcome.advanced, Qt.MouseButton.LeftButton)
    qtbot.waitUntil(lambda: page_of(window).mode == "advanced")
    QTest.mouseClick(welcome.start, Qt.MouseButton.LeftButton)
    assert page_of(window).started == ["a red circle on a blue background"]
    assert window.app.settings.get("ui.welcomed") is True
    assert window.commands.welcome is None


def test_nothing_looks_out_behind_the_welcome_page_and_the_work_gets_the_keyboard_after_it(
    qtbot: QtBot, window: MainWindow
) -> None:
    window.app.settings.set("ui.welcomed", False)
    window.commands.start_application()
    page = page_of(window)
    assert (page.covered, page.focused) == ([True], 0)
    welcome = window.commands.welcome
    assert welcome is not None
    QTest.keyClick(welcome.start, Qt.Key.Key_Escape)
    assert window.commands.welcome is None
    assert (page.covered, page.focused) == ([True, False], 1)


def test_without_a_welcome_the_keyboard_starts_at_the_work(window: MainWindow) -> None:
    window.commands.start_application()
    assert page_of(window).focused == 1


def test_the_strip_takes_no_room_while_empty_and_follows_the_level_until_it_is_chosen(
    qtbot: QtBot, window: MainWindow
) -> None:
    window.commands.start_application()
    action = window.actions_.action("view.filmstrip")
    assert not window.filmstrip.isVisible()
    assert not action.isChecked()
    window.app.settings.set("ui.mode", "advanced")
    qtbot.waitUntil(action.isChecked)
    assert not window.filmstrip.isVisible()  # wanted, and empty
    window.filmstrip.model.add_job("one")
    assert window.filmstrip.isVisible()
    window.filmstrip.model.remove_job("one")
    assert not window.filmstrip.isVisible()
    window.filmstrip.model.add_job("two")
    window.app.commands.run("view.filmstrip")
    assert not window.filmstrip.isVisible()
    window.app.settings.set("ui.mode", "simple")
    window.app.commands.run("view.filmstrip")  # a choice holds in every level from now on
    assert window.filmstrip.isVisible()


def test_the_preferences_show_every_setting_that_is_not_hidden(window: MainWindow) -> None:
    window.app.commands.run("app.preferences")
    dialog = window.findChild(Preferences)
    assert dialog is not None
    assert not dialog.isModal()
    assert {row.setting.key for row in dialog.rows} == {setting.key for setting in TABLE if not setting.hidden}
    row = next(row for row in dialog.rows if row.setting.key == "ui.reduced_motion")
    row.editor.edited.emit(True)
    assert window.app.settings.get("ui.reduced_motion") is True
    row.default.click()
    assert window.app.settings.get("ui.reduced_motion") is False
    dialog.search.setText("offline")
    assert [r.setting.key for r in dialog.rows if not r.isHidden()] == ["network.offline"]


def test_an_exception_becomes_a_sentence_and_a_line_in_the_log(
    window: MainWindow, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(sys, "excepthook", sys.__excepthook__)
    monkeypatch.setattr("threading.excepthook", sys.__excepthook__)
    monkeypatch.setattr(messages, "qInstallMessageHandler", lambda handler: None)
    messages.install(window.app.notifications)
    error = RuntimeError("boom")
    sys.excepthook(RuntimeError, error, None)
    newest = window.app.notifications.recent()[-1]
    assert newest.text == messages.UNEXPECTED
    assert "boom" not in newest.text
    assert "boom" in caplog.text


@pytest.mark.parametrize("scale", [1.0, 2.0, 3.0])
def test_nothing_in_the_bar_overlaps_or_leaves_the_window(qtbot: QtBot, window: MainWindow, scale: float) -> None:
    window.resize(1440, 900)
    window.app.settings.set("ui.scale", scale)
    appearance.apply(window.app)
    QApplication.processEvents()
    bar = window.topbar
    parts = [bar.menu_button, bar.search, bar.model, bar.offline, bar.meter, bar.inspector]
    places = [part.geometry() for part in parts if part.isVisible()]
    assert len(places) >= 5
    assert all(left.right() < right.left() for left, right in pairwise(places))
    assert places[-1].right() <= bar.width()


def _corner_colour(window: MainWindow) -> str:
    image: QImage = window.grab().toImage()
    return str(image.pixelColor(image.width() // 2, 4).name())
