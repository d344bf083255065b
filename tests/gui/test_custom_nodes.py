"""Consent to nodes of a person's own in the window: what is asked, what is let run, and the canvas that knows it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from PySide6.QtCore import QPointF, Qt
from PySide6.QtTest import QTest
from PySide6.QtWidgets import QApplication
from pytestqt.qtbot import QtBot

from engine.contracts.workflow import Link, Node
from tests.gui.canvas_room import CTRL, choose, graph_workspace, item, key, opened
from tests.gui.create_room import until
from tests.unit.plugin_room import Room, adder
from ui.dialogs.custom_nodes import WHAT_IT_MEANS, CustomNodes, PluginCard, size_words
from ui.dialogs.preferences import Preferences
from ui.graph_canvas.import_report import ReportDialog
from ui.graph_canvas.workspace import GraphWorkspace
from ui.main_window import MainWindow
from ui.widgets.basics import Button, Label
from ui.workspaces import WORKSPACES


@pytest.fixture
def room(tmp_path: Path) -> Room:
    room = Room(tmp_path)
    room.write("warmth.py", adder("mine.add", 1, head="import os\nos.environ['WARMTH_RAN'] = '1'\n"))
    room.write("pack/__init__.py", adder("mine.other", 2))
    room.write("pack/helper.py", "X = 1\n")
    return room


@pytest.fixture
def page(room: Room, qtbot: QtBot) -> Iterator[GraphWorkspace]:
    os.environ.pop("WARMTH_RAN", None)
    with graph_workspace(room.data, qtbot, started=True) as found:
        yield found
    os.environ.pop("WARMTH_RAN", None)


def dialog_of(page: GraphWorkspace, qtbot: QtBot, *wanted: str) -> CustomNodes:
    dialog = CustomNodes(page.app, page, wanted)
    qtbot.addWidget(dialog)
    dialog.show()
    until(qtbot, lambda: len(dialog.cards) == 2 and all(each.isVisible() for each in dialog.cards.values()), 30)
    return dialog


def card(dialog: CustomNodes, name: str) -> PluginCard:
    return next(card for card in dialog.cards.values() if card.entry.name == name)


def words(widget: PluginCard) -> str:
    return " ".join(label.text() for label in widget.findChildren(Label) if label.isVisibleTo(widget))


def press(button: Button) -> None:
    assert button.isVisible(), button.text()
    QTest.mouseClick(button, Qt.MouseButton.LeftButton)
    QApplication.processEvents()


def test_it_says_what_is_found_and_what_enabling_means_and_not_now_runs_nothing(
    page: GraphWorkspace, room: Room, qtbot: QtBot
) -> None:
    dialog = dialog_of(page, qtbot)
    warmth = card(dialog, "warmth")
    assert warmth.state.text() == "Off"
    assert WHAT_IT_MEANS not in words(warmth)
    press(warmth.ask)
    until(qtbot, lambda: card(dialog, "warmth").enable.isVisible(), 30)
    warmth = card(dialog, "warmth")
    told = words(warmth)
    size = (room.nodes / "warmth.py").stat().st_size
    assert WHAT_IT_MEANS in told
    assert str(room.nodes / "warmth.py") in told
    assert f"1 file, {size_words(size)}" in told
    assert "mine.add" in told
    assert warmth.entry.code_hash in told.replace(" ", "")
    press(warmth.not_now)
    until(qtbot, lambda: card(dialog, "warmth").ask.isVisible(), 30)
    assert "WARMTH_RAN" not in os.environ
    assert page.app.plugins.registry().find("mine.add") is None
    pack = card(dialog, "pack")
    assert pack.entry.files == 2


def test_an_enabled_node_is_in_the_search_and_on_the_canvas_without_a_restart(
    page: GraphWorkspace, qtbot: QtBot
) -> None:
    canvas = opened(
        page, Node(id="sum", type="mine.add", position=(60, 60), inputs={"value": 4}),
        Node(id="show", type="utility.show", position=(400, 60), inputs={"value": Link("sum", "sum")}),
    )  # fmt: skip
    until(qtbot, lambda: canvas.scene.states.get("sum") is not None, 10)
    assert item(canvas, "sum").schema.origin == "placeholder"
    dialog = dialog_of(page, qtbot, *page.missing_nodes())
    assert card(dialog, "warmth").enable.isVisible()  # the one that is lacked is asked about at once
    assert not card(dialog, "pack").enable.isVisible()
    press(card(dialog, "warmth").enable)
    until(qtbot, lambda: card(dialog, "warmth").state.text() == "Enabled", 60)
    until(qtbot, lambda: item(canvas, "sum").schema.origin != "placeholder", 10)
    until(qtbot, lambda: canvas.scene.states.get("sum") is None, 10)
    dialog.close()
    canvas.view.setFocus()
    key(canvas, Qt.Key.Key_Space)
    choose(canvas, "mine.add")
    assert [n.type for n in canvas.document.nodes.values()].count("mine.add") == 2
    key(canvas, Qt.Key.Key_Delete)
    key(canvas, Qt.Key.Key_Return, CTRL)
    until(qtbot, lambda: canvas.scene.texts.get("show") == "5", 60)
    assert canvas.scene.texts["sum"] == "5"
    again = dialog_of(page, qtbot)
    press(card(again, "warmth").disable)
    until(qtbot, lambda: item(canvas, "sum").schema.origin == "placeholder", 30)


def test_code_that_changed_while_one_was_asked_is_not_enabled(page: GraphWorkspace, room: Room, qtbot: QtBot) -> None:
    dialog = dialog_of(page, qtbot, "mine.add")
    room.write("warmth.py", adder("mine.add", 99))
    press(card(dialog, "warmth").enable)
    until(qtbot, lambda: card(dialog, "warmth").problem.isVisible(), 30)
    assert "changed since it was shown" in card(dialog, "warmth").problem.text()
    assert page.app.plugins.registry().find("mine.add") is None
    dialog.look()
    until(qtbot, lambda: not card(dialog, "warmth").problem.isVisible(), 30)
    press(card(dialog, "warmth").enable)
    until(qtbot, lambda: card(dialog, "warmth").state.text() == "Enabled", 60)


def test_the_ways_to_it(room: Room, qtbot: QtBot) -> None:
    """From the settings, and from the report of a workflow that lacks a node."""
    from tests.gui.page_room import application

    app, bridge = application(room.data)
    app.settings.set("ui.welcomed", True)
    window = MainWindow(app, bridge, WORKSPACES)
    bridge.setParent(window)
    qtbot.addWidget(window)
    window.show()
    app.commands.run("view.graph")
    page = window.page
    assert isinstance(page, GraphWorkspace)
    app.commands.run("app.preferences")
    settings = window.findChild(Preferences)
    assert settings is not None
    row = next(i for i in range(settings.groups.count()) if settings.groups.item(i).text() == "Nodes")
    settings.groups.setCurrentRow(row)
    button = next(b for b in settings.findChildren(Button) if b.text() == "Nodes of your own…")
    press(button)
    dialog = window.findChild(CustomNodes)
    assert dialog is not None
    until(qtbot, lambda: len(dialog.cards) == 2, 30)
    assert not any(each.enable.isVisible() for each in dialog.cards.values())
    dialog.close()
    settings.close()
    opened(page, Node(id="sum", type="mine.other", position=(60, 60)))
    page.beside.open_report()
    report = page.beside.dialog
    assert isinstance(report, ReportDialog)
    qtbot.waitExposed(report)
    press(next(b for b in report.findChildren(Button) if b.text() == "Nodes of your own…"))
    assert dialog.isVisible()
    until(qtbot, lambda: card(dialog, "pack").enable.isVisible(), 30)
    canvas = page.current
    assert canvas is not None
    canvas.view.menu_wanted.emit(canvas.mapToGlobal(canvas.rect().center()), QPointF(80, 70))
    menu = next(m for m in canvas.children() if m.inherits("QMenu"))
    assert any(action.text() == "Nodes of your own…" for action in menu.actions())  # type: ignore[attr-defined]
    dialog.close()
    window.close()
    app.close()
