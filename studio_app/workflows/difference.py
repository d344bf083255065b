"""What is different between two workflows: nodes added, removed and changed, with the inputs and wires that changed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from engine.contracts.workflow import InputValue, Link, Node, Workflow

_LOOKS = ("title", "mode", "colour", "collapsed", "type", "type_version", "seeds")


@dataclass(frozen=True)
class InputChange:
    """One input before and after; None where it was not set. A change between two Links is a wire that moved."""

    name: str
    old: InputValue
    new: InputValue

    @property
    def is_wire(self) -> bool:
        return isinstance(self.old, Link) or isinstance(self.new, Link)

    @property
    def is_moved_wire(self) -> bool:
        return isinstance(self.old, Link) and isinstance(self.new, Link)


@dataclass(frozen=True)
class NodeChange:
    """A node that is in both: its inputs that changed, its other fields that did, and whether it was moved."""

    node: str
    inputs: tuple[InputChange, ...] = ()
    fields: tuple[str, ...] = ()
    moved: bool = False


@dataclass(frozen=True)
class Difference:
    """Of one graph, "" for the workflow itself."""

    graph: str
    added: tuple[Node, ...] = ()
    removed: tuple[Node, ...] = ()
    changed: tuple[NodeChange, ...] = ()
    groups: bool = False
    sockets: bool = False


@dataclass(frozen=True)
class WorkflowDifference:
    """All graphs that differ. `form` and `names` tell whether the form, or name and description, changed."""

    graphs: tuple[Difference, ...] = ()
    form: bool = False
    names: bool = False

    def __bool__(self) -> bool:
        return bool(self.graphs or self.form or self.names)

    def of(self, graph: str = "") -> Difference:
        """The difference in one graph, empty where it is the same."""
        return next((d for d in self.graphs if d.graph == graph), Difference(graph))


@dataclass(frozen=True)
class _Side:
    nodes: tuple[Node, ...] = ()
    groups: tuple[object, ...] = ()
    sockets: tuple[object, ...] = field(default=())


def diff(old: Workflow, new: Workflow) -> WorkflowDifference:
    """What has to be done to `old` to get `new`; nodes are the same when their ids are."""
    before, after = _sides(old), _sides(new)
    graphs = []
    for name in dict.fromkeys([*before, *after]):
        found = _of_graph(name, before.get(name, _Side()), after.get(name, _Side()))
        if found != Difference(name):
            graphs.append(found)
    return WorkflowDifference(
        tuple(graphs), form=old.form != new.form, names=(old.name, old.description) != (new.name, new.description)
    )


def _sides(workflow: Workflow) -> dict[str, _Side]:
    main = {"": _Side(workflow.nodes, workflow.groups)}
    return main | {s.id: _Side(s.nodes, s.groups, (s.name, s.inputs, s.outputs)) for s in workflow.subgraphs}


def _of_graph(name: str, before: _Side, after: _Side) -> Difference:
    old, new = {n.id: n for n in before.nodes}, {n.id: n for n in after.nodes}
    changes = (_of_node(old[node_id], node) for node_id, node in new.items() if node_id in old)
    return Difference(
        name,
        added=tuple(n for n in after.nodes if n.id not in old),
        removed=tuple(n for n in before.nodes if n.id not in new),
        changed=tuple(change for change in changes if change is not None),
        groups=before.groups != after.groups,
        sockets=before.sockets != after.sockets,
    )


def _of_node(old: Node, new: Node) -> NodeChange | None:
    if old == new:
        return None
    inputs = tuple(_changed_inputs(old.inputs, new.inputs))
    fields = tuple(name for name in _LOOKS if getattr(old, name) != getattr(new, name))
    moved = (old.position, old.size) != (new.position, new.size)
    return NodeChange(new.id, inputs, fields, moved) if inputs or fields or moved else None


def _changed_inputs(old: Mapping[str, InputValue], new: Mapping[str, InputValue]) -> list[InputChange]:
    names = dict.fromkeys([*old, *new])
    return [
        InputChange(name, old.get(name), new.get(name))
        for name in names
        if (name in old, type(old.get(name)), old.get(name)) != (name in new, type(new.get(name)), new.get(name))
    ]
