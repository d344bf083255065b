"""The scenes of the Graph page for `screenshots.py`: a workflow that runs, a fault, properties, a form, a subgraph."""

from __future__ import annotations

from typing import TYPE_CHECKING

from engine.contracts.workflow import FormField, Link, Node, Workflow
from studio_app.documents.edits import SetForm, set_input
from studio_app.documents.subgraph_edits import ExposeSocket
from tests.gui.canvas_scenes import canvas_scenes
from tests.gui.graph_run_scenes import run_scenes

if TYPE_CHECKING:
    from tests.gui.screenshots import Stage
    from ui.graph_canvas.workspace import GraphWorkspace

PROMPTS = (
    "a red circle on a blue background", "a yellow star on a purple background",
    "a green square on a white background", "mountains at sunset with a boat on the sea",
)  # fmt: skip


def twenty_nodes() -> Workflow:
    """Four prompts drawn by the starter model, each with a picture of its own: twenty nodes."""
    nodes = [
        Node(id="model", type="load.checkpoint"),
        Node(id="size", type="latent.empty", inputs={"width": 128, "height": 128}),
    ]
    nodes += [Node(id="no", type="condition.encode_text", title="Without", inputs={"clip": Link("model", "clip")})]
    for index, prompt in enumerate(PROMPTS):
        text, draw, look, save = (f"{name}{index}" for name in ("text", "draw", "look", "save"))
        nodes += [
            Node(id=text, type="condition.encode_text", inputs={"clip": Link("model", "clip"), "text": prompt}),
            Node(id=draw, type="sample.k_sampler", title=f"Draw {index + 1}", inputs={
                "model": Link("model", "model"), "positive": Link(text, "conditioning"),
                "negative": Link("no", "conditioning"), "latent": Link("size", "latent"), "seed": 40 + index,
                "steps": 20,
            }),
            Node(id=look, type="latent.decode_image", inputs={
                "latent": Link(draw, "latent"), "vae": Link("model", "vae"),
            }),
            Node(id=save, type="image.save", inputs={"image": Link(look, "image")}),
        ]  # fmt: skip
    nodes.append(Node(id="note", type="utility.note", inputs={"text": "**Four** pictures of one model."}))
    return Workflow(name="Four pictures", nodes=tuple(nodes))


def graph_scenes(stage: Stage) -> None:
    """Every scene of the page, from an empty one on."""
    from ui.graph_canvas.workspace import GraphWorkspace

    stage.app.commands.run("view.graph")
    page = stage.window.page
    assert isinstance(page, GraphWorkspace)
    canvas_scenes(stage, page)
    page.files.open_workflow(twenty_nodes())
    stage.pause(300)
    _running(stage, page)
    _properties(stage, page)
    _editors(stage, page)
    _fault(stage, page)
    _form(stage, page)
    _subgraph(stage, page)
    run_scenes(stage, page)


def _running(stage: Stage, page: GraphWorkspace) -> None:
    canvas = page.current
    assert canvas is not None
    canvas.view.frame_nodes()
    page.runner.run()
    states = canvas.scene.states

    def halfway() -> bool:
        drawing = any(state.kind == "running" and state.progress > 0.3 for state in states.values())
        ready = any(state.kind == "done" and name.startswith("look") for name, state in states.items())
        return (ready and drawing) or not page.runs.jobs_of(canvas)

    stage.wait(halfway)
    busy = [name for name, state in states.items() if state.kind == "running"]
    ready = [name for name, state in states.items() if state.kind == "done" and name.startswith("look")]
    near = {name[-1] for name in (*busy, *ready[-1:])}
    canvas.view.frame_nodes(
        [
            f"{name}{index}"
            for index in near
            for name in ("text", "draw", "look", "save")
            if f"{name}{index}" in canvas.scene.items_by_id
        ]
    )
    canvas.view.wait_for_pictures()
    stage.pause(60)
    stage.keep("graph_running")
    stage.wait(lambda: not page.runs.jobs_of(canvas))


def _properties(stage: Stage, page: GraphWorkspace) -> None:
    canvas = page.current
    assert canvas is not None
    stage.window.show_inspector(True)
    canvas.scene.select(["draw0", "draw1"])
    stage.pause(500)
    stage.keep("graph_properties_several")
    canvas.scene.select(["draw2"])
    canvas.view.frame_nodes(["draw2", "text2", "look2"])
    canvas.view.wait_for_pictures()
    stage.pause(900)
    stage.keep("graph_properties")
    stage.window.show_inspector(False)


def _editors(stage: Stage, page: GraphWorkspace) -> None:
    canvas = page.current
    assert canvas is not None
    editor = page.editors[canvas.tab.id]
    editor.edit("draw2", "seed")
    stage.pause(200)
    stage.keep("graph_value")
    editor.edit("draw2", "sampler")
    stage.pause(200)
    stage.keep("graph_choice")
    canvas.popup.close_popup()


def _fault(stage: Stage, page: GraphWorkspace) -> None:
    canvas = page.current
    assert canvas is not None
    canvas.document.edit("Wrong", set_input("draw2", "steps", 900))
    page.runner.run()
    stage.wait(lambda: not page.runs.jobs_of(canvas))
    stage.pause(300)
    stage.keep("graph_error")
    canvas.document.undo()


def _form(stage: Stage, page: GraphWorkspace) -> None:
    canvas = page.current
    assert canvas is not None
    fields = [FormField(node=f"text{i}", input="text", label=f"Picture {i + 1}", group="Prompts") for i in range(2)]
    fields += [FormField(node="draw0", input=name, group="Drawing") for name in ("seed", "steps", "cfg", "sampler")]
    canvas.document.edit("Form", SetForm(tuple(fields)))
    page.inspecting.toggle_form()
    stage.pause(300)
    stage.keep("graph_form")
    page.inspecting.forms[canvas.tab.id].form.set_editing(True)
    stage.pause(200)
    stage.keep("graph_form_arrange")
    page.inspecting.forms[canvas.tab.id].form.set_editing(False)
    page.inspecting.toggle_form()


def _subgraph(stage: Stage, page: GraphWorkspace) -> None:
    canvas, acts = page.current, page.acts
    assert canvas is not None
    assert acts is not None
    canvas.scene.select(["text3", "draw3", "look3"])
    acts.make_subgraph()
    made = next(n for n, node in canvas.document.nodes.items() if node.type.startswith("subgraph:"))
    acts.open_node(made)
    acts.do("Expose", ExposeSocket("inputs", "text3", "text"), ExposeSocket("inputs", "draw3", "steps"))
    canvas.scene.select(())
    stage.window.show_inspector(True)
    stage.pause(300)
    canvas.view.frame_nodes()
    canvas.view.wait_for_pictures()
    stage.pause(300)
    stage.keep("graph_subgraph")
    stage.window.show_inspector(False)
    acts.level_up()
