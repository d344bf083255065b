"""Reads ComfyUI's canvas files (versions 0.4 and 1, and the older shapes people still share) into one plain form.

A canvas graph is a set of nodes and links; a subgraph or an old group node is a graph of its own, referred to by the
`type` of its instances. Inside a subgraph the links that come from its inputs start at INPUT_NODE and those that go
to its outputs end at OUTPUT_NODE.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from engine.contracts.codec import describe
from engine.contracts.errors import InvalidDocument, clip

INPUT_NODE = "-10"
OUTPUT_NODE = "-20"
ACTIVE, MUTE, BYPASS = 0, 2, 4
MAX_SUBGRAPH_DEPTH = 32


@dataclass(frozen=True)
class CanvasInput:
    name: str
    type: str
    widget: str = ""  # the widget this socket stands for; "" for a plain socket


@dataclass(frozen=True)
class CanvasNode:
    id: str
    type: str
    title: str
    mode: int
    position: tuple[float, float]
    size: tuple[float, float] | None
    collapsed: bool
    colour: str
    inputs: tuple[CanvasInput, ...]
    outputs: tuple[tuple[str, str], ...]  # (name, type)
    widgets_values: list[Any] | dict[str, Any]
    properties: Mapping[str, Any]
    raw: Mapping[str, Any] = field(repr=False, compare=False)


@dataclass(frozen=True)
class CanvasLink:
    source: str
    source_slot: int
    target: str
    target_slot: int
    type: str
    id: str = ""
    reroute: str = ""  # the drawn reroute point the link passes last; "" for none


@dataclass(frozen=True)
class CanvasReroute:
    """A point a link is drawn through (not a node). `parent` is the point before it."""

    id: str
    parent: str
    position: tuple[float, float]


@dataclass(frozen=True)
class CanvasGroup:
    title: str
    rectangle: tuple[float, float, float, float]
    colour: str


@dataclass(frozen=True)
class CanvasGraph:
    """`inputs` and `outputs` are a subgraph's own, (name, type); empty at the root."""

    id: str
    name: str
    nodes: dict[str, CanvasNode]
    links: tuple[CanvasLink, ...]
    groups: tuple[CanvasGroup, ...] = ()
    inputs: tuple[tuple[str, str], ...] = ()
    outputs: tuple[tuple[str, str], ...] = ()
    reroutes: tuple[CanvasReroute, ...] = ()
    definitions: dict[str, CanvasGraph] = field(default_factory=dict, compare=False)

    def incoming(self) -> dict[tuple[str, int], CanvasLink]:
        """The link that ends at each (node, input slot)."""
        return {(link.target, link.target_slot): link for link in self.links}


def looks_like_canvas(data: object) -> bool:
    return isinstance(data, dict) and isinstance(data.get("nodes"), list)


def read_canvas(data: Any, where: str) -> CanvasGraph:
    """Parse a canvas document. Raises InvalidDocument; unknown fields are ignored, odd shapes forgiven."""
    if not looks_like_canvas(data):
        raise InvalidDocument("it has no list of nodes, so it is not a ComfyUI workflow", where=where)
    definitions: dict[str, CanvasGraph] = {}
    for body in _subgraph_bodies(data, where):
        graph = _graph(body, where, str(body.get("id", "")), definitions)
        definitions[graph.id] = graph
    extra = data.get("extra")
    groups = extra.get("groupNodes") if isinstance(extra, dict) else None
    if isinstance(groups, dict):
        for name, body in groups.items():
            graph = _group_node_graph(str(name), body, where)
            for prefix in ("workflow/", "workflow>"):
                definitions[prefix + str(name)] = graph
    return _graph(data, where, "", definitions)


def _subgraph_bodies(data: dict[str, Any], where: str, depth: int = 0) -> Iterator[dict[str, Any]]:
    if depth > MAX_SUBGRAPH_DEPTH:
        raise InvalidDocument("its subgraphs are nested too deep", where=where)
    definitions = data.get("definitions")
    bodies = definitions.get("subgraphs") if isinstance(definitions, dict) else None
    for body in bodies if isinstance(bodies, list) else ():
        if isinstance(body, dict):
            yield body
            yield from _subgraph_bodies(body, where, depth + 1)


