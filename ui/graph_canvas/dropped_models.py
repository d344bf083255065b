"""Model cards dropped on a canvas: the node that loads each, or the model of the node they fall on."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from PySide6.QtCore import QPointF

from engine.contracts.references import ModelRef
from engine.contracts.workflow import Node
from studio_app.documents.edits import AddNodes, Edit, set_input
from ui.graph_canvas.acts import Acts

LOADERS = {
    "checkpoint": "load.checkpoint", "diffusion_model": "load.diffusion_model", "text_encoder": "load.text_encoder",
    "vae": "load.vae", "lora": "load.lora", "controlnet": "load.controlnet", "upscaler": "load.upscale_model",
    "ip_adapter": "model.ip_adapter",
}  # fmt: skip
STEP = 48.0  # scene pixels from one new node to the next


def drop_models(acts: Acts, paths: Sequence[Path], place: QPointF) -> None:
    """One entry of the history for all of them; what can't be loaded by a node is said."""
    refs = {entry.path: entry.ref for kind in LOADERS for entry in acts.canvas.app.models.list(kind)}
    under = acts.scene.node_at(place)
    edits: list[Edit] = []
    added: list[Node] = []
    refused = ""
    for path in paths:
        ref = refs.get(path)
        if ref is None:
            refused = f"No node loads “{path.name}” by itself; a LoRA or an embedding can be named in a prompt."
            continue
        name = _input_for(acts, under.node.id if under is not None else "", ref)
        if under is not None and name:
            edits.append(set_input(under.node.id, name, ref))
            continue
        node = _loader(acts, ref, place + QPointF(STEP, STEP) * len(added), {node.id for node in added})
        if node is not None:
            added.append(node)
    if added:
        edits.append(AddNodes(tuple(added)))
    if edits and acts.do("Load what was dropped", *edits):
        acts.scene.select([node.id for node in added] or ([under.node.id] if under is not None else []))
    if refused:
        acts.canvas.say(refused)


def _input_for(acts: Acts, node: str, ref: ModelRef) -> str:
    """The input of a node that takes a model of this kind, "" for none."""
    if not node:
        return ""
    return next((item.name for item in acts.document.schema(node).inputs if item.model_kind == ref.kind), "")


def _loader(acts: Acts, ref: ModelRef, place: QPointF, taken: set[str]) -> Node | None:
    schema = acts.document.schemas.of_type(LOADERS[ref.kind])
    if schema is None:
        return None
    name = next(item.name for item in schema.inputs if item.model_kind == ref.kind)
    base = acts.document.new_id(ref.kind)
    node_id, number = base, 2
    while node_id in taken:
        node_id, number = f"{base}_{number}", number + 1
    corner = (round(place.x()), round(place.y()))
    return Node(id=node_id, type=schema.type, type_version=schema.node_version, position=corner, inputs={name: ref})
