"""Values on the canvas: each editor changes the document by mouse and keys, and undo brings the former value back."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from PySide6.QtCore import QPointF, Qt
from PySide6.QtGui import QColor, QGuiApplication, QImage
from PySide6.QtTest import QTest
from PySide6.QtWidgets import QApplication, QLineEdit, QMenu, QWidget
from pytestqt.qtbot import QtBot

from engine.contracts.references import BlobRef, ModelRef
from engine.contracts.workflow import Link, Node
from studio_app.documents.seeds import advance
from tests.gui.canvas_room import choose, click, double_click, drag, graph_workspace, item, key, opened
from ui.graph_canvas.canvas import Canvas
from ui.graph_canvas.values.curve import CurveValue
from ui.graph_canvas.values.editor import ValueEditor
from ui.graph_canvas.values.fields import PromptValue, ValueField
from ui.graph_canvas.values.picture import PictureValue
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
        Node(id="sampler", type="sample.k_sampler", position=(80, 40)),
        Node(id="solid", type="image.solid", position=(500, 40)),
        Node(id="curves", type="image.curves", position=(500, 500)),
        Node(id="load", type="load.checkpoint", position=(820, 40)),
        Node(id="text", type="condition.encode_text", position=(820, 260)),
        Node(id="picture", type="image.load", position=(80, 500)),
        Node(id="noise", type="image.noise", position=(820, 450)),
    )


def editor_of(page: GraphWorkspace) -> ValueEditor:
    canvas = page.current
    assert canvas is not None
    return page.editors[canvas.tab.id]


def field(page: GraphWorkspace) -> ValueField:
    found = editor_of(page).field
    assert found is not None
    return found


def row(canvas: Canvas, node: str, name: str) -> QPointF:
    """The middle of a value's row, in the scene."""
    thing = item(canvas, node)
    found = next(r for r in thing.layout.rows if r.input == name and r.kind != "slot")
    return QPointF(thing.corner[0] + 150, thing.corner[1] + found.y + min(found.height, 26) / 2)


def value(canvas: Canvas, node: str, name: str) -> object:
    return canvas.document.nodes[node].inputs.get(name)


def focused() -> QWidget:
    """What has the keyboard."""
    widget = QApplication.focusWidget()
    assert widget is not None
    return widget


def write(text: str) -> None:
    """Type into whatever has the keyboard, then Enter."""
    widget = QApplication.focusWidget()
    assert isinstance(widget, QLineEdit)
    widget.selectAll()
    QTest.keyClicks(widget, text)
    QTest.keyClick(widget, Qt.Key.Key_Return)
    QApplication.processEvents()


def test_a_number_is_computed_and_undo_brings_the_default_back(page: GraphWorkspace, canvas: Canvas) -> None:
    double_click(canvas, row(canvas, "solid", "width"))
    write("1024*1.5")
    assert value(canvas, "solid", "width") == 1536
    assert isinstance(value(canvas, "solid", "width"), int)
    assert editor_of(page).field is None
    canvas.document.undo()
    assert "width" not in canvas.document.nodes["solid"].inputs


def test_a_number_beyond_its_range_is_clamped_and_said(page: GraphWorkspace, canvas: Canvas) -> None:
    click(canvas, row(canvas, "sampler", "steps"))
    write("9999")
    assert value(canvas, "sampler", "steps") == 500
    assert "500" in canvas.note.label.text()


def test_a_number_is_dragged_as_one_entry(page: GraphWorkspace, canvas: Canvas) -> None:
    start = row(canvas, "sampler", "cfg")
    drag(canvas, start, start + QPointF(44, 0))
    assert isinstance(value(canvas, "sampler", "cfg"), float)
    assert 7.5 <= float(str(value(canvas, "sampler", "cfg"))) <= 8.2
    canvas.document.undo()
    assert value(canvas, "sampler", "cfg") is None
    assert not canvas.document.can_undo


def test_escape_takes_back_what_the_editor_changed(page: GraphWorkspace, canvas: Canvas) -> None:
    click(canvas, row(canvas, "sampler", "steps"))
    QTest.keyClick(focused(), Qt.Key.Key_Up)
    assert value(canvas, "sampler", "steps") == 26
    QTest.keyClick(focused(), Qt.Key.Key_Escape)
    assert value(canvas, "sampler", "steps") is None
    assert editor_of(page).frame is None