def _graph(data: dict[str, Any], where: str, graph_id: str, definitions: dict[str, CanvasGraph]) -> CanvasGraph:
    nodes: dict[str, CanvasNode] = {}
    for index, raw in enumerate(_list(data.get("nodes"))):
        node = _node(raw, f"{where}: node {index}")
        if node.id in nodes:
            raise InvalidDocument(f"two nodes have the id {clip(node.id)}", where=where)
        nodes[node.id] = node
    extra = data.get("extra")
    extra = extra if isinstance(extra, dict) else {}
    passed = {
        _id(item.get("id")): _id(item["parentId"])
        for item in _list(extra.get("linkExtensions"))
        if isinstance(item, dict) and item.get("parentId") is not None
    }
    links = [link for raw in _list(data.get("links")) if (link := _link(raw, passed)) is not None]
    points = _list(data.get("reroutes")) or _list(extra.get("reroutes"))
    return CanvasGraph(
        graph_id,
        str(data.get("name") or ""),
        nodes,
        tuple(links),
        tuple(_group(raw) for raw in _list(data.get("groups")) if isinstance(raw, dict)),
        tuple(_port(raw) for raw in _list(data.get("inputs")) if isinstance(raw, dict)) if graph_id else (),
        tuple(_port(raw) for raw in _list(data.get("outputs")) if isinstance(raw, dict)) if graph_id else (),
        tuple(_reroute(raw) for raw in points if isinstance(raw, dict)),
        definitions,
    )


def _reroute(raw: dict[str, Any]) -> CanvasReroute:
    parent = raw.get("parentId")
    return CanvasReroute(_id(raw.get("id", "")), "" if parent is None else _id(parent), _pair(raw.get("pos")) or (0, 0))


def _node(raw: Any, where: str) -> CanvasNode:
    if not isinstance(raw, dict) or "type" not in raw:
        raise InvalidDocument(f"expected a node with a type, found {describe(raw)}", where=where)
    properties = raw.get("properties")
    values = raw.get("widgets_values")
    flags = raw.get("flags")
    return CanvasNode(
        id=_id(raw.get("id", raw.get("index", ""))),
        type=str(raw["type"]),
        title=str(raw.get("title") or ""),
        mode=_int(raw.get("mode"), ACTIVE),
        position=_pair(raw.get("pos")) or (0.0, 0.0),
        size=_pair(raw.get("size")),
        collapsed=bool(isinstance(flags, dict) and flags.get("collapsed")),
        colour=str(raw.get("bgcolor") or raw.get("color") or ""),
        inputs=tuple(_input(item) for item in _list(raw.get("inputs")) if isinstance(item, dict)),
        outputs=tuple(_port(item) for item in _list(raw.get("outputs")) if isinstance(item, dict)),
        widgets_values=values if isinstance(values, (list, dict)) else [],
        properties=properties if isinstance(properties, dict) else {},
        raw=raw,
    )


def _link(raw: Any, passed: Mapping[str, str]) -> CanvasLink | None:
    parent: Any = None
    if isinstance(raw, list) and len(raw) >= 5:
        number, source, source_slot, target, target_slot, *rest = raw
        kind = rest[0] if rest else "*"
    elif isinstance(raw, dict):
        number, parent = raw.get("id", ""), raw.get("parentId")
        source, source_slot = raw.get("origin_id"), raw.get("origin_slot")
        target, target_slot, kind = raw.get("target_id"), raw.get("target_slot"), raw.get("type", "*")
    else:
        return None  # saves hold null where a link was deleted
    if source is None or target is None:
        return None
    link_id = _id(number)
    point = passed.get(link_id, "") if parent is None else _id(parent)
    return CanvasLink(
        _id(source), _int(source_slot, 0), _id(target), _int(target_slot, 0), str(kind), link_id, point
    )  # fmt: skip


