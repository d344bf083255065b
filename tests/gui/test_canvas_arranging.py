"""Arranging by hand: shaking a node out of its wires, lining up, spacing, bookmarks, and the lasso. Real mouse."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path

import pytest
from PySide6.QtCore import QEvent, QPoint, QPointF, QRectF, Qt
from PySide6.QtGui import QAction, QMouseEvent
from PySide6.QtTest import QTest
from PySide6.QtWidgets import QApplication, QMenu
from pytestqt.qtbot import QtBot

from engine.contracts.workflow import Link, Node
from tests.gui.canvas_room import (
    ALT,
    CTRL,
    LEFT,
    NONE,
    SHIFT,
    at,
    choose,
    click,
    graph_workspace,
    item,
    key,
    opened,
    wires,
)
from ui.graph_canvas.canvas import Canvas
from ui.graph_canvas.workspace import GraphWorkspace


@pytest.fixture
def page(tmp_path: Path, qtbot: QtBot) -> Iterator[GraphWorkspace]:
    with graph_workspace(tmp_path, qtbot) as found:
        yield found


@pytest.fixture
def chain(page: GraphWorkspace) -> Canvas:
    return opened(
        page,
        Node(id="solid", type="image.solid", position=(40, 60)),
        Node(id="invert", type="image.invert", position=(360, 90), inputs={"image": Link("solid", "image")}),
        Node(id="blur", type="image.blur", position=(700, 140), inputs={"image": Link("invert", "image")}),
    )


def stroke(
    canvas: Canvas, places: Sequence[QPointF], modifiers: Qt.KeyboardModifier = NONE, *, end: bool = True
) -> None:
    """Press at the first place, go through the others in small steps, let go at the last."""
    port = canvas.view.viewport()
    points = [QPointF(at(canvas, place)) for place in places]
    QTest.mousePress(port, LEFT, modifiers, points[0].toPoint())
    for a, b in pairwise(points):
        steps = max(1, int(math.hypot(b.x() - a.x(), b.y() - a.y()) / 8))
        for step in range(1, steps + 1):
            place = a + (b - a) * step / steps
            QApplication.sendEvent(port, QMouseEvent(
                QEvent.Type.MouseMove, place, QPointF(port.mapToGlobal(place.toPoint())), Qt.MouseButton.NoButton,
                LEFT, modifiers,
            ))  # fmt: skip
    if end:
        QTest.mouseRelease(port, LEFT, modifiers, points[-1].toPoint())
    QApplication.processEvents()


def grip(canvas: Canvas, name: str) -> QPointF:
    """A place on a node's title."""
    return QPointF(*item(canvas, name).corner) + QPointF(120, 14)


def shake(canvas: Canvas, name: str, turns: int = 6, width: float = 40.0, *, end: bool = True) -> None:
    start = grip(canvas, name)
    places = [start] + [start + QPointF(width * (1 if n % 2 == 0 else -1), 0) for n in range(turns)]
    stroke(canvas, places, end=end)


JOINED = {("solid", "image", "blur", "image")}
WHOLE = {("solid", "image", "invert", "image"), ("invert", "image", "blur", "image")}


# ---- shaking


def test_a_shaken_node_leaves_its_wires_and_what_it_stood_between_is_joined(chain: Canvas) -> None:
    shake(chain, "invert")
    assert wires(chain) == JOINED
    assert chain.document.nodes["invert"].position == (320.0, 90.0)  # where the hand let go
    key(chain, Qt.Key.Key_Z, CTRL)
    key(chain, Qt.Key.Key_Z, CTRL)
    assert wires(chain) == WHOLE
    assert chain.document.nodes["invert"].position == (360.0, 90.0)


def test_an_ordinary_drag_that_turns_back_once_shakes_nothing_off(chain: Canvas) -> None:
    start = grip(chain, "invert")
    stroke(chain, [start, start + QPointF(120, 40), start + QPointF(-60, 80)])
    assert wires(chain) == WHOLE
    shake(chain, "blur", turns=4)
    assert wires(chain) == WHOLE


def test_shaking_counts_from_where_the_hand_took_the_node_not_from_the_windows_edge(chain: Canvas) -> None:
    start = grip(chain, "blur")  # far to the right: the way from the edge to there is no turn
    stroke(chain, [start, *(start + QPointF(x, 0) for x in (-30, 10, -30, 10))])
    assert wires(chain) == WHOLE


def test_a_shake_that_is_given_up_leaves_everything_as_it_was(chain: Canvas) -> None:
    before = chain.document.workflow
    shake(chain, "invert", end=False)
    assert wires(chain) == JOINED
    QTest.keyClick(chain.view, Qt.Key.Key_Escape)
    QTest.mouseRelease(chain.view.viewport(), LEFT, NONE, QPoint(5, 5))
    assert chain.document.workflow == before
    assert item(chain, "invert").corner == (360.0, 90.0)


def test_a_slow_shake_is_a_drag(chain: Canvas, monkeypatch: pytest.MonkeyPatch) -> None:
    now = iter(range(1000))
    monkeypatch.setattr("ui.graph_canvas.tools.moving.perf_counter", lambda: float(next(now)))
    shake(chain, "invert", turns=8)
    assert wires(chain) == WHOLE