def test_tab_goes_to_the_next_value_and_enter_begins_with_the_first(page: GraphWorkspace, canvas: Canvas) -> None:
    canvas.scene.select(["sampler"])
    key(canvas, Qt.Key.Key_Return)
    assert editor_of(page).place == ("sampler", "seed")
    QTest.keyClick(focused(), Qt.Key.Key_Tab)
    assert editor_of(page).place == ("sampler", "steps")
    write("12")
    assert value(canvas, "sampler", "steps") == 12


def test_a_digit_on_a_chosen_node_begins_to_write_its_number(page: GraphWorkspace, canvas: Canvas) -> None:
    canvas.scene.select(["solid"])
    key(canvas, Qt.Key.Key_7)
    widget = QApplication.focusWidget()
    assert isinstance(widget, QLineEdit)
    QTest.keyClicks(widget, "68")
    QTest.keyClick(widget, Qt.Key.Key_Return)
    assert value(canvas, "solid", "width") == 768


def test_a_large_seed_keeps_every_digit_and_the_die_and_lock_work(page: GraphWorkspace, canvas: Canvas) -> None:
    click(canvas, row(canvas, "sampler", "seed"))
    write("18446744073709551615")
    assert value(canvas, "sampler", "seed") == 18446744073709551615
    click(canvas, row(canvas, "sampler", "seed"))
    seed = field(page)
    assert isinstance(seed, SeedValue)
    QTest.mouseClick(seed.dice, Qt.MouseButton.LeftButton)
    first = value(canvas, "sampler", "seed")
    assert isinstance(first, int)
    assert first < 2**32
    QTest.mouseClick(seed.lock, Qt.MouseButton.LeftButton)
    editor = editor_of(page)
    editor.close_editor()
    assert canvas.document.nodes["sampler"].seeds == {"seed": "randomize"}
    assert advance(canvas.document) == 1
    assert value(canvas, "sampler", "seed") != first
    canvas.document.undo()
    assert value(canvas, "sampler", "seed") == first


def pick(menu: QMenu, words: str) -> None:
    """Click an entry of a menu that is open."""
    assert menu.isVisible()
    action = next(a for a in menu.actions() if a.text() == words)
    QTest.mouseClick(
        menu, Qt.MouseButton.LeftButton, Qt.KeyboardModifier.NoModifier, menu.actionGeometry(action).center()
    )


def test_what_becomes_of_a_seed_is_chosen_on_the_node_seen_there_and_taken_back(
    page: GraphWorkspace, canvas: Canvas
) -> None:
    click(canvas, row(canvas, "sampler", "seed"))
    seed = field(page)
    assert isinstance(seed, SeedValue)
    assert seed.lock.isChecked()
    before = picture_of_node(canvas, "sampler")
    QTest.mouseClick(seed.after, Qt.MouseButton.LeftButton)
    assert [a.isChecked() for a in seed.menu.actions()] == [True, False, False, False]
    pick(seed.menu, "Count up after each run")
    assert canvas.document.nodes["sampler"].seeds == {"seed": "increment"}
    assert not seed.lock.isChecked()
    editor_of(page).close_editor()
    assert picture_of_node(canvas, "sampler") != before
    write_seed = value(canvas, "sampler", "seed")
    advance(canvas.document)
    assert value(canvas, "sampler", "seed") == int(write_seed or 0) + 1  # type: ignore[call-overload]
    canvas.document.undo()
    canvas.document.undo()
    assert canvas.document.nodes["sampler"].seeds == {}
    assert picture_of_node(canvas, "sampler") == before


def picture_of_node(canvas: Canvas, name: str) -> QImage:
    """The node as it is painted, without what floats over the canvas."""
    canvas.view.wait_for_pictures()
    return canvas.view.frames._picture(item(canvas, name), 1.0, 1.0).toImage()


def test_a_switch_is_turned_in_place(page: GraphWorkspace, canvas: Canvas) -> None:
    click(canvas, row(canvas, "noise", "coloured"))
    assert value(canvas, "noise", "coloured") is False
    assert editor_of(page).frame is None
    canvas.document.undo()
    assert value(canvas, "noise", "coloured") is None


