"""What the tests of the canvas share: a Graph page on a folder of its own, and hands for mouse and keys."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from PySide6.QtCore import QEvent, QPoint, QPointF, Qt
from PySide6.QtGui import QMouseEvent
from PySide6.QtTest import QTest
from PySide6.QtWidgets import QApplication
from pytestqt.qtbot import QtBot

from engine.contracts.workflow import Node, Workflow
from studio_app.documents.graph_document import Wire
from tests.gui.page_room import application, ended, start
from ui.graph_canvas.canvas import Canvas
from ui.graph_canvas.node_item import NodeItem
from ui.graph_canvas.workspace import GraphWorkspace

LEFT, NONE = Qt.MouseButton.LeftButton, Qt.KeyboardModifier.NoModifier
CTRL, ALT, SHIFT = (
    Qt.KeyboardModifier.ControlModifier, Qt.KeyboardModifier.AltModifier, Qt.KeyboardModifier.ShiftModifier,
)  # fmt: skip


@contextmanager
def graph_workspace(data: Path, qtbot: QtBot, *, started: bool = False) -> Iterator[GraphWorkspace]:
    """The real page on the real application, shown at 1300 × 850; `started` opens the store and the engine lane."""
    app, bridge = application(data)
    page = GraphWorkspace(app, bridge)
    page.resize(1300, 850)
    page.show()
    qtbot.waitExposed(page)
    if started:
        start(app, bridge, qtbot)
    with ended(page, app, bridge, qtbot):
        yield page


def opened(page: GraphWorkspace, *nodes: Node) -> Canvas:
    """A tab with these nodes, seen at 1:1 from the canvas's corner."""
    page.files.open_workflow(Workflow(nodes=nodes))
    canvas = page.current
    assert canvas is not None
    canvas.view.look_at(QPointF(600, 380), 1.0)
    canvas.view.setFocus()
    QApplication.processEvents()
    return canvas


def item(canvas: Canvas, name: str) -> NodeItem:
    return canvas.scene.items_by_id[name]


def wires(canvas: Canvas) -> set[tuple[str, str, str, str]]:
    """The wires of the open level, as the document has them."""
    return {(w.source, w.output, w.target, w.input) for w in canvas.document.wires()}


def shown_wires(canvas: Canvas) -> set[Wire]:
    """The wires that the canvas paints."""
    return set(canvas.scene.table.rows)


def at(canvas: Canvas, place: QPointF) -> QPoint:
    """A place of the scene in the viewport."""
    return canvas.view.viewportTransform().map(place).toPoint()


def drag(
    canvas: Canvas,
    start: QPointF,
    end: QPointF,
    *,
    modifiers: Qt.KeyboardModifier = NONE,
    button: Qt.MouseButton = LEFT,
    release: bool = True,
) -> None:
    """Press at one place of the scene, move in steps, let go at another."""
    port = canvas.view.viewport()
    first, last = at(canvas, start), at(canvas, end)
    QTest.mousePress(port, button, modifiers, first)
    for step in range(1, 9):
        place = QPointF(first) + QPointF(last - first) * step / 8
        move = QMouseEvent(
            QEvent.Type.MouseMove, place, QPointF(port.mapToGlobal(place.toPoint())), Qt.MouseButton.NoButton, button,
            modifiers,
        )  # fmt: skip
        QApplication.sendEvent(port, move)
    if release:
        QTest.mouseRelease(port, button, modifiers, last)
    QApplication.processEvents()


def click(canvas: Canvas, place: QPointF, modifiers: Qt.KeyboardModifier = NONE) -> None:
    QTest.mouseClick(canvas.view.viewport(), LEFT, modifiers, at(canvas, place))
    QApplication.processEvents()


def double_click(canvas: Canvas, place: QPointF) -> None:
    QTest.mouseDClick(canvas.view.viewport(), LEFT, NONE, at(canvas, place))
    QApplication.processEvents()


def key(canvas: Canvas, pressed: Qt.Key, modifiers: Qt.KeyboardModifier = NONE) -> None:
    QTest.keyClick(canvas.view, pressed, modifiers)
    QApplication.processEvents()


def choose(canvas: Canvas, text: str) -> None:
    """Type into the list that floats and take its first row."""
    assert canvas.popup.isVisible()
    QTest.keyClicks(canvas.popup.query, text)
    QTest.keyClick(canvas.popup.query, Qt.Key.Key_Return)
    QApplication.processEvents()
