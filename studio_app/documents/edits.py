"""What a person can do to an open workflow: small documents, JSON both ways, that say what is meant.

An edit acts on the open level of the document it is given to and is worked out, there and then, into the steps that
do it (`steps.py`). Here are those of nodes, wires and values; subgraphs are in `subgraph_edits.py`, and what arranges
nodes and groups in `arrange_edits.py`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

from engine.contracts.codec import Document
from engine.contracts.errors import InvalidDocument, InvalidRequest, clip
from engine.contracts.workflow import (
    Bookmark,
    FormField,
    InputValue,
    Link,
    Node,
    NodeMode,
    Socket,
    decode_input,
    encode_input,
    inputs_field,
)  # fmt: skip
from engine.graph.ports import compatible
from studio_app.documents import steps
from studio_app.documents.content import MAIN, Wire
from studio_app.documents.graph_document import GraphDocument
from studio_app.documents.steps import Step


def _encode_wire(wire: Wire) -> list[str]:
    return [wire.source, wire.output, wire.target, wire.input]


def _decode_wire(value: Any, where: str) -> Wire:
    if not (isinstance(value, list) and len(value) == 4 and all(isinstance(item, str) for item in value)):
        raise InvalidDocument("a wire is [source, output, target, input]", where=where)
    return Wire(*value)


def _decode_wires(value: Any, where: str) -> tuple[Wire, ...]:
    if not isinstance(value, list):
        raise InvalidDocument("expected a list of wires", where=where)
    return tuple(_decode_wire(item, where) for item in value)


WIRE = {"encode": _encode_wire, "decode": _decode_wire}
WIRES = {"encode": lambda wires: [_encode_wire(wire) for wire in wires], "decode": _decode_wires}
EDITS: dict[str, type[Edit]] = {}


@dataclass(frozen=True)
class Edit(Document):
    """Something a person can do. `steps` raises TesseraError with one sentence when it can't be done."""

    kind: ClassVar[str] = ""

    def __init_subclass__(cls) -> None:
        EDITS[cls.kind] = cls

    def steps(self, document: GraphDocument) -> Iterable[Step]:
        """The steps, each worked out when those before it are done."""
        raise NotImplementedError

    def to_json(self) -> dict[str, Any]:
        return {"edit": self.kind, **super().to_json()}


def edit_from_json(data: Any, where: str = "edit") -> Edit:
    """Raises InvalidDocument."""
    if not isinstance(data, dict) or data.get("edit") not in EDITS:
        raise InvalidDocument("it is no edit that this studio knows", where=where)
    rest = dict(data)
    return EDITS[rest.pop("edit")].from_json(rest, where)


# ---- nodes


@dataclass(frozen=True)
class AddNodes(Edit):
    """Add nodes, whose ids must be free here, then lay wires."""

    kind: ClassVar[str] = "add_nodes"

    nodes: tuple[Node, ...]
    wires: tuple[Wire, ...] = field(default=(), metadata=WIRES)

    def steps(self, document: GraphDocument) -> Iterator[Step]:
        yield steps.PutNodes(document.graph_id, self.nodes)
        for wire in self.wires:
            yield from Connect(wire).steps(document)


@dataclass(frozen=True)
class RemoveNodes(Edit):
    """Remove nodes with their wires, their fields in the form and the subgraph's sockets that stand for them.

    With `keep_wires`, what fed a removed node feeds what it fed, wherever the types fit.
    """

    kind: ClassVar[str] = "remove_nodes"

    nodes: tuple[str, ...]
    keep_wires: bool = False

    def steps(self, document: GraphDocument) -> Iterator[Step]:
        graph, gone = document.graph, set(self.nodes)
        for name in self.nodes:
            document.node(name)
        consumers = {t for name in gone for t in graph.consumers.get(name, ())} - gone
        for target in sorted(consumers):
            values: dict[str, InputValue] = {}
            unset = []
            for wire in document.wires_into(target):
                if wire.source not in gone:
                    continue
                link = source_through(document, wire, gone) if self.keep_wires else None
                if link is None:
                    unset.append(wire.input)
                else:
                    values[wire.input] = link
            yield steps.SetInputs(document.graph_id, target, values, tuple(unset))
        yield from _hide_from_outside(document, gone)
        yield steps.TakeNodes(document.graph_id, tuple(dict.fromkeys(self.nodes)))


