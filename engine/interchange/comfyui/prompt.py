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
        return _Scope(
            definition, f"{self.prefix}{node.id}:", self, node, definition.incoming(), promoted_values(node, definition)
        )

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
    return _without_dead_links(out)


def promoted_values(node: CanvasNode, definition: CanvasGraph) -> dict[str, dict[str, Any]]:
    """Inner node id → {widget: value} that a subgraph instance sets on its inside.

    `proxyWidgets` names the inner widgets in the order of the instance's widgets_values; the id -1 stands for one of
    the subgraph's own inputs.
    """
    out: dict[str, dict[str, Any]] = {}
    values = node.widgets_values if isinstance(node.widgets_values, list) else list(node.widgets_values.values())
    if node.type.startswith(("workflow/", "workflow>")):
        return _group_node_values(definition, list(values))
    proxies = node.properties.get("proxyWidgets")
    for proxy, value in zip(proxies if isinstance(proxies, list) else (), values, strict=False):
        if isinstance(proxy, list) and len(proxy) >= 2:
            out.setdefault(str(proxy[0]), {})[str(proxy[1])] = value
    return out


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
    name = scope.graph.inputs[slot][0] if slot < len(scope.graph.inputs) else ""
    outer = next((i for i, socket in enumerate(instance.inputs) if socket.name == name), slot)
    if instance.type.startswith(("workflow/", "workflow>")):
        plain = [i for i, socket in enumerate(instance.inputs) if not socket.widget]
        outer = plain[slot] if slot < len(plain) else slot
    if (instance.id, outer) in parent.incoming:
        return (parent, instance.id, outer)
    own = scope.given.get("-1", {})
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
