"""Our Workflow → ComfyUI's API prompt or canvas file (version 0.4).

Types that ComfyUI has no class for are written under their own name with the prefix "tessera.", so that our importer
reads them back whole; the report names them. Placeholders go back to the class they came from.
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from engine.contracts.workflow import BlobRef, Group, Link, ModelRef, Node, Socket, Subgraph, Workflow
from engine.graph.registry import Registry
from engine.graph.subgraphs import SOCKETS, SUBGRAPH
from engine.interchange.comfyui.canvas import BYPASS, INPUT_NODE, MAX_SUBGRAPH_DEPTH, MUTE, OUTPUT_NODE, read_canvas
from engine.interchange.comfyui.classes import SocketInput, Widget, classes
from engine.interchange.comfyui.drawn import drawn_reroutes
from engine.interchange.comfyui.from_canvas import DRAWN_KEY, NOTE_TYPE, REROUTE_TYPE
from engine.interchange.comfyui.mapping import OWN_PREFIX, PLACEHOLDER, ClassMapping, mapping_for, to_comfy
from engine.interchange.comfyui.prompt import PRIMITIVE, Prompt, to_prompt
from engine.interchange.comfyui.widgets import widget_values


@dataclass
class ExportReport:
    """Node types that ComfyUI has no class for."""

    unsupported: list[str] = field(default_factory=list)


def export_prompt(workflow: Workflow, registry: Registry) -> tuple[Prompt, ExportReport]:
    """The API prompt: subgraphs opened, mute and bypass resolved, as ComfyUI's front end queues a canvas."""
    canvas, report = export_canvas(workflow, registry)
    return to_prompt(read_canvas(canvas, "export")), report


def export_canvas(workflow: Workflow, registry: Registry) -> tuple[dict[str, Any], ExportReport]:
    """The canvas file as a JSON value."""
    report = ExportReport()
    exporter = _Exporter(registry, {s.id: s for s in workflow.subgraphs}, report)
    root = exporter.graph(workflow.nodes, (), ())
    root |= {
        "groups": _groups(workflow.groups),
        "definitions": {"subgraphs": [exporter.definition(s) for s in workflow.subgraphs]},
        "config": {},
        "extra": drawn_reroutes(workflow.extra.get(DRAWN_KEY), root),
        "version": 0.4,
    }
    return root, report


def _groups(groups: Sequence[Group]) -> list[dict[str, Any]]:
    return [{"title": g.title, "bounding": list(g.rectangle), "color": g.colour, "font_size": 24} for g in groups]


class _Level:
    """One graph being written: ids as ComfyUI's whole numbers, and its links."""

    def __init__(self, nodes: Sequence[Node]) -> None:
        taken = {int(n.id) for n in nodes if n.id.isascii() and n.id.isdigit()}
        following = max(taken, default=0) + 1
        self.numbers: dict[str, int] = {}
        for node in nodes:
            if node.id.isascii() and node.id.isdigit() and str(int(node.id)) == node.id:
                self.numbers[node.id] = int(node.id)
            else:
                self.numbers[node.id] = following
                following += 1
        self.nodes = {n.id: n for n in nodes}
        self.links: list[list[Any]] = []
        self.constants: list[dict[str, Any]] = []
        self.following = following

    def link(self, source: int, source_slot: int, target: int, target_slot: int, kind: str) -> int:
        number = len(self.links) + 1
        self.links.append([number, source, source_slot, target, target_slot, kind])
        return number

    def constant(self, value: Any, node: Node) -> int:
        """Add a primitive node that holds `value`, left of `node`; returns its id."""
        number = self.following
        self.following += 1
        x, y = node.position
        self.constants.append(
            {
                "id": number, "type": PRIMITIVE, "pos": [x - 240.0, y], "size": [210.0, 82.0], "flags": {}, "order": 0,
                "mode": 0, "inputs": [], "outputs": [{"name": "*", "type": "*", "links": []}], "properties": {},
                "widgets_values": [value, "fixed"],
            }
        )  # fmt: skip
        return number