def _hide_from_outside(document: GraphDocument, gone: set[str]) -> Iterator[Step]:
    """Take nodes that go out of the form, or out of the sockets of the subgraph that is open."""
    content, graph_id = document.content, document.graph_id
    if graph_id == MAIN:
        form = tuple(f for f in content.form if f.node.partition(":")[0] not in gone)
        if len(form) != len(content.form):
            yield steps.SetForm(form)
        return
    head = content.subgraphs[graph_id]
    inputs = tuple(s for s in head.inputs if s.node not in gone)
    outputs = tuple(s for s in head.outputs if s.node not in gone)
    if (inputs, outputs) != (head.inputs, head.outputs):
        yield from set_sockets(document, graph_id, inputs, outputs)


def set_sockets(
    document: GraphDocument, subgraph: str, inputs: tuple[Socket, ...], outputs: tuple[Socket, ...]
) -> Iterator[Step]:
    """Give a subgraph sockets; wires and values at those that go are taken away at every instance."""
    content = document.content
    head = content.subgraphs[subgraph]
    gone_in = {s.name for s in head.inputs} - {s.name for s in inputs}
    gone_out = {s.name for s in head.outputs} - {s.name for s in outputs}
    for graph_id, node_id in content.instances(subgraph) if gone_in or gone_out else ():
        graph = content.graphs[graph_id]
        unset = tuple(name for name in graph.nodes[node_id].inputs if name in gone_in)
        if unset:
            yield steps.SetInputs(graph_id, node_id, unset=unset)
        for wire in graph.wires_from(node_id):
            if wire.output in gone_out:
                yield steps.SetInputs(graph_id, wire.target, unset=(wire.input,))
    yield steps.SetSubgraph(subgraph, inputs=inputs, outputs=outputs)


@dataclass(frozen=True)
class MoveNodes(Edit):
    """Put nodes at positions, in canvas pixels. Pinned ones stay."""

    kind: ClassVar[str] = "move_nodes"

    positions: Mapping[str, tuple[float, float]]

    def steps(self, document: GraphDocument) -> Iterator[Step]:
        nodes = document.graph.nodes
        free = {n: p for n, p in self.positions.items() if n not in nodes or not nodes[n].pinned}
        if free:
            yield steps.MoveNodes(document.graph_id, free)


@dataclass(frozen=True)
class SwapNode(Edit):
    """Give a node another type, keeping the wires and values that fit: by name first, then by type."""

    kind: ClassVar[str] = "swap_node"

    node: str
    type: str

    def steps(self, document: GraphDocument) -> Iterator[Step]:
        from studio_app.documents.swap import swap_steps

        return swap_steps(document, self.node, self.type)


# ---- wires


@dataclass(frozen=True)
class Connect(Edit):
    """Lay a wire in place of what the input had. Refused with the sentence that `can_connect` gives."""

    kind: ClassVar[str] = "connect"

    wire: Wire = field(metadata=WIRE)

    def steps(self, document: GraphDocument) -> Iterator[Step]:
        refusal = document.can_connect(self.wire)
        if refusal:
            raise InvalidRequest(refusal)
        link = Link(self.wire.source, self.wire.output)
        yield steps.SetInputs(document.graph_id, self.wire.target, {self.wire.input: link})


@dataclass(frozen=True)
class Disconnect(Edit):
    """Take wires away. One that is not there is passed over."""

    kind: ClassVar[str] = "disconnect"

    wires: tuple[Wire, ...] = field(default=(), metadata=WIRES)

    def steps(self, document: GraphDocument) -> Iterator[Step]:
        by_target: dict[str, list[str]] = {}
        for wire in self.wires:
            node = document.graph.nodes.get(wire.target)
            if node is not None and node.inputs.get(wire.input) == Link(wire.source, wire.output):
                by_target.setdefault(wire.target, []).append(wire.input)
        for target, inputs in by_target.items():
            yield steps.SetInputs(document.graph_id, target, unset=tuple(inputs))


@dataclass(frozen=True)
class Rewire(Edit):
    """Carry the end of a wire to another input, or its beginning to another output; `to` says where it lies then."""

    kind: ClassVar[str] = "rewire"

    wire: Wire = field(metadata=WIRE)
    to: Wire = field(metadata=WIRE)

    def steps(self, document: GraphDocument) -> Iterator[Step]:
        if self.wire == self.to:
            return
        yield from Disconnect((self.wire,)).steps(document)
        yield from Connect(self.to).steps(document)


