"""Scenes of runs for `screenshots.py`: texts on nodes, a subgraph outside and inside, ways to run, seeds, consent."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from PySide6.QtCore import QPoint
from PySide6.QtGui import QPainter, QPixmap

from engine.contracts.job_events import JobEvent
from engine.contracts.workflow import FormField, Link, Node, Workflow
from studio_app.documents.edits import SetForm
from studio_app.documents.seeds import SetSeedControl
from tests.gui.canvas_scenes import close_tabs
from tests.unit.plugin_room import adder

if TYPE_CHECKING:
    from PySide6.QtWidgets import QMenu

    from tests.gui.screenshots import Stage
    from ui.graph_canvas.workspace import GraphWorkspace

PROMPT = "a {red|yellow|green} {circle|star|square} on a {blue|purple|white} background, drawn with care"


def words_and_sums() -> Workflow:
    """Text and number nodes whose results stand on them, in front of the picture they make."""
    nodes = (
        Node(id="choose", type="text.wildcard", position=(0, 0), inputs={"text": PROMPT, "seed": 5}),
        Node(id="long", type="text.length", position=(300, 0), inputs={"text": Link("choose", "text")}),
        Node(id="steps", type="maths.calculate", position=(600, 0), inputs={
            "a": Link("long", "length"), "operation": "divide", "b": 4.0}),
        Node(id="even", type="maths.compare", position=(900, 0), inputs={
            "a": Link("steps", "number"), "relation": ">", "b": 10.0}),
        Node(id="look", type="utility.show", position=(900, 240), inputs={"value": Link("choose", "text")}),
        Node(id="more", type="utility.show", position=(1200, 0), inputs={"value": Link("even", "result")}),
        Node(id="solid", type="image.solid", position=(300, 260), inputs={"width": 320, "height": 200}),
        Node(id="size", type="image.size", position=(600, 300), inputs={"image": Link("solid", "image")}),
        Node(id="wide", type="utility.show", position=(1200, 240), inputs={"value": Link("size", "width")}),
    )  # fmt: skip
    return Workflow(name="Words and numbers", nodes=nodes)


def run_scenes(stage: Stage, page: GraphWorkspace) -> None:
    """Every scene; ends without a tab."""
    _texts(stage, page)
    _subgraph(stage, page)
    _ways_to_run(stage, page)
    _consent(stage, page)


def _texts(stage: Stage, page: GraphWorkspace) -> None:
    close_tabs(stage)
    page.files.open_workflow(words_and_sums())
    canvas = page.current
    assert canvas is not None
    stage.window.show_inspector(True)
    stage.pause(300)
    canvas.view.frame_nodes()
    page.runner.run()
    stage.wait(lambda: not page.runs.jobs_of(canvas))
    canvas.scene.select(["choose"])
    canvas.view.wait_for_pictures()
    stage.pause(600)
    stage.keep("graph_texts")
    stage.window.show_inspector(False)
    close_tabs(stage)


def _subgraph(stage: Stage, page: GraphWorkspace) -> None:
    from tests.gui.graph_scenes import twenty_nodes

    page.files.open_workflow(twenty_nodes())
    canvas, acts = page.current, page.acts
    assert canvas is not None
    assert acts is not None
    canvas.scene.select(["text3", "draw3", "look3", "model", "size", "no"])
    acts.make_subgraph()
    box = next(n for n, node in canvas.document.nodes.items() if node.type.startswith("subgraph:"))
    acts.do("Colour", SetSeedControl("draw0", "seed", "increment"))
    told: list[JobEvent] = []
    page.bridge.job_event.connect(told.append)
    page.runner.run_anew()  # the pictures of the scenes before are kept
    stage.wait(lambda: canvas.scene.states.get(box) is not None and canvas.scene.states[box].done >= 4)
    canvas.view.frame_nodes([box, "draw1"])
    canvas.view.wait_for_pictures()
    stage.pause(60)
    stage.keep("graph_subgraph_running")
    acts.open_node(box)
    canvas.view.wait_for_pictures()
    stage.pause(60)
    stage.keep("graph_inside_running")
    stage.wait(lambda: not page.runs.jobs_of(canvas))
    page.bridge.job_event.disconnect(told.append)
    acts.level_up()


def _ways_to_run(stage: Stage, page: GraphWorkspace) -> None:
    canvas = page.current
    assert canvas is not None
    canvas.view.frame_nodes(["draw0", "text0", "look0"])
    canvas.view.wait_for_pictures()
    page.bar.more.click()
    stage.pause(100)
    _with_menu(stage, "graph_run_menu", page.bar.menu)
    editor = page.editors[canvas.tab.id]
    editor.edit("draw0", "seed")
    stage.pause(100)
    field = editor.field
    assert field is not None
    field.after.click()  # type: ignore[attr-defined]  # a seed's
    stage.pause(100)
    _with_menu(stage, "graph_seed", field.menu)  # type: ignore[attr-defined]
    editor.close_editor()
    canvas.document.edit(
        "Form", SetForm((FormField(node="draw0", input="seed"), FormField(node="draw0", input="steps")))
    )
    page.inspecting.toggle_form()
    stage.pause(200)
    stage.keep("graph_form_seed")
    page.inspecting.toggle_form()
    close_tabs(stage)


def _with_menu(stage: Stage, scene: str, menu: QMenu) -> None:
    """The window with a menu over it: a menu is a window of its own, which a picture of this one lacks."""
    grab, place = stage.window.grab, stage.window.mapFromGlobal(menu.pos())

    def whole() -> QPixmap:
        picture, over = grab(), menu.grab()
        painter = QPainter(picture)
        painter.drawPixmap(QPoint(place), over)
        painter.end()
        return picture

    stage.window.grab = whole  # type: ignore[assignment,method-assign]
    stage.keep(scene)
    stage.window.grab = grab  # type: ignore[method-assign]
    menu.close()


def _consent(stage: Stage, page: GraphWorkspace) -> None:
    from ui.dialogs.custom_nodes import CustomNodes

    nodes = Path(stage.app.paths.nodes)
    (nodes / "film_grain_pro").mkdir(parents=True, exist_ok=True)
    (nodes / "warmth.py").write_text(adder("mine.warmth"))
    (nodes / "film_grain_pro" / "__init__.py").write_text(adder("grain.add") + "\n" * 900)
    (nodes / "film_grain_pro" / "noise.py").write_text("X = 1\n" * 2000)
    page.files.open_workflow(Workflow(nodes=(Node(id="a", type="grain.add"),)))
    stage.app.commands.run("app.custom_nodes")
    dialog = stage.window.findChild(CustomNodes)
    assert dialog is not None
    stage.wait(lambda: any(card.enable.isVisible() for card in dialog.cards.values()))
    stage.pause(200)
    stage.keep("graph_custom_nodes", dialog)
    dialog.close()
    close_tabs(stage)
