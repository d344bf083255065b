"""The steps that edits are made of: each changes the content, gives the step that takes it back, and is JSON both ways.

A step says which graph it is in: "" is the workflow itself, else the id of a subgraph. Steps know no registry and ask
no questions, so that a journal replays exactly; what is allowed is decided before, by `edits.py`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar

from engine.contracts.codec import Document, encode_value
from engine.contracts.errors import InvalidDocument, clip
from engine.contracts.workflow import (
    Bookmark,
    FormField,
    Group,
    InputValue,
    Node,
    Socket,
    Subgraph,
    inputs_field,
)  # fmt: skip
from engine.graph.subgraphs import SUBGRAPH
from studio_app.documents.content import MAIN, Content, Graph, Touched, with_fields

LOOKS = ("title", "mode", "size", "colour", "collapsed", "pinned", "as_sockets", "seeds", "type", "type_version",
         "extra")  # fmt: skip


@dataclass(frozen=True)
class Step(Document):
    """One invertible change. `apply` returns the step that takes it back; a refused one leaves the content alone."""

    kind: ClassVar[str] = ""

    def apply(self, content: Content, touched: Touched) -> Step:
        raise NotImplementedError

    def to_json(self) -> dict[str, Any]:
        return {"step": self.kind, **super().to_json()}


@dataclass(frozen=True)
class PutNodes(Step):
    """Add nodes. `places` are where they stand in the document's order, empty for the end."""

    kind: ClassVar[str] = "put_nodes"

    graph: str
    nodes: tuple[Node, ...]
    places: tuple[int, ...] = ()

    def apply(self, content: Content, touched: Touched) -> Step:
        graph = content.graph(self.graph)
        for node in self.nodes:
            below = node.type.removeprefix(SUBGRAPH)
            if self.graph != MAIN and node.type.startswith(SUBGRAPH) and content.contains(below, self.graph):
                raise InvalidDocument("a subgraph can't contain itself", fix="Put it beside itself instead")
        given: Iterable[int | None] = self.places if len(self.places) == len(self.nodes) else [None] * len(self.nodes)
        graph.put(zip(self.nodes, given, strict=True))
        names = tuple(node.id for node in self.nodes)
        _come_back(touched, self.graph, names)
        _note_waiting(graph, self.graph, names, touched)
        return TakeNodes(self.graph, names)


@dataclass(frozen=True)
class TakeNodes(Step):
    """Remove nodes."""

    kind: ClassVar[str] = "take_nodes"

    graph: str
    nodes: tuple[str, ...]

    def apply(self, content: Content, touched: Touched) -> Step:
        graph = content.graph(self.graph)
        for name in self.nodes:
            _node(graph, name)
        taken = graph.take(self.nodes)
        _go_away(touched, self.graph, self.nodes)
        _note_waiting(graph, self.graph, self.nodes, touched)
        return PutNodes(self.graph, tuple(node for node, _ in taken), tuple(place for _, place in taken))


@dataclass(frozen=True)
class MoveNodes(Step):
    """Give nodes positions, in canvas pixels."""

    kind: ClassVar[str] = "move_nodes"

    graph: str
    positions: Mapping[str, tuple[float, float]]

    def apply(self, content: Content, touched: Touched) -> Step:
        graph = content.graph(self.graph)
        nodes = graph.nodes
        missing = self.positions.keys() - nodes.keys()
        if missing:
            _node(graph, min(missing))
        before = {}
        for name, position in self.positions.items():
            node = nodes[name]
            before[name] = node.position
            nodes[name] = with_fields(node, position=position)
        graph.touch()
        touched.moved.setdefault(self.graph, set()).update(before)
        return MoveNodes(self.graph, before)


@dataclass(frozen=True)
class SetInputs(Step):
    """Give inputs of one node values or links; those in `unset` lose theirs."""

    kind: ClassVar[str] = "set_inputs"

    graph: str
    node: str
    values: Mapping[str, InputValue] = inputs_field()
    unset: tuple[str, ...] = ()

    def apply(self, content: Content, touched: Touched) -> Step:
        graph = content.graph(self.graph)
        given = _node(graph, self.node).inputs
        names = [*self.values, *self.unset]
        back = SetInputs(
            self.graph, self.node, {n: given[n] for n in names if n in given}, tuple(n for n in names if n not in given)
        )
        gone = set(self.unset)
        inputs = {k: v for k, v in given.items() if k not in gone} if gone & given.keys() else dict(given)
        inputs.update(self.values)
        if graph.set_inputs(self.node, inputs):
            touched.rewired.setdefault(self.graph, set()).add(self.node)
        touched.changed.setdefault(self.graph, set()).add(self.node)
        return back


