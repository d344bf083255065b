"""A run on the canvas: texts and pictures on nodes as soon as they are there, at every level, and runs made anew."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PySide6.QtCore import QPointF, Qt
from PySide6.QtGui import QImage
from PySide6.QtTest import QTest
from PySide6.QtWidgets import QApplication
from pytestqt.qtbot import QtBot

from engine.contracts.job_events import JobEvent
from engine.contracts.workflow import Link, Node, Socket, Subgraph, Workflow
from tests.gui.canvas_room import ALT, CTRL, SHIFT, at, click, double_click, graph_workspace, item, key, opened
from tests.gui.create_room import until
from ui.graph_canvas.canvas import Canvas
from ui.graph_canvas.run_record import RunRecord, summary
from ui.graph_canvas.states import NodeState
from ui.graph_canvas.workspace import GraphWorkspace

LONG = " ".join(f"word{number}" for number in range(400))


@pytest.fixture
def page(tmp_path: Path, qtbot: QtBot) -> Iterator[GraphWorkspace]:
    with graph_workspace(tmp_path, qtbot, started=True) as found:
        found.app.settings.set("generation.output_folder", str(tmp_path / "pictures"))
        yield found


def run_with_keys(page: GraphWorkspace, canvas: Canvas, qtbot: QtBot, modifiers: Qt.KeyboardModifier = CTRL) -> None:
    """Press Enter with modifiers on the canvas and wait until the job it began is over."""
    over: list[JobEvent] = []

    def note(event: JobEvent) -> None:
        if event.kind == "finished":
            over.append(event)

    page.bridge.job_event.connect(note)
    canvas.view.setFocus()
    key(canvas, Qt.Key.Key_Return, modifiers)
    until(qtbot, lambda: bool(over) and not page.runs.jobs_of(canvas), 60)
    page.bridge.job_event.disconnect(note)


def texts_and_numbers() -> tuple[Node, ...]:
    return (
        Node(id="say", type="text.join", position=(40, 60), inputs={"a": "a boat", "b": LONG}),
        Node(id="count", type="text.length", position=(340, 60), inputs={"text": Link("say", "text")}),
        Node(id="sum", type="maths.calculate", position=(640, 60), inputs={"a": Link("count", "length"), "b": 0.5}),
        Node(id="show", type="utility.show", position=(640, 420), inputs={"value": Link("sum", "number")}),
        Node(id="all", type="utility.show", position=(940, 420), inputs={"value": Link("say", "text")}),
    )


def ink(canvas: Canvas, name: str) -> int:
    """How many pixels of the room for a node's result are neither its paper nor close to it."""
    canvas.view.wait_for_pictures()
    QApplication.processEvents()
    area = item(canvas, name).layout.result
    assert area is not None
    corner = QPointF(*item(canvas, name).corner) + QPointF(area[0] + 4, area[1] + 1)
    seen = canvas.view.viewport().grab().toImage().convertToFormat(QImage.Format.Format_RGB32)
    place = at(canvas, corner)
    part = seen.copy(place.x(), place.y(), int(area[2]) - 6, int(area[3]) - 2)
    pixels = np.frombuffer(part.constBits(), np.uint8).reshape(part.height(), part.width(), 4)[..., :3].astype(int)
    return int((np.abs(pixels - pixels[0, 0]).max(-1) > 60).sum())


def test_texts_and_numbers_stand_on_their_nodes_and_can_be_selected_in_the_properties(
    page: GraphWorkspace, qtbot: QtBot
) -> None:
    canvas = opened(page, *texts_and_numbers())
    page.inspector().show()
    empty = {name: ink(canvas, name) for name in ("say", "count", "sum", "show")}
    assert set(empty.values()) == {0}
    run_with_keys(page, canvas, qtbot)
    texts = canvas.scene.texts
    whole = canvas.scene.texts["say"]
    assert whole.startswith("a boat")
    assert whole.endswith("word399")
    assert texts["count"] == str(len(whole))
    assert texts["sum"] == f"number {len(whole)}.5\nwhole {round(len(whole) + 0.5)}"
    assert texts["show"] == f"{len(whole)}.5"
    assert texts["all"].startswith("a boat")
    assert all(ink(canvas, name) > 15 for name in empty)
    lines = canvas.view.frames.nodes.wrapped(whole, 200.0, 3)
    assert len(lines) == 3
    assert lines[-1].endswith("…")
    assert max(canvas.view.frames.nodes.row_metrics.horizontalAdvance(line) for line in lines) <= 200.0
    click(canvas, QPointF(*item(canvas, "say").corner) + QPointF(120, 14))
    panel = page.inspecting.panel
    assert panel.result is not None
    assert panel.result.text.toPlainText() == whole
    panel.result.text.setFocus()
    QTest.keyClick(panel.result.text, Qt.Key.Key_A, CTRL)
    QTest.keyClick(panel.result.text, Qt.Key.Key_C, CTRL)
    assert QApplication.clipboard().text() == whole
    canvas.view.setFocus()
    key(canvas, Qt.Key.Key_P, CTRL | ALT)
    assert not canvas.scene.texts
    assert ink(canvas, "say") == 0
    key(canvas, Qt.Key.Key_P, CTRL | ALT)
    assert canvas.scene.texts["say"] == whole