class _Exporter:
    def __init__(self, registry: Registry, subgraphs: Mapping[str, Subgraph], report: ExportReport) -> None:
        self.registry, self.subgraphs, self.report = registry, subgraphs, report

    def graph(self, nodes: Sequence[Node], inputs: Sequence[Any], outputs: Sequence[Any]) -> dict[str, Any]:
        level = _Level(nodes)
        given: dict[tuple[str, str], int] = {}
        names = list(dict.fromkeys(s.name for s in inputs))
        for socket in inputs:
            given[socket.node, socket.socket] = names.index(socket.name)
        written = [self._node(level, node, given) for node in nodes]
        for slot, socket in enumerate(outputs):
            if socket.node in level.numbers:
                source = level.nodes[socket.node]
                output = self._output_slot(source, socket.socket)
                level.link(level.numbers[socket.node], output, int(OUTPUT_NODE), slot, "*")
        return {
            "last_node_id": level.following - 1,
            "last_link_id": len(level.links),
            "nodes": written + level.constants,
            "links": level.links,
        }

    def definition(self, subgraph: Subgraph) -> dict[str, Any]:
        body = self.graph(subgraph.nodes, subgraph.inputs, subgraph.outputs)
        drawn = drawn_reroutes(subgraph.extra.get(DRAWN_KEY), body)
        keys = ("id", "origin_id", "origin_slot", "target_id", "target_slot", "type")
        body["links"] = [dict(zip(keys, link, strict=True)) for link in body["links"]]
        return {
            **body,
            "id": subgraph.id,
            "version": 1,
            "name": subgraph.name,
            "inputNode": {"id": int(INPUT_NODE), "bounding": [-300, 0, 120, 60]},
            "outputNode": {"id": int(OUTPUT_NODE), "bounding": [1200, 0, 120, 60]},
            "inputs": [_port(subgraph.id, "in", name, kind) for name, kind in self._inputs_of(subgraph).items()],
            "outputs": [_port(subgraph.id, "out", name, kind) for name, kind in self._outputs_of(subgraph)],
            "groups": _groups(subgraph.groups),
            "extra": drawn,
        }

    def _node(self, level: _Level, node: Node, given: Mapping[tuple[str, str], int]) -> dict[str, Any]:
        number = level.numbers[node.id]
        out: dict[str, Any] = {
            "id": number,
            "type": self._class_name(node),
            "pos": list(node.position),
            "size": list(node.size or (315.0, 120.0)),
            "flags": {"collapsed": True} if node.collapsed else {},
            "order": 0,
            "mode": {"mute": MUTE, "bypass": BYPASS}.get(node.mode, 0),
            "properties": {},
        }
        if node.title:
            out["title"] = node.title
        if node.colour:
            out["bgcolor"] = node.colour
        if node.type == NOTE_TYPE:
            return {**out, "inputs": [], "outputs": [], "widgets_values": [node.inputs.get("text", "")]}
        sockets, widgets, outputs = self._shape(node)
        values = self._values(node)
        inputs: list[dict[str, Any]] = []
        for socket in (*sockets, *(SocketInput(w.name, w.type) for w in widgets)):
            entry: dict[str, Any] = {"name": socket.name, "type": socket.type, "link": None}
            widget = next((w for w in widgets if w.name == socket.name), None)
            if widget is not None:
                entry["widget"] = {"name": widget.name}
            value = values.get(socket.name)
            slot = len(inputs)
            ours = self._our_name(node, socket.name)
            if isinstance(value, Link) and value.node in level.numbers:
                source = level.nodes[value.node]
                entry["link"] = level.link(
                    level.numbers[value.node], self._output_slot(source, value.output), number, slot, socket.type
                )
            elif (node.id, ours) in given:
                entry["link"] = level.link(int(INPUT_NODE), given[node.id, ours], number, slot, socket.type)
            elif node.type == REROUTE_TYPE and value is not None:
                entry["link"] = level.link(level.constant(value, node), 0, number, slot, socket.type)
            inputs.append(entry)
        out["inputs"] = inputs
        out["outputs"] = [{"name": name, "type": kind, "links": []} for name, kind in outputs]
        if node.type.startswith(SUBGRAPH):
            literals = {k: v for k, v in values.items() if not isinstance(v, Link)}
            out["properties"]["proxyWidgets"] = [["-1", name] for name in literals]
            out["widgets_values"] = list(literals.values())
        else:
            controls = {widget.name: node.seeds.get(self._our_name(node, widget.name), "fixed") for widget in widgets}
            out["widgets_values"] = _untouched_values(node) or _widget_list(widgets, values, controls)
        return out

    def _class_name(self, node: Node) -> str:
        if node.type.startswith(SUBGRAPH):
            return node.type.removeprefix(SUBGRAPH)
        if node.type.startswith(PLACEHOLDER):
            return node.type.removeprefix(PLACEHOLDER)
        if node.type == REROUTE_TYPE:
            return "Reroute"
        if node.type == NOTE_TYPE:
            return "Note"
        mapping = mapping_for(node)
        if mapping is None:
            if node.type not in self.report.unsupported:
                self.report.unsupported.append(node.type)
            return OWN_PREFIX + node.type
        return mapping.comfy

    def _mapping(self, node: Node) -> ClassMapping | None:
        return mapping_for(node)

    def _values(self, node: Node) -> dict[str, Any]:
        """The node's inputs by ComfyUI's names, literals in ComfyUI's form, our defaults filled in."""
        mapping = self._mapping(node)
        if mapping is None:
            return {name: _plain(value) for name, value in node.inputs.items()}
        out: dict[str, Any] = {}
        definition = self.registry.find(mapping.type)
        known = classes().get(mapping.comfy)
        names = [w.name for w in known.widgets] + [s.name for s in known.sockets] if known else list(node.inputs)
        for name in names:
            target = mapping.input(name)
            if not target.name:
                continue
            if target.name in node.inputs:
                value = node.inputs[target.name]
                out[name] = value if isinstance(value, Link) else _plain(to_comfy(target.form, value))
            elif definition is not None:
                schema = definition.schema.input(target.name)
                if schema is not None and schema.default is not None:
                    out[name] = _plain(to_comfy(target.form, schema.default))
        return out

    def _shape(self, node: Node) -> tuple[Sequence[SocketInput], Sequence[Widget], Sequence[tuple[str, str]]]:
        """(sockets, widgets, outputs as (name, type)) of a node in ComfyUI's terms."""
        if node.type.startswith(SUBGRAPH):
            subgraph = self.subgraphs.get(node.type.removeprefix(SUBGRAPH))
            if subgraph is None:
                return (), (), ()
            sockets = tuple(SocketInput(name, kind) for name, kind in self._inputs_of(subgraph).items())
            return sockets, (), self._outputs_of(subgraph)
        if node.type == REROUTE_TYPE:
            return (SocketInput("value", "*"),), (), (("", "*"),)
        mapping = self._mapping(node)
        known = classes().get(mapping.comfy if mapping else self._class_name(node))
        if known is not None:
            return known.sockets, known.widgets, tuple((kind, kind) for kind in known.outputs)
        return self._unknown_shape(node)

    def _unknown_shape(self, node: Node) -> tuple[Sequence[SocketInput], Sequence[Widget], Sequence[tuple[str, str]]]:
        definition = self.registry.find(node.type)
        if definition is not None:
            inputs = definition.schema.inputs
            sockets = [
                SocketInput(i.name, i.type) for i in inputs if i.name not in node.inputs or _linked(node, i.name)
            ]
            given = [i for i in inputs if i.name in node.inputs and not _linked(node, i.name)]
            widgets = [Widget(i.name, i.type, control=i.seed) for i in given]
            return sockets, widgets, [(o.name, o.type) for o in definition.schema.outputs]
        told = _told_sockets(node, "inputs") or dict.fromkeys(node.inputs, "*")
        told |= {name: "*" for name in node.inputs if name not in told}
        listed = _listed_widgets(node)
        is_widget = {name: name in listed or (name in node.inputs and not _linked(node, name)) for name in told}
        sockets = [SocketInput(name, kind) for name, kind in told.items() if not is_widget[name]]
        widgets = [Widget(name, kind) for name, kind in told.items() if is_widget[name]]
        return sockets, widgets, list(_told_sockets(node, "outputs").items())

    def _our_name(self, node: Node, comfy: str) -> str:
        mapping = self._mapping(node)
        return mapping.input(comfy).name if mapping else comfy

    def _output_slot(self, node: Node, output: str) -> int:
        if node.type.startswith(SUBGRAPH):
            subgraph = self.subgraphs.get(node.type.removeprefix(SUBGRAPH))
            names = [s.name for s in subgraph.outputs] if subgraph else []
            return names.index(output) if output in names else 0
        mapping = self._mapping(node)
        if mapping is not None:
            return mapping.outputs.index(output) if output in mapping.outputs else 0
        definition = self.registry.find(node.type)
        if definition is not None:
            names = [o.name for o in definition.schema.outputs]
            return names.index(output) if output in names else 0
        tail = output.removeprefix("output_")
        return int(tail) if tail.isascii() and tail.isdigit() else 0

    def _type_inside(self, subgraph: Subgraph, socket: Socket, *, of_input: bool) -> str:
        """The type of the socket that an exposed input or output stands for; "*" where nothing tells it."""
        for _ in range(MAX_SUBGRAPH_DEPTH):
            node = next((n for n in subgraph.nodes if n.id == socket.node), None)
            if node is None:
                return "*"
            inner = self.subgraphs.get(node.type.removeprefix(SUBGRAPH)) if node.type.startswith(SUBGRAPH) else None
            if inner is None:
                sockets, widgets, outputs = self._shape(node)
                if not of_input:
                    slot = self._output_slot(node, socket.socket)
                    return outputs[slot][1] if slot < len(outputs) else "*"
                kinds = {s.name: s.type for s in sockets} | {w.name: w.type for w in widgets}
                found = (kind for name, kind in kinds.items() if self._our_name(node, name) == socket.socket)
                return next(found, "*")
            exposed = inner.inputs if of_input else inner.outputs
            deeper = next((s for s in exposed if s.name == socket.socket), None)
            if deeper is None:
                return "*"
            subgraph, socket = inner, deeper
        return "*"

    def _inputs_of(self, subgraph: Subgraph) -> dict[str, str]:
        """Name → type of a subgraph's exposed inputs, in order."""
        found: dict[str, str] = {}
        for socket in subgraph.inputs:
            kind = self._type_inside(subgraph, socket, of_input=True)
            if found.get(socket.name, "*") == "*":
                found[socket.name] = kind
        return found

    def _outputs_of(self, subgraph: Subgraph) -> list[tuple[str, str]]:
        return [(s.name, self._type_inside(subgraph, s, of_input=False)) for s in subgraph.outputs]


