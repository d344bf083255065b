"""The scenes of the canvas itself for `screenshots.py`: empty, a template, search, minimap, 1,000 nodes, dialogs."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING

from PySide6.QtCore import QPoint, QPointF
from PySide6.QtWidgets import QScrollArea

from engine.contracts.workflow import Link, Workflow
from studio_app.documents.edits import AddNodes, RemoveNodes, set_input
from studio_app.documents.graph_document import GraphDocument

if TYPE_CHECKING:
    from tests.gui.screenshots import Stage
    from ui.graph_canvas.canvas import Canvas
    from ui.graph_canvas.workspace import GraphWorkspace

TEMPLATE = "seed_travel"  # the one with the most nodes: 21
THOUSAND = 1000
COMFY = {
    "1": {"class_type": "CheckpointLoaderSimple", "inputs": {"ckpt_name": "dreamland_v7.safetensors"}},
    "2": {"class_type": "CLIPTextEncode", "inputs": {"clip": ["1", 1], "text": "a lighthouse at dusk"}},
    "3": {"class_type": "CLIPTextEncode", "inputs": {"clip": ["1", 1], "text": "blurry"}},
    "4": {"class_type": "EmptyLatentImage", "inputs": {"width": 512, "height": 512, "batch_size": 1}},
    "5": {"class_type": "KSampler", "inputs": {
        "model": ["1", 0], "positive": ["2", 0], "negative": ["3", 0], "latent_image": ["4", 0], "seed": 7,
        "steps": 20, "cfg": 7.0, "sampler_name": "dpmpp_2m", "scheduler": "karras", "denoise": 1.0}},
    "6": {"class_type": "VAEDecode", "inputs": {"samples": ["5", 0], "vae": ["1", 2]}},
    "7": {"class_type": "FilmGrainPro", "inputs": {"image": ["6", 0], "amount": 0.4}},
    "8": {"class_type": "SaveImage", "inputs": {"images": ["7", 0], "filename_prefix": "dusk"}},
}  # fmt: skip


def canvas_scenes(stage: Stage, page: GraphWorkspace) -> None:
    """Every scene, each in a tab of its own; begins and ends without a tab."""
    stage.pause(300)
    stage.keep("graph_empty")
    _gallery(stage, page)
    _workflow(stage, page)
    _import_report(stage, page)
    _shortcuts(stage)
    _thousand(stage, page)


def close_tabs(stage: Stage) -> None:
    for tab in list(stage.app.workflows.tabs):
        stage.app.workflows.close_tab(tab)


def _canvas(page: GraphWorkspace) -> Canvas:
    assert page.current is not None
    return page.current


def _gallery(stage: Stage, page: GraphWorkspace) -> None:
    page.beside.open_gallery()
    stage.pause(600)
    dialog = page.beside.dialog
    assert dialog is not None
    stage.keep("graph_gallery", dialog)
    dialog.close()


def _workflow(stage: Stage, page: GraphWorkspace) -> None:
    """A template laid out, what is beside it, and what floats over it."""
    page.files.open_workflow(stage.app.workflows.library.template(TEMPLATE))
    canvas, finding = _canvas(page), page.finding
    assert finding is not None
    stage.window.show_inspector(True)
    stage.pause(300)
    canvas.view.frame_nodes()
    sampler = next(name for name, node in canvas.document.nodes.items() if node.type.startswith("sample."))
    canvas.scene.select([sampler])
    stage.pause(500)
    stage.keep("graph_workflow")
    stage.window.show_inspector(False)
    page.beside.show_outline(True)
    stage.pause(200)
    stage.keep("graph_outline")
    page.beside.show_outline(False)
    canvas.scene.select(())
    finding.search(canvas.view.to_scene(QPointF(520, 180)))
    canvas.popup.query.setText("upsc")
    stage.pause(200)
    stage.keep("graph_search")
    canvas.popup.close_popup()
    canvas.view.look_at(canvas.scene.items_by_id[sampler].rect().center(), 1.0)
    canvas.view.wait_for_pictures()
    stage.pause(200)
    stage.keep("graph_minimap")
    _versions(stage, page, sampler)
    close_tabs(stage)


def _versions(stage: Stage, page: GraphWorkspace, sampler: str) -> None:
    canvas = _canvas(page)
    stage.app.workflows.versions.add(canvas.document.workflow, "Kept by you")
    nodes = canvas.document.nodes
    gone = next(name for name, node in nodes.items() if node.type == "utility.note")
    new = next(node for node in nodes.values() if node.type == "condition.encode_text")
    x, y = new.position
    copy = replace(new, id="another", title="Another prompt", position=(x, y - 260))
    canvas.document.edit("Steps", set_input(sampler, "steps", 28), set_input(sampler, "scheduler", "karras"))
    canvas.document.edit("Less and more", RemoveNodes((gone,)), AddNodes((copy,)))
    page.beside.open_versions()
    dialog = page.beside.dialog
    assert dialog is not None
    stage.pause(300)
    stage.keep("graph_versions", dialog)
    dialog.close()


def _import_report(stage: Stage, page: GraphWorkspace) -> None:
    assert page.beside.exchange.open_text(json.dumps(COMFY))
    stage.wait(lambda: page.beside.dialog is not None)
    stage.pause(400)
    dialog = page.beside.dialog
    assert dialog is not None
    stage.keep("graph_import_report", dialog)
    dialog.close()
    stage.pause(100)
    stage.keep("graph_missing")
    close_tabs(stage)


def _shortcuts(stage: Stage) -> None:
    """Two commands of the canvas have one key."""
    from ui.dialogs.shortcuts import Shortcuts

    stage.app.commands.run("help.shortcuts")
    dialog = stage.window.findChild(Shortcuts)
    assert dialog is not None
    dialog.give("graph.bypass", "M")
    stage.pause(200)
    area = dialog.findChild(QScrollArea)
    assert area is not None
    body = area.widget()
    assert body is not None
    row = dialog.rows["graph.mute"].key.mapTo(body, QPoint())
    area.verticalScrollBar().setValue(row.y() - area.height() // 3)
    stage.pause(100)
    stage.keep("shortcuts", dialog)
    dialog.give("graph.bypass", "B")
    dialog.close()


def thousand_nodes(page: GraphWorkspace) -> Workflow:
    """The workflow of twenty nodes fifty times, side by side."""
    from tests.gui.graph_scenes import twenty_nodes
    from ui.graph_canvas.files import lay_out

    document = GraphDocument(twenty_nodes(), page.app.node_types())
    lay_out(document)
    across = max(node.position[0] for node in document.nodes.values()) + 420
    down = max(node.position[1] for node in document.nodes.values()) + 420
    nodes = [
        replace(
            node, id=f"{node.id}_{copy}", position=(node.position[0] + copy % 8 * across,
                                                    node.position[1] + copy // 8 * down),
            inputs={name: replace(value, node=f"{value.node}_{copy}") if isinstance(value, Link) else value
                    for name, value in node.inputs.items()},
        )
        for copy in range(THOUSAND // len(document.nodes))
        for node in document.nodes.values()
    ]  # fmt: skip
    return Workflow(name="A thousand nodes", nodes=tuple(nodes))


def _thousand(stage: Stage, page: GraphWorkspace) -> None:
    page.files.open_workflow(thousand_nodes(page))
    stage.pause(300)
    _canvas(page).view.frame_nodes()
    stage.pause(300)
    stage.keep("graph_thousand")
    close_tabs(stage)
