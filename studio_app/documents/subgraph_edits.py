"""Subgraphs: made of a selection, taken apart again, with inputs and outputs to expose, order and name."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import ClassVar, Literal

from engine.contracts.errors import InvalidRequest, clip
from engine.contracts.workflow import FormField, InputValue, Link, Node, Socket, Subgraph
from engine.graph.subgraphs import SUBGRAPH
from studio_app.documents import steps
from studio_app.documents.content import MAIN, Wire
from studio_app.documents.edits import Edit, set_sockets
from studio_app.documents.graph_document import GraphDocument
from studio_app.documents.steps import Step

Side = Literal["inputs", "outputs"]
Place = tuple[str, str | None]  # a node and one of its inputs, None for all of them


@dataclass(frozen=True)
class MakeSubgraph(Edit):
    """Put nodes into a subgraph of their own and one node of it in their place; wires that cross are exposed.

    `id` and `node` are the new subgraph's and node's ids, "" for free ones.
    """

    kind: ClassVar[str] = "make_subgraph"

    nodes: tuple[str, ...]
    name: str = "Subgraph"
    id: str = ""
    node: str = ""

    def steps(self, document: GraphDocument) -> Iterator[Step]:
        graph, graph_id = document.graph, document.graph_id
        inside = [n for n in graph.frozen() if n.id in set(self.nodes)]
        if not inside:
            raise InvalidRequest("choose the nodes that the subgraph shall hold")
        names = {n.id for n in inside}
        self._check_circle(document, names)
        subgraph_id = self.id or _free_subgraph_id(document, self.name)
        node_id = self.node or document.new_id(subgraph_id)
        inputs, given, cut = _exposed_inputs(document, inside, names)
        outputs, outer = _exposed_outputs(document, inside, names)
        form, moved = _form_inputs(document, names, node_id, inputs)
        inputs += form
        groups = tuple(g for g in graph.groups if _is_around(g.rectangle, inside))
        kept = tuple(replace(n, inputs={k: v for k, v in n.inputs.items() if (n.id, k) not in cut}) for n in inside)
        yield steps.PutSubgraph(
            Subgraph(id=subgraph_id, name=self.name, nodes=kept, groups=groups, inputs=inputs, outputs=outputs)
        )
        x = min(n.position[0] for n in inside)
        y = min(n.position[1] for n in inside)
        node = Node(id=node_id, type=SUBGRAPH + subgraph_id, title=self.name, inputs=given, position=(x, y))
        yield steps.PutNodes(graph_id, (node,))
        for wire, output in outer.items():
            yield steps.SetInputs(graph_id, wire.target, {wire.input: Link(node_id, output)})
        yield from _follow_form(document, moved)
        yield from _follow_sockets(document, inside, node_id, inputs, outputs)
        yield steps.TakeNodes(graph_id, tuple(n.id for n in inside))
        if groups:
            yield steps.SetGroups(graph_id, tuple(g for g in graph.groups if g not in groups))

    def _check_circle(self, document: GraphDocument, names: set[str]) -> None:
        """A node that lies between two chosen ones would feed the subgraph and be fed by it."""
        order = document.graph.order
        between = (order.downstream(names) & order.upstream(names)) - names
        if between:
            title = document.node(min(between)).title or min(between)
            raise InvalidRequest(
                f"“{clip(title, 40)}” lies between the chosen nodes, so the subgraph would feed itself",
                fix="Choose it too",
            )


def _free_subgraph_id(document: GraphDocument, name: str) -> str:
    base = "_".join("".join(c if c.isalnum() else " " for c in name.casefold()).split())[:40] or "subgraph"
    found, number = base, 2
    while found in document.content.subgraphs:
        found, number = f"{base}_{number}", number + 1
    return found


def _exposed_inputs(
    document: GraphDocument, inside: list[Node], names: set[str]
) -> tuple[tuple[Socket, ...], dict[str, InputValue], set[tuple[str, str]]]:
    """(sockets, the new node's inputs, inner inputs that are cut) of the wires that come in, one socket for each."""
    sockets: list[Socket] = []
    given: dict[str, InputValue] = {}
    cut: set[tuple[str, str]] = set()
    for node in inside:
        for key, value in node.inputs.items():
            if isinstance(value, Link) and value.node not in names:
                name = _free_name(key, given)
                sockets.append(Socket(name=name, node=node.id, socket=key))
                given[name] = value
                cut.add((node.id, key))
    return tuple(sockets), given, cut


def _form_inputs(
    document: GraphDocument, names: set[str], node_id: str, inputs: tuple[Socket, ...]
) -> tuple[tuple[Socket, ...], dict[Place, Place]]:
    """(more sockets, where fields go) for the form's fields at nodes that go inside: a person still sees them."""
    exposed = {(s.node, s.socket): s.name for s in inputs}
    more: list[Socket] = []
    moved: dict[Place, Place] = {}
    for item in document.content.form if document.graph_id == MAIN else ():
        if item.node not in names:
            continue
        if (item.node, item.input) not in exposed:
            name = _free_name(item.input, exposed.values())
            exposed[item.node, item.input] = name
            more.append(Socket(name=name, node=item.node, socket=item.input, label=item.label))
        moved[item.node, item.input] = (node_id, exposed[item.node, item.input])
    return tuple(more), moved


def _exposed_outputs(
    document: GraphDocument, inside: list[Node], names: set[str]
) -> tuple[tuple[Socket, ...], dict[Wire, str]]:
    """(sockets, the output of the new node for each wire that goes out)."""
    sockets: dict[tuple[str, str], Socket] = {}
    outer: dict[Wire, str] = {}
    for node in inside:
        for wire in document.wires_from(node.id):
            if wire.target in names:
                continue
            key = (wire.source, wire.output)
            if key not in sockets:
                taken = {s.name for s in sockets.values()}
                sockets[key] = Socket(name=_free_name(wire.output, taken), node=wire.source, socket=wire.output)
            outer[wire] = sockets[key].name
    return tuple(sockets.values()), outer


def _free_name(wanted: str, taken: Iterable[str]) -> str:
    others = set(taken)
    found, number = wanted, 2
    while found in others:
        found, number = f"{wanted}_{number}", number + 1
    return found


def _is_around(rectangle: tuple[float, float, float, float], inside: list[Node]) -> bool:
    x, y, width, height = rectangle
    return any(x <= n.position[0] <= x + width and y <= n.position[1] <= y + height for n in inside)


def _follow_form(document: GraphDocument, moved: dict[Place, Place]) -> Iterator[Step]:
    """Let the form's fields follow nodes of the workflow that got other ids."""
    if document.graph_id != MAIN:
        return
    whole = {old: new for (old, name), (new, _) in moved.items() if name is None}

    def follow(item: FormField) -> FormField:
        head, colon, rest = item.node.partition(":")
        if (item.node, item.input) in moved:
            node, name = moved[item.node, item.input]
            return replace(item, node=node, input=name or item.input)
        if item.node in whole:
            return replace(item, node=whole[item.node])
        return replace(item, node=whole[head] + colon + rest) if head in whole else item

    form = tuple(map(follow, document.content.form))
    if form != document.content.form:
        yield steps.SetForm(form)


def _follow_sockets(
    document: GraphDocument,
    inside: list[Node],
    node_id: str,
    inputs: tuple[Socket, ...],
    outputs: tuple[Socket, ...],
) -> Iterator[Step]:
    """Where the open level is itself a subgraph: sockets at nodes that went down a level lead through the new one."""
    if document.graph_id == MAIN:
        return
    head, names = document.content.subgraphs[document.graph_id], {n.id for n in inside}
    inner_in, inner_out = list(inputs), list(outputs)

    def through(socket: Socket, inner: list[Socket]) -> Socket:
        if socket.node not in names:
            return socket
        found = next((s for s in inner if (s.node, s.socket) == (socket.node, socket.socket)), None)
        if found is None:
            found = replace(socket, name=_free_name(socket.socket, [s.name for s in inner]))
            inner.append(found)
        return replace(socket, node=node_id, socket=found.name)

    outer_in = tuple(through(s, inner_in) for s in head.inputs)
    outer_out = tuple(through(s, inner_out) for s in head.outputs)
    if (outer_in, outer_out) != (head.inputs, head.outputs):
        kind = document.node(node_id).type.removeprefix(SUBGRAPH)
        yield steps.SetSubgraph(kind, inputs=tuple(inner_in), outputs=tuple(inner_out))
        yield steps.SetSubgraph(document.graph_id, inputs=outer_in, outputs=outer_out)


@dataclass(frozen=True)
class UnpackSubgraph(Edit):
    """Put a subgraph's nodes in place of a node of it. Its definition goes where nothing else uses it."""

    kind: ClassVar[str] = "unpack_subgraph"

    node: str

    def steps(self, document: GraphDocument) -> Iterator[Step]:
        outer = document.node(self.node)
        name = outer.type.removeprefix(SUBGRAPH)
        if not outer.type.startswith(SUBGRAPH) or name not in document.content.subgraphs:
            raise InvalidRequest(f"“{clip(outer.title or outer.id, 40)}” is not a subgraph")
        graph_id, whole = document.graph_id, document.content.subgraph(name)
        ids: dict[str, str] = {}
        taken: set[str] = set()
        for node in whole.nodes:
            ids[node.id] = document.new_id(node.id, taken)
            taken.add(ids[node.id])
        given: dict[str, dict[str, InputValue]] = {}
        for socket in whole.inputs:
            if socket.name in outer.inputs:
                given.setdefault(socket.node, {})[socket.socket] = outer.inputs[socket.name]
        left = min((n.position[0] for n in whole.nodes), default=0.0)
        top = min((n.position[1] for n in whole.nodes), default=0.0)
        dx, dy = outer.position[0] - left, outer.position[1] - top
        nodes = tuple(_unpacked(n, ids, given.get(n.id, {}), dx, dy, outer) for n in whole.nodes)
        yield steps.PutNodes(graph_id, nodes)
        outputs = {s.name: s for s in whole.outputs}
        for wire in document.wires_from(self.node):
            found = outputs.get(wire.output)
            if found is None or found.node not in ids:
                yield steps.SetInputs(graph_id, wire.target, unset=(wire.input,))
            else:
                yield steps.SetInputs(graph_id, wire.target, {wire.input: Link(ids[found.node], found.socket)})
        moved: dict[Place, Place] = {(f"{self.node}:{old}", None): (new, None) for old, new in ids.items()}
        moved |= {(self.node, s.name): (ids[s.node], s.socket) for s in whole.inputs if s.node in ids}
        yield from _follow_form(document, moved)
        yield from self._outer_sockets(document, whole, ids)
        yield steps.TakeNodes(graph_id, (self.node,))
        if whole.groups:
            shifted = (
                replace(g, rectangle=(g.rectangle[0] + dx, g.rectangle[1] + dy, *g.rectangle[2:])) for g in whole.groups
            )
            yield steps.SetGroups(graph_id, (*document.graph.groups, *shifted))
        if not document.content.instances(name):
            yield steps.TakeSubgraph(name)

    def _outer_sockets(self, document: GraphDocument, whole: Subgraph, ids: dict[str, str]) -> Iterator[Step]:
        if document.graph_id == MAIN:
            return
        head = document.content.subgraphs[document.graph_id]

        def out(socket: Socket, inner: tuple[Socket, ...]) -> Socket:
            found = next((s for s in inner if s.name == socket.socket), None) if socket.node == self.node else None
            return replace(socket, node=ids[found.node], socket=found.socket) if found and found.node in ids else socket

        inputs = tuple(out(s, whole.inputs) for s in head.inputs)
        outputs = tuple(out(s, whole.outputs) for s in head.outputs)
        if (inputs, outputs) != (head.inputs, head.outputs):
            yield steps.SetSubgraph(document.graph_id, inputs=inputs, outputs=outputs)


def _unpacked(node: Node, ids: dict[str, str], given: dict[str, InputValue], dx: float, dy: float, outer: Node) -> Node:
    """An inner node one level up: links renamed, what the outer node gave laid in, muted or bypassed as it was."""
    inputs: dict[str, InputValue] = {
        key: Link(ids[value.node], value.output) if isinstance(value, Link) and value.node in ids else value
        for key, value in node.inputs.items()
    }
    mode = node.mode if outer.mode == "active" else outer.mode
    position = (node.position[0] + dx, node.position[1] + dy)
    return replace(node, id=ids[node.id], inputs={**inputs, **given}, position=position, mode=mode)


@dataclass(frozen=True)
class ExposeSocket(Edit):
    """Expose an input or output of a node in the open subgraph, under `name` ("" for its own)."""

    kind: ClassVar[str] = "expose_socket"

    side: Side
    node: str
    socket: str
    name: str = ""

    def steps(self, document: GraphDocument) -> Iterator[Step]:
        head = _open_head(document)
        there: tuple[Socket, ...] = getattr(head, self.side)
        schema = document.schema(document.node(self.node).id)
        known = schema.output(self.socket) if self.side == "outputs" else document.input_schema(self.node, self.socket)
        if known is None:
            raise InvalidRequest(f"“{clip(self.node, 40)}” has no socket “{clip(self.socket)}”")
        if any((s.node, s.socket) == (self.node, self.socket) for s in there):
            raise InvalidRequest(f"“{clip(self.socket)}” is exposed already")
        name = _free_name(self.name or self.socket, [s.name for s in there])
        sockets = (*there, Socket(name=name, node=self.node, socket=self.socket))
        yield _with_side(head, self.side, sockets)


@dataclass(frozen=True)
class HideSocket(Edit):
    """Expose an input or output of the open subgraph no longer; wires at it go, at every instance."""

    kind: ClassVar[str] = "hide_socket"

    side: Side
    name: str

    def steps(self, document: GraphDocument) -> Iterator[Step]:
        head = _open_head(document)
        kept = tuple(s for s in getattr(head, self.side) if s.name != self.name)
        inputs, outputs = (kept, head.outputs) if self.side == "inputs" else (head.inputs, kept)
        yield from set_sockets(document, head.id, inputs, outputs)


@dataclass(frozen=True)
class OrderSockets(Edit):
    """Give the exposed inputs or outputs of the open subgraph another order."""

    kind: ClassVar[str] = "order_sockets"

    side: Side
    names: tuple[str, ...]

    def steps(self, document: GraphDocument) -> Iterator[Step]:
        head = _open_head(document)
        sockets = {s.name: s for s in getattr(head, self.side)}
        if sorted(self.names) != sorted(sockets):
            raise InvalidRequest("the new order must name each socket once")
        yield _with_side(head, self.side, tuple(sockets[name] for name in self.names))


@dataclass(frozen=True)
class RenameSocket(Edit):
    """Name an exposed input or output otherwise; wires and values at it follow, at every instance and in the form."""

    kind: ClassVar[str] = "rename_socket"

    side: Side
    name: str
    new: str

    def steps(self, document: GraphDocument) -> Iterator[Step]:
        head, content, new = _open_head(document), document.content, self.new.strip()
        there: tuple[Socket, ...] = getattr(head, self.side)
        if not new or any(s.name == new for s in there if s.name != self.name):
            raise InvalidRequest(f"“{clip(new)}” can't be its name", fix="Choose one that no other socket has")
        if not any(s.name == self.name for s in there):
            raise InvalidRequest(f"there is no socket “{clip(self.name)}”")
        yield _with_side(head, self.side, tuple(replace(s, name=new) if s.name == self.name else s for s in there))
        instances = content.instances(head.id)
        for graph_id, node_id in instances:
            graph = content.graphs[graph_id]
            if self.side == "outputs":
                for wire in graph.wires_from(node_id, self.name):
                    yield steps.SetInputs(graph_id, wire.target, {wire.input: Link(node_id, new)})
            elif self.name in graph.nodes[node_id].inputs:
                value = graph.nodes[node_id].inputs[self.name]
                yield steps.SetInputs(graph_id, node_id, {new: value}, (self.name,))
        yield from _renamed_outside(document, head.id, instances, self.side, self.name, new)


def _renamed_outside(
    document: GraphDocument, subgraph: str, instances: list[tuple[str, str]], side: Side, old: str, new: str
) -> Iterator[Step]:
    """What names the socket from outside: the form, and sockets of subgraphs around that expose it further."""
    content = document.content
    main = {node for graph, node in instances if graph == MAIN}
    form = tuple(
        replace(f, input=new) if side == "inputs" and f.node in main and f.input == old else f for f in content.form
    )
    if form != content.form:
        yield steps.SetForm(form)
    for outer in {graph for graph, _ in instances if graph != MAIN}:
        inner = {node for graph, node in instances if graph == outer}
        head = content.subgraphs[outer]
        there: tuple[Socket, ...] = getattr(head, side)
        sockets = tuple(replace(s, socket=new) if s.node in inner and s.socket == old else s for s in there)
        if sockets != there:
            yield _with_side(head, side, sockets)


@dataclass(frozen=True)
class RenameSubgraph(Edit):
    """Name and describe a subgraph."""

    kind: ClassVar[str] = "rename_subgraph"

    subgraph: str
    name: str | None = None
    description: str | None = None
    library: str | None = None

    def steps(self, document: GraphDocument) -> Iterator[Step]:
        document.content.head(self.subgraph)
        yield steps.SetSubgraph(self.subgraph, name=self.name, description=self.description, library=self.library)


@dataclass(frozen=True)
class AddLibraryNode(Edit):
    """Add a subgraph of the library as a node: `subgraphs` are it, first, and those within it."""

    kind: ClassVar[str] = "add_library_node"

    subgraphs: tuple[Subgraph, ...]
    node: Node

    def steps(self, document: GraphDocument) -> Iterator[Step]:
        head = self.subgraphs[0]
        known = next(
            (s.id for s in document.content.subgraphs.values() if head.library and s.library == head.library), ""
        )
        if not known:
            known = head.id
            for subgraph in self.subgraphs:
                if subgraph.id not in document.content.subgraphs:
                    yield steps.PutSubgraph(subgraph)
        yield steps.PutNodes(document.graph_id, (replace(self.node, type=SUBGRAPH + known),))


@dataclass(frozen=True)
class UpdateSubgraph(Edit):
    """Put a newer definition in place of every subgraph of this library id; wires at sockets that are gone go."""

    kind: ClassVar[str] = "update_subgraph"

    subgraphs: tuple[Subgraph, ...]

    def steps(self, document: GraphDocument) -> Iterator[Step]:
        head, content = self.subgraphs[0], document.content
        old = [s.id for s in content.subgraphs.values() if head.library and s.library == head.library]
        if not old:
            raise InvalidRequest("this workflow has no node of this kind")
        below = {s.id for s in self.subgraphs[1:]}
        for name in [n for n in content.subgraphs if n in below]:
            yield steps.TakeSubgraph(name)
        for subgraph in self.subgraphs[1:]:
            yield steps.PutSubgraph(subgraph)
        for name in old:
            yield from set_sockets(document, name, head.inputs, head.outputs)
            yield steps.TakeSubgraph(name)
            yield steps.PutSubgraph(replace(head, id=name))


def _open_head(document: GraphDocument) -> Subgraph:
    if document.graph_id == MAIN:
        raise InvalidRequest("only a subgraph has inputs and outputs to expose", fix="Open one first")
    return document.content.subgraphs[document.graph_id]


def _with_side(head: Subgraph, side: Side, sockets: tuple[Socket, ...]) -> Step:
    if side == "inputs":
        return steps.SetSubgraph(head.id, inputs=sockets)
    return steps.SetSubgraph(head.id, outputs=sockets)