@dataclass(frozen=True)
class SetLooks(Step):
    """Set fields of nodes other than inputs and position: node id → field (one of LOOKS) → value."""

    kind: ClassVar[str] = "set_looks"

    graph: str
    looks: Mapping[str, Mapping[str, Any]]

    def apply(self, content: Content, touched: Touched) -> Step:
        graph = content.graph(self.graph)
        clean = {name: {f: _look(f, v) for f, v in fields.items()} for name, fields in self.looks.items()}
        for name, fields in clean.items():
            _node(graph, name)
            below = str(fields.get("type", "")).removeprefix(SUBGRAPH)
            if self.graph != MAIN and below in content.subgraphs and content.contains(below, self.graph):
                raise InvalidDocument("a subgraph can't contain itself", fix="Put it beside itself instead")
        before = {}
        for name, fields in clean.items():
            former = graph.set(with_fields(graph.nodes[name], **fields))
            before[name] = {field: getattr(former, field) for field in fields}
        touched.changed.setdefault(self.graph, set()).update(clean)
        return SetLooks(self.graph, before)


@dataclass(frozen=True)
class SetGroups(Step):
    """The groups of one level, all of them."""

    kind: ClassVar[str] = "set_groups"

    graph: str
    groups: tuple[Group, ...]

    def apply(self, content: Content, touched: Touched) -> Step:
        graph = content.graph(self.graph)
        back = SetGroups(self.graph, graph.groups)
        graph.groups = self.groups
        touched.groups.add(self.graph)
        return back


@dataclass(frozen=True)
class SetForm(Step):
    """The form, all of it."""

    kind: ClassVar[str] = "set_form"

    form: tuple[FormField, ...]

    def apply(self, content: Content, touched: Touched) -> Step:
        back = SetForm(content.form)
        content.form = self.form
        touched.form = True
        return back


@dataclass(frozen=True)
class SetDetails(Step):
    """Name, description and bookmarks of the workflow, and what it carries besides; None leaves as it is."""

    kind: ClassVar[str] = "set_details"

    name: str | None = None
    description: str | None = None
    bookmarks: tuple[Bookmark, ...] | None = None
    carried: Mapping[str, Any] | None = None

    def apply(self, content: Content, touched: Touched) -> Step:
        head = content.top
        back = SetDetails(head.name, head.description, content.bookmarks, dict(head.extra))
        if self.bookmarks is not None:
            content.bookmarks = self.bookmarks
        content.top = replace(
            head,
            name=head.name if self.name is None else self.name,
            description=head.description if self.description is None else self.description,
            extra=head.extra if self.carried is None else dict(self.carried),
        )
        touched.details = True
        return back


@dataclass(frozen=True)
class PutSubgraph(Step):
    """Add a subgraph's definition. `at` is its index among the others, −1 for the end."""

    kind: ClassVar[str] = "put_subgraph"

    subgraph: Subgraph
    at: int = -1
    places: tuple[int, ...] = ()

    def apply(self, content: Content, touched: Touched) -> Step:
        content.put_subgraph(self.subgraph, None if self.at < 0 else self.at, self.places)
        touched.subgraphs = True
        return TakeSubgraph(self.subgraph.id)


@dataclass(frozen=True)
class TakeSubgraph(Step):
    """Remove a subgraph's definition. Nodes of it become nodes of an unknown type."""

    kind: ClassVar[str] = "take_subgraph"

    subgraph: str

    def apply(self, content: Content, touched: Touched) -> Step:
        whole, at, places = content.take_subgraph(self.subgraph)
        touched.subgraphs = True
        return PutSubgraph(whole, at, places)


