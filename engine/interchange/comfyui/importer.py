"""ComfyUI canvas files and API prompts → our Workflow, with a report of what could not be mapped.

Nothing is lost: a class we lack becomes a placeholder of type "comfyui.<Class>" that keeps its inputs, wiring and, in
`extra["comfyui"]`, the node as it stood in the file.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from engine.contracts.codec import describe
from engine.contracts.errors import InvalidDocument, clip
from engine.contracts.references import ModelRef
from engine.contracts.workflow import Group, InputValue, Link, Node, NodeMode, Socket, Subgraph, Workflow
from engine.graph.registry import Registry
from engine.graph.subgraphs import SUBGRAPH
from engine.interchange.comfyui.canvas import (
    BYPASS,
    INPUT_NODE,
    MUTE,
    OUTPUT_NODE,
    CanvasGraph,
    CanvasNode,
    looks_like_canvas,
    read_canvas,
)
from engine.interchange.comfyui.classes import classes
from engine.interchange.comfyui.mapping import OWN_PREFIX, PLACEHOLDER, ClassMapping, mappings, to_ours
from engine.interchange.comfyui.prompt import NOTES, PRIMITIVE, REROUTE, promoted_values
from engine.interchange.comfyui.widgets import widget_values

REROUTE_TYPE = "utility.reroute"
NOTE_TYPE = "utility.note"


@dataclass(frozen=True)
class MissingModelHint:
    """A model the file names, with where the file says it comes from."""

    name: str
    kind: str
    url: str = ""
    hash: str = ""
    hash_type: str = ""

    def to_json(self) -> dict[str, str]:
        return {k: v for k, v in self.__dict__.items() if v}


@dataclass
class ImportReport:
    """What an import found: the number of nodes, classes we lack, the models it wants, and what else to know."""

    nodes: int = 0
    unsupported: list[str] = field(default_factory=list)
    models: list[MissingModelHint] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Imported:
    workflow: Workflow
    report: ImportReport


def looks_like_prompt(data: object) -> bool:
    return (
        isinstance(data, dict)
        and bool(data)
        and all(isinstance(v, dict) and isinstance(v.get("class_type"), str) for v in data.values())
    )


def import_comfyui(data: Any, where: str, name: str = "") -> Imported:
    """Import a parsed canvas file or API prompt. Raises InvalidDocument when it is neither."""
    if isinstance(data, dict) and looks_like_prompt(data.get("prompt")):
        data = data["prompt"]  # the body of a queued request
    if looks_like_canvas(data):
        return _CanvasImport(read_canvas(data, where), name).run()
    if looks_like_prompt(data):
        return _import_prompt(data, name)
    raise InvalidDocument(
        "it is neither a ComfyUI workflow nor an API prompt",
        where=where,
        fix="A workflow has “nodes”; a prompt has a “class_type” in every entry",
    )


class _Nodes:
    """Builds our nodes from ComfyUI's, collecting the report."""

    def __init__(self) -> None:
        self.report = ImportReport()
        self.sources: dict[str, MissingModelHint] = {}

    def node(
        self, node_id: str, comfy: str, inputs: Mapping[str, InputValue], raw: Mapping[str, Any] | None, **looks: Any
    ) -> Node:
        self.report.nodes += 1
        if comfy.startswith(OWN_PREFIX):
            return Node(id=node_id, type=comfy.removeprefix(OWN_PREFIX), inputs=inputs, **looks)
        mapping = mappings().get(comfy)
        if mapping is None:
            if comfy not in self.report.unsupported:
                self.report.unsupported.append(comfy)
            extra = {"comfyui": dict(raw)} if raw is not None else {"comfyui": {"class_type": comfy}}
            return Node(id=node_id, type=PLACEHOLDER + comfy, inputs=inputs, extra=extra, **looks)
        ours: dict[str, InputValue] = dict(mapping.fixed)
        for name, value in inputs.items():
            target = mapping.input(name)
            if target.name:
                ours[target.name] = value if isinstance(value, Link) else self._literal(target.form, value)
        return Node(id=node_id, type=mapping.type, inputs=ours, **looks)

    def _literal(self, form: str, value: InputValue) -> InputValue:
        converted: InputValue = to_ours(form, value)
        if isinstance(converted, ModelRef):
            hint = self.sources.get(converted.name) or MissingModelHint(converted.name, converted.kind)
            if all(m.name != hint.name for m in self.report.models):
                self.report.models.append(hint)
            if hint.url:
                converted = ModelRef(
                    kind=converted.kind,
                    name=converted.name,
                    url=hint.url,
                    sha256=hint.hash.lower() if _is_sha256(hint) else "",
                )
        return converted

    def read_sources(self, properties: Mapping[str, Any]) -> None:
        """`properties.models` of newer files: where each model comes from."""
        models = properties.get("models")
        for item in models if isinstance(models, list) else ():
            if isinstance(item, dict) and isinstance(item.get("name"), str):
                self.sources[item["name"]] = MissingModelHint(
                    item["name"], str(item.get("directory") or ""), str(item.get("url") or ""),
                    str(item.get("hash") or ""), str(item.get("hash_type") or ""),
                )  # fmt: skip