def test_a_constant_has_no_room_for_its_value_a_second_time_and_a_result_grows_with_the_node(
    page: GraphWorkspace,
) -> None:
    canvas = opened(
        page, Node(id="number", type="utility.number"), Node(id="trim", type="text.trim"),
        Node(id="size", type="image.size", size=(240.0, 400.0)), Node(id="sum", type="text.length"),
    )  # fmt: skip
    assert item(canvas, "number").layout.result is None
    heights = {name: (item(canvas, name).layout.result or (0, 0, 0, 0))[3] for name in ("size", "trim", "sum")}
    assert heights["size"] > 200
    assert (heights["trim"], heights["sum"]) == (64.0, 26.0)
    size = item(canvas, "size").layout
    assert size.height == pytest.approx(400.0, abs=8.0)


# ---- within a subgraph


def picture_chain(draw: dict[str, Any] | None = None) -> tuple[Node, ...]:
    """Small nodes that make a picture without any model."""
    return (
        Node(id="solid", type="image.solid", position=(40, 60), inputs={"width": 64, "height": 64, **(draw or {})}),
        Node(id="turned", type="image.invert", position=(340, 60), inputs={"image": Link("solid", "image")}),
        Node(id="length", type="text.length", position=(640, 60), inputs={"text": "four"}),
    )


def nested(draw: dict[str, Any] | None = None) -> Workflow:
    """A subgraph within a subgraph, and a node that takes its picture."""
    inner = Subgraph(
        id="inner",
        name="Inner",
        nodes=picture_chain(draw),
        outputs=(Socket(name="out", node="turned", socket="image"), Socket(name="n", node="length", socket="length")),
    )
    outer = Subgraph(
        id="outer", name="Outer",
        nodes=(
            Node(id="deep", type="subgraph:inner", position=(60, 60)),
            Node(id="soft", type="image.blur", position=(360, 60), inputs={"image": Link("deep", "out")}),
        ),
        outputs=(Socket(name="out", node="soft", socket="image"), Socket(name="n", node="deep", socket="n")),
    )  # fmt: skip
    return Workflow(
        nodes=(
            Node(id="box", type="subgraph:outer", position=(60, 60)),
            Node(id="save", type="image.save", position=(420, 60), inputs={"image": Link("box", "out")}),
            Node(id="show", type="utility.show", position=(420, 400), inputs={"value": Link("box", "n")}),
        ),
        subgraphs=(outer, inner),
    )


def enter(canvas: Canvas, name: str) -> None:
    """A double click on the title of a subgraph."""
    double_click(canvas, QPointF(*item(canvas, name).corner) + QPointF(120, 14))


def kinds(canvas: Canvas) -> dict[str, str]:
    return {name: state.kind for name, state in canvas.scene.states.items()}


def test_what_runs_within_a_subgraph_is_seen_there_and_counted_outside(page: GraphWorkspace, qtbot: QtBot) -> None:
    page.files.open_workflow(nested())
    canvas = page.current
    assert canvas is not None
    canvas.view.look_at(QPointF(400, 300), 1.0)
    badges: list[str] = []
    canvas.scene.dirty.connect(lambda area: badges.append(canvas.scene.states.get("box", NodeState()).badge))
    run_with_keys(page, canvas, qtbot)
    assert kinds(canvas) == {"box": "done", "save": "done", "show": "done"}
    assert "1 of 2" in badges
    assert canvas.scene.states["box"].badge.endswith(" s")
    assert canvas.scene.previews["box"].width() == 64
    assert canvas.scene.texts["show"] == "4"
    enter(canvas, "box")
    assert canvas.document.level == ("box",)
    assert kinds(canvas) == {"deep": "done", "soft": "done"}
    assert canvas.scene.previews.keys() == {"deep", "soft"}
    canvas.view.look_at(QPointF(400, 300), 1.0)
    enter(canvas, "deep")
    assert kinds(canvas) == {"solid": "done", "turned": "done", "length": "done"}
    assert canvas.scene.texts == {"length": "4"}
    grey, white = (canvas.scene.previews[name].pixelColor(8, 8).value() for name in ("solid", "turned"))
    assert grey + white in {254, 255, 256}
    wire = next(w for w in canvas.document.wires() if w.source == "solid")
    assert "IMAGE, 64 × 64" in page.inspecting.running.flow(canvas, wire)
    canvas.go_to_level(())
    wire = next(w for w in canvas.document.wires() if w.source == "box" and w.output == "out")
    assert "IMAGE, 64 × 64" in page.inspecting.running.flow(canvas, wire)


