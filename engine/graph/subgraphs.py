"""From the document a person edits to the plain nodes that run: subgraphs opened, mute and bypass resolved.

Ids of opened subgraphs read "outer:inner". Nothing here recurses, so depth and size of a document can't crash it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from engine.contracts.errors import Problem, clip, suggest
from engine.contracts.workflow import InputValue, Link, Node, Subgraph, Workflow
from engine.graph.migrate import migrated
from engine.graph.ports import Port, compatible
from engine.graph.registry import NodeType

SUBGRAPH = "subgraph:"
SOCKETS = "sockets"  # in the `extra` of a node of an unknown type: its inputs and outputs, so that it can be bypassed
MAX_NODES = 100_000


class Gone:
    """Stands where a link led to a muted node, or through a bypassed one that had nothing to pass on."""

    __slots__ = ("why",)

    def __init__(self, why: str) -> None:
        self.why = why


class FlatNode:
    """A node ready to be compiled: its full id, its type's tables (None if unknown), inputs with full-id links."""

    __slots__ = ("id", "inputs", "kind", "node")

    def __init__(self, node_id: str, node: Node, kind: NodeType | None, inputs: Mapping[str, Any]) -> None:
        self.id, self.node, self.kind, self.inputs = node_id, node, kind, inputs


class Flat:
    """A flattened document. `groups` maps a subgraph instance's id to its outputs by name, as full-id links."""

    __slots__ = ("groups", "nodes", "problems")

    def __init__(self) -> None:
        self.nodes: dict[str, FlatNode] = {}
        self.groups: dict[str, dict[str, Link]] = {}
        self.problems: list[Problem] = []


Overrides = Mapping[str, Mapping[str, InputValue]]


def flatten(
    workflow: Workflow,
    types: Mapping[str, NodeType],
    overrides: Overrides | None = None,
    prefix: str = "",
    known: Mapping[str, Subgraph] | None = None,
) -> Flat:
    """Open every subgraph and resolve mute and bypass. Total: what is wrong lands in `problems`.

    overrides  full node id → input → value laid over the document (a job's bindings)
    prefix     put before every id, for fragments of a running node
    known      subgraphs a fragment may use besides its own
    """
    flat = Flat()
    nodes = flat.nodes
    special = False
    for node in workflow.nodes:
        node_id = prefix + node.id if prefix else node.id
        kind = types.get(node.type)
        if node.mode != "active" or (kind is None and node.type.startswith(SUBGRAPH)):
            special = True
            break
        if not node.id or node_id in nodes:
            flat.problems.append(_bad_id(node_id))
            continue
        inputs: Mapping[str, Any] = node.inputs
        if kind is not None and node.type_version != kind.schema.node_version:
            inputs = migrated(node, kind, node_id, flat.problems)
        if prefix:
            inputs = {k: _moved(v, prefix) for k, v in inputs.items()}
        if overrides and node_id in overrides:
            inputs = {**inputs, **overrides[node_id]}
        nodes[node_id] = FlatNode(node_id, node, kind, inputs)
    if special:
        subgraphs = {**(known or {}), **{s.id: s for s in workflow.subgraphs}}
        return _Flattener(types, overrides or {}, subgraphs).run(workflow.nodes, prefix)
    return flat


def _given_of(record: FlatNode, port: Port) -> list[str]:
    """The numbered inputs that a variadic one stands for, in their order."""
    kind = record.kind
    given = [name for name in record.inputs if kind is not None and kind.port(name) is port]
    return sorted(given, key=lambda name: (len(name), name))


def _foreign_sockets(node: Node, side: str) -> list[tuple[str, str]]:
    """(name, type) of the inputs or outputs of a node whose type this studio lacks, as its document tells them."""
    told = node.extra.get(SOCKETS)
    items = told.get(side) if isinstance(told, Mapping) else None
    pairs = items if isinstance(items, (list, tuple)) else ()
    return [(str(p[0]), str(p[1])) for p in pairs if isinstance(p, (list, tuple)) and len(p) == 2]


def _bad_id(node_id: str) -> Problem:
    if not node_id or node_id.endswith(":"):
        return Problem("empty_id", "a node has no id", "Give every node an id of its own")
    return Problem("duplicate_id", "two nodes have this id", "Give every node an id of its own", node=node_id)


def _moved(value: Any, prefix: str) -> Any:
    if value.__class__ is Link and value.node:
        return Link(prefix + value.node, value.output)
    return value


