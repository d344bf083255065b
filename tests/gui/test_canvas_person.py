"""A person at the canvas: from nothing to the picture by keyboard only, and by mouse only, on the starter model."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PySide6.QtCore import QPointF, Qt
from PySide6.QtGui import QImage
from PySide6.QtTest import QTest
from PySide6.QtWidgets import QApplication
from pytestqt.qtbot import QtBot

from tests.gui.canvas_room import CTRL, LEFT, NONE, click, double_click, drag, graph_workspace, item
from tests.gui.create_room import until
from ui.graph_canvas.canvas import Canvas
from ui.graph_canvas.workspace import GraphWorkspace

PROMPT = "a red circle on a blue background"
WANTED = {
    ("checkpoint", "clip", "encode_text", "clip"), ("checkpoint", "clip", "encode_text_2", "clip"),
    ("checkpoint", "model", "k_sampler", "model"), ("encode_text", "conditioning", "k_sampler", "positive"),
    ("encode_text_2", "conditioning", "k_sampler", "negative"), ("empty", "latent", "k_sampler", "latent"),
    ("k_sampler", "latent", "decode_image", "latent"), ("checkpoint", "vae", "decode_image", "vae"),
    ("decode_image", "image", "save", "image"),
}  # fmt: skip


@pytest.fixture
def page(tmp_path: Path, qtbot: QtBot) -> Iterator[GraphWorkspace]:
    with graph_workspace(tmp_path, qtbot, started=True) as found:
        found.app.settings.set("generation.output_folder", str(tmp_path / "pictures"))
        if found.app.models.starter() is None:
            pytest.skip("the starter model is not in this checkout")
        found.take_focus()
        yield found


def type_keys(*pressed: Qt.Key | str, modifiers: Qt.KeyboardModifier = NONE) -> None:
    """Press keys and type texts wherever the keyboard is."""
    for each in pressed:
        target = QApplication.focusWidget()
        assert target is not None
        if isinstance(each, str):
            QTest.keyClicks(target, each)
        else:
            QTest.keyClick(target, each, modifiers)
        QApplication.processEvents()


def wires_of(canvas: Canvas) -> set[tuple[str, str, str, str]]:
    return {(w.source, w.output, w.target, w.input) for w in canvas.document.wires()}


def assert_the_picture(page: GraphWorkspace, qtbot: QtBot, folder: Path) -> None:
    """One picture was saved: red in the middle, blue in the corners."""
    canvas = page.current
    assert canvas is not None
    until(qtbot, lambda: not page.runs.jobs_of(canvas), 120)
    assert canvas.scene.states["save"].kind == "done", canvas.scene.states["save"]
    (path,) = folder.rglob("*.png")
    image = QImage(str(path)).convertToFormat(QImage.Format.Format_RGB888)
    rows = np.frombuffer(image.constBits(), np.uint8).reshape(image.height(), image.bytesPerLine())
    made = rows[:, : image.width() * 3].reshape(image.height(), image.width(), 3).astype(int)
    assert made.shape == (128, 128, 3)
    red, _, blue = made[64, 64]
    assert red > blue + 60
    for y, x in ((4, 4), (4, -5), (-5, 4), (-5, -5)):
        red, _, blue = made[y, x]
        assert blue > red + 40


def test_by_keyboard_alone_from_nothing_to_the_picture(page: GraphWorkspace, qtbot: QtBot, tmp_path: Path) -> None:
    enter, tab, add, connect = Qt.Key.Key_Return, Qt.Key.Key_Tab, Qt.Key.Key_Space, Qt.Key.Key_C
    type_keys(Qt.Key.Key_N, modifiers=CTRL)
    canvas = page.current
    assert canvas is not None
    type_keys(add, "checkpoint", enter)
    type_keys(add, "encode text", enter, connect, "clip checkpoint", enter)
    type_keys(Qt.Key.Key_F2, "Undesired", enter)
    type_keys(add, "encode text", enter, connect, "clip checkpoint", enter)
    type_keys(enter, PROMPT)
    type_keys(enter, modifiers=CTRL)  # a prompt has lines: Ctrl+Enter is done with it
    type_keys(add, "empty latent", enter, enter, "128", tab, "128", enter)
    type_keys(add, "sampler", enter, enter, tab, "10", enter)
    assert canvas.document.nodes["k_sampler"].inputs["steps"] == 10
    for words in ("model checkpoint", "positive encode", "negative undesired", "latent empty"):
        type_keys(connect, words, enter)
    type_keys(add, "decode", enter, connect, "latent sampler", enter, connect, "vae", enter)
    type_keys(add, "save image", enter, connect, "image", enter)
    swapped = {"encode_text": "encode_text_2", "encode_text_2": "encode_text"}  # the undesired words came first here
    assert {tuple(swapped.get(part, part) for part in wire) for wire in wires_of(canvas)} == WANTED
    type_keys(enter, modifiers=CTRL)
    assert page.runs.jobs_of(canvas)
    assert_the_picture(page, qtbot, tmp_path / "pictures")


def pick(canvas: Canvas, title: str) -> None:
    """Click a row of the list that floats, scrolled to."""
    popup = canvas.popup
    assert popup.isVisible()
    row = next(i for i, found in enumerate(popup.model.rows) if found.title == title)
    index = popup.model.index(row)
    popup.list.scrollTo(index)
    QTest.mouseClick(popup.list.viewport(), LEFT, NONE, popup.list.visualRect(index).center())
    QApplication.processEvents()


def socket(canvas: Canvas, name: str, which: str, *, out: bool) -> QPointF:
    return item(canvas, name).output_place(which) if out else item(canvas, name).input_place(which)


def test_by_mouse_alone_from_nothing_to_the_picture(page: GraphWorkspace, qtbot: QtBot, tmp_path: Path) -> None:
    QTest.mouseClick(page.blank, LEFT)
    canvas = page.current
    assert canvas is not None
    canvas.view.look_at(QPointF(800, 500), 0.6)
    titles = {t: page.app.node_types().types[t].schema.title for t in (
        "load.checkpoint", "condition.encode_text", "latent.empty", "sample.k_sampler", "latent.decode_image",
        "image.save")}  # fmt: skip
    places = {
        "load.checkpoint": (40, 120), "condition.encode_text": (400, 60), "latent.empty": (400, 620),
        "sample.k_sampler": (760, 200), "latent.decode_image": (1120, 200), "image.save": (1120, 560),
    }  # fmt: skip
    for kind, place in places.items():
        double_click(canvas, QPointF(*place))
        pick(canvas, titles[kind])
    double_click(canvas, QPointF(400, 340))
    pick(canvas, titles["condition.encode_text"])
    for source, output, target, into in sorted(WANTED):
        drag(canvas, socket(canvas, source, output, out=True), socket(canvas, target, into, out=False))
    assert wires_of(canvas) == WANTED
    drag_number(canvas, "empty", "width", 128, 370)
    drag_number(canvas, "empty", "height", 128, 370)
    drag_number(canvas, "k_sampler", "steps", 10, 118)
    write_prompt(canvas, "encode_text", PROMPT)
    QTest.mouseClick(page.bar.run, LEFT)
    assert page.runs.jobs_of(canvas)
    assert_the_picture(page, qtbot, tmp_path / "pictures")


def row_middle(canvas: Canvas, node: str, name: str) -> QPointF:
    found = item(canvas, node)
    row = next(row for row in found.layout.rows if row.input == name)
    return QPointF(found.corner[0] + found.layout.width / 2, found.corner[1] + row.y + row.height / 2)


def drag_number(canvas: Canvas, node: str, name: str, wanted: int, about: int) -> None:
    """Drag a number to the left, `about` so far, until it is what it should be."""
    place = row_middle(canvas, node, name)
    for distance in range(about - 40, about + 40, 4):
        drag(canvas, place, place - QPointF(distance, 0))
        value = canvas.document.nodes[node].inputs.get(name)
        if value == wanted:
            return
        canvas.document.undo()
    raise AssertionError(f"no drag gives {wanted}")


def write_prompt(canvas: Canvas, node: str, text: str) -> None:
    """A double click opens the field; words have to be typed. A click on nothing is done with it."""
    double_click(canvas, row_middle(canvas, node, "text"))
    type_keys(text)
    click(canvas, QPointF(200, 1000))
