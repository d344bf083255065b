"""Canvas → API prompt, as ComfyUI's own front end does it before queueing.

Subgraphs are flattened (ids read "outer:inner"), reroutes and primitives resolved, muted nodes dropped with whatever
they fed, bypassed nodes short-circuited by type.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from engine.contracts.errors import InvalidDocument, clip
from engine.interchange.comfyui.canvas import (
    BYPASS,
    INPUT_NODE,
    MAX_SUBGRAPH_DEPTH,
    MUTE,
    OUTPUT_NODE,
    CanvasGraph,
    CanvasLink,
    CanvasNode,
)
from engine.interchange.comfyui.widgets import widget_values

NOTES = frozenset({"Note", "MarkdownNote"})
REROUTE = "Reroute"
PRIMITIVE = "PrimitiveNode"

Prompt = dict[str, dict[str, Any]]


MAX_PROMPT_NODES = 100_000


@dataclass(frozen=True)
class _Literal:
    value: Any


@dataclass(frozen=True)
class _Scope:
    """One opened graph: where it hangs, and what its instance feeds it."""

    graph: CanvasGraph
    prefix: str
    parent: _Scope | None
    instance: CanvasNode | None
    incoming: dict[tuple[str, int], CanvasLink]
    given: dict[str, dict[str, Any]]  # inner node id → promoted widget values

    def inner(self, node: CanvasNode) -> _Scope:
        definition = self.definition(node)
        if self.prefix.count(":") >= MAX_SUBGRAPH_DEPTH:
            raise InvalidDocument(f"the subgraph “{clip(definition.name)}” contains itself", where=f"node {node.id}")
        given = given_inside(node, definition)
        for widget, value in self.given.get(node.id, {}).items():
            # What this scope's own instance sets on the subgraph inside it.
            shown = given_inside(node, definition, with_nothing=True).items()
            place = next((inner_id for inner_id, widgets in shown if widget in widgets), INPUT_NODE)
            given.setdefault(place, {})[widget] = value
        prefix = f"{self.prefix}{node.id}:"
        return _Scope(definition, prefix, self, node, definition.incoming(), given)

    def definition(self, node: CanvasNode) -> CanvasGraph:
        return self.graph.definitions[node.type]

    def is_subgraph(self, node: CanvasNode) -> bool:
        return node.type in self.graph.definitions


def to_prompt(graph: CanvasGraph) -> Prompt:
    """The API prompt of a canvas. Raises InvalidDocument on subgraphs that contain themselves."""
    out: Prompt = {}
    root = _Scope(graph, "", None, None, graph.incoming(), {})
    pending = [root]
    while pending:
        scope = pending.pop()
        for node in scope.graph.nodes.values():
            if node.mode in (MUTE, BYPASS) or node.type in NOTES or node.type in (REROUTE, PRIMITIVE):
                continue
            if scope.is_subgraph(node):
                pending.append(scope.inner(node))
            else:
                out[scope.prefix + node.id] = _prompt_node(scope, node)
                if len(out) > MAX_PROMPT_NODES:
                    raise InvalidDocument(f"its subgraphs open into more than {MAX_PROMPT_NODES:,} nodes")
    return _without_dead_links(out)


def given_inside(node: CanvasNode, definition: CanvasGraph, *, with_nothing: bool = False) -> dict[str, dict[str, Any]]:
    """Inner node id → {widget: value} that a subgraph instance sets on its inside; INPUT_NODE stands for its inputs.

    `proxyWidgets` names the inner widgets in the order of the instance's widgets_values, with the id -1 for one of the
    subgraph's own inputs; the first files had no such list, and the values belong to the inputs that are widgets. A
    null says that the inner value stands; it is left out, unless `with_nothing` asks for all that is shown.
    """
    values = node.widgets_values if isinstance(node.widgets_values, list) else list(node.widgets_values.values())
    if is_group_node(node):
        return _group_node_values(definition, list(values))
    proxies = node.properties.get("proxyWidgets")
    if isinstance(proxies, list):
        places = [(_place(p[0]), str(p[1])) for p in proxies if isinstance(p, list) and len(p) >= 2]
    else:
        places = [(INPUT_NODE, socket.name) for socket in node.inputs if socket.widget]
    out: dict[str, dict[str, Any]] = {}
    for index, (inner_id, widget) in enumerate(places):
        value = values[index] if index < len(values) else None
        if value is not None or with_nothing:
            out.setdefault(inner_id, {})[widget] = value
    return out


def _place(inner_id: Any) -> str:
    return INPUT_NODE if str(inner_id) == "-1" else str(inner_id)


def is_group_node(node: CanvasNode) -> bool:
    """Whether an instance is one of an old group node, whose sockets are known by their order alone."""
    return node.type.startswith(("workflow/", "workflow>"))


def port_names(ports: tuple[tuple[str, str], ...]) -> list[str]:
    """Names for a subgraph's inputs or outputs: a repeated one ("IMAGE", "IMAGE") carries its slot."""
    names: list[str] = []
    for slot, (name, _) in enumerate(ports):
        wanted = name or f"slot_{slot}"
        names.append(wanted if wanted not in names else f"{wanted}_{slot}")
    return names