def _told_sockets(node: Node, side: str) -> dict[str, str]:
    """Name → type of a placeholder's inputs or outputs, as its file told them."""
    told = node.extra.get(SOCKETS)
    items = told.get(side) if isinstance(told, Mapping) else None
    return {str(p[0]): str(p[1]) for p in items or () if isinstance(p, (list, tuple)) and len(p) == 2}


def _untouched_values(node: Node) -> list[Any] | dict[str, Any] | None:
    """The widgets_values of a placeholder as its file had them, while they still say what its inputs say.

    A file may hold values that it gives no name to; only so they survive.
    """
    raw = node.extra.get("comfyui")
    if not node.type.startswith(PLACEHOLDER) or not isinstance(raw, dict) or "type" not in raw:
        return None
    as_read = read_canvas({"nodes": [raw]}, "node").nodes
    values = widget_values(next(iter(as_read.values())))
    unchanged = all(_linked(node, k) or v is None or node.inputs.get(k) == v for k, v in values.items())
    kept = raw.get("widgets_values")
    return kept if unchanged and isinstance(kept, (list, dict)) else None


def _listed_widgets(node: Node) -> set[str]:
    """The inputs of a placeholder that are widgets in the file it came from, also where they are linked."""
    raw = node.extra.get("comfyui")
    inputs = raw.get("inputs") if isinstance(raw, Mapping) else None
    found = set()
    for item in inputs if isinstance(inputs, list) else ():
        widget = item.get("widget") if isinstance(item, Mapping) else None
        if isinstance(widget, Mapping):
            found.add(str(widget.get("name") or item.get("name")))
    return found


def _linked(node: Node, name: str) -> bool:
    return isinstance(node.inputs.get(name), Link)


def _plain(value: Any) -> Any:
    if isinstance(value, (ModelRef, BlobRef)):
        return value.name
    return value


def _widget_list(widgets: Sequence[Widget], values: Mapping[str, Any], controls: Mapping[str, str]) -> list[Any]:
    out: list[Any] = []
    for widget in widgets:
        value = values.get(widget.name)
        out.append(None if isinstance(value, Link) else value)
        if widget.control:
            out.append(controls[widget.name])
        if widget.upload:
            out.append("image")
    return out


def _port(owner: str, side: str, name: str, kind: str) -> dict[str, Any]:
    stable = uuid.uuid5(uuid.NAMESPACE_URL, f"tessera:{owner}:{side}:{name}")
    return {"id": str(stable), "name": name, "type": kind, "linkIds": []}