# ---- lining up and spacing, from the menu


@pytest.fixture
def loose(page: GraphWorkspace) -> Canvas:
    return opened(
        page,
        Node(id="a", type="image.solid", position=(40, 40)), Node(id="b", type="text.length", position=(330, 95)),
        Node(id="c", type="image.invert", position=(700, 300)), Node(id="d", type="text.trim", position=(420, 480)),
    )  # fmt: skip


def boxes(canvas: Canvas) -> dict[str, QRectF]:
    return {name: found.rect() for name, found in canvas.scene.items_by_id.items()}


def from_menu(canvas: Canvas, name: str, *path: str) -> None:
    """Press the right button on a node's title and choose from the menu that opens, and from those within it."""
    QTest.mouseClick(canvas.view.viewport(), Qt.MouseButton.RightButton, NONE, at(canvas, grip(canvas, name)))
    QApplication.processEvents()
    menu = QApplication.activePopupWidget()
    for words in path:
        assert isinstance(menu, QMenu)
        action: QAction = next(a for a in menu.actions() if a.text().partition("\t")[0] == words)
        place, inside = menu.actionGeometry(action).center(), action.menu()
        QTest.mouseMove(menu, place)
        QTest.mouseClick(menu, LEFT, NONE, place)
        QApplication.processEvents()
        menu = inside if isinstance(inside, QMenu) else None


def choose_all(canvas: Canvas) -> None:
    canvas.view.setFocus()
    key(canvas, Qt.Key.Key_A, CTRL)
    assert len(canvas.scene.selected) == 4


@pytest.mark.parametrize(
    ("words", "edge"),
    [
        ("Align left edges", QRectF.left), ("Align right edges", QRectF.right), ("Align top edges", QRectF.top),
        ("Align bottom edges", QRectF.bottom),
    ],
)  # fmt: skip
def test_edges_are_brought_to_one_line_from_the_menu(loose: Canvas, words: str, edge: object) -> None:
    assert callable(edge)
    before = boxes(loose)
    choose_all(loose)
    from_menu(loose, "b", "Arrange", words)
    after = boxes(loose)
    assert len({round(edge(box), 3) for box in after.values()}) == 1
    outermost = min if "left" in words or "top" in words else max
    assert edge(after["a"]) == pytest.approx(outermost(edge(box) for box in before.values()))
    along = "y" if "left" in words or "right" in words else "x"
    assert [getattr(box, along)() for box in after.values()] == [getattr(box, along)() for box in before.values()]
    key(loose, Qt.Key.Key_Z, CTRL)
    assert boxes(loose) == before


@pytest.mark.parametrize(("words", "across"), [("Space evenly across", True), ("Space evenly down", False)])
def test_gaps_are_made_equal_and_the_outer_nodes_stay(loose: Canvas, words: str, across: bool) -> None:
    before = boxes(loose)
    choose_all(loose)
    from_menu(loose, "b", "Arrange", words)
    found = sorted(boxes(loose).values(), key=lambda box: box.left() if across else box.top())
    gaps = [b.left() - a.right() if across else b.top() - a.bottom() for a, b in pairwise(found)]
    assert max(gaps) - min(gaps) < 1.01
    order = sorted(before.values(), key=lambda box: box.left() if across else box.top())
    assert (found[0].topLeft(), found[-1].topLeft()) == (order[0].topLeft(), order[-1].topLeft())


def test_keys_line_up_and_too_few_nodes_are_said(loose: Canvas) -> None:
    click(loose, grip(loose, "a"))
    click(loose, grip(loose, "b"), SHIFT)
    assert loose.scene.selected == {"a", "b"}
    key(loose, Qt.Key.Key_Up, CTRL | SHIFT)
    assert boxes(loose)["a"].top() == boxes(loose)["b"].top()
    key(loose, Qt.Key.Key_H, CTRL | SHIFT)
    assert "three nodes" in loose.note.label.text()


# ---- bookmarks


def level(canvas: Canvas) -> tuple[str, ...]:
    """The subgraphs that are open."""
    return canvas.document.level


