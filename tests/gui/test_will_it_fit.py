"""“Will it fit?”: any model over the usual cards, found in the menu and the palette, worked out beside the window."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from PySide6.QtCore import Qt
from PySide6.QtTest import QTest
from PySide6.QtWidgets import QApplication, QLabel
from pytestqt.qtbot import QtBot

from engine.memory.footprint import GIB
from engine.memory.words import time
from studio_app.application import Application
from tests.gui.create_room import until
from ui import appearance
from ui.dialogs.will_it_fit import WillItFit
from ui.main_window import MainWindow, open_window


@pytest.fixture
def window(tmp_path: Path, qtbot: QtBot) -> Iterator[MainWindow]:
    app = Application(tmp_path)
    app.settings.set("ui.welcomed", True)
    appearance.apply(app)
    made = open_window(app)
    qtbot.addWidget(made)
    made.show()
    until(qtbot, lambda: app.wait_ready(0), 60)
    yield made
    made.close()
    app.close()


def opened(window: MainWindow, qtbot: QtBot) -> WillItFit:
    window.app.commands.run("models.will_it_fit")
    dialog = window.commands._dialogs["fit"]
    assert isinstance(dialog, WillItFit)
    until(qtbot, lambda: dialog.plans, 90)
    return dialog


def test_a_model_that_is_not_here_is_asked_about(window: MainWindow, qtbot: QtBot) -> None:
    assert any(action.text().startswith("Will it fit") for action in window.actions_.offered())
    dialog = opened(window, qtbot)
    assert dialog.model.currentText() == "starter"  # what is here comes first
    dialog.choose("SDXL")
    assert (dialog.wide.value(), dialog.high.value()) == (1024, 1024)
    until(qtbot, lambda: all(plan.model == "SDXL" for plan in dialog.plans.values()), 90)
    assert list(dialog.plans) == [4, 6, 8, 12, 16, 24]
    rows = [[dialog.table.item(row, column) for column in (0, 4)] for row in range(dialog.table.rowCount())]
    shown = {int(card.text().removesuffix(" GB")): took.text() for card, took in rows if card and took}
    for card, planned in dialog.plans.items():
        assert planned.plan is not None
        assert planned.plan.peak <= card * GIB
        assert shown[card] == time(planned.plan.seconds)
    assert dialog.plans[24].plan.seconds < dialog.plans[4].plan.seconds  # type: ignore[union-attr]
    # A row is chosen by key, and told of below.
    dialog.table.setFocus()
    QTest.keyClick(dialog.table, Qt.Key.Key_Home, Qt.KeyboardModifier.ControlModifier)
    QTest.keyClick(dialog.table, Qt.Key.Key_Up)
    assert dialog.chosen() in dialog.plans
    said = [label.text() for label in dialog.page.findChildren(QLabel) if label.isVisibleTo(dialog.page)]
    assert f"On a card with {dialog.chosen()} GB" in said
    assert dialog.plans[dialog.chosen()].words in said


def test_every_field_is_reached_by_tab_and_counts(window: MainWindow, qtbot: QtBot) -> None:
    dialog = opened(window, qtbot)
    dialog.choose("Flux.1 dev")
    until(qtbot, lambda: all(plan.model == "Flux.1 dev" for plan in dialog.plans.values()), 90)
    exact = dialog.plans[8]
    dialog.model.setFocus()
    seen = []
    for _ in range(8):
        focus = QApplication.focusWidget()
        assert focus is not None
        seen.append(focus.accessibleName())
        QTest.keyClick(focus, Qt.Key.Key_Tab)
    for name in ("Model", "Width", "Height", "Pictures at once", "Weights", "Main memory", "Cards"):
        assert name in seen
    dialog.ram.setFocus()
    while dialog.ram.currentText() != "8 GB":
        QTest.keyClick(dialog.ram, Qt.Key.Key_Down)
    until(qtbot, lambda: dialog.plans and dialog.plans[8] != exact, 90)
    slow = dialog.plans[8].plan
    assert slow is None or slow.residency == "disk"
    dialog.quality.setFocus()
    QTest.keyClick(dialog.quality, Qt.Key.Key_Down)
    until(qtbot, lambda: dialog.plans and dialog.plans[8].quality == "8-bit", 90)
    dialog.close()