def _is_sha256(hint: MissingModelHint) -> bool:
    return hint.hash_type.upper() in ("", "SHA256") and re.fullmatch(r"[0-9a-fA-F]{64}", hint.hash) is not None


def _import_prompt(data: Mapping[str, Any], name: str) -> Imported:
    builder = _Nodes()
    nodes = []
    for index, (node_id, body) in enumerate(data.items()):
        comfy = body["class_type"]
        inputs: dict[str, InputValue] = {}
        raw_inputs = body.get("inputs")
        for key, value in (raw_inputs if isinstance(raw_inputs, dict) else {}).items():
            if key.startswith(("choose ", "upload")):
                continue
            inputs[str(key)] = _prompt_value(value, data)
        meta = body.get("_meta")
        title = str(meta.get("title") or "") if isinstance(meta, dict) else ""
        column, row = divmod(index, 6)
        nodes.append(
            builder.node(
                str(node_id),
                comfy,
                inputs,
                body,
                title=title if title != comfy else "",
                position=(column * 360.0, row * 260.0),
            )
        )
    return Imported(Workflow(name=name, nodes=tuple(nodes)), builder.report)


def _prompt_value(value: Any, data: Mapping[str, Any]) -> InputValue:
    if isinstance(value, dict) and set(value) == {"__value__"}:
        return value["__value__"]  # type: ignore[no-any-return]  # a literal list
    if isinstance(value, list) and len(value) == 2 and isinstance(value[1], int) and str(value[0]) in data:
        source = str(value[0])
        return Link(source, output_name(data[source]["class_type"], value[1]))
    return value  # type: ignore[no-any-return]


def output_name(comfy: str, slot: int) -> str:
    """Our name of an output of a ComfyUI class."""
    if comfy.startswith(OWN_PREFIX):
        own = Registry.builtin().find(comfy.removeprefix(OWN_PREFIX))
        ports = own.schema.outputs if own else ()
        return ports[slot].name if slot < len(ports) else f"output_{slot}"
    mapping = mappings().get(comfy)
    return mapping.output(slot) if mapping else f"output_{slot}"


