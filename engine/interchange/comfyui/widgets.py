"""Which value of `widgets_values` belongs to which input: the part of the canvas format that is written nowhere.

The order is that of the class's inputs, linked or not; a seed is followed by its control value, a picture by its
upload value. Newer files list every widget among the node's inputs, which is then the better witness.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from engine.contracts.workflow import SeedControl
from engine.interchange.comfyui.canvas import CanvasNode
from engine.interchange.comfyui.classes import Widget, classes

CONTROLS: Mapping[str | bool, SeedControl] = {
    "fixed": "fixed", "increment": "increment", "decrement": "decrement", "randomize": "randomize",
    "increment-wrap": "increment", True: "randomize", False: "fixed",  # the oldest saves hold a boolean
}  # fmt: skip
UPLOAD_VALUES = frozenset({"image", "video", "audio", "file"})
SEED_NAMES = frozenset({"seed", "noise_seed"})


def widget_values(node: CanvasNode) -> dict[str, Any]:
    """Input name → value of a node's widgets. Values that no name claims are left out."""
    values = node.widgets_values
    if isinstance(values, dict):
        return {str(name): value for name, value in values.items() if name not in ("videopreview",)}
    return _assign(_widgets_of(node), list(values))[0]


def seed_controls(node: CanvasNode) -> dict[str, SeedControl]:
    """Input name → what its seed is to be after a run, for seeds that don't stay; `control_after_generate`."""
    values = node.widgets_values
    if isinstance(values, dict):
        found = {name: values.get("control_after_generate") for name in SEED_NAMES if name in values}
    else:
        found = _assign(_widgets_of(node), list(values))[1]
    said = {
        name: CONTROLS[value] for name, value in found.items() if isinstance(value, (str, bool)) and value in CONTROLS
    }
    return {name: control for name, control in said.items() if control != "fixed"}


def _widgets_of(node: CanvasNode) -> list[Widget]:
    own = [
        Widget(i.widget, i.type, control=i.widget in SEED_NAMES, upload=i.widget in ("image", "file", "audio"))
        for i in node.inputs
        if i.widget
    ]
    known = classes().get(node.type)
    if known is None:
        return own
    named = {w.name for w in known.widgets}
    # A newer save that lists every widget knows of inputs that came after our table.
    return own if named <= {w.name for w in own} and len(own) > len(named) else list(known.widgets)


def _assign(widgets: list[Widget], values: list[Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """(input name → its value, input name → the control value that follows it)."""
    out: dict[str, Any] = {}
    controls: dict[str, Any] = {}
    position = 0
    for index, widget in enumerate(widgets):
        if position >= len(values):
            break
        out[widget.name] = values[position]
        position += 1
        if position >= len(values):
            continue
        following, left = values[position], len(widgets) - index - 1
        surplus = len(values) - position > left
        if _is_control(widget, following, surplus):
            controls[widget.name] = following
            position += 1
        elif _is_upload(widget, following, surplus):
            position += 1
    return out, controls


def _is_control(widget: Widget, value: Any, surplus: bool) -> bool:
    if isinstance(value, str):
        return value in CONTROLS and (widget.control or surplus)
    return isinstance(value, bool) and widget.control and surplus


def _is_upload(widget: Widget, value: Any, surplus: bool) -> bool:
    return widget.upload and surplus and (value is None or value in UPLOAD_VALUES)