@dataclass(frozen=True)
class SetSubgraph(Step):
    """Name, description, library id and sockets of a subgraph; None leaves as it is."""

    kind: ClassVar[str] = "set_subgraph"

    subgraph: str
    name: str | None = None
    description: str | None = None
    library: str | None = None
    inputs: tuple[Socket, ...] | None = None
    outputs: tuple[Socket, ...] | None = None

    def apply(self, content: Content, touched: Touched) -> Step:
        fields = {
            field: getattr(self, field)
            for field in ("name", "description", "library", "inputs", "outputs")
            if getattr(self, field) is not None
        }
        former = content.set_subgraph(self.subgraph, fields)
        touched.subgraphs = True
        for graph, node in content.instances(self.subgraph):
            touched.changed.setdefault(graph, set()).add(node)
        return SetSubgraph(self.subgraph, **{field: getattr(former, field) for field in fields})


STEPS: dict[str, type[Step]] = {
    step.kind: step
    for step in (
        PutNodes, TakeNodes, MoveNodes, SetInputs, SetLooks, SetGroups, SetForm, SetDetails,
        PutSubgraph, TakeSubgraph, SetSubgraph,
    )
}  # fmt: skip


def step_from_json(data: Any, where: str = "step") -> Step:
    """Raises InvalidDocument."""
    if not isinstance(data, dict) or data.get("step") not in STEPS:
        raise InvalidDocument("it is no step of an edit", where=where)
    rest = dict(data)
    return STEPS[rest.pop("step")].from_json(rest, where)


def coalesced(first: Step, second: Step) -> Step | None:
    """One step that does what both do in a row, where they are of the same kind on the same thing."""
    if isinstance(first, MoveNodes) and isinstance(second, MoveNodes) and first.graph == second.graph:
        return MoveNodes(first.graph, {**first.positions, **second.positions})
    if isinstance(first, SetInputs) and isinstance(second, SetInputs):
        if (first.graph, first.node) != (second.graph, second.node):
            return None
        now = {*second.values, *second.unset}
        values = {**{k: v for k, v in first.values.items() if k not in now}, **second.values}
        return SetInputs(
            first.graph, first.node, values, (*(n for n in first.unset if n not in now), *second.unset)
        )  # fmt: skip
    if isinstance(first, SetLooks) and isinstance(second, SetLooks) and first.graph == second.graph:
        names = first.looks.keys() | second.looks.keys()
        return SetLooks(first.graph, {n: {**first.looks.get(n, {}), **second.looks.get(n, {})} for n in names})
    if isinstance(first, SetGroups) and isinstance(second, SetGroups) and first.graph == second.graph:
        return second
    return None


def _node(graph: Graph, name: str) -> Node:
    found = graph.nodes.get(name)
    if found is None:
        raise InvalidDocument(f"there is no node “{clip(name)}” here")
    return found


def _look(field: str, value: Any) -> Any:
    """A field's value as a node holds it. Raises InvalidDocument."""
    if field not in LOOKS:
        raise InvalidDocument(f"a node has no field “{clip(field)}” to set")
    if field == "extra":
        return dict(value)
    return getattr(Node.from_json({"id": "x", "type": "x", field: encode_value(value)}, "node"), field)


def _come_back(touched: Touched, graph: str, names: Iterable[str]) -> None:
    """Nodes added: one that was removed just before counts as changed."""
    removed = touched.removed.get(graph, set())
    for name in names:
        if name in removed:
            removed.discard(name)
            for part in (touched.changed, touched.rewired, touched.moved):
                part.setdefault(graph, set()).add(name)
        else:
            touched.added.setdefault(graph, set()).add(name)


def _go_away(touched: Touched, graph: str, names: Iterable[str]) -> None:
    added = touched.added.get(graph, set())
    for name in names:
        for part in (touched.changed, touched.rewired, touched.moved):
            part.get(graph, set()).discard(name)
        if name in added:
            added.discard(name)
        else:
            touched.removed.setdefault(graph, set()).add(name)


def _note_waiting(graph: Graph, graph_id: str, names: Iterable[str], touched: Touched) -> None:
    """Nodes that take from one which came or went are re-wired though their inputs stay."""
    for name in names:
        waiting = graph.consumers.get(name, {}).keys() & graph.nodes.keys()
        if waiting:
            touched.rewired.setdefault(graph_id, set()).update(waiting)