class _Flattener:
    """The general case. One pass opens subgraphs outside in; a second follows links through what is not a node."""

    def __init__(self, types: Mapping[str, NodeType], overrides: Overrides, subgraphs: Mapping[str, Subgraph]) -> None:
        self.types, self.overrides, self.subgraphs = types, overrides, subgraphs
        self.flat = Flat()
        self.muted: dict[str, str] = {}  # the id of what is not there → why
        self.bypassed: dict[str, FlatNode] = {}
        self.opened: dict[str, tuple[Subgraph, str]] = {}
        self.seen: set[str] = set()
        self.followed: dict[Link, Any] = {}
        self.port_memo: dict[str, tuple[list[tuple[str, str]], list[tuple[str, str]]]] = {}

    def run(self, nodes: tuple[Node, ...], prefix: str) -> Flat:
        pending: list[tuple[Node, str, dict[str, Any], tuple[str, ...], bool]] = [
            (node, prefix, {}, (), False) for node in reversed(nodes)
        ]
        while pending:
            node, scope, given, inside, gone = pending.pop()
            node_id = scope + node.id
            if not node.id or node_id in self.seen:
                self.flat.problems.append(_bad_id(node_id))
                continue
            self.seen.add(node_id)
            if len(self.seen) > MAX_NODES:
                self.flat.problems.append(
                    Problem("too_large", f"its subgraphs open into more than {MAX_NODES:,} nodes", node=node_id)
                )
                break
            if gone or node.mode == "mute":
                self.muted[node_id] = f"“{clip(node_id)}” is muted"
                if not node.type.startswith(SUBGRAPH):
                    continue
            kind = self.types.get(node.type)
            inputs: Mapping[str, Any] = node.inputs
            if kind is not None and node.type_version != kind.schema.node_version:
                inputs = migrated(node, kind, node_id, self.flat.problems)
            merged = {k: _moved(v, scope) if scope else v for k, v in inputs.items()}
            merged.update(given)
            merged.update(self.overrides.get(node_id, {}))
            record = FlatNode(node_id, node, kind, merged)
            if node.mode == "bypass":
                self.bypassed[node_id] = record
            elif kind is None and node.type.startswith(SUBGRAPH):
                pending.extend(self._open(record, inside, node_id in self.muted))
            elif node_id not in self.muted:
                self.flat.nodes[node_id] = record
        for item in self.flat.nodes.values():
            item.inputs = {k: self._follow(v, item.id) if v.__class__ is Link else v for k, v in item.inputs.items()}
        for node_id, (subgraph, scope) in reversed(self.opened.items()):  # inside out: each link is followed one level
            if node_id not in self.muted:
                self.flat.groups[node_id] = self._group_outputs(subgraph, scope, node_id)
        return self.flat

    def _open(
        self, record: FlatNode, inside: tuple[str, ...], gone: bool
    ) -> list[tuple[Node, str, dict[str, Any], tuple[str, ...], bool]]:
        name = record.node.type.removeprefix(SUBGRAPH)
        found = self.subgraphs.get(name)
        problem: Problem | None = None
        if found is None:
            problem = Problem(
                "unknown_subgraph", f"there is no subgraph “{clip(name)}”", suggest(name, sorted(self.subgraphs))
            )
        elif name in inside:
            chain = " → ".join(clip(n, 24) for n in (*inside[inside.index(name) :], name)[-6:])
            problem = Problem("subgraph_cycle", f"the subgraph contains itself ({chain})", "Take it out of itself")
        if problem or found is None:
            if problem and not gone:
                self.flat.problems.append(Problem(problem.code, problem.what, problem.fix, node=record.id))
            self.muted[record.id] = f"“{clip(record.id)}” can't be opened"
            return []
        scope = record.id + ":"
        self.opened[record.id] = (found, scope)
        given: dict[str, dict[str, Any]] = {}
        exposed = {s.name for s in found.inputs}
        for socket in found.inputs:
            if socket.name in record.inputs:
                given.setdefault(socket.node, {})[socket.socket] = record.inputs[socket.name]
        for extra in record.inputs:
            if extra not in exposed and not gone:
                fix = suggest(extra, sorted(exposed))
                self.flat.problems.append(
                    Problem("unknown_input", "the subgraph has no such input", fix, record.id, extra)
                )
        return [(n, scope, given.get(n.id, {}), (*inside, name), gone) for n in reversed(found.nodes)]

    def _follow(self, link: Link, asking: str) -> Link | Gone | Any:
        """Where a link leads once everything that is not a running node is looked through."""
        said = len(self.flat.problems)
        found = self._led(link, asking)
        if len(self.flat.problems) == said:  # a problem is each asking node's own
            self.followed[link] = found
        return found

    def _led(self, link: Link, asking: str) -> Link | Gone | Any:
        steps = 0
        while True:
            if link in self.followed:
                return self.followed[link]
            steps += 1
            if steps > len(self.seen) + 1:
                self.flat.problems.append(
                    Problem("cycle", "its input leads in a circle through bypassed nodes", "Cut one link", asking)
                )
                return Gone("it leads in a circle")
            source = link.node
            if source in self.muted:
                return Gone(self.muted[source])
            if source in self.bypassed:
                value = self._bypass(self.bypassed[source], link.output)
            elif source in self.opened:
                subgraph, scope = self.opened[source]
                socket = next((s for s in subgraph.outputs if s.name == link.output), None)
                if socket is None:
                    known = [s.name for s in subgraph.outputs]
                    self.flat.problems.append(
                        Problem(
                            "unknown_output",
                            f"the subgraph “{clip(source)}” has no output “{clip(link.output)}”",
                            suggest(link.output, known),
                            asking,
                        )
                    )
                    return Gone("it leads nowhere")
                value = Link(scope + socket.node, socket.socket)
            else:
                return link
            if value.__class__ is not Link:
                return value
            link = value

    def _bypass(self, record: FlatNode, output: str) -> Any:
        """ComfyUI's rule: the input of the same index if the types fit, else the first of exactly the output's type,
        else the first compatible one; an output of any type takes the same index, else the first input."""
        inputs, outputs = self._sockets(record)
        slot = next((i for i, (name, _) in enumerate(outputs) if name == output), None)
        gone = Gone(f"“{clip(record.id)}” is bypassed and has nothing to pass on")
        if slot is None or not inputs:
            return gone
        wanted = outputs[slot][1]
        if wanted == "*":
            chosen: int | None = slot if slot < len(inputs) else 0
        elif slot < len(inputs) and compatible(inputs[slot][1], wanted):
            chosen = slot
        else:
            chosen = next((i for i, (_, kind) in enumerate(inputs) if kind == wanted), None)
            if chosen is None:
                chosen = next((i for i, (_, kind) in enumerate(inputs) if compatible(kind, wanted)), None)
        return record.inputs.get(inputs[chosen][0], gone) if chosen is not None else gone

    def _sockets(self, record: FlatNode) -> tuple[list[tuple[str, str]], list[tuple[str, str]]]:
        """(name, type) of a node's inputs, sockets before widgets as on ComfyUI's nodes, and of its outputs."""
        if record.kind is not None:
            ports = list(record.kind.ports.values())
            inputs = [
                (name, p.schema.type)
                for p in sorted(ports, key=lambda p: p.scalar)
                for name in (_given_of(record, p) if p.schema.variadic else (p.name,))
            ]
            return inputs, [(o.name, o.type) for o in record.kind.schema.outputs]
        if SOCKETS in record.node.extra:
            return _foreign_sockets(record.node, "inputs"), _foreign_sockets(record.node, "outputs")
        name = record.node.type.removeprefix(SUBGRAPH)
        if name not in self.subgraphs:
            return [], []
        if name not in self.port_memo:
            subgraph = self.subgraphs[name]
            self.port_memo[name] = (
                [(s.name, self._inner_type(subgraph, s.node, s.socket, True)) for s in subgraph.inputs],
                [(s.name, self._inner_type(subgraph, s.node, s.socket, False)) for s in subgraph.outputs],
            )
        return self.port_memo[name]

    def _inner_type(self, subgraph: Subgraph, node_id: str, socket: str, is_input: bool) -> str:
        for _ in range(64):  # nested deeper than anyone wires by hand; then any type fits
            node = next((n for n in subgraph.nodes if n.id == node_id), None)
            if node is None:
                return "*"
            kind = self.types.get(node.type)
            if kind is not None:
                if is_input:
                    port = kind.port(socket)
                    return port.schema.type if port else "*"
                slot = kind.output_slots.get(socket)
                return "*" if slot is None else kind.output_types[slot]
            inner = self.subgraphs.get(node.type.removeprefix(SUBGRAPH))
            if inner is None:
                return dict(_foreign_sockets(node, "inputs" if is_input else "outputs")).get(socket, "*")
            exposed = next((s for s in (inner.inputs if is_input else inner.outputs) if s.name == socket), None)
            if exposed is None:
                return "*"
            subgraph, node_id, socket = inner, exposed.node, exposed.socket
        return "*"

    def _group_outputs(self, subgraph: Subgraph, scope: str, node_id: str) -> dict[str, Link]:
        found: dict[str, Link] = {}
        for socket in subgraph.outputs:
            value = self._follow(Link(scope + socket.node, socket.socket), node_id)
            if isinstance(value, Link):
                found[socket.name] = value
        return found
