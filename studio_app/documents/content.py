"""What an open workflow is made of while it is edited: mutable dicts and indexes, so an edit costs what it touches.

A `Graph` is one level: the workflow itself (id "") or a subgraph's definition. Only steps (`steps.py`) change it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from engine.contracts.errors import InvalidDocument, clip
from engine.contracts.workflow import (
    Bookmark,
    FormField,
    Group,
    InputValue,
    Link,
    Node,
    Subgraph,
    Workflow,
)  # fmt: skip
from engine.graph.subgraphs import SUBGRAPH
from studio_app.documents.acyclic import AcyclicOrder

MAIN = ""
_NUMBER = re.compile(r"_\d{1,9}$")


@dataclass(frozen=True)
class Wire:
    """From output `output` of node `source` to input `input` of node `target`."""

    source: str
    output: str
    target: str
    input: str


def with_fields(node: Node, **fields: Any) -> Node:
    """`dataclasses.replace` for nodes, five times as fast: a drag replaces a thousand nodes at each event."""
    new = object.__new__(Node)
    new.__dict__.update(node.__dict__)
    new.__dict__.update(fields)
    return new


@dataclass
class Touched:
    """What steps changed, collected until it is told: node ids by graph, and which other parts."""

    added: dict[str, set[str]] = field(default_factory=dict)
    removed: dict[str, set[str]] = field(default_factory=dict)
    changed: dict[str, set[str]] = field(default_factory=dict)
    moved: dict[str, set[str]] = field(default_factory=dict)
    rewired: dict[str, set[str]] = field(default_factory=dict)
    groups: set[str] = field(default_factory=set)
    form: bool = False
    subgraphs: bool = False
    details: bool = False

    def graphs(self) -> set[str]:
        """The graphs in which something changed."""
        by_node = (self.added, self.removed, self.changed, self.moved, self.rewired)
        return {graph for part in by_node for graph in part} | self.groups


class Graph:
    """The nodes and groups of one level, with the wires out of each node and an order that shows circles."""

    def __init__(self, groups: tuple[Group, ...] = ()) -> None:
        self.nodes: dict[str, Node] = {}
        self.groups = groups
        self.places: dict[str, int] = {}  # where each node stands in the document's own order
        self.consumers: dict[str, dict[str, set[str]]] = {}  # node → what takes from it → by which inputs
        self.order = AcyclicOrder()
        self._next_place = 0
        self._numbers: dict[str, int] = {}
        self._frozen: tuple[Node, ...] | None = None

    def put(self, nodes: Iterable[tuple[Node, int | None]]) -> None:
        """Add nodes, each at a place in the document's order, or after all. Raises InvalidDocument; adds none then."""
        added = list(nodes)
        names = {node.id for node, _ in added}
        if len(names) != len(added) or names & self.nodes.keys() or "" in names:
            twice = next((n.id for n, _ in added if n.id in self.nodes or not n.id), added[0][0].id if added else "")
            raise InvalidDocument(
                f"two nodes have the id “{clip(twice)}”" if twice else "a node has no id",
                fix="Give every node an id of its own",
            )
        for node, place in added:
            self.nodes[node.id] = node
            self.places[node.id] = self._next_place if place is None else place
            self._next_place = max(self._next_place, self.places[node.id] + 1)
            self.order.add(node.id)
        for node, _ in added:
            for name, value in node.inputs.items():
                if value.__class__ is Link:
                    self._take_up(node.id, name, value)
            for target in self.consumers.get(node.id, ()):  # wires that waited for this node
                self.order.connect(node.id, target)
        self._frozen = None

    def take(self, names: Iterable[str]) -> list[tuple[Node, int]]:
        """Remove nodes; wires that others have from them stay in those others' inputs."""
        taken = []
        for name in names:
            node = self.nodes.pop(name)
            for input_name, value in node.inputs.items():
                if value.__class__ is Link:
                    self._let_go(name, input_name, value)
            self.order.remove(name)
            taken.append((node, self.places.pop(name)))
        self._frozen = None
        return taken

    def set(self, node: Node) -> Node:
        """Put a node in the place of the one with its id, inputs unchanged. Returns the former."""
        former = self.nodes[node.id]
        self.nodes[node.id] = node
        self._frozen = None
        return former

    def set_inputs(self, name: str, inputs: Mapping[str, InputValue]) -> bool:
        """Give a node these inputs. Returns whether its wires changed."""
        node = self.nodes[name]
        rewired = False
        for key, value in node.inputs.items():
            if value.__class__ is Link and inputs.get(key) != value:
                self._let_go(name, key, value)
                rewired = True
        for key, value in inputs.items():
            if value.__class__ is Link and node.inputs.get(key) != value:
                self._take_up(name, key, value)
                rewired = True
        self.nodes[name] = with_fields(node, inputs=inputs)
        self._frozen = None
        return rewired

    def frozen(self) -> tuple[Node, ...]:
        """The nodes in the document's order, as one value until the next change."""
        if self._frozen is None:
            places = self.places
            self._frozen = tuple(sorted(self.nodes.values(), key=lambda node: places[node.id]))
        return self._frozen

    def touch(self) -> None:
        self._frozen = None

    def free_id(self, wanted: str, taken: Iterable[str] = ()) -> str:
        """`wanted`, or it with a free number. A colon, which parts the ids of opened subgraphs, becomes a dash."""
        base = _NUMBER.sub("", wanted.replace(":", "-").strip()) or "node"
        others = taken if isinstance(taken, (set, frozenset, dict)) else {*taken}
        if base not in self.nodes and base not in others:
            return base
        number = self._numbers.get(base, 2)
        while (found := f"{base}_{number}") in self.nodes or found in others:
            number += 1
        self._numbers[base] = number  # where to look on: numbers given back by a removal are not looked for
        return found

    def wires_into(self, name: str) -> list[Wire]:
        node = self.nodes[name]
        return [Wire(v.node, v.output, name, key) for key, v in node.inputs.items() if isinstance(v, Link)]

    def wires_from(self, name: str, output: str | None = None) -> list[Wire]:
        found = []
        for target, inputs in self.consumers.get(name, {}).items():
            given = self.nodes[target].inputs
            for key in sorted(inputs):
                link = given[key]
                if isinstance(link, Link) and (output is None or link.output == output):
                    found.append(Wire(name, link.output, target, key))
        return found

    def wires(self) -> Iterator[Wire]:
        for name in self.nodes:
            yield from self.wires_into(name)

    def _take_up(self, target: str, input_name: str, link: Link) -> None:
        by_target = self.consumers.setdefault(link.node, {})
        inputs = by_target.get(target)
        if inputs is None:
            inputs = by_target[target] = set()
            if link.node in self.nodes:
                self.order.connect(link.node, target)
        inputs.add(input_name)

    def _let_go(self, target: str, input_name: str, link: Link) -> None:
        by_target = self.consumers[link.node]
        by_target[target].discard(input_name)
        if not by_target[target]:
            del by_target[target]
            if link.node in self.nodes:
                self.order.disconnect(link.node, target)
            if not by_target:
                del self.consumers[link.node]