class _CanvasImport:
    def __init__(self, graph: CanvasGraph, name: str) -> None:
        self.graph = graph
        self.name = name or graph.name
        self.builder = _Nodes()
        self.used: dict[str, CanvasGraph] = {}
        # (subgraph id, inner node, widget) → exposed name, over all instances of the subgraph
        self.promoted: dict[str, dict[tuple[str, str], str]] = {}

    def run(self) -> Imported:
        graphs = {self.graph.id: self.graph, **{g.id: g for g in self.graph.definitions.values()}}
        for graph in graphs.values():
            for node in graph.nodes.values():
                self.builder.read_sources(node.properties)
        self._collect_promotions(graphs.values())
        nodes = self._nodes(self.graph)
        subgraphs = [self._subgraph(graph) for graph in {g.id: g for g in self._reachable()}.values()]
        workflow = Workflow(name=self.name, nodes=tuple(nodes), groups=_groups(self.graph), subgraphs=tuple(subgraphs))
        return Imported(workflow, self.builder.report)

    def _definition(self, node: CanvasNode) -> CanvasGraph | None:
        return self.graph.definitions.get(node.type)

    def _reachable(self) -> list[CanvasGraph]:
        found: dict[str, CanvasGraph] = {}
        pending = [self.graph]
        while pending:
            for node in pending.pop().nodes.values():
                inner = self._definition(node)
                if inner is not None and inner.id not in found:
                    found[inner.id] = inner
                    pending.append(inner)
        return list(found.values())

    def _collect_promotions(self, graphs: Any) -> None:
        for graph in graphs:
            for node in graph.nodes.values():
                inner = self._definition(node)
                if inner is None:
                    continue
                names = self.promoted.setdefault(inner.id, {})
                taken = {name for name, _ in inner.inputs} | set(names.values())
                for inner_id, widgets in promoted_values(node, inner).items():
                    for widget in widgets if inner_id != "-1" and inner_id in inner.nodes else ():
                        if (inner_id, widget) in names or self._inner_input(inner.nodes[inner_id], widget) is None:
                            continue
                        name = widget if widget not in taken else f"{widget}_{inner_id}"
                        names[inner_id, widget] = name
                        taken.add(name)

    def _inner_input(self, node: CanvasNode, widget: str) -> str | None:
        """Our input name of a widget of an inner node; None when it has no meaning here."""
        if node.type in NOTES or node.type in (REROUTE, PRIMITIVE) or widget == "control_after_generate":
            return None
        if self._definition(node) is not None:
            return widget
        mapping = mappings().get(node.type)
        return (mapping.input(widget).name or None) if mapping else widget

    def _nodes(self, graph: CanvasGraph) -> list[Node]:
        incoming = graph.incoming()
        out = []
        for node in graph.nodes.values():
            if node.type == PRIMITIVE:
                continue  # its value stands in the inputs it feeds
            out.append(self._node(graph, node, incoming))
        return out

    def _node(self, graph: CanvasGraph, node: CanvasNode, incoming: Mapping[tuple[str, int], Any]) -> Node:
        looks: dict[str, Any] = {
            "title": node.title if node.title != node.type else "",
            "mode": _mode(node.mode),
            "position": node.position,
            "size": node.size,
            "colour": node.colour,
            "collapsed": node.collapsed,
        }
        if node.type in NOTES:
            values = node.widgets_values
            text = values[0] if isinstance(values, list) and values else ""
            return Node(id=node.id, type=NOTE_TYPE, inputs={"text": str(text)}, **looks)
        if node.type == REROUTE:
            link = incoming.get((node.id, 0))
            source = self._source(graph, link) if link else None
            return Node(id=node.id, type=REROUTE_TYPE, inputs={} if source is None else {"value": source}, **looks)
        inner = self._definition(node)
        if inner is not None:
            return self._instance(graph, node, inner, incoming, looks)
        inputs: dict[str, InputValue] = dict(widget_values(node))
        for slot, socket in enumerate(node.inputs):
            link = incoming.get((node.id, slot))
            if link is None or link.source == INPUT_NODE:
                continue
            source = self._source(graph, link)
            if source is not None:
                inputs[socket.widget or socket.name] = source
        return self.builder.node(node.id, node.type, inputs, node.raw, **looks)

    def _instance(
        self, graph: CanvasGraph, node: CanvasNode, inner: CanvasGraph, incoming: Mapping[tuple[str, int], Any],
        looks: dict[str, Any],
    ) -> Node:  # fmt: skip
        self.builder.report.nodes += 1
        inputs: dict[str, InputValue] = {}
        names = self.promoted.get(inner.id, {})
        for inner_id, widgets in promoted_values(node, inner).items():
            for widget, value in widgets.items():
                name = widget if inner_id == "-1" else names.get((inner_id, widget), "")
                if name and value is not None:
                    inputs[name] = self._promoted_literal(inner, inner_id, widget, value)
        plain = [i for i, s in enumerate(node.inputs) if not s.widget]
        for slot, socket in enumerate(node.inputs):
            link = incoming.get((node.id, slot))
            if link is None or link.source == INPUT_NODE:
                continue
            source = self._source(graph, link)
            name = socket.name
            if inner.id.startswith("group-"):
                position = plain.index(slot) if slot in plain else -1
                name = _port_name(inner.inputs, position) if position >= 0 else name
            if source is not None:
                inputs[name] = source
        return Node(id=node.id, type=SUBGRAPH + inner.id, inputs=inputs, **looks)

    def _promoted_literal(self, inner: CanvasGraph, inner_id: str, widget: str, value: Any) -> InputValue:
        node = inner.nodes.get(inner_id)
        if inner_id == "-1":
            slots = [link for link in inner.links if link.source == INPUT_NODE]
            index = next((i for i, (name, _) in enumerate(inner.inputs) if name == widget), -1)
            for link in slots:
                target = inner.nodes.get(link.target)
                if link.source_slot == index and target is not None and link.target_slot < len(target.inputs):
                    node, widget = target, target.inputs[link.target_slot].widget or widget
                    break
        mapping = mappings().get(node.type) if node is not None else None
        return self.builder._literal(mapping.input(widget).form, value) if mapping else value

    def _source(self, graph: CanvasGraph, link: Any) -> InputValue:
        """What a link carries: a link of ours, or a primitive's literal; None when it leads nowhere."""
        node = graph.nodes.get(link.source)
        if node is None:
            return None
        if node.type == PRIMITIVE:
            values = node.widgets_values
            value = values[0] if isinstance(values, list) and values else None
            return value if value is None or isinstance(value, (bool, int, float, str)) else None
        if node.type == REROUTE:
            return Link(node.id, "value")
        inner = self._definition(node)
        if inner is not None:
            return Link(node.id, _port_name(inner.outputs, link.source_slot))
        return Link(node.id, output_name(node.type, link.source_slot))

    def _subgraph(self, graph: CanvasGraph) -> Subgraph:
        inputs: list[Socket] = []
        outputs: list[Socket] = []
        for link in graph.links:
            if link.source == INPUT_NODE:
                target = graph.nodes.get(link.target)
                socket = self._target_socket(target, link.target_slot) if target is not None else ""
                if socket:
                    name = _port_name(graph.inputs, link.source_slot)
                    inputs.append(Socket(name=name, node=link.target, socket=socket))
            elif link.target == OUTPUT_NODE:
                source = self._source(graph, link)
                if isinstance(source, Link):
                    outputs.append(
                        Socket(name=_port_name(graph.outputs, link.target_slot), node=source.node, socket=source.output)
                    )
        for (inner_id, widget), name in self.promoted.get(graph.id, {}).items():
            socket = self._inner_input(graph.nodes[inner_id], widget) or widget
            if graph.nodes[inner_id].type in self.graph.definitions:
                inner = self.graph.definitions[graph.nodes[inner_id].type]
                socket = next((n for (_, w), n in self.promoted.get(inner.id, {}).items() if w == widget), socket)
            inputs.append(Socket(name=name, node=inner_id, socket=socket))
        return Subgraph(
            id=graph.id, name=graph.name, nodes=tuple(self._nodes(graph)), groups=_groups(graph),
            inputs=tuple(inputs), outputs=tuple(outputs),
        )  # fmt: skip

    def _target_socket(self, node: CanvasNode, slot: int) -> str:
        """Our name of an inner node's input slot; "" when it has no meaning here."""
        if node.type == REROUTE:
            return "value"
        if slot >= len(node.inputs) or node.type == PRIMITIVE:
            return ""
        socket = node.inputs[slot]
        if self._definition(node) is not None:
            return socket.name
        name = socket.widget or socket.name
        mapping = mappings().get(node.type)
        return mapping.input(name).name if mapping else name


def _port_name(ports: tuple[tuple[str, str], ...], slot: int) -> str:
    """Names repeat in group nodes ("IMAGE", "IMAGE"): a repeated one carries its slot."""
    if not 0 <= slot < len(ports):
        return f"slot_{slot}"
    name = ports[slot][0] or f"slot_{slot}"
    return name if [p[0] for p in ports].index(ports[slot][0]) == slot else f"{name}_{slot}"


def _groups(graph: CanvasGraph) -> tuple[Group, ...]:
    return tuple(Group(title=g.title, rectangle=g.rectangle, colour=g.colour) for g in graph.groups)


def _mode(mode: int) -> NodeMode:
    return "mute" if mode == MUTE else "bypass" if mode == BYPASS else "active"


__all__ = ["ClassMapping", "ImportReport", "Imported", "classes", "clip", "describe", "import_comfyui", "output_name"]
