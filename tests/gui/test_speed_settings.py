"""The settings of speed: a page of their own, and kernels that are not installed can't be chosen."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from PySide6.QtGui import QStandardItemModel
from PySide6.QtWidgets import QWidget
from pytestqt.qtbot import QtBot

from engine.memory import attention
from engine.memory.attention import KERNELS
from studio_app.application import Application
from ui import appearance
from ui.dialogs.preferences import Preferences, SettingRow


@pytest.fixture
def app(tmp_path: Path) -> Iterator[Application]:
    found = Application(tmp_path)
    yield found
    found.close()


def test_kernels_that_are_not_installed_are_shown_as_such(
    app: Application, qtbot: QtBot, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(attention, "is_installed", lambda name: name not in ("flash", "sage"))
    appearance.apply(app)
    parent = QWidget()
    qtbot.addWidget(parent)
    dialog = Preferences(app, parent)
    titles = [dialog.groups.item(row).text() for row in range(dialog.groups.count())]
    assert titles[titles.index("Engine") :][:3] == ["Engine", "Memory", "Speed"]
    page = dialog._group_rows[titles.index("Speed")]
    assert [row.setting.key for row in page] == [
        "engine.attention", "engine.half_sums", "engine.compile", "engine.fast_cache"
    ]  # fmt: skip
    row: SettingRow = page[0]
    choice = row.editor.choice  # type: ignore[attr-defined]  # the editor of a choice
    rows = choice.model()
    assert isinstance(rows, QStandardItemModel)
    offered = {choice.itemData(place): rows.item(place).isEnabled() for place in range(choice.count())}
    assert offered == {name: name not in ("flash", "sage") for name in KERNELS}
    assert choice.itemText(choice.findData("flash")) == "FlashAttention: not installed"
    choice.setCurrentIndex(choice.findData("xformers"))
    choice.activated.emit(choice.currentIndex())
    assert app.settings.get("engine.attention") == "xformers"
