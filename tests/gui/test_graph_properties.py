"""The inspector of the Graph page, and what a run says on the nodes, on the starter model."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from PySide6.QtCore import QPointF, Qt
from PySide6.QtTest import QTest
from PySide6.QtWidgets import QApplication, QLabel, QLineEdit
from pytestqt.qtbot import QtBot

from engine.contracts.workflow import Link, Node
from studio_app.documents.graph_document import Wire
from tests.gui.canvas_room import click, graph_workspace, item, opened
from ui.graph_canvas.canvas import Canvas
from ui.graph_canvas.properties.panel import PropertiesPanel
from ui.graph_canvas.values.fields import NumberValue, ToggleValue
from ui.graph_canvas.workspace import GraphWorkspace


@pytest.fixture
def page(tmp_path: Path, qtbot: QtBot) -> Iterator[GraphWorkspace]:
    with graph_workspace(tmp_path, qtbot) as found:
        panel = found.inspecting.panel
        panel.resize(320, 800)
        panel.show()
        yield found
        panel.hide()


@pytest.fixture
def canvas(page: GraphWorkspace) -> Canvas:
    return opened(
        page,
        Node(id="small", type="image.solid", position=(60, 60), inputs={"width": 64, "height": 64}),
        Node(id="large", type="image.solid", position=(60, 460), inputs={"width": 128, "height": 64}),
        Node(id="sampler", type="sample.k_sampler", position=(500, 60)),
    )


def panel_of(page: GraphWorkspace) -> PropertiesPanel:
    return page.inspecting.panel


def number(page: GraphWorkspace, name: str) -> NumberValue:
    found = panel_of(page).fields[name]
    assert isinstance(found, NumberValue)
    return found


def texts(page: GraphWorkspace) -> str:
    return "\n".join(label.text() for label in panel_of(page).findChildren(QLabel) if label.isVisible())


def write(line: QLineEdit, text: str) -> None:
    line.setFocus()
    line.selectAll()
    QTest.keyClicks(line, text)
    QTest.keyClick(line, Qt.Key.Key_Return)
    QApplication.processEvents()


def test_values_of_one_node_are_set_also_those_not_on_it(page: GraphWorkspace, canvas: Canvas) -> None:
    canvas.scene.select(["sampler"])
    write(number(page, "steps").number, "10+5")
    assert canvas.document.nodes["sampler"].inputs["steps"] == 15
    advanced = panel_of(page).fields["exact_steps"]
    assert isinstance(advanced, ToggleValue)
    QTest.mouseClick(advanced.toggle, Qt.MouseButton.LeftButton)
    assert canvas.document.nodes["sampler"].inputs["exact_steps"] is True
    canvas.document.undo()
    canvas.document.undo()
    assert number(page, "steps").number.value() == 25


def test_several_nodes_show_mixed_values_and_are_set_at_once(page: GraphWorkspace, canvas: Canvas) -> None:
    canvas.scene.select(["small", "large"])
    assert "2 nodes" in texts(page)
    assert number(page, "width").number.text() == ""
    assert number(page, "width").number.placeholderText() == "several values"
    assert number(page, "height").number.text() == "64"
    write(number(page, "width").number, "96")
    assert {canvas.document.nodes[n].inputs["width"] for n in ("small", "large")} == {96}
    canvas.document.undo()
    assert [canvas.document.nodes[n].inputs["width"] for n in ("small", "large")] == [64, 128]


def test_title_mode_and_help(page: GraphWorkspace, canvas: Canvas) -> None:
    canvas.scene.select(["sampler"])
    title = panel_of(page).title
    assert title is not None
    write(title, "First pass")
    assert item(canvas, "sampler").title == "First pass"
    assert item(canvas, "sampler").schema.doc.split("\n")[0] in texts(page)


def test_a_wrong_field_gets_a_badge_and_a_click_goes_there(page: GraphWorkspace, canvas: Canvas, qtbot: QtBot) -> None:
    canvas = opened(
        page,
        Node(id="solid", type="image.solid", position=(60, 60), inputs={"width": -5}),
        Node(id="save", type="image.save", position=(500, 60), inputs={"image": Link("solid", "image")}),
    )
    page._app.start()
    page._app.wait_ready(60)
    page.runner.run()
    qtbot.waitUntil(lambda: "solid" in canvas.scene.states and not page.runs.jobs_of(canvas), timeout=60000)
    state = canvas.scene.states["solid"]
    assert (state.kind, state.input) == ("failed", "width")
    assert "1" in state.text
    canvas.scene.select(["solid"])
    assert state.text.split(".")[0] in texts(page)
    canvas.scene.select(())
    thing = item(canvas, "solid")
    click(canvas, QPointF(thing.corner[0] + thing.layout.width - 30, thing.corner[1] + 16))
    assert page.editors[canvas.tab.id].place == ("solid", "width")
    assert page.editors[canvas.tab.id].frame is not None


def test_a_run_shows_states_pictures_what_flows_and_why(page: GraphWorkspace, qtbot: QtBot) -> None:
    page._app.start()
    page._app.wait_ready(60)
    page.files.start_text_to_picture()
    canvas = page.current
    assert canvas is not None
    page.bar.count.setValue(2)
    page.runner.run()
    assert len(page.runs.jobs_of(canvas)) == 2
    qtbot.waitUntil(lambda: not page.runs.jobs_of(canvas), timeout=120000)
    scene = canvas.scene
    kinds = {state.kind for state in scene.states.values()}
    assert kinds <= {"done", "cached"}
    assert "cached" in kinds  # the second of the two had nothing new to draw
    decode = next(n for n, i in scene.items_by_id.items() if any(o.type == "IMAGE" for o in i.schema.outputs))
    assert scene.previews[decode].width() >= 64
    wire = next(w for w in canvas.document.wires() if w.source == decode)
    flow = page.inspecting.running.flow(canvas, wire)
    assert "IMAGE, " in flow
    assert "data:image/png;base64," in flow
    scene.select([decode])
    qtbot.waitUntil(lambda: "will not run again" in texts(page), timeout=20000)
    page.inspecting.toggle_previews()
    assert not scene.previews
    page.inspecting.toggle_previews()
    assert decode in scene.previews
    assert Wire(wire.source, wire.output, wire.target, wire.input) in scene.table.rows
