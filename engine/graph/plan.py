"""From a document to steps ready to run: every input read and checked, every link resolved, in one linear pass.

A plan is made anew for each run and thrown away after it; nothing in it is shared with the document.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from engine.contracts.errors import Problem, clip, suggest
from engine.contracts.workflow import Link, Subgraph, Workflow
from engine.graph.flow import OWN
from engine.graph.numerics import Notes
from engine.graph.ports import Port, WrongValue, compatible
from engine.graph.registry import NodeType, Registry
from engine.graph.subgraphs import Flat, FlatNode, Gone, Overrides, flatten

FOREIGN = "comfyui."  # leads the types of nodes that an import could not map

# (input name, the step it comes from, which of its outputs, which element of that output or -1 for all of it)
Wire = tuple[str, "Step", int, int]


class Constant:
    """A value that a node gives on as it stands in the document."""

    __slots__ = ("value",)

    def __init__(self, value: Any) -> None:
        self.value = value


class Step:
    """One node of a run: what it gets, and how far it is."""

    __slots__ = (
        "blocked_by", "dependents", "digest", "id", "kind", "known", "literals", "many", "mark", "numerics", "parts",
        "pinned", "resume", "stands", "state", "uses", "value", "waiting", "wanted", "wires",
    )  # fmt: skip

    def __init__(self, node_id: str, kind: NodeType | None) -> None:
        self.id = node_id
        self.kind: NodeType = kind  # type: ignore[assignment]  # None only on steps that have a problem, which never run
        self.known = kind is not None
        self.literals: dict[str, Any] = {}
        self.parts: dict[str, bytes] = {}
        self.wires: list[Wire] = []
        self.digest = b""
        self.stands: Constant | bytes | None = None  # what it gives on unchanged: a value, or a wire's signature part
        self.mark = 0
        self.state = 0
        self.waiting = 0
        self.uses = 0
        self.value: tuple[Any, ...] | None = None
        self.many: tuple[bool, ...] | None = None  # which outputs are lists to be mapped; None when none is
        self.dependents: list[Step] | None = None
        self.resume: Any = None
        self.wanted: set[str] | None = None  # lazy inputs asked for so far
        self.blocked_by = ""
        self.numerics: Notes = ()  # what its value was computed with, where not whole and exactly
        self.pinned = False  # a kept result stands for it, whatever its inputs


class Plan:
    """The steps of one document by full id, its problems, and the links that subgraph instances stand for."""

    __slots__ = ("_order", "groups", "problems", "steps")

    def __init__(self, steps: dict[str, Step], groups: dict[str, dict[str, Link]], problems: list[Problem]) -> None:
        self.steps, self.groups, self.problems = steps, groups, problems
        self._order: dict[str, int] | None = None

    def output_steps(self) -> list[Step]:
        """The nodes that make artifacts, in the document's order."""
        return [s for s in self.steps.values() if s.known and s.kind.output]

    def targets(self, ids: Sequence[str]) -> list[Step]:
        """The steps behind target ids; unknown ones become problems."""
        found: dict[str, Step] = {}
        for node_id in ids:
            step = self.steps.get(node_id)
            if step is not None:
                found[step.id] = step
            elif node_id in self.groups:
                inner = (self.steps.get(link.node) for link in self.groups[node_id].values())
                found.update({s.id: s for s in inner if s is not None})
                prefix = node_id + ":"
                found.update({s.id: s for s in self.output_steps() if s.id.startswith(prefix)})
            else:
                self.problems.append(
                    Problem(
                        "unknown_target",
                        f"there is no running node “{clip(node_id)}” to make",
                        suggest(node_id, list(self.steps)[:2000]),
                        node=node_id,
                    )
                )
        return list(found.values())

    def group_outputs(self, ids: Sequence[str]) -> dict[str, dict[str, tuple[Step, int]]]:
        """For those of `ids` that are subgraph instances: output name → the step and slot it comes from."""
        found: dict[str, dict[str, tuple[Step, int]]] = {}
        for node_id in ids:
            for name, link in self.groups.get(node_id, {}).items():
                step = self.steps.get(link.node)
                if step is not None and step.known and link.output in step.kind.output_slots:
                    found.setdefault(node_id, {})[name] = (step, step.kind.output_slots[link.output])
        return found

    def sorted_problems(self) -> list[Problem]:
        """The problems in the order of the nodes."""
        places = {node_id: index for index, node_id in enumerate(self.steps)}
        return sorted(self.problems, key=lambda p: places.get(p.node, -1 if not p.node else len(places)))


