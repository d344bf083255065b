"""Nodes and wires in words: for screen readers and for the outline."""

from __future__ import annotations

from studio_app.documents.graph_document import Wire
from ui.graph_canvas.node_item import NodeItem
from ui.graph_canvas.scene import GraphScene
from ui.graph_canvas.states import IDLE, NodeState
from ui.graph_canvas.values_text import value_of, value_text

VALUES = 3  # values that a name tells; the rest is read where they are edited
LONGEST = 60  # characters of one value
_STATES = {
    "waiting": "waiting", "done": "done", "cached": "not run again, nothing changed", "blocked": "not run",
}  # fmt: skip
_MODES = {"mute": "muted", "bypass": "bypassed"}


def reading_order(scene: GraphScene) -> list[str]:
    """The nodes from left to right, those above first."""
    items = scene.items_by_id.values()
    return [item.node.id for item in sorted(items, key=lambda item: (*item.corner, item.node.id))]


def describe_node(scene: GraphScene, name: str) -> str:
    """ "Sampler, 25 steps, input model from Load checkpoint, running 40 %"."""
    item = scene.items_by_id[name]
    parts = [item.title, *values_in_words(item), *inputs_in_words(scene, name)]
    if item.schema.origin == "placeholder":
        parts.append(f"this studio has no node “{item.node.type}”")
    if item.node.mode in _MODES:
        parts.append(_MODES[item.node.mode])
    if item.node.collapsed:
        parts.append("folded")
    if item.node.pinned:
        parts.append("pinned")
    state = state_in_words(scene.states.get(name, IDLE))
    return ", ".join([*parts, state] if state else parts)


def values_in_words(item: NodeItem) -> list[str]:
    """The first values that a person set, else the first there are: "25 steps", "text a red circle"."""
    linked, found = item.links(), []
    for each in item.schema.inputs:
        if each.name in linked or (each.name not in item.node.inputs and each.default is None):
            continue
        value = value_of(each, item.node.inputs, each.name)
        text = value_text(each, value)
        if not text or text == "choose…":
            continue
        text = " ".join(text.split())
        text = text if len(text) <= LONGEST else f"{text[: LONGEST - 1]}…"
        label = each.name.replace("_", " ")
        counted = isinstance(value, int) and not isinstance(value, bool) and label.endswith("s") and not each.seed
        found.append((each.name not in item.node.inputs, f"{text} {label}" if counted else f"{label} {text}"))
    told = [words for is_default, words in found if not is_default]
    return (told or [words for _, words in found])[:VALUES]


def inputs_in_words(scene: GraphScene, name: str) -> list[str]:
    """ "input model from Load checkpoint" for each wire that comes in."""
    found = []
    for wire in scene.document.wires_into(name):
        source = scene.items_by_id.get(wire.source)
        if source is not None:
            found.append(f"input {_spaced(wire.input)} from {source.title}")
    return found


def state_in_words(state: NodeState) -> str:
    """What a run says of it, "" where nothing."""
    if state.kind == "running" and state.total:
        return f"running, {state.done} of {state.total} done"
    if state.kind == "running":
        return f"running {state.progress:.0%}".replace("%", " %") if state.progress >= 0 else "running"
    if state.kind in {"missing", "unfit"}:
        return state.text
    if state.kind == "failed":
        return f"error: {state.text}" if state.text else "error"
    if state.kind == "done":
        return f"done in {state.badge}"
    return _STATES.get(state.kind, "")


def describe_wire(scene: GraphScene, wire: Wire) -> str:
    """ "Wire, IMAGE, from image of Invert to image of Blur"."""
    items = scene.items_by_id
    source, target = items.get(wire.source), items.get(wire.target)
    kind = source.layout.outputs.get(wire.output, (0, 0, "*"))[2] if source is not None else "*"
    ends = [item.title if item is not None else "a node that is gone" for item in (source, target)]
    return f"Wire, {kind}, from {_spaced(wire.output)} of {ends[0]} to {_spaced(wire.input)} of {ends[1]}"


def _spaced(name: str) -> str:
    return name.replace("_", " ")