def _input(raw: dict[str, Any]) -> CanvasInput:
    widget = raw.get("widget")
    name = str(raw.get("name") or "")
    return CanvasInput(name, _type(raw), str(widget.get("name") or name) if isinstance(widget, dict) else "")


def _port(raw: dict[str, Any]) -> tuple[str, str]:
    return (str(raw.get("name") or ""), _type(raw))


def _type(raw: dict[str, Any]) -> str:
    kind = raw.get("type", "*")
    return "COMBO" if isinstance(kind, list) else str(kind)


def _group(raw: dict[str, Any]) -> CanvasGroup:
    box = raw.get("bounding")
    numbers = [_finite(v) for v in _list(box) if isinstance(v, (int, float))]
    rectangle = (numbers[0], numbers[1], numbers[2], numbers[3]) if len(numbers) == 4 else (0.0, 0.0, 400.0, 300.0)
    return CanvasGroup(str(raw.get("title") or ""), rectangle, str(raw.get("color") or ""))


def _group_node_graph(name: str, body: Any, where: str) -> CanvasGraph:
    """An old group node as a subgraph: open inner inputs and outputs become its own, in the order LiteGraph gives."""
    if not isinstance(body, dict):
        raise InvalidDocument(f"the group node “{clip(name)}” is {describe(body)}", where=where)
    nodes = {}
    for index, raw in enumerate(_list(body.get("nodes"))):
        node = _node({**raw, "id": index} if isinstance(raw, dict) else raw, f"{where}: group node “{clip(name)}”")
        nodes[node.id] = node
    links = []
    for raw in _list(body.get("links")):
        if isinstance(raw, list) and len(raw) >= 4 and raw[0] is not None and raw[2] is not None:
            kind = str(raw[5]) if len(raw) > 5 else "*"
            links.append(CanvasLink(_id(raw[0]), _int(raw[1], 0), _id(raw[2]), _int(raw[3], 0), kind))
    fed = {(link.target, link.target_slot) for link in links}
    used = {(link.source, link.source_slot) for link in links}
    exposed = {
        (_id(item[0].get("index", "")), _int(item[1], 0))
        for item in _list(body.get("external"))
        if isinstance(item, list) and len(item) >= 2 and isinstance(item[0], dict)
    }
    inputs: list[tuple[str, str]] = []
    outputs: list[tuple[str, str]] = []
    for node in nodes.values():
        for slot, socket in enumerate(node.inputs):
            if (node.id, slot) not in fed and not socket.widget:
                links.append(CanvasLink(INPUT_NODE, len(inputs), node.id, slot, socket.type))
                inputs.append((socket.name, socket.type))
        for slot, port in enumerate(node.outputs):
            if (node.id, slot) not in used or (node.id, slot) in exposed:
                links.append(CanvasLink(node.id, slot, OUTPUT_NODE, len(outputs), port[1]))
                outputs.append(port)
    return CanvasGraph(f"group-{name}", name, nodes, tuple(links), (), tuple(inputs), tuple(outputs))


def _list(value: Any) -> list[Any]:
    if isinstance(value, dict):
        return list(value.values())
    return value if isinstance(value, list) else []


def _id(value: Any) -> str:
    if isinstance(value, int) and abs(value) >= 10**30:
        raise InvalidDocument("an id is a number beyond all bounds", where="node")
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)


def _int(value: Any, default: int) -> int:
    try:
        number = int(value)
    except (TypeError, ValueError, OverflowError):
        return default
    return number if 0 <= number < 100_000 else default


def _pair(value: Any) -> tuple[float, float] | None:
    """A position or size: a list, or an object with keys 0 and 1."""
    if isinstance(value, dict):
        value = [value.get("0", value.get(0)), value.get("1", value.get(1))]
    if isinstance(value, list) and len(value) >= 2 and all(isinstance(v, (int, float)) for v in value[:2]):
        return (_finite(value[0]), _finite(value[1]))
    return None


def _finite(value: float) -> float:
    """A place on the canvas, held to what a canvas can show."""
    return float(max(-1e9, min(1e9, value))) if value == value else 0.0
