"""The schema of every node on the canvas: of a registered type, of a subgraph, and of a type that this studio lacks."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from engine.contracts.node_schema import ANY, InputSchema, NodeSchema, OutputSchema
from engine.contracts.workflow import BlobRef, Link, ModelRef, Node, Socket
from engine.graph.registry import Registry
from engine.graph.subgraphs import SOCKETS, SUBGRAPH
from studio_app.documents.content import Content, Graph

_DEPTH = 64  # subgraphs within subgraphs, and reroutes in a row, beyond which a socket counts as of any type


class Schemas:
    """Schemas by node. Those of subgraphs are kept until `forget`."""

    def __init__(self, registry: Registry, content: Content) -> None:
        self._registry = registry
        self._content = content
        self._subgraphs: dict[str, NodeSchema] = {}

    def forget(self) -> None:
        """A subgraph changed."""
        self._subgraphs.clear()

    def known(self, type_name: str) -> bool:
        """Whether it is a registered type or a subgraph of this workflow."""
        if type_name.startswith(SUBGRAPH):
            return type_name.removeprefix(SUBGRAPH) in self._content.subgraphs
        return type_name in self._registry.types

    def of_type(self, type_name: str) -> NodeSchema | None:
        """The schema of a registered type or of a subgraph, None for one that vanished."""
        found = self._registry.types.get(type_name)
        if found is not None:
            return found.schema
        name = type_name.removeprefix(SUBGRAPH)
        if not type_name.startswith(SUBGRAPH) or name not in self._content.subgraphs:
            return None
        if name not in self._subgraphs:
            self._subgraphs[name] = self._of_subgraph(name)
        return self._subgraphs[name]

    def of(self, graph: Graph, node: Node) -> NodeSchema:
        """The schema of a node; a stand-in for one whose type vanished."""
        return self.of_type(node.type) or _stand_in(graph, node)

    def input(self, graph: Graph, node: Node, name: str) -> InputSchema | None:
        """The schema of one input; a numbered one of a variadic input has its own name and label."""
        kind = self._registry.types.get(node.type)
        if kind is not None:
            port = kind.port(name)
            if port is None:
                return None
            return port.schema if port.name == name else replace(port.schema, name=name, required=False, variadic=False)
        return self.of(graph, node).input(name)

    def output_type(self, graph: Graph, node: Node, output: str) -> str | None:
        """The socket type of an output, looked up through reroutes; None where the node has no such output."""
        for _ in range(_DEPTH):
            found = self.of(graph, node).output(output)
            if found is None:
                return None
            kind = self._registry.types.get(node.type)
            if kind is None or not kind.passes or found.type != ANY:
                return found.type
            given = node.inputs.get(kind.passes)
            if not isinstance(given, Link) or given.node not in graph.nodes:
                return found.type
            node, output = graph.nodes[given.node], given.output
        return ANY

    def _of_subgraph(self, name: str) -> NodeSchema:
        head = self._content.subgraphs[name]
        inputs = tuple(self._socket_in(name, socket) for socket in head.inputs)
        outputs = tuple(self._socket_out(name, socket) for socket in head.outputs)
        return NodeSchema(
            type=SUBGRAPH + name, title=head.name or name, category="Subgraphs", doc=head.description,
            inputs=inputs, outputs=outputs,
        )  # fmt: skip

    def _socket_in(self, name: str, socket: Socket) -> InputSchema:
        found = self._inner_input(name, socket)
        if found is None:
            return InputSchema(name=socket.name, type=ANY, label=socket.label, required=False)
        schema, node, inner = found
        given = node.inputs.get(inner)
        filled = inner in node.inputs and not isinstance(given, Link)
        return replace(
            schema, name=socket.name, label=socket.label or socket.name, variadic=False,
            required=schema.required and inner not in node.inputs,
            default=_plain(given) if filled else schema.default,
        )  # fmt: skip

    def _inner_input(self, name: str, socket: Socket) -> tuple[InputSchema, Node, str] | None:
        """What an exposed input stands for, through subgraphs within subgraphs."""
        for _ in range(_DEPTH):
            graph = self._content.graphs.get(name)
            node = graph.nodes.get(socket.node) if graph else None
            if graph is None or node is None:
                return None
            name = node.type.removeprefix(SUBGRAPH)
            inner = self._content.subgraphs.get(name) if node.type.startswith(SUBGRAPH) else None
            below = next((s for s in inner.inputs if s.name == socket.socket), None) if inner else None
            if inner is None or socket.socket in node.inputs:
                schema = None if inner else self.input(graph, node, socket.socket)
                if schema is not None:
                    return schema, node, socket.socket
            if below is None:
                return None
            socket = below
        return None

    def _socket_out(self, name: str, socket: Socket) -> OutputSchema:
        shown = socket
        for _ in range(_DEPTH):
            graph = self._content.graphs.get(name)
            node = graph.nodes.get(socket.node) if graph else None
            if graph is None or node is None:
                break
            name = node.type.removeprefix(SUBGRAPH)
            inner = self._content.subgraphs.get(name) if node.type.startswith(SUBGRAPH) else None
            if inner is None:
                kind = self.output_type(graph, node, socket.socket)
                found = self.of(graph, node).output(socket.socket)
                return OutputSchema(
                    name=shown.name, type=kind or ANY, list=found.list if found else False,
                    tooltip=found.tooltip if found else "",
                )  # fmt: skip
            below = next((s for s in inner.outputs if s.name == socket.socket), None)
            if below is None:
                break
            socket = below
        return OutputSchema(name=shown.name, type=ANY)


def _stand_in(graph: Graph, node: Node) -> NodeSchema:
    """A schema made of what a node of an unknown type has: its inputs, and the outputs that are taken from it."""
    told = node.extra.get(SOCKETS)
    sides = told if isinstance(told, dict) else {}
    inputs = {name: InputSchema(name=name, type=kind, required=False) for name, kind in _pairs(sides.get("inputs"))}
    for name, value in node.inputs.items():
        if name not in inputs:
            inputs[name] = InputSchema(name=name, type=_type_of(value), required=False, default=_plain(value))
    outputs = {name: OutputSchema(name=name, type=kind) for name, kind in _pairs(sides.get("outputs"))}
    for wire in graph.wires_from(node.id):
        outputs.setdefault(wire.output, OutputSchema(name=wire.output, type=ANY))
    return NodeSchema(
        type=node.type, title=node.title or node.type.removeprefix(SUBGRAPH), category="Missing",
        doc="This studio has no node of this type.", inputs=tuple(inputs.values()), outputs=tuple(outputs.values()),
        origin="placeholder",
    )  # fmt: skip


def _pairs(told: Any) -> list[tuple[str, str]]:
    items = told if isinstance(told, (list, tuple)) else ()
    return [(str(p[0]), str(p[1])) for p in items if isinstance(p, (list, tuple)) and len(p) == 2]


def _type_of(value: Any) -> str:
    if isinstance(value, Link):
        return ANY
    if isinstance(value, bool):
        return "BOOLEAN"
    names = {int: "INT", float: "FLOAT", str: "STRING", BlobRef: "BLOB", ModelRef: "COMBO"}
    return names.get(type(value), "JSON")


def _plain(value: Any) -> Any:
    return None if isinstance(value, (Link, BlobRef, ModelRef)) else value