@dataclass(frozen=True)
class InsertOnWire(Edit):
    """Lay a wire through a node that is on the canvas: into its first free input that fits, out of its first output."""

    kind: ClassVar[str] = "insert_on_wire"

    node: str
    wire: Wire = field(metadata=WIRE)

    def steps(self, document: GraphDocument) -> Iterator[Step]:
        ends = insertion(document, self.node, self.wire)
        if ends is None:
            title = clip(document.node(self.node).title or self.node, 40)
            raise InvalidRequest(f"“{title}” does not fit on this wire: it has no input and output of its type")
        yield from Disconnect((self.wire,)).steps(document)
        for wire in ends:
            yield from Connect(wire).steps(document)


def insertion(document: GraphDocument, node_id: str, wire: Wire) -> tuple[Wire, Wire] | None:
    """The two wires that would lay `wire` through a node, None when it does not fit."""
    if node_id in (wire.source, wire.target) or wire.source not in document.graph.nodes:
        return None
    graph, schemas = document.graph, document.schemas
    node, schema = document.node(node_id), document.schema(node_id)
    gives = schemas.output_type(graph, document.node(wire.source), wire.output)
    wanted = document.input_schema(wire.target, wire.input)
    if gives is None or wanted is None:
        return None
    fitting = [(rank_fit(gives, i.type), i) for i in schema.inputs if not isinstance(node.inputs.get(i.name), Link)]
    into = min((pair for pair in fitting if pair[0] is not None), key=lambda pair: pair[0] or 0, default=None)
    outs = [(rank_fit(o.type, wanted.type), o) for o in schema.outputs]
    out = min((pair for pair in outs if pair[0] is not None), key=lambda pair: pair[0] or 0, default=None)
    if into is None or out is None:
        return None
    name = f"{into[1].name}0" if into[1].variadic else into[1].name
    first = Wire(wire.source, wire.output, node_id, name)
    second = Wire(node_id, out[1].name, wire.target, wire.input)
    if document.graph.order.reaches(node_id, wire.source) or document.graph.order.reaches(wire.target, node_id):
        return None
    return first, second


def rank_fit(gives: str, wanted: str) -> int | None:
    """How well an output type fits an input type: 0 the same, 1 convertible, 2 of any type; None not at all."""
    if gives == wanted:
        return 0
    if not compatible(gives, wanted):
        return None
    return 2 if "*" in (gives, wanted) else 1


@dataclass(frozen=True)
class AddReroute(Edit):
    """Put a reroute on a wire."""

    kind: ClassVar[str] = "add_reroute"

    wire: Wire = field(metadata=WIRE)
    position: tuple[float, float]

    def steps(self, document: GraphDocument) -> Iterator[Step]:
        node = Node(id=document.new_id("reroute"), type="utility.reroute", position=self.position)
        yield from AddNodes((node,)).steps(document)
        yield from InsertOnWire(node.id, self.wire).steps(document)


def source_through(document: GraphDocument, wire: Wire, gone: set[str]) -> Link | None:
    """What feeds `wire.input` once the nodes in `gone` are taken out: by type, as a bypassed node passes values on."""
    wanted = document.input_schema(wire.target, wire.input)
    link, seen = Link(wire.source, wire.output), set()
    while link.node in gone:
        if link.node in seen or link.node not in document.graph.nodes:
            return None
        seen.add(link.node)
        gives = document.schemas.output_type(document.graph, document.node(link.node), link.output) or "*"
        best: tuple[int, Link] | None = None
        for given in document.wires_into(link.node):
            port = document.input_schema(link.node, given.input)
            rank = None if port is None else rank_fit(port.type, gives)
            if rank is not None and (best is None or rank < best[0]):
                best = (rank, Link(given.source, given.output))
        if best is None:
            return None
        link = best[1]
    source = document.graph.nodes.get(link.node)
    kind = document.schemas.output_type(document.graph, source, link.output) if source else None
    return link if wanted is not None and kind is not None and compatible(kind, wanted.type) else None


# ---- values and looks


def _encode_values(values: Mapping[str, Mapping[str, InputValue]]) -> dict[str, Any]:
    return {node: {name: encode_input(v) for name, v in given.items()} for node, given in values.items()}


def _decode_values(value: Any, where: str) -> dict[str, dict[str, InputValue]]:
    if not isinstance(value, dict) or not all(isinstance(given, dict) for given in value.values()):
        raise InvalidDocument("expected node ids with their inputs", where=where)
    return {node: {name: decode_input(v, where) for name, v in given.items()} for node, given in value.items()}


@dataclass(frozen=True)
class SetInputs(Edit):
    """Give inputs of one node values of their own; a wire at one of them is taken away."""

    kind: ClassVar[str] = "set_inputs"

    node: str
    values: Mapping[str, InputValue] = inputs_field()

    def steps(self, document: GraphDocument) -> Iterator[Step]:
        document.node(self.node)
        if any(isinstance(value, Link) for value in self.values.values()):
            raise InvalidRequest("a wire is laid by connecting, not as a value")
        yield steps.SetInputs(document.graph_id, self.node, dict(self.values))


