"""ComfyUI canvas files and API prompts → our Workflow, with a report of what could not be mapped.

Nothing is lost: a class we lack becomes a placeholder of type "comfyui.<Class>" that keeps its inputs, wiring and, in
`extra["comfyui"]`, the node as it stood in the file.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from engine.contracts.errors import InvalidDocument
from engine.contracts.workflow import InputValue, Link, Workflow
from engine.interchange.comfyui.builder import NodeBuilder, output_name
from engine.interchange.comfyui.canvas import looks_like_canvas, read_canvas
from engine.interchange.comfyui.from_canvas import NOTE_TYPE, REROUTE_TYPE, CanvasImport
from engine.interchange.comfyui.report import Imported, ImportReport
from engine.interchange.lenient_json import cleaned
from engine.models.vae_families import with_families


def looks_like_prompt(data: object) -> bool:
    return (
        isinstance(data, dict)
        and bool(data)
        and all(isinstance(v, dict) and isinstance(v.get("class_type"), str) for v in data.values())
    )


def looks_like_comfyui(data: object) -> bool:
    """Whether a parsed JSON value is a canvas, a prompt, or a queued request that holds one."""
    if isinstance(data, dict) and looks_like_prompt(data.get("prompt")):
        return True
    return looks_like_canvas(data) or looks_like_prompt(data)


def import_comfyui(data: Any, where: str, name: str = "") -> Imported:
    """Import a parsed canvas file or API prompt. Raises InvalidDocument when it is neither."""
    data, repairs = cleaned(data, where)
    if isinstance(data, dict) and looks_like_prompt(data.get("prompt")):
        data = data["prompt"]  # the body of a queued request
    if looks_like_canvas(data):
        imported = CanvasImport(read_canvas(data, where), name).run()
    elif looks_like_prompt(data):
        imported = _import_prompt(data, name)
    else:
        raise InvalidDocument(
            "it is neither a ComfyUI workflow nor an API prompt",
            where=where,
            fix="A workflow has “nodes”; a prompt has a “class_type” in every entry",
        )
    imported.report.warnings[:0] = repairs
    return replace(imported, workflow=with_families(imported.workflow))


def _import_prompt(data: Mapping[str, Any], name: str) -> Imported:
    builder = NodeBuilder()
    nodes = []
    for index, (node_id, body) in enumerate(data.items()):
        comfy = body["class_type"]
        inputs: dict[str, InputValue] = {}
        raw_inputs = body.get("inputs")
        for key, value in (raw_inputs if isinstance(raw_inputs, dict) else {}).items():
            if not key.startswith(("choose ", "upload")):  # buttons, which older front ends wrote out
                inputs[key] = _prompt_value(value, data)
        meta = body.get("_meta")
        title = str(meta.get("title") or "") if isinstance(meta, dict) else ""
        column, row = divmod(index, 6)
        place = (column * 360.0, row * 260.0)
        shown = title if title != comfy else ""
        nodes.append(builder.node(node_id, comfy, inputs, body, title=shown, position=place))
    return Imported(Workflow(name=name, nodes=tuple(nodes)), builder.report, placed=False)


def _prompt_value(value: Any, data: Mapping[str, Any]) -> InputValue:
    if isinstance(value, dict) and set(value) == {"__value__"}:
        return value["__value__"]  # type: ignore[no-any-return]  # a literal list
    if isinstance(value, list) and len(value) == 2 and _is_slot(value[1]) and isinstance(value[0], (str, int)):
        source = str(value[0])
        if source in data:
            return Link(source, output_name(data[source]["class_type"], value[1]))
        return None  # a node that was left out
    return value  # type: ignore[no-any-return]


def _is_slot(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


__all__ = ["NOTE_TYPE", "REROUTE_TYPE", "ImportReport", "Imported", "import_comfyui", "looks_like_comfyui"]