def build_plan(
    workflow: Workflow,
    registry: Registry,
    overrides: Overrides | None = None,
    *,
    prefix: str = "",
    own: Mapping[str, Any] | None = None,
    known: Mapping[str, Subgraph] | None = None,
) -> Plan:
    """Read a document. Total: whatever is wrong lands in the plan's problems.

    own, prefix, known  for a fragment of a running node: its inputs by name (a Wire's tail or a value), the ids'
                        prefix, and the subgraphs of the job
    """
    flat = flatten(workflow, registry.types, overrides, prefix, known)
    steps: dict[str, Step] = {}
    problems = flat.problems
    pending: list[tuple[Step, str, Port, Link]] = []
    for node_id, item in flat.nodes.items():
        steps[node_id] = _read_node(item, registry, problems, pending, own)
    for step, name, port, link in pending:
        source = steps.get(link.node)
        if source is None:
            problems.append(_dangling(step.id, name, link, flat))
            continue
        if not source.known:
            step.wires.append((name, source, 0, -1))  # the unknown node is a problem of its own
            continue
        slot = source.kind.output_slots.get(link.output)
        if slot is None:
            known_outputs = source.kind.output_names
            what = f"node “{clip(link.node)}” has no output “{clip(link.output)}”"
            fix = suggest(link.output, known_outputs) or f"“{source.kind.schema.title}” gives nothing to connect"
            problems.append(Problem("unknown_output", what, fix, step.id, name))
            continue
        gives = source.kind.output_types[slot]
        if not compatible(gives, port.schema.type):
            problems.append(
                Problem(
                    "wrong_type",
                    f"it takes {_words(port.schema.type)}, and output “{link.output}” of node “{clip(link.node)}” "
                    f"gives {_words(gives)}",
                    f"Connect an output of type {_words(port.schema.type)}",
                    step.id,
                    name,
                )
            )
            continue
        step.wires.append((name, source, slot, -1))
    return Plan(steps, flat.groups, problems)


def _words(kind: str) -> str:
    return "anything" if kind == "*" else kind.replace("|", " or ")


def _dangling(node_id: str, name: str, link: Link, flat: Flat) -> Problem:
    what = f"it is linked to node “{clip(link.node)}”, which does not exist"
    return Problem("dangling_link", what, "Remove the link or connect another node", node_id, name)


def _read_node(
    item: FlatNode,
    registry: Registry,
    problems: list[Problem],
    pending: list[tuple[Step, str, Port, Link]],
    own: Mapping[str, Any] | None,
) -> Step:
    kind = item.kind
    step = Step(item.id, kind)
    if kind is None:
        problems.append(_unknown_node(item, registry))
        return step
    literals = step.literals = kind.default_values.copy()
    parts = step.parts = kind.default_parts.copy()
    inputs = item.inputs
    ports = kind.ports
    plain = not kind.variadic
    missing: dict[str, str] | None = None
    for name, value in inputs.items():
        port = ports.get(name) if plain else kind.port(name)
        if port is None:
            problems.append(_unknown_input(item, kind, name))
            continue
        cls = value.__class__
        if cls is Link:
            if value.node == OWN and own is not None:
                _take_own(step, port, name, value.output, own, problems)
            else:
                pending.append((step, name, port, value))
        elif cls is Gone:
            missing = missing or {}
            missing[name] = f"its link is gone: {value.why}"
        elif value is None:
            missing = missing or {}
            missing[name] = "it has no value"
        else:
            try:
                literals[name], parts[name] = port.read(value)
            except WrongValue as error:
                problems.append(Problem(error.code, error.what, error.fix, item.id, name))
    for name in kind.required:
        if (name not in inputs or (missing is not None and name in missing)) and not _variadic_given(
            kind, name, inputs
        ):
            why = missing[name] if missing and name in missing else "it has no value"
            problems.append(_missing(kind, item.id, name, why))
    return step