def set_input(node: str, name: str, value: InputValue) -> SetInputs:
    """Give one input a value of its own."""
    return SetInputs(node, {name: value})


@dataclass(frozen=True)
class ResetInputs(Edit):
    """Take values and wires away from inputs, so that their defaults count."""

    kind: ClassVar[str] = "reset_inputs"

    node: str
    inputs: tuple[str, ...]

    def steps(self, document: GraphDocument) -> Iterator[Step]:
        given = document.node(self.node).inputs
        unset = tuple(name for name in self.inputs if name in given)
        if unset:
            yield steps.SetInputs(document.graph_id, self.node, unset=unset)


@dataclass(frozen=True)
class ShowAsSocket(Edit):
    """Show an input that has a value of its own as a socket; with `socket` false as a value again, without its wire."""

    kind: ClassVar[str] = "show_as_socket"

    node: str
    input: str
    socket: bool = True

    def steps(self, document: GraphDocument) -> Iterator[Step]:
        node = document.node(self.node)
        if document.input_schema(self.node, self.input) is None:
            raise InvalidRequest(f"“{clip(node.title or node.id)}” has no input “{clip(self.input)}”")
        others = tuple(name for name in node.as_sockets if name != self.input)
        if not self.socket and isinstance(node.inputs.get(self.input), Link):
            yield from ResetInputs(self.node, (self.input,)).steps(document)
        shown = (*others, self.input) if self.socket else others
        if shown != node.as_sockets:
            yield steps.SetLooks(document.graph_id, {self.node: {"as_sockets": shown}})


@dataclass(frozen=True)
class SetLooks(Edit):
    """Set title, mode, colour, size, collapsed or pinned of nodes: node id → field → value."""

    kind: ClassVar[str] = "set_looks"

    looks: Mapping[str, Mapping[str, Any]]

    def steps(self, document: GraphDocument) -> Iterator[Step]:
        allowed = {"title", "mode", "colour", "size", "collapsed", "pinned"}
        for fields in self.looks.values():
            for name in fields.keys() - allowed:
                raise InvalidDocument(f"“{clip(name)}” can't be set so")
        if self.looks:
            yield steps.SetLooks(document.graph_id, self.looks)


def set_mode(nodes: Iterable[str], mode: NodeMode) -> SetLooks:
    """Mute, bypass or wake nodes."""
    return SetLooks({node: {"mode": mode} for node in nodes})


def set_title(node: str, title: str) -> SetLooks:
    return SetLooks({node: {"title": title}})


def set_colour(nodes: Iterable[str], colour: str) -> SetLooks:
    """Colour nodes ("#3366cc"; "" for none)."""
    return SetLooks({node: {"colour": colour} for node in nodes})


def set_size(sizes: Mapping[str, tuple[float, float] | None]) -> SetLooks:
    """Give nodes sizes in canvas pixels; None for their own."""
    return SetLooks({node: {"size": size} for node, size in sizes.items()})


def collapse(nodes: Iterable[str], collapsed: bool = True) -> SetLooks:
    return SetLooks({node: {"collapsed": collapsed} for node in nodes})


def pin(nodes: Iterable[str], pinned: bool = True) -> SetLooks:
    """Keep nodes where they are, or let them go."""
    return SetLooks({node: {"pinned": pinned} for node in nodes})


# ---- the workflow itself


@dataclass(frozen=True)
class SetForm(Edit):
    """The form, all of it, in its order."""

    kind: ClassVar[str] = "set_form"

    form: tuple[FormField, ...]

    def steps(self, document: GraphDocument) -> Iterator[Step]:
        yield steps.SetForm(self.form)


@dataclass(frozen=True)
class SetBookmarks(Edit):
    """The bookmarks, all of them, in their order."""

    kind: ClassVar[str] = "set_bookmarks"

    bookmarks: tuple[Bookmark, ...]

    def steps(self, document: GraphDocument) -> Iterator[Step]:
        yield steps.SetDetails(bookmarks=self.bookmarks)


@dataclass(frozen=True)
class SetNames(Edit):
    """Name and description of the workflow."""

    kind: ClassVar[str] = "set_names"

    name: str | None = None
    description: str | None = None

    def steps(self, document: GraphDocument) -> Iterator[Step]:
        yield steps.SetDetails(name=self.name, description=self.description)
