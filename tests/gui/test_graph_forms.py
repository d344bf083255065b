"""A workflow as a form, subgraphs with their sockets, and the ways between Create and the graph."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from PySide6.QtCore import QPointF, Qt
from PySide6.QtTest import QTest
from PySide6.QtWidgets import QApplication, QMenu
from pytestqt.qtbot import QtBot

from engine.contracts.workflow import FormField, Link, Node
from engine.media.images import decode
from engine.recipes.request import ImageRequest
from studio_app.documents.edits import AddNodes, SetForm, set_input
from tests.gui.canvas_room import choose, graph_workspace, opened
from ui.forms.form_view import FormView
from ui.graph_canvas.canvas import Canvas
from ui.graph_canvas.properties.sockets import SocketsEditor
from ui.graph_canvas.values.fields import NumberValue
from ui.graph_canvas.values.menu import add_output_acts, add_value_acts
from ui.graph_canvas.values.seed import SeedValue
from ui.graph_canvas.workspace import GraphWorkspace


@pytest.fixture
def page(tmp_path: Path, qtbot: QtBot) -> Iterator[GraphWorkspace]:
    with graph_workspace(tmp_path, qtbot) as found:
        yield found


@pytest.fixture
def canvas(page: GraphWorkspace) -> Canvas:
    return opened(
        page,
        Node(id="solid", type="image.solid", position=(60, 60)),
        Node(id="blur", type="image.blur", position=(400, 60), inputs={"image": Link("solid", "image")}),
        Node(id="save", type="image.save", position=(800, 60), inputs={"image": Link("blur", "image")}),
    )


def form_of(page: GraphWorkspace) -> FormView:
    canvas = page.current
    assert canvas is not None
    if canvas.tab.id not in page.inspecting.forms:
        page.inspecting.toggle_form()
    return page.inspecting.forms[canvas.tab.id].form


def trigger(menu: QMenu, words: str) -> None:
    next(a for a in menu.actions() if a.text() == words).trigger()


def test_a_field_is_put_in_from_the_node_and_set_in_the_form(page: GraphWorkspace, canvas: Canvas) -> None:
    menu = QMenu()
    add_value_acts(menu, page.editors[canvas.tab.id], "solid", "width")
    trigger(menu, "Put Width into the form")
    form = form_of(page)
    assert not page.bar.isVisible()
    width = form.fields["solid.width"]
    assert isinstance(width, NumberValue)
    width.begin()
    QTest.keyClicks(width.number, "3*100")
    QTest.keyClick(width.number, Qt.Key.Key_Return)
    assert canvas.document.nodes["solid"].inputs["width"] == 300
    canvas.document.undo()
    assert "width" not in canvas.document.nodes["solid"].inputs
    page.inspecting.toggle_form()
    assert not form.isVisible()


def test_a_seed_in_the_form_is_drawn_anew_after_each_run_and_the_record_has_the_one_it_was_made_with(
    page: GraphWorkspace, qtbot: QtBot, tmp_path: Path
) -> None:
    page.app.settings.set("generation.output_folder", str(tmp_path / "pictures"))
    page.app.start()
    assert page.app.wait_ready(60)
    opened(
        page,
        Node(id="solid", type="image.solid", position=(60, 400), inputs={"width": 16, "height": 16}),
        Node(id="noise", type="image.noise", position=(60, 60), inputs={"image": Link("solid", "image"), "seed": 40}),
        Node(id="save", type="image.save", position=(500, 60), inputs={"image": Link("noise", "image")}),
    )
    canvas = page.current
    assert canvas is not None
    canvas.document.edit("Form", SetForm((FormField(node="noise", input="seed"),)))
    form = form_of(page)
    seed = form.fields["noise.seed"]
    assert isinstance(seed, SeedValue)
    assert seed.lock.isVisibleTo(form)
    runs: list[tuple[object, bytes]] = []

    def run() -> None:
        job = len(page.app.library.recent(100))
        QTest.mouseClick(form.run, Qt.MouseButton.LeftButton)
        qtbot.waitUntil(lambda: len(page.app.library.recent(100)) == job + 1, timeout=20000)
        newest = page.app.library.recent(1)[0]
        made = next(n for n in newest.spec.workflow.nodes if n.id == "noise")
        runs.append((made.inputs["seed"], decode(page.app.library.read(newest), "picture").tobytes()))

    run()
    QTest.mouseClick(seed.lock, Qt.MouseButton.LeftButton)
    assert canvas.document.nodes["noise"].seeds == {"seed": "randomize"}
    run()
    second = seed.number.value()
    run()
    canvas.document.undo()  # both draws
    seed.control_changed.emit("fixed")
    run()
    assert [each[0] for each in runs] == [40, 40, second, 40]
    assert second != 40
    assert seed.number.value() == 40
    assert runs[0][1] == runs[1][1] == runs[3][1] != runs[2][1]


def test_the_author_arranges_the_form(page: GraphWorkspace, canvas: Canvas) -> None:
    form = form_of(page)
    form.set_editing(True)
    assert {choice.title for choice in form.inputs()} >= {"Width", "Height", "Colour"}
    form.add_field(FormField(node="solid", input="width"))
    form.add_field(FormField(node="solid", input="height"))
    label = form.labels["solid.height"]
    label.setFocus()
    QTest.keyClicks(label, "How tall")
    QTest.keyClick(label, Qt.Key.Key_Return)
    group = form.groups["solid.height"]
    group.setFocus()
    QTest.keyClicks(group, "Size")
    QTest.keyClick(group, Qt.Key.Key_Return)
    form._move(["solid.width", "solid.height"], 1, -1)
    shown = canvas.document.content.form
    assert [(f.input, f.label, f.group) for f in shown] == [("height", "How tall", "Size"), ("width", "", "")]
    canvas.document.undo()
    assert [f.input for f in canvas.document.content.form] == ["width", "height"]


def test_a_subgraph_is_named_ordered_kept_and_found_by_the_search(page: GraphWorkspace, canvas: Canvas) -> None:
    acts = page.acts
    assert acts is not None
    canvas.scene.select(["solid", "blur"])
    acts.make_subgraph()
    inner = next(n for n, node in canvas.document.nodes.items() if node.type.startswith("subgraph:"))
    assert acts.open_node(inner)
    menu = QMenu()
    editor = page.editors[canvas.tab.id]
    add_value_acts(menu, editor, "solid", "width")
    trigger(menu, "Expose Width")
    add_value_acts(menu, editor, "blur", "radius")
    trigger(menu, "Expose Radius")
    add_output_acts(menu, editor, "solid")
    trigger(menu, "Expose output image")
    panel = page.inspecting.panel
    panel.show()
    canvas.scene.select(())
    QApplication.processEvents()
    sockets = panel.findChildren(SocketsEditor)[-1]
    line = sockets.rows["inputs", "width"]
    line.setFocus()
    line.selectAll()
    QTest.keyClicks(line, "breadth")
    QTest.keyClick(line, Qt.Key.Key_Return)
    head = canvas.document.content.subgraphs[canvas.document.graph_id]
    assert [s.name for s in head.inputs] == ["breadth", "radius"]
    sockets = panel.findChildren(SocketsEditor)[-1]
    sockets._move("inputs", ["breadth", "radius"], 1, -1)
    sockets.save_to_library()
    panel.hide()
    head = canvas.document.content.subgraphs[canvas.document.graph_id]
    assert [s.name for s in head.inputs] == ["radius", "breadth"]
    assert head.library
    assert len(head.outputs) == 2
    page.files.new()
    other = page.current
    assert other is not None
    assert page.finding is not None
    page.finding.search()
    choose(other, "subgraph")
    made = next(iter(other.document.nodes.values()))
    assert other.document.schema(made.id).input("breadth") is not None
    assert other.document.content.subgraphs[made.type.removeprefix("subgraph:")].library == head.library


def test_what_made_a_picture_opens_as_a_graph_and_goes_back_to_create(page: GraphWorkspace) -> None:
    request = ImageRequest(prompt="a red circle on a blue background", seed=7, width=64, height=64)
    spec = page.app.jobs.spec_of(request)
    page.receive(spec)
    canvas = page.current
    assert canvas is not None
    assert {n.type for n in canvas.document.nodes.values()} == {n.type for n in spec.workflow.nodes}
    sampler = next(n for n in canvas.document.nodes.values() if n.type.startswith("sample."))
    assert sampler.inputs["seed"] == 7
    sent: list[tuple[str, object]] = []
    page.sent.connect(lambda title, thing: sent.append((title, thing)))
    page.inspecting.open_in_create()
    assert sent[0][0] == "Create"
    assert isinstance(sent[0][1], ImageRequest)
    assert (sent[0][1].prompt, sent[0][1].seed) == (request.prompt, 7)
    canvas.document.edit("Luck", set_input(sampler.id, "seed", 99), set_input("prompt", "text", "a green square"))
    page.inspecting.open_in_create()
    assert len(sent) == 2
    assert isinstance(sent[1][1], ImageRequest)
    assert (sent[1][1].prompt, sent[1][1].seed) == ("a green square", 99)
    canvas.document.edit("More than Create", AddNodes((Node(id="more", type="image.solid"),)))
    page.inspecting.open_in_create()
    assert len(sent) == 2
    assert "stays a graph" in canvas.note.label.text()
    opened(page, Node(id="solid", type="image.solid"))
    page.inspecting.open_in_create()
    assert len(sent) == 2
    assert "stays a graph" in page.current.note.label.text() if page.current else False


def test_the_way_to_create_is_in_the_menu_of_the_canvas_and_back_in_advanced(tmp_path: Path, qtbot: QtBot) -> None:
    from tests.gui.page_room import application
    from ui.create.workspace import CreateWorkspace
    from ui.main_window import MainWindow
    from ui.workspaces import WORKSPACES

    app, bridge = application(tmp_path)
    app.settings.set("ui.welcomed", True)
    window = MainWindow(app, bridge, WORKSPACES)
    bridge.setParent(window)
    qtbot.addWidget(window)
    window.resize(1300, 900)
    window.show()
    create = window.page
    assert isinstance(create, CreateWorkspace)
    create.session.update(prompt="a yellow star", seed=12, width=64, height=64)
    create.form.advanced_fold.set_open(True)
    QApplication.processEvents()
    QTest.mouseClick(create.form.advanced.graph, Qt.MouseButton.LeftButton)
    graph = window.page
    assert isinstance(graph, GraphWorkspace)
    canvas = graph.current
    assert canvas is not None
    sampler = canvas.document.nodes["sampler"]
    assert (sampler.inputs["seed"], sampler.seeds) == (12, {"seed": "randomize"})
    assert canvas.document.nodes["prompt"].inputs["text"] == "a yellow star"
    canvas.document.edit("Words", set_input("prompt", "text", "a yellow boat"))
    canvas.view.look_at(canvas.scene.bounds().topLeft() - QPointF(300, 300), 1.0)
    QTest.mouseClick(
        canvas.view.viewport(), Qt.MouseButton.RightButton, Qt.KeyboardModifier.NoModifier,
        canvas.view.viewport().rect().center(),
    )  # fmt: skip
    menu = QApplication.activePopupWidget()
    assert isinstance(menu, QMenu)
    action = next(a for a in menu.actions() if a.text() == "Open in Create")
    QTest.mouseClick(
        menu, Qt.MouseButton.LeftButton, Qt.KeyboardModifier.NoModifier, menu.actionGeometry(action).center()
    )
    assert window.page is create
    assert (create.session.request.prompt, create.session.request.seed) == ("a yellow boat", 12)
    assert create.session.request.width == 64
    window.close()
    app.close()