def test_a_sampler_is_chosen_by_a_few_letters(page: GraphWorkspace, canvas: Canvas) -> None:
    click(canvas, row(canvas, "sampler", "sampler"))
    choose(canvas, "euler_anc")
    assert value(canvas, "sampler", "sampler") == "euler_ancestral"
    canvas.document.undo()
    assert value(canvas, "sampler", "sampler") is None


def test_a_model_is_chosen_among_those_that_are_here(page: GraphWorkspace, canvas: Canvas) -> None:
    click(canvas, row(canvas, "load", "checkpoint"))
    choose(canvas, "starter")
    found = value(canvas, "load", "checkpoint")
    assert isinstance(found, ModelRef)
    assert found.name == "starter"


def test_a_prompt_is_written_on_the_node_as_one_entry(page: GraphWorkspace, canvas: Canvas) -> None:
    click(canvas, row(canvas, "text", "text"))
    assert isinstance(field(page), PromptValue)
    QTest.keyClicks(focused(), "a red circle")
    assert value(canvas, "text", "text") == "a red circle"
    click(canvas, QPointF(480, 700))
    assert editor_of(page).field is None
    canvas.document.undo()
    assert value(canvas, "text", "text") in (None, "")


def test_a_colour_is_written_and_nonsense_refused(page: GraphWorkspace, canvas: Canvas) -> None:
    click(canvas, row(canvas, "solid", "colour"))
    write("#ff8800")
    assert value(canvas, "solid", "colour") == "#ff8800"
    click(canvas, row(canvas, "solid", "colour"))
    write("no colour")
    assert value(canvas, "solid", "colour") == "#ff8800"
    assert "#ff8800" in canvas.note.label.text()


def test_a_curve_point_is_moved_by_keys(page: GraphWorkspace, canvas: Canvas) -> None:
    click(canvas, row(canvas, "curves", "points"))
    curve = field(page)
    assert isinstance(curve, CurveValue)
    QTest.keyClick(curve.area, Qt.Key.Key_Up, Qt.KeyboardModifier.ShiftModifier)
    assert value(canvas, "curves", "points") == "0,0.1; 0.25,0.2; 0.75,0.8; 1,1"
    canvas.document.undo()
    assert value(canvas, "curves", "points") is None


def test_a_picture_is_pasted_into_the_store(page: GraphWorkspace, canvas: Canvas, qtbot: QtBot) -> None:
    page._app.start()
    page._app.wait_ready(30)
    image = QImage(12, 8, QImage.Format.Format_RGB32)
    image.fill(QColor("#3366cc"))
    QGuiApplication.clipboard().setImage(image)
    click(canvas, row(canvas, "picture", "image"))
    shown = field(page)
    assert isinstance(shown, PictureValue)
    with qtbot.waitSignal(shown.changed):
        shown.paste()
    ref = value(canvas, "picture", "image")
    assert isinstance(ref, BlobRef)
    back = QImage.fromData(page._app.library.read(ref))
    assert (back.width(), back.height(), back.pixelColor(3, 3).name()) == (12, 8, "#3366cc")


def test_a_value_becomes_a_socket_and_a_value_again(page: GraphWorkspace, canvas: Canvas) -> None:
    from PySide6.QtWidgets import QMenu

    from ui.graph_canvas.values.menu import add_value_acts

    def act(words: str) -> None:
        menu = QMenu()
        add_value_acts(menu, editor_of(page), "sampler", "steps")
        next(a for a in menu.actions() if a.text() == words).trigger()

    act("Show Steps as a socket")
    assert "steps" in item(canvas, "sampler").layout.inputs
    assert all(r.kind == "slot" for r in item(canvas, "sampler").layout.rows if r.input == "steps")
    act("Show Steps as a value")
    assert any(r.kind == "value" for r in item(canvas, "sampler").layout.rows if r.input == "steps")
    editor_of(page).set_value("sampler", "steps", 9)
    act("Reset Steps")
    assert value(canvas, "sampler", "steps") is None


def test_a_linked_value_is_not_edited(page: GraphWorkspace) -> None:
    canvas = opened(
        page,
        Node(id="size", type="image.size", position=(60, 60)),
        Node(id="solid", type="image.solid", position=(500, 40), inputs={"width": Link("size", "width")}),
    )
    editor_of(page).edit("solid", "width")
    assert editor_of(page).field is None
    assert "wire" in canvas.note.label.text()
