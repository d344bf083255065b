"""The settings of memory: usual card sizes beside the number."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from PySide6.QtCore import Qt
from PySide6.QtTest import QTest
from PySide6.QtWidgets import QLabel, QWidget
from pytestqt.qtbot import QtBot

from engine.memory.footprint import GIB
from studio_app.application import Application
from studio_app.machine_memory import MemoryUse
from studio_app.planning import machine_here
from ui import appearance
from ui.dialogs.preferences import Preferences, SettingRow
from ui.dialogs.setting_editors import PresetEditor
from ui.widgets.basics import Button


@pytest.fixture
def app(tmp_path: Path) -> Iterator[Application]:
    found = Application(tmp_path)
    yield found
    found.close()


def test_a_card_size_is_chosen_by_name(app: Application, qtbot: QtBot, monkeypatch: pytest.MonkeyPatch) -> None:
    appearance.apply(app)
    parent = QWidget()
    qtbot.addWidget(parent)
    dialog = Preferences(app, parent)
    dialog.show()
    card = _row(dialog, "engine.vram_gib")
    editor, left = card.editor, _row(dialog, "engine.leave_gib").editor
    assert isinstance(editor, PresetEditor)
    assert isinstance(left, PresetEditor)
    presets, number = editor.presets, editor.number
    assert presets.currentText() == "All that is free"
    presets.setFocus()
    for _ in range(3):
        QTest.keyClick(presets, Qt.Key.Key_Down)
    assert presets.currentText() == "8 GB card"
    assert app.settings.get("engine.vram_gib") == 8.0
    assert number.value() == 8.0
    number.setValue(7.5)
    assert presets.currentText() == "Other"
    assert app.settings.get("engine.vram_gib") == 7.5
    left.presets.setFocus()
    QTest.keyClick(left.presets, Qt.Key.Key_End)
    QTest.keyClick(left.presets, Qt.Key.Key_Up)
    assert app.settings.get("engine.leave_gib") == 2.0
    monkeypatch.setattr("studio_app.planning.card_memory", lambda: MemoryUse("A card", 0, 16 * GIB, card=True))
    machine = machine_here(app.settings)
    assert machine is not None
    assert machine.vram == round(7.5 * GIB) - 2 * GIB
    card.default.click()
    assert presets.currentText() == "All that is free"


def _row(dialog: Preferences, key: str) -> SettingRow:
    return next(row for row in dialog.rows if row.setting.key == key)


def test_what_holds_from_the_next_start_is_said_once(app: Application, qtbot: QtBot) -> None:
    appearance.apply(app)
    parent = QWidget()
    qtbot.addWidget(parent)
    dialog = Preferences(app, parent)
    later = [row.setting for row in dialog.rows if row.setting.group == "memory" and row.setting.restart]
    assert later
    names = [dialog.groups.item(row).text() for row in range(dialog.groups.count())]
    page = dialog.pages.widget(names.index("Memory"))
    assert page is not None
    said = [label.text() for label in page.findChildren(QLabel) if "next start" in label.text()]
    assert len(said) == 1
    at_once = [row.setting for row in dialog.rows if row.setting.group == "memory" and not row.setting.restart]
    assert all(f"“{setting.label}”" in said[0] for setting in at_once)
    fit = next(button for button in page.findChildren(Button) if button.text() == "Will it fit?…")
    asked: list[str] = []
    drop = app.commands.bind("models.will_it_fit", lambda: asked.append("fit"))
    fit.click()
    drop()
    assert asked == ["fit"]