def test_a_bookmark_is_put_named_and_gone_back_to_at_its_level(page: GraphWorkspace, chain: Canvas) -> None:
    chain.view.look_at(QPointF(900, 700), 0.5)
    QTest.mouseClick(chain.view.viewport(), Qt.MouseButton.RightButton, NONE, QPoint(600, 60))
    menu = QApplication.activePopupWidget()
    assert isinstance(menu, QMenu)
    action = next(a for a in menu.actions() if a.text().startswith("Bookmark this view"))
    QTest.mouseClick(menu, LEFT, NONE, menu.actionGeometry(action).center())
    QApplication.processEvents()
    (mark,) = chain.document.content.bookmarks
    assert (mark.name, mark.scale) == ("View 1", 0.5)
    chain.scene.select(["invert"])
    key(chain, Qt.Key.Key_E, CTRL)  # a subgraph
    inner = next(n for n, node in chain.document.nodes.items() if node.type.startswith("subgraph:"))
    chain.go_to_level((inner,))
    chain.view.look_at(QPointF(380, 120), 1.25)
    chain.view.setFocus()
    key(chain, Qt.Key.Key_B, CTRL)
    assert [m.name for m in chain.document.content.bookmarks] == ["View 1", "View 2"]
    key(chain, Qt.Key.Key_F, CTRL)
    choose(chain, "view 1")
    assert level(chain) == ()
    assert chain.view.scale_factor == pytest.approx(0.5)
    assert (chain.view.centre() - QPointF(900, 700)).manhattanLength() < 4
    chain.view.setFocus()
    key(chain, Qt.Key.Key_F, CTRL)
    choose(chain, "view 2")
    assert level(chain) == (inner,)
    assert chain.view.scale_factor == pytest.approx(1.25)
    assert (chain.view.centre() - QPointF(380, 120)).manhattanLength() < 4
    chain.view.setFocus()
    key(chain, Qt.Key.Key_Z, CTRL)
    assert [m.name for m in chain.document.content.bookmarks] == ["View 1"]


def test_a_bookmark_of_a_subgraph_that_is_gone_is_said_and_shows_nothing_wrong(chain: Canvas) -> None:
    chain.scene.select(["invert"])
    key(chain, Qt.Key.Key_E, CTRL)
    inner = next(n for n, node in chain.document.nodes.items() if node.type.startswith("subgraph:"))
    chain.go_to_level((inner,))
    key(chain, Qt.Key.Key_B, CTRL)
    chain.go_to_level(())
    chain.scene.select([inner])
    key(chain, Qt.Key.Key_Delete)
    where = chain.view.centre()
    chain.view.setFocus()
    key(chain, Qt.Key.Key_F, CTRL)
    choose(chain, "view 1")
    assert level(chain) == ()
    assert chain.note.isVisible()
    assert inner in chain.note.label.text() or "no" in chain.note.label.text()
    assert chain.view.centre() == where


# ---- the lasso


def around(canvas: Canvas, *names: str, slack: float = 14.0) -> list[QPointF]:
    """A freehand line around nodes, as a rounded box."""
    box = QRectF()
    for name in names:
        box = box.united(item(canvas, name).rect())
    box.adjust(-slack, -slack, slack, slack)
    corners = [box.topLeft(), box.topRight(), box.bottomRight(), box.bottomLeft(), box.topLeft()]
    return [QPointF(corner) for corner in corners]


def test_a_lasso_selects_what_it_goes_around_and_shift_adds(loose: Canvas) -> None:
    stroke(loose, around(loose, "a"), ALT)
    assert loose.scene.selected == {"a"}
    stroke(loose, around(loose, "c"), ALT)
    assert loose.scene.selected == {"c"}
    stroke(loose, around(loose, "d"), ALT | SHIFT)
    assert loose.scene.selected == {"c", "d"}


def test_a_lasso_is_freehand_and_takes_what_a_box_could_not(loose: Canvas) -> None:
    """A line in the shape of an L around the left and the lower node, past the one in its corner's box."""
    a, d, b = (item(loose, name).rect() for name in ("a", "d", "b"))
    right = (a.right() + b.left()) / 2
    below = (b.bottom() + d.top()) / 2
    line = [
        QPointF(a.left() - 12, a.top() - 12), QPointF(right, a.top() - 12), QPointF(right, below),
        QPointF(d.right() + 12, below), QPointF(d.right() + 12, d.bottom() + 12),
        QPointF(a.left() - 12, d.bottom() + 12), QPointF(a.left() - 12, a.top() - 12),
    ]  # fmt: skip
    stroke(loose, line, ALT)
    assert loose.scene.selected == {"a", "d"}


def test_a_lasso_given_up_brings_the_selection_back_and_an_alt_click_lets_go(loose: Canvas) -> None:
    click(loose, grip(loose, "b"))
    stroke(loose, around(loose, "a"), ALT, end=False)
    assert loose.scene.selected == {"a"}
    QTest.keyClick(loose.view, Qt.Key.Key_Escape)
    QTest.mouseRelease(loose.view.viewport(), LEFT, ALT, QPoint(2, 2))
    assert loose.scene.selected == {"b"}
    click(loose, QPointF(900, 60), ALT)
    assert loose.scene.selected == set()


def test_the_lassos_line_is_seen_while_it_is_drawn_and_gone_after(loose: Canvas) -> None:
    port = loose.view.viewport()
    before = port.grab().toImage()
    line = around(loose, "c")
    stroke(loose, line, ALT, end=False)
    middle = at(loose, (line[2] + line[3]) / 2)
    changed = sum(
        port.grab().toImage().pixel(middle.x() + dx, middle.y() + dy) != before.pixel(middle.x() + dx, middle.y() + dy)
        for dx in range(-12, 12, 3) for dy in (-1, 0, 1)
    )  # fmt: skip
    assert changed > 4
    QTest.mouseRelease(port, LEFT, ALT, at(loose, line[-1]))
    loose.scene.select(())
    QApplication.processEvents()
    assert port.grab().toImage().pixel(middle) == before.pixel(middle)