def test_a_subgraph_opened_while_it_runs_goes_on_telling(
    page: GraphWorkspace, qtbot: QtBot, monkeypatch: pytest.MonkeyPatch
) -> None:
    page.files.open_workflow(nested())
    canvas = page.current
    assert canvas is not None
    job = page.runs.run(canvas)
    canvas.go_to_level(("box", "deep"))

    def say(kind: Any, node: str, **data: Any) -> None:
        page.runs._on_event(JobEvent(job=job, sequence=0, time=0.0, kind=kind, node=node, data=data))

    names = ["box:deep:solid", "box:deep:turned", "box:deep:length", "box:soft", "save"]
    say("planned", "", nodes=names, runs=5)
    assert kinds(canvas) == {"solid": "waiting", "turned": "waiting", "length": "waiting"}
    say("node_started", "box:deep:solid")
    say("node_progress", "box:deep:solid", done=1, total=4)
    assert canvas.scene.states["solid"].badge == "25%"
    assert page.runs.progress_of(canvas)[2] == "Solid colour"
    canvas.go_to_level(())
    assert canvas.scene.states["box"].badge == "0 of 2"
    assert canvas.scene.states["box"].progress == pytest.approx(0.25 / 3 / 2)
    drawn = QImage(8, 6, QImage.Format.Format_RGB32)
    monkeypatch.setattr(page.bridge, "preview", lambda asked: drawn if asked == job else None)
    say("node_progress", "box:deep:solid", done=2, total=4)
    assert canvas.scene.previews["box"].width() == 8  # what is drawn within is seen on the node around
    canvas.go_to_level(("box", "deep"))
    assert canvas.scene.previews["solid"].height() == 6
    say("node_finished", "box:deep:solid", seconds=1.5)
    canvas.go_to_level(("box",))
    assert canvas.scene.states["deep"].badge == "1 of 3"
    say("node_failed", "box:deep:turned", cause="It broke", hint="Mend it")
    canvas.go_to_level(())
    assert canvas.scene.states["box"].kind == "failed"
    assert canvas.scene.states["box"].text == "It broke. Mend it"
    until(qtbot, lambda: not page.runs.jobs_of(canvas), 60)


def test_a_fault_within_a_subgraph_is_gone_to_by_its_badge_outside(page: GraphWorkspace, qtbot: QtBot) -> None:
    page.files.open_workflow(nested({"width": -5}))
    canvas = page.current
    assert canvas is not None
    canvas.view.look_at(QPointF(400, 300), 1.0)
    run_with_keys(page, canvas, qtbot)
    assert canvas.scene.states["box"].kind == "failed"
    box = item(canvas, "box")
    click(canvas, QPointF(box.corner[0] + box.layout.width - 30, box.corner[1] + 16))
    assert canvas.document.level == ("box", "deep")
    assert canvas.scene.selected == {"solid"}
    assert page.editors[canvas.tab.id].place == ("solid", "width")


def test_copies_of_a_fragment_and_what_is_within_them_count_as_one() -> None:
    done, waiting = NodeState("done", seconds=2.0), NodeState("waiting")
    assert summary([done, waiting]).badge == "1 of 2"
    assert summary([done, done]).seconds == 4.0
    assert summary([waiting, waiting]).kind == "waiting"
    assert summary([NodeState("cached"), NodeState("cached")]).kind == "cached"
    assert summary([done, NodeState("failed", text="no")]).text == "no"
    from engine.graph.registry import Registry
    from studio_app.documents.graph_document import GraphDocument

    record = RunRecord(GraphDocument(Workflow(nodes=(Node(id="each", type="text.trim"),)), Registry.builtin()))
    record.say({"each": NodeState("running")})
    record.say({f"each[{n}]:draw": NodeState("running", 0.5) for n in range(3)})
    assert record.state("each").badge == "0 of 1"
    record.say({"each[2]:draw": done, "each": NodeState("done", seconds=9.0)})
    assert record.here(["each"])["each"].seconds == 9.0
    assert record.title("each[1]:draw") == "Trim"


# ---- at once


def test_a_picture_is_on_its_node_before_the_job_is_over(page: GraphWorkspace, qtbot: QtBot) -> None:
    slow = "a slow text " * 2000
    canvas = opened(
        page, *picture_chain()[:2],
        Node(id="save", type="image.save", position=(340, 420), inputs={"image": Link("turned", "image")}),
        Node(id="fill", type="utility.show", position=(640, 420), inputs={"value": slow}),
    )  # fmt: skip
    shown_at: dict[str, list[str]] = {}

    def note(event: JobEvent) -> None:
        if event.kind in {"node_finished", "finished"}:
            shown_at[event.node or "end"] = sorted(canvas.scene.previews)

    page.bridge.job_event.connect(note)  # after the page's own
    run_with_keys(page, canvas, qtbot)
    assert "solid" in shown_at["solid"]
    assert "turned" in shown_at["turned"]
    assert "save" in shown_at["save"]
    page.bridge.job_event.disconnect(note)