def _unknown_node(item: FlatNode, registry: Registry) -> Problem:
    name = item.node.type
    if name.startswith(FOREIGN):
        what = f"the studio has no node for ComfyUI's “{clip(name.removeprefix(FOREIGN))}”"
        return Problem(
            "unknown_node", what, "Put one of the studio's nodes in its place, or bypass or mute it", item.id
        )
    fix = suggest(name, sorted(registry.types)) if name else "Give it a type"
    return Problem("unknown_node", f"there is no node type “{clip(name)}”", fix, node=item.id)


def _variadic_given(kind: NodeType, name: str, inputs: Mapping[str, Any]) -> bool:
    if name not in kind.variadic:
        return False
    return any(kind.port(given) is kind.ports[name] for given, v in inputs.items() if v is not None)


def _missing(kind: NodeType, node_id: str, name: str, why: str) -> Problem:
    schema = kind.ports[name].schema
    if schema.model_kind:
        fix = f"Choose a {schema.model_kind}"
    elif kind.ports[name].scalar and not schema.link_only:
        fix = f"Give it a value of type {_words(schema.type)}"
    else:
        fix = f"Connect an output of type {_words(schema.type)}"
    return Problem("missing_input", why, fix, node_id, name)


def _unknown_input(item: FlatNode, kind: NodeType, name: str) -> Problem:
    known = sorted(kind.ports)
    fix = suggest(name, known) or "Remove it; this node takes no inputs"
    return Problem("unknown_input", f"“{kind.schema.title}” has no such input", fix, item.id, name)


def _take_own(step: Step, port: Port, name: str, asked: str, own: Mapping[str, Any], problems: list[Problem]) -> None:
    """Give a fragment's node what the expanding node itself has on input `asked`."""
    found = own.get(asked)
    if isinstance(found, OwnWire):
        step.wires.append((name, found.step, found.slot, found.element))
        return
    if found is None and asked not in own:
        problems.append(
            Problem("unknown_input", f"the node it expands from has no input “{clip(asked)}”", "", step.id, name)
        )
        return
    if found is None:
        return
    try:
        step.literals[name], step.parts[name] = port.read(found)
    except WrongValue as error:
        problems.append(Problem(error.code, error.what, error.fix, step.id, name))


class OwnWire:
    """An expanding node's linked input, to be wired on into its fragment."""

    __slots__ = ("element", "slot", "step")

    def __init__(self, step: Step, slot: int, element: int) -> None:
        self.step, self.slot, self.element = step, slot, element


def in_order(targets: Iterable[Step], problems: list[Problem]) -> list[Step]:
    """The targets and all they need, inputs first. Each cycle becomes a problem naming the nodes on it."""
    ordered: list[Step] = []
    path: list[Step] = []  # the open steps, from a target to the one looked at
    stack = [s for s in targets if s.mark == 0]
    stack.reverse()
    while stack:
        step = stack[-1]
        if step.mark == 0:
            step.mark = 1
            path.append(step)
            size = len(stack)
            for wire in step.wires:
                mark = wire[1].mark
                if mark == 0:
                    stack.append(wire[1])
                elif mark == 1:
                    problems.append(_cycle(step, wire, path))
            if len(stack) > size:
                continue
        stack.pop()
        if step.mark == 1:
            step.mark = 2
            path.pop()
            ordered.append(step)
    return ordered


def _cycle(step: Step, wire: Wire, path: list[Step]) -> Problem:
    """The problem of a wire that leads from `step`, the end of the path, back to a step on it."""
    circle = path[next(i for i, s in enumerate(path) if s is wire[1]) :]
    names = [clip(s.id, 24) for s in circle]
    shown = names if len(names) <= 6 else [*names[:3], "…", *names[-2:]]
    text = " ← ".join([*shown, names[0]])
    return Problem("cycle", f"the nodes form a circle ({text})", "Cut one of these links", step.id, wire[0])
