"""The plan under Generate: what a picture takes, known before it is made; a refusal with its remedy."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from pytestqt.qtbot import QtBot

from engine.memory.footprint import GIB
from engine.memory.machine import PRESETS
from studio_app.machine_memory import MemoryUse
from tests.gui.create_room import create_workspace, until
from ui.create.workspace import CreateWorkspace


@pytest.fixture
def page(tmp_path: Path, qtbot: QtBot) -> Iterator[CreateWorkspace]:
    with create_workspace(tmp_path / "data", qtbot, started=True) as found:
        found._app.engine.warm()
        until(qtbot, lambda: found._app.engine.state == "ready", 60)
        yield found


def test_the_plan_is_shown_before_the_run(page: CreateWorkspace, qtbot: QtBot, monkeypatch: pytest.MonkeyPatch) -> None:
    until(qtbot, page.plan.isVisible, 60)
    assert page.plan.text().startswith("On the processor, with about ")
    first = page.plan.text()
    page.session.update(width=512, height=512)
    until(qtbot, lambda: page.plan.text() != first)
    # The same line on a machine with a card, and on one that is too small: the driver's answer is all that differs.
    card = MemoryUse("A card", 0, 8 * GIB, card=True)
    monkeypatch.setattr("studio_app.planning.card_memory", lambda: card)
    page.session.update(width=128, height=128)
    until(qtbot, lambda: page.plan.text().startswith("Everything stays on the card"))
    assert "denoise:" in page.plan.toolTip()
    tiny = replace(PRESETS[4], vram=GIB // 2, guard=GIB // 2 - (40 << 20), ram=3 * GIB)
    monkeypatch.setattr("studio_app.planning.machine_here", lambda settings: tiny)
    page.session.update(width=2048, height=2048)
    until(qtbot, lambda: page.plan.text().startswith("It does not fit: "), 60)
    assert page.plan._role == "warning"