def test_decode_shows_its_picture_while_the_job_goes_on(page: GraphWorkspace, qtbot: QtBot) -> None:
    if page.app.models.starter() is None:
        pytest.skip("the starter model is not in this checkout")
    page.files.start_text_to_picture()
    canvas = page.current
    assert canvas is not None
    found: list[tuple[int, int]] = []

    def note(event: JobEvent) -> None:
        if event.kind == "node_finished" and event.node == "decode" and page.runs.jobs_of(canvas):
            picture = canvas.scene.previews.get("decode")
            found.append((picture.width(), picture.height()) if picture is not None else (0, 0))

    page.bridge.job_event.connect(note)
    run_with_keys(page, canvas, qtbot)
    assert found == [(128, 128)]
    page.bridge.job_event.disconnect(note)


# ---- anew


def ran(page: GraphWorkspace) -> tuple[list[str], list[str]]:
    """(nodes that ran, nodes that were kept) since the last time; begins to listen the first time."""
    heard: list[JobEvent] = getattr(page, "_heard", [])
    if not hasattr(page, "_heard"):
        page._heard = heard  # type: ignore[attr-defined]
        page.bridge.job_event.connect(heard.append)
    found = (
        [e.node for e in heard if e.kind == "node_finished"], [e.node for e in heard if e.kind == "node_cached"]
    )  # fmt: skip
    heard.clear()
    return found


def test_run_takes_what_is_kept_and_run_all_anew_runs_every_node(page: GraphWorkspace, qtbot: QtBot) -> None:
    canvas = opened(
        page, *picture_chain(),
        Node(id="save", type="image.save", position=(340, 420), inputs={"image": Link("turned", "image")}),
        Node(id="show", type="utility.show", position=(640, 420), inputs={"value": Link("length", "length")}),
    )  # fmt: skip
    every = sorted(canvas.document.nodes)
    ran(page)
    run_with_keys(page, canvas, qtbot)
    assert (sorted(ran(page)[0])) == every
    run_with_keys(page, canvas, qtbot)
    made, kept = ran(page)
    assert "solid" not in made
    assert {"save", "turned"} & set(kept)
    run_with_keys(page, canvas, qtbot, CTRL | ALT)
    made, kept = ran(page)
    assert (sorted(made), kept) == (every, [])
    assert {state.kind for state in canvas.scene.states.values()} == {"done"}
    canvas.scene.select(["turned"])
    run_with_keys(page, canvas, qtbot, CTRL | SHIFT)
    assert ran(page) == ([], ["turned"])


def test_the_run_bars_menu_says_what_each_run_does(page: GraphWorkspace, qtbot: QtBot) -> None:
    canvas = opened(page, *picture_chain()[:2])
    canvas.scene.select(["turned"])
    ran(page)
    QTest.mouseClick(page.bar.more, Qt.MouseButton.LeftButton)
    menu = page.bar.menu
    assert menu.isVisible()
    words = {action.text().partition("\t")[0]: action for action in menu.actions()}
    assert list(words) == ["Run what changed", "Run all anew", "Run to the selected nodes"]
    assert "Ctrl+Alt+Enter" in words["Run all anew"].text()
    place = menu.actionGeometry(words["Run to the selected nodes"]).center()
    QTest.mouseClick(menu, Qt.MouseButton.LeftButton, Qt.KeyboardModifier.NoModifier, place)
    assert page.runs.jobs_of(canvas)
    until(qtbot, lambda: not page.runs.jobs_of(canvas), 60)
    assert sorted(ran(page)[0]) == ["solid", "turned"]
    assert any(c.id == "graph.run_anew" for c in page.app.commands.search("run anew"))
    assert any(c.id == "graph.run" for c in page.app.commands.search("run changed"))


def test_a_run_to_here_goes_to_a_node_within_a_subgraph(page: GraphWorkspace, qtbot: QtBot) -> None:
    page.files.open_workflow(nested())
    canvas = page.current
    assert canvas is not None
    canvas.go_to_level(("box", "deep"))
    canvas.scene.select(["turned"])
    ran(page)
    run_with_keys(page, canvas, qtbot, CTRL | SHIFT)
    assert sorted(ran(page)[0]) == ["box:deep:solid", "box:deep:turned"]
    assert kinds(canvas) == {"solid": "done", "turned": "done"}
    canvas.go_to_level(())
    assert kinds(canvas)["box"] == "done"