class Content:
    """A whole open workflow: its graphs by subgraph id, and all that is not a node.

    `places` are those of the nodes by graph, as `places()` told them, where a journal goes on from them.
    """

    def __init__(self, workflow: Workflow, places: Mapping[str, Sequence[int]] | None = None) -> None:
        given = places or {}
        self.top = workflow  # name, description, extra; its nodes are not looked at again
        self.form: tuple[FormField, ...] = workflow.form
        self.bookmarks: tuple[Bookmark, ...] = workflow.bookmarks
        self.graphs: dict[str, Graph] = {MAIN: _graph(workflow.nodes, workflow.groups, given.get(MAIN, ()))}
        self.subgraphs: dict[str, Subgraph] = {}  # sockets and names; the nodes in them are not looked at
        self._frozen: dict[str, Subgraph] = {}
        for subgraph in workflow.subgraphs:
            self.put_subgraph(subgraph, places=given.get(subgraph.id, ()))

    def places(self) -> dict[str, list[int]]:
        """Where the nodes of each graph stand in its order, for graphs where that is not simply 0, 1, 2, …"""
        found = {name: [graph.places[n.id] for n in graph.frozen()] for name, graph in self.graphs.items()}
        return {name: places for name, places in found.items() if places != list(range(len(places)))}

    def graph(self, name: str) -> Graph:
        """Raises InvalidDocument when there is no such subgraph."""
        found = self.graphs.get(name)
        if found is None:
            raise InvalidDocument(f"there is no subgraph “{clip(name)}” in this workflow")
        return found

    def put_subgraph(self, subgraph: Subgraph, at: int | None = None, places: Sequence[int] = ()) -> None:
        """Add a definition, at an index among the others; `places` are its nodes' where they had been told before."""
        if subgraph.id in self.subgraphs or not subgraph.id:
            raise InvalidDocument(f"two subgraphs have the id “{clip(subgraph.id)}”", fix="Give each an id of its own")
        self.graphs[subgraph.id] = _graph(subgraph.nodes, subgraph.groups, places)
        others = list(self.subgraphs.items())
        others.insert(len(others) if at is None else at, (subgraph.id, subgraph))
        self.subgraphs = dict(others)

    def take_subgraph(self, name: str) -> tuple[Subgraph, int, tuple[int, ...]]:
        """Remove a definition. Returns it whole, its index and its nodes' places."""
        whole, graph = self.subgraph(name), self.graphs[name]
        at = list(self.subgraphs).index(name)
        places = tuple(graph.places[node.id] for node in whole.nodes)
        del self.graphs[name], self.subgraphs[name]
        self._frozen.pop(name, None)
        return whole, at, places

    def head(self, name: str) -> Subgraph:
        """A subgraph's names and sockets. Raises InvalidDocument."""
        found = self.subgraphs.get(name)
        if found is None:
            raise InvalidDocument(f"there is no subgraph “{clip(name)}” in this workflow")
        return found

    def set_subgraph(self, name: str, fields: Mapping[str, Any]) -> Subgraph:
        """Change fields other than nodes and groups. Returns what was there."""
        former = self.head(name)
        self.subgraphs[name] = replace(former, **fields)
        return former

    def subgraph(self, name: str) -> Subgraph:
        """A subgraph with its nodes, as one value until the next change."""
        head, graph = self.head(name), self.graph(name)
        kept = self._frozen.get(name)
        nodes = graph.frozen()
        if kept is not None and kept.nodes is nodes and kept.groups is graph.groups and self._same_head(kept, head):
            return kept
        whole = replace(head, nodes=nodes, groups=graph.groups)
        self._frozen[name] = whole
        return whole

    def workflow(self) -> Workflow:
        """The document as it stands."""
        main = self.graphs[MAIN]
        return replace(
            self.top,
            nodes=main.frozen(),
            groups=main.groups,
            subgraphs=tuple(self.subgraph(name) for name in self.subgraphs),
            form=self.form,
            bookmarks=self.bookmarks,
        )

    def contains(self, outer: str, inner: str) -> bool:
        """Whether subgraph `inner` occurs within `outer`, at any depth (or is it)."""
        seen, stack = {outer}, [outer]
        while stack:
            name = stack.pop()
            if name == inner:
                return True
            graph = self.graphs.get(name)
            for node in graph.nodes.values() if graph else ():
                below = node.type.removeprefix(SUBGRAPH) if node.type.startswith(SUBGRAPH) else ""
                if below and below not in seen:
                    seen.add(below)
                    stack.append(below)
        return False

    def instances(self, name: str) -> list[tuple[str, str]]:
        """(graph, node id) of every node that is this subgraph."""
        wanted = SUBGRAPH + name
        return [(g, n.id) for g, graph in self.graphs.items() for n in graph.nodes.values() if n.type == wanted]

    @staticmethod
    def _same_head(a: Subgraph, b: Subgraph) -> bool:
        return (a.name, a.description, a.library, a.inputs, a.outputs, a.extra) == (
            b.name, b.description, b.library, b.inputs, b.outputs, b.extra,
        )  # fmt: skip


def _graph(nodes: tuple[Node, ...], groups: tuple[Group, ...], places: Sequence[int]) -> Graph:
    graph = Graph(groups=groups)
    given = places if len(places) == len(nodes) else [None] * len(nodes)
    graph.put(zip(nodes, given, strict=True))
    return graph
