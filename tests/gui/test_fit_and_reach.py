"""Nothing is clipped at any scale in any theme, everything has a name, and Tab reaches it: over the whole window."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from PySide6.QtCore import QRect, Qt
from PySide6.QtTest import QTest
from PySide6.QtWidgets import (
    QAbstractButton,
    QApplication,
    QComboBox,
    QLabel,
    QLineEdit,
    QPlainTextEdit,
    QPushButton,
    QScrollArea,
    QSlider,
    QStyle,
    QStyleOptionButton,
    QToolButton,
    QWidget,
)
from pytestqt.qtbot import QtBot

from studio_app.application import Application
from ui import appearance, theme
from ui.create.workspace import CreateWorkspace
from ui.main_window import MainWindow, open_window
from ui.panels.topbar import SearchButton
from ui.widgets.basics import ElidedLabel

SCALES = (1.0, 1.25, 2.0, 3.0)
LONG = "a large yellow star above a small green house, and a castle with a dragon in the Riesengebirge " * 3


@pytest.fixture(params=["dark", "light"])
def window(request: pytest.FixtureRequest, tmp_path: Path, qtbot: QtBot) -> Iterator[MainWindow]:
    app = Application(tmp_path)
    for key, value in (("ui.theme", request.param), ("engine.warm_up", False), ("ui.welcomed", True)):
        app.settings.set(key, value)
    appearance.apply(app)
    made = open_window(app)
    qtbot.addWidget(made)
    made.resize(1440, 900)
    with qtbot.waitSignal(made.bridge.ready, timeout=30_000):
        pass
    yield made
    made.close()
    app.close()


def create_of(window: MainWindow) -> CreateWorkspace:
    page = window.page
    assert isinstance(page, CreateWorkspace)
    return page


def unfold(window: MainWindow) -> None:
    """Everything that can be on the page at once, with all it has to complain about."""
    page = create_of(window)
    page.form.advanced_fold.set_open(True)
    page.form.all_styles.setChecked(True)
    page.session.set_several(True)
    page.session.update(prompt=LONG, negative=LONG, style="watercolour", width=130, count=4)
    page.form.ask()
    page.form.advanced.fields["steps"].mention("Steps go from 1 to 150; 150 is used.")
    page.form.quantity.seed_field.mention("A seed is a whole number from 0 to 9223372036854775807; 7 is kept.")
    page.form.bar.show_running(3)
    page.results.message.say("This picture holds the settings it was made with.", "Use its settings")
    window.show_inspector(True)


def clipped(window: MainWindow) -> list[str]:
    """What is wider or higher than its place, in words."""
    found = []
    for label in window.findChildren(QLabel):
        if label.isVisible() and label.text() and not isinstance(label, ElidedLabel):
            room = label.contentsRect()
            if label.wordWrap():
                flags = int(Qt.TextFlag.TextWordWrap)
                needed = label.fontMetrics().boundingRect(QRect(0, 0, room.width(), 10_000), flags, label.text())
            else:
                needed = label.fontMetrics().boundingRect(QRect(0, 0, 10_000, 10_000), 0, label.text())
            if needed.width() > room.width() + 1 or needed.height() > room.height() + 1:
                found.append(f"label {label.text()!r}: {needed.size()} in {room.size()}")
    buttons: list[QPushButton | QToolButton] = [*window.findChildren(QPushButton), *window.findChildren(QToolButton)]
    for button in buttons:
        if button.isVisible() and button.text() and not isinstance(button, SearchButton):
            width, there = _words_and_room(button)
            if width > there + 1:
                found.append(f"button {button.text()!r}: {width} in {there}")
    for widget in window.findChildren(QWidget):
        parent = widget.parentWidget()
        if widget.isVisible() and isinstance(widget, QAbstractButton | QLineEdit | QComboBox | QLabel) and parent:
            right = widget.mapTo(window, widget.rect().bottomRight())
            if right.x() > window.width() or (not _scrolled(widget) and right.y() > window.height()):
                found.append(f"{widget.accessibleName() or widget} lies outside the window")
            if widget.geometry().right() > parent.width():
                found.append(f"{widget.accessibleName() or widget} sticks out of its parent")
    return found


def _words_and_room(button: QPushButton | QToolButton) -> tuple[int, int]:
    words = button.fontMetrics().horizontalAdvance(button.text().replace("&", ""))
    if isinstance(button, QPushButton):
        option = QStyleOptionButton()
        button.initStyleOption(option)
        room = button.style().subElementRect(QStyle.SubElement.SE_PushButtonContents, option, button).width()
        return words + (0 if button.icon().isNull() else button.iconSize().width() + 4), room
    style = button.toolButtonStyle()
    if style == Qt.ToolButtonStyle.ToolButtonIconOnly and not button.icon().isNull():
        return 0, button.width()
    beside = style == Qt.ToolButtonStyle.ToolButtonTextBesideIcon and not button.icon().isNull()
    return words + (button.iconSize().width() + 4 if beside else 0), button.width()


def _scrolled(widget: QWidget) -> bool:
    parent: QWidget | None = widget
    while parent is not None:
        if isinstance(parent, QScrollArea):
            return True
        parent = parent.parentWidget()
    return False


def test_nothing_is_clipped_from_100_to_300_percent(window: MainWindow, qtbot: QtBot) -> None:
    wrong: dict[float, list[str]] = {}
    for scale in SCALES:
        window.app.settings.set("ui.scale", scale)
        appearance.apply(window.app)
        assert theme.current_scale() == scale
        screen = max(1.0, 0.75 * scale)  # who reads at 300 % does so on a larger screen, if not thrice as large
        window.resize(round(1440 * screen), round(900 * screen))
        for full in (False, True):
            if full:
                unfold(window)
            for _ in range(4):  # wrapped labels settle their heights over a few rounds of layout
                QApplication.processEvents()
            if found := clipped(window):
                wrong[scale] = found
    assert wrong == {}


def interactive(window: MainWindow) -> list[QWidget]:
    found: list[QWidget] = []
    for kind in (QAbstractButton, QComboBox, QLineEdit, QPlainTextEdit, QSlider):
        found += [w for w in window.findChildren(kind) if w.isVisible() and w.isEnabled()]
    return found


def test_everything_has_a_name_and_a_sentence_and_tab_reaches_it(window: MainWindow, qtbot: QtBot) -> None:
    unfold(window)
    page = create_of(window)
    page.session.set_several(False)
    window.activateWindow()
    page.take_focus()
    assert page.form.prompt.hasFocus()
    for widget in interactive(window):
        assert widget.accessibleName(), widget
        assert widget.toolTip(), widget.accessibleName()
    reached: set[QWidget] = set()
    for _ in range(400):
        focused = QApplication.focusWidget()
        assert focused is not None
        if focused in reached and focused is page.form.prompt:
            break
        reached.add(focused)
        QTest.keyClick(focused, Qt.Key.Key_Tab)
    missed = [widget for widget in interactive(window) if widget not in reached and not _is_arrow_reached(widget)]
    assert [widget.accessibleName() for widget in missed] == []


def _is_arrow_reached(widget: QWidget) -> bool:
    """One of a group of choices: Tab goes to the chosen one, arrows to the others."""
    group = widget.group() if isinstance(widget, QAbstractButton) else None
    return group is not None and group.exclusive() and not widget.isChecked()  # type: ignore[attr-defined]