def outer_slot(node: CanvasNode, definition: CanvasGraph, slot: int) -> int | None:
    """Which of the instance's sockets is input `slot` of its subgraph; None when it shows none."""
    if is_group_node(node):
        plain = [index for index, socket in enumerate(node.inputs) if not socket.widget]
        return plain[slot] if slot < len(plain) else None
    name = definition.inputs[slot][0] if slot < len(definition.inputs) else ""
    earlier = sum(1 for other, _ in definition.inputs[:slot] if other == name)
    same = [index for index, socket in enumerate(node.inputs) if socket.name == name]
    return same[earlier] if earlier < len(same) else None


def _group_node_values(definition: CanvasGraph, values: list[Any]) -> dict[str, dict[str, Any]]:
    out: dict[str, dict[str, Any]] = {}
    for inner in definition.nodes.values():
        own = inner.widgets_values if isinstance(inner.widgets_values, list) else []
        taken, values = values[: len(own)], values[len(own) :]
        if taken:
            out[inner.id] = widget_values(_with_values(inner, taken))
    return out


def _with_values(node: CanvasNode, values: list[Any]) -> CanvasNode:
    return CanvasNode(**{**node.__dict__, "widgets_values": values})


def _prompt_node(scope: _Scope, node: CanvasNode) -> dict[str, Any]:
    inputs: dict[str, Any] = dict(widget_values(node))
    inputs.update(scope.given.get(node.id, {}))
    for slot, socket in enumerate(node.inputs):
        if (node.id, slot) not in scope.incoming:
            continue
        source = _follow(scope, node.id, slot)
        name = socket.widget or socket.name
        if isinstance(source, _Literal):
            inputs[name] = source.value
        elif source is not None:
            inputs[name] = [source[0], source[1]]
        elif not socket.widget:
            inputs.pop(name, None)
    inputs = {k: {"__value__": v} if isinstance(v, list) and not _is_link(v) else v for k, v in inputs.items()}
    meta = {"title": node.title or node.type}
    return {"class_type": node.type, "inputs": inputs, "_meta": meta}


def _is_link(value: list[Any]) -> bool:
    return (
        len(value) == 2 and isinstance(value[0], str) and isinstance(value[1], int) and not isinstance(value[1], bool)
    )


def _follow(scope: _Scope, target: str, slot: int) -> tuple[str, int] | _Literal | None:
    """What really feeds (target, slot): a node's output, a literal, or nothing."""
    for _ in range(10_000):  # longer than any chain of reroutes; a loop of them ends here
        link = scope.incoming.get((target, slot))
        if link is None:
            return None
        if link.source == INPUT_NODE and scope.instance is not None and scope.parent is not None:
            found = _enter_from_outside(scope, link.source_slot)
            if isinstance(found, (_Literal, type(None))):
                return found
            scope, target, slot = found
            continue
        node = scope.graph.nodes.get(link.source)
        if node is None or node.mode == MUTE:
            return None
        if node.type == REROUTE:
            target, slot = node.id, 0
        elif node.type == PRIMITIVE:
            values = node.widgets_values
            return _Literal(values[0]) if isinstance(values, list) and values else None
        elif node.mode == BYPASS:
            bypassed = bypass_slot(node, link.source_slot)
            if bypassed is None:
                return None
            target, slot = node.id, bypassed
        elif scope.is_subgraph(node):
            scope = scope.inner(node)
            target, slot = OUTPUT_NODE, link.source_slot
        else:
            return (scope.prefix + node.id, link.source_slot)
    raise InvalidDocument("its reroutes form a loop", where=f"node {target}")


def _enter_from_outside(scope: _Scope, slot: int) -> tuple[_Scope, str, int] | _Literal | None:
    """Go from a subgraph's input `slot` to what its instance is fed there."""
    instance, parent = scope.instance, scope.parent
    if instance is None or parent is None:
        return None
    outer = outer_slot(instance, scope.graph, slot)
    if outer is not None and (instance.id, outer) in parent.incoming:
        return (parent, instance.id, outer)
    own = scope.given.get(INPUT_NODE, {})
    names = port_names(scope.graph.inputs)
    name = names[slot] if slot < len(names) else ""
    return _Literal(own[name]) if name in own else None


def bypass_slot(node: CanvasNode, output: int) -> int | None:
    """Which input of a bypassed node passes through to `output`: same index, first exact type, first compatible."""
    kind = node.outputs[output][1] if output < len(node.outputs) else "*"
    inputs = node.inputs
    if kind == "*":
        return output if output < len(inputs) else (0 if inputs else None)
    if output < len(inputs) and inputs[output].type in (kind, "*"):
        return output
    for wanted in (kind, "*"):
        for index, socket in enumerate(inputs):
            if socket.type == wanted:
                return index
    return None


def _without_dead_links(prompt: Prompt) -> Prompt:
    """Drop links to nodes that are not in the prompt (a muted node's), as the front end does."""
    for node in prompt.values():
        for name, value in list(node["inputs"].items()):
            if isinstance(value, list) and _is_link(value) and value[0] not in prompt:
                del node["inputs"][name]
    return prompt
