"""The graph canvas by mouse and keyboard: wiring, search, inserting, cutting, moving, undoing, and what is drawn."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from PySide6.QtCore import QPointF, Qt
from PySide6.QtGui import QGuiApplication
from PySide6.QtTest import QTest
from PySide6.QtWidgets import QApplication
from pytestqt.qtbot import QtBot

from engine.contracts.workflow import Link, Node
from tests.gui.canvas_room import (
    ALT,
    CTRL,
    SHIFT,
    at,
    choose,
    click,
    double_click,
    drag,
    graph_workspace,
    item,
    key,
    opened,
    shown_wires,
    wires,
)  # fmt: skip
from ui.graph_canvas.canvas import Canvas
from ui.graph_canvas.states import NodeState
from ui.graph_canvas.workspace import GraphWorkspace


@pytest.fixture
def page(tmp_path: Path, qtbot: QtBot) -> Iterator[GraphWorkspace]:
    with graph_workspace(tmp_path, qtbot) as found:
        yield found


@pytest.fixture
def pair(page: GraphWorkspace) -> Canvas:
    """A solid picture and a blur beside it, without a wire."""
    return opened(
        page,
        Node(id="invert", type="image.invert", position=(80, 100)),
        Node(id="blur", type="image.blur", position=(700, 100)),
    )


@pytest.fixture
def wired(page: GraphWorkspace) -> Canvas:
    return opened(
        page,
        Node(id="invert", type="image.invert", position=(80, 100)),
        Node(id="blur", type="image.blur", position=(700, 100), inputs={"image": Link("invert", "image")}),
        Node(id="again", type="image.invert", position=(80, 480)),
    )


WIRE = ("invert", "image", "blur", "image")


def out(canvas: Canvas, name: str) -> QPointF:
    return item(canvas, name).output_place("image")


def into(canvas: Canvas, name: str) -> QPointF:
    return item(canvas, name).input_place("image")


def mode(canvas: Canvas, name: str) -> str:
    return canvas.document.nodes[name].mode


def level(canvas: Canvas) -> tuple[str, ...]:
    return canvas.document.level


def crumbs_shown(canvas: Canvas) -> bool:
    return not canvas.crumbs.isHidden()


def position(canvas: Canvas, name: str) -> tuple[float, float]:
    return canvas.document.nodes[name].position


def is_faded(canvas: Canvas) -> bool:
    return canvas.view.frames.faded


def selected(canvas: Canvas) -> set[str]:
    return set(canvas.scene.selected)


def header(canvas: Canvas, name: str) -> QPointF:
    return item(canvas, name).rect().topLeft() + QPointF(120, 14)


def test_a_drag_from_socket_to_socket_lays_a_wire_and_undo_takes_it_back(pair: Canvas) -> None:
    drag(pair, out(pair, "invert"), into(pair, "blur"))
    assert wires(pair) == {WIRE}
    assert len(shown_wires(pair)) == 1
    key(pair, Qt.Key.Key_Z, CTRL)
    assert wires(pair) == set()
    assert shown_wires(pair) == set()
    key(pair, Qt.Key.Key_Z, CTRL | SHIFT)
    assert wires(pair) == {WIRE}


def test_a_wire_let_go_on_a_node_finds_the_socket_that_fits(pair: Canvas) -> None:
    drag(pair, out(pair, "invert"), header(pair, "blur"))
    assert wires(pair) == {WIRE}


def test_a_wire_can_be_laid_from_the_input(pair: Canvas) -> None:
    drag(pair, into(pair, "blur"), out(pair, "invert"))
    assert wires(pair) == {WIRE}


def test_a_refused_wire_says_why_and_changes_nothing(page: GraphWorkspace) -> None:
    canvas = opened(
        page,
        Node(id="invert", type="image.invert", position=(80, 100)),
        Node(id="sampler", type="sample.k_sampler", position=(600, 100)),
    )
    drag(canvas, out(canvas, "invert"), item(canvas, "sampler").input_place("latent"))
    assert wires(canvas) == set()
    assert "IMAGE" in canvas.note.label.text()
    assert "LATENT" in canvas.note.label.text()


def test_a_wire_that_closes_a_circle_is_refused(wired: Canvas) -> None:
    drag(wired, out(wired, "blur"), into(wired, "invert"))
    assert wires(wired) == {WIRE}
    assert "circle" in wired.note.label.text()


def test_while_a_wire_is_drawn_what_it_cannot_reach_steps_back(page: GraphWorkspace) -> None:
    canvas = opened(
        page,
        Node(id="invert", type="image.invert", position=(80, 100)),
        Node(id="blur", type="image.blur", position=(700, 100)),
        Node(id="latent", type="latent.empty", position=(700, 520)),
    )
    drag(canvas, out(canvas, "invert"), QPointF(520, 600), release=False)
    assert is_faded(canvas)
    assert canvas.view.frames.reachable == {"invert", "blur"}
    key(canvas, Qt.Key.Key_Escape)
    assert not is_faded(canvas)
    assert not canvas.popup.isVisible()


def test_a_wire_let_go_on_nothing_opens_the_search_by_its_type_and_connects(pair: Canvas) -> None:
    drag(pair, out(pair, "invert"), QPointF(420, 600))
    assert pair.popup.isVisible()
    titles = [row.title for row in pair.popup.model.rows]
    assert "Sampler" not in titles
    choose(pair, "canny")
    made = next(n for n, node in pair.document.nodes.items() if n not in {"invert", "blur"})
    assert wires(pair) == {("invert", "image", made, "image")}
    key(pair, Qt.Key.Key_Z, CTRL)
    assert set(pair.document.nodes) == {"invert", "blur"}  # node and wire are one entry


def test_a_wire_is_pulled_off_an_input_and_laid_elsewhere(wired: Canvas) -> None:
    drag(wired, into(wired, "blur"), into(wired, "again"))
    assert wires(wired) == {("invert", "image", "again", "image")}


def test_a_wire_pulled_off_onto_nothing_is_gone(wired: Canvas) -> None:
    drag(wired, into(wired, "blur"), QPointF(520, 620))
    assert wires(wired) == set()
    assert not wired.popup.isVisible()


def test_a_node_dropped_on_a_wire_is_inserted_and_that_is_one_undo(wired: Canvas) -> None:
    middle = (out(wired, "invert") + into(wired, "blur")) / 2
    drag(wired, header(wired, "again"), middle)
    assert wires(wired) == {("invert", "image", "again", "image"), ("again", "image", "blur", "image")}
    key(wired, Qt.Key.Key_Z, CTRL)
    assert wires(wired) == {WIRE}
    assert position(wired, "again") == (80, 480)


def test_a_stroke_cuts_the_wires_it_crosses(wired: Canvas) -> None:
    middle = (out(wired, "invert") + into(wired, "blur")) / 2
    drag(wired, middle + QPointF(0, -60), middle + QPointF(0, 60), modifiers=CTRL, button=Qt.MouseButton.RightButton)
    assert wires(wired) == set()


def test_delete_with_alt_joins_what_the_node_stood_between(wired: Canvas) -> None:
    middle = (out(wired, "invert") + into(wired, "blur")) / 2
    drag(wired, header(wired, "again"), middle)
    wired.scene.select(["again"])
    key(wired, Qt.Key.Key_Delete, ALT)
    assert set(wired.document.nodes) == {"invert", "blur"}
    assert wires(wired) == {WIRE}


def test_a_reroute_is_put_where_the_wire_is_double_clicked(wired: Canvas) -> None:
    middle = (out(wired, "invert") + into(wired, "blur")) / 2
    double_click(wired, middle)
    added = set(wired.document.nodes) - {"invert", "blur", "again"}
    assert [wired.document.nodes[n].type for n in added] == ["utility.reroute"]
    assert len(wires(wired)) == 2


def test_moving_is_one_entry_and_the_wire_follows(wired: Canvas) -> None:
    before = wired.document.undo_label
    drag(wired, header(wired, "blur"), header(wired, "blur") + QPointF(60, 90))
    assert position(wired, "blur") == (760, 190)
    row = next(iter(wired.scene.table.rows.values()))
    assert wired.scene.table.ends(row)[2:] == (into(wired, "blur").x(), into(wired, "blur").y())
    key(wired, Qt.Key.Key_Z, CTRL)
    assert position(wired, "blur") == (700, 100)
    assert wired.document.undo_label == before


def test_a_box_selects_and_escape_lets_go(wired: Canvas) -> None:
    drag(wired, QPointF(20, 60), QPointF(400, 300))
    assert selected(wired) == {"invert"}
    click(wired, header(wired, "blur"), SHIFT)
    assert selected(wired) == {"invert", "blur"}
    key(wired, Qt.Key.Key_Escape)
    assert selected(wired) == set()


def test_a_node_is_found_added_and_wired_by_keyboard_alone(page: GraphWorkspace) -> None:
    canvas = opened(page)
    key(canvas, Qt.Key.Key_Tab)
    choose(canvas, "invert image")
    key(canvas, Qt.Key.Key_Space)
    choose(canvas, "gaussian blur")
    assert sorted(node.type for node in canvas.document.nodes.values()) == ["image.blur", "image.invert"]
    key(canvas, Qt.Key.Key_C)
    choose(canvas, "invert")
    assert {(w[0], w[2]) for w in wires(canvas)} == {("invert", "blur")}
    key(canvas, Qt.Key.Key_Left)
    assert selected(canvas) == {"invert"}
    key(canvas, Qt.Key.Key_Right)
    assert selected(canvas) == {"blur"}
    key(canvas, Qt.Key.Key_Delete)
    assert set(canvas.document.nodes) == {"invert"}


def test_a_double_click_on_nothing_adds_the_node_there(page: GraphWorkspace) -> None:
    canvas = opened(page)
    place = QPointF(500, 300)
    double_click(canvas, place)
    choose(canvas, "invert image")
    (node,) = canvas.document.nodes.values()
    assert abs(node.position[0] - 500) < 2
    assert abs(node.position[1] + 16 - 300) < 2


def test_what_was_used_last_stands_first_and_words_of_the_doc_are_found(page: GraphWorkspace) -> None:
    canvas = opened(page)
    page.finder.used("image.canny")
    key(canvas, Qt.Key.Key_Space)
    assert canvas.popup.model.rows[0].title == page.finder.find("")[0].schema.title
    assert page.finder.find("")[0].schema.type == "image.canny"
    found = [f.schema.type for f in page.finder.find("following the prompts")]
    assert "sample.k_sampler" in found
    key(canvas, Qt.Key.Key_Escape)


def test_copied_nodes_are_json_and_paste_with_ids_of_their_own(wired: Canvas, qtbot: QtBot) -> None:
    wired.scene.select(["invert", "blur"])
    key(wired, Qt.Key.Key_C, CTRL)
    assert '"tessera.fragment"' in QGuiApplication.clipboard().text()
    key(wired, Qt.Key.Key_V, CTRL)
    assert len(wired.document.nodes) == 5
    assert len(wires(wired)) == 2
    QGuiApplication.clipboard().setText("{" * 100_000)
    key(wired, Qt.Key.Key_V, CTRL)
    assert len(wired.document.nodes) == 5
    qtbot.waitUntil(lambda: wired.note.label.text().startswith("clipboard: "))  # read in a worker, in case it is big


def test_mute_bypass_fold_and_frame(wired: Canvas) -> None:
    wired.scene.select(["invert"])
    key(wired, Qt.Key.Key_M)
    assert mode(wired, "invert") == "mute"
    key(wired, Qt.Key.Key_B)
    assert mode(wired, "invert") == "bypass"
    key(wired, Qt.Key.Key_B)
    assert mode(wired, "invert") == "active"
    tall = item(wired, "invert").layout.height
    key(wired, Qt.Key.Key_H)
    assert item(wired, "invert").layout.height < tall
    key(wired, Qt.Key.Key_G, CTRL)
    x, y, *_ = wired.document.groups[0].rectangle
    drag(wired, QPointF(x + 100, y + 10), QPointF(x + 140, y + 70))
    assert position(wired, "invert") == (120, 160)
    key(wired, Qt.Key.Key_Z, CTRL)
    assert position(wired, "invert") == (80, 100)


def test_a_subgraph_opens_in_place_with_breadcrumbs(wired: Canvas) -> None:
    wired.scene.select(["invert", "blur"])
    key(wired, Qt.Key.Key_E, CTRL)
    (made,) = wired.scene.selected
    key(wired, Qt.Key.Key_Return)
    assert level(wired) == (made,)
    assert set(wired.scene.items_by_id) == {"invert", "blur"}
    assert crumbs_shown(wired)
    key(wired, Qt.Key.Key_Backspace)
    assert level(wired) == ()
    assert not crumbs_shown(wired)
    assert selected(wired) == {made}


def test_the_wheel_zooms_about_the_pointer(wired: Canvas) -> None:
    place = QPointF(300, 200)
    fixed = wired.view.to_scene(place)
    wired.view.zoom(1.5, place)
    after = wired.view.to_scene(place)
    assert abs(after.x() - fixed.x()) < 1
    assert abs(after.y() - fixed.y()) < 1


def test_home_shows_everything(wired: Canvas) -> None:
    wired.view.look_at(QPointF(90000, 90000), 2.0)
    key(wired, Qt.Key.Key_Home)
    assert wired.view.visible_area().contains(wired.scene.bounds())


@pytest.mark.parametrize("scale", [1.0, 0.3, 0.1])
def test_each_band_paints_the_node_where_it_is(wired: Canvas, scale: float) -> None:
    wired.view.look_at(item(wired, "blur").rect().center(), scale)
    wired.view.wait_for_pictures()
    image = wired.view.viewport().grab().toImage()
    ground = wired.view.frames.ground
    body = image.pixelColor(at(wired, item(wired, "blur").rect().topLeft() + QPointF(120, 45)))
    assert body != ground
    beside = image.pixelColor(at(wired, item(wired, "blur").rect().bottomRight() + QPointF(30, 37)))
    assert beside == ground


def test_a_failed_node_shows_its_error_and_its_field(wired: Canvas) -> None:
    corner = item(wired, "blur").rect().topLeft()
    before = wired.view.viewport().grab().toImage().pixelColor(at(wired, corner + QPointF(0, 60)))
    wired.scene.set_state("blur", NodeState("failed", text="The radius is too large. Give 0 to 100.", input="radius"))
    after = wired.view.viewport().grab().toImage().pixelColor(at(wired, corner + QPointF(0, 60)))
    assert after != before
    assert wired.pointer.explain(corner + QPointF(120, 14)) == "The radius is too large. Give 0 to 100."


def test_a_vanished_type_is_drawn_as_a_stand_in_with_its_wires(page: GraphWorkspace) -> None:
    canvas = opened(
        page,
        Node(id="invert", type="image.invert", position=(80, 100)),
        Node(id="gone", type="plugin.gone", position=(500, 100), inputs={"picture": Link("invert", "image"), "how": 3}),
        Node(id="blur", type="image.blur", position=(900, 100), inputs={"image": Link("gone", "result")}),
    )
    assert item(canvas, "gone").schema.origin == "placeholder"
    assert {w.target for w in shown_wires(canvas)} == {"gone", "blur"}
    assert (
        canvas.view.viewport().grab().toImage().pixelColor(at(canvas, QPointF(620, 112))) != canvas.view.frames.ground
    )


def test_a_hostile_position_does_no_harm(page: GraphWorkspace) -> None:
    canvas = opened(
        page,
        Node(id="far", type="image.invert", position=(1e300, -1e300)),
        Node(id="near", type="image.blur", position=(0, 0), inputs={"image": Link("far", "image")}),
    )
    key(canvas, Qt.Key.Key_Home)
    canvas.view.viewport().grab()
    assert canvas.view.scale_factor > 0


def test_five_thousand_nodes_are_shown_panned_and_searched(page: GraphWorkspace) -> None:
    nodes = [
        Node(id=str(i), type="image.invert", position=((i % 70) * 300.0, i // 70 * 320.0),
             inputs={"image": Link(str(i - 1), "image")} if i else {})
        for i in range(5000)
    ]  # fmt: skip
    canvas = opened(page, *nodes)
    key(canvas, Qt.Key.Key_Home)
    assert len(canvas.scene.nodes_in(canvas.view.visible_area())) == 5000
    assert len(shown_wires(canvas)) == 4999
    canvas.view.pan(30, 20)
    QApplication.processEvents()
    canvas.view.look_at(item(canvas, "2500").rect().center(), 1.0)
    assert len(canvas.scene.nodes_in(canvas.view.visible_area())) < 40


def test_tabs_save_and_come_back(page: GraphWorkspace, tmp_path: Path) -> None:
    first = opened(page, Node(id="invert", type="image.invert"))
    assert page.tabs.bar.tabText(0).startswith("•")
    page.files.save()
    assert not page.tabs.bar.tabText(0).startswith("•")
    assert first.tab.path is not None
    assert first.tab.path.is_file()
    page.files.new()
    assert page.tabs.bar.count() == 2
    page.files.close_current()
    assert page.tabs.bar.count() == 1
    assert page.current is first


def test_an_empty_page_has_a_button_that_fills_it(page: GraphWorkspace) -> None:
    assert page.stack.currentWidget() is page.empty
    QTest.mouseClick(page.empty.button, Qt.MouseButton.LeftButton)
    canvas = page.current
    assert canvas is not None
    types = {node.type for node in canvas.document.nodes.values()}
    assert {"load.checkpoint", "sample.k_sampler"} <= types
    boxes = [found.rect() for found in canvas.scene.items_by_id.values()]
    assert not any(a.intersects(b) for i, a in enumerate(boxes) for b in boxes[i + 1 :])


def test_the_pages_keys_are_nobodys_when_another_page_is_shown(page: GraphWorkspace) -> None:
    opened(page, Node(id="invert", type="image.invert"))
    assert page._app.commands.is_bound("graph.delete")
    page.hide()
    assert not page._app.commands.is_bound("graph.delete")
