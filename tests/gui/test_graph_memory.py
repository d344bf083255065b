"""Memory on the canvas: the run bar's words and what is behind them, and the badge on a sampler that will not fit."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from PySide6.QtCore import Qt
from PySide6.QtTest import QTest
from PySide6.QtWidgets import QLabel
from pytestqt.qtbot import QtBot

from engine.contracts.workflow import Workflow
from engine.memory.footprint import GIB
from engine.memory.machine import PRESETS
from studio_app.application import Application
from studio_app.documents.edits import SetInputs
from tests.gui.create_room import until
from ui import appearance
from ui.graph_canvas.states import IDLE
from ui.graph_canvas.words import state_in_words
from ui.graph_canvas.workspace import GraphWorkspace
from ui.main_window import MainWindow, open_window

ROOM = replace(PRESETS[8], name="A card")
TIGHT = replace(PRESETS[4], vram=GIB // 2, guard=GIB // 2 - (290 << 20), ram=8 * GIB, name="A card")


@pytest.fixture
def window(tmp_path: Path, qtbot: QtBot) -> Iterator[MainWindow]:
    app = Application(tmp_path)
    app.settings.set("ui.welcomed", True)
    appearance.apply(app)
    made = open_window(app)
    qtbot.addWidget(made)
    made.show()
    until(qtbot, lambda: app.wait_ready(0), 60)
    app.engine.warm()
    until(qtbot, lambda: app.engine.state == "ready", 60)
    yield made
    made.close()
    app.close()


def test_a_sampler_that_will_not_fit_is_marked_before_it_runs(
    window: MainWindow, qtbot: QtBot, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("studio_app.planning.machine_here", lambda settings: ROOM)
    window.app.commands.run("view.graph")
    page = window.page
    assert isinstance(page, GraphWorkspace)
    page.files.start_text_to_picture()
    until(qtbot, lambda: page.bar.fits.text().startswith("Fits: "), 60)
    assert " of 8.0 GiB, about " in page.bar.fits.text()
    acts, canvas = page.acts, page.current
    assert acts is not None
    assert canvas is not None
    sampler = next(name for name, item in canvas.scene.items_by_id.items() if item.node.type == "sample.k_sampler")
    latent = next(name for name, item in canvas.scene.items_by_id.items() if item.node.type == "latent.empty")
    canvas.view.frame_nodes([sampler])
    plain = canvas.view.grab().toImage()
    monkeypatch.setattr("studio_app.planning.machine_here", lambda settings: TIGHT)
    acts.do("Larger", SetInputs(latent, {"width": 2048, "height": 2048}))
    until(qtbot, lambda: page.bar.fits.text() == "Does not fit", 60)
    state = canvas.scene.states[sampler]
    assert state.kind == "unfit"
    assert state.badge.startswith("needs ")
    assert "Does not fit:" in state_in_words(state)
    assert "Make it" in state.text or "Draw it" in state.text  # the remedy
    assert canvas.view.grab().toImage() != plain
    # Behind the words, by key: the samplers with what they take.
    page.bar.fits.setFocus()
    QTest.keyClick(page.bar.fits, Qt.Key.Key_Space)
    popover = page.inspecting.memory.popover
    assert popover is not None
    assert popover.isVisible()
    said = [label.text() for label in popover.findChildren(QLabel)]
    assert any(text.startswith("It does not fit: ") for text in said)
    QTest.keyClick(popover, Qt.Key.Key_Escape)
    assert not popover.isVisible()
    assert window.focusWidget() is page.bar.fits
    acts.do("Smaller", SetInputs(latent, {"width": 64, "height": 64}))
    until(qtbot, lambda: canvas.scene.states.get(sampler, IDLE).kind == "idle", 60)


def test_a_samplers_own_go_fast_counts(window: MainWindow) -> None:
    from engine.memory.workload import work_of
    from engine.recipes.request import ImageRequest

    spec = window.app.jobs.spec_of(ImageRequest(prompt="x"))
    registry = window.app.node_types()
    assert [work.fast for work in work_of(spec.workflow, registry)] == [False]
    nodes = tuple(
        replace(node, inputs={**node.inputs, "fast": True}) if node.type == "sample.k_sampler" else node
        for node in spec.workflow.nodes
    )
    assert [work.fast for work in work_of(Workflow(nodes=nodes), registry)] == [True]
