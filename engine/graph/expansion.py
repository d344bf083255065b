"""Putting a fragment in a node's place: its nodes become steps, its outputs the node's own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from engine.contracts.errors import InvalidWorkflow, Problem, TesseraError, clip, suggest
from engine.contracts.job_spec import AllowedLoss
from engine.contracts.workflow import Link, Subgraph
from engine.graph.calls import Outputs, combine
from engine.graph.context import RunContext
from engine.graph.flow import OWN, Block, Expand
from engine.graph.plan import OwnWire, Plan, Step, build_plan, in_order
from engine.graph.registry import Registry
from engine.graph.signatures import sign

Source = tuple["Step | None", int, Any]  # (step, slot, element), or (None, 0, literal)


class Pending:
    """A node whose fragments are running: where each of its outputs will come from."""

    __slots__ = ("context", "mapped", "results", "seconds", "targets")

    def __init__(self, mapped: bool) -> None:
        self.mapped = mapped
        self.targets: list[Step] = []
        self.results: list[tuple[Any, ...] | Block | list[Source]] = []
        self.context: RunContext
        self.seconds = 0.0

    def outputs(self, step: Step) -> tuple[tuple[Any, ...], tuple[bool, ...] | None]:
        """The node's outputs, once all targets have their values."""
        if not self.mapped and isinstance(self.results[0], list):
            values = [_value(s) for s in self.results[0]]
            flags = tuple(_is_many(s) for s in self.results[0])
            return tuple(values), flags if any(flags) else None
        done = [tuple(_value(s) for s in r) if isinstance(r, list) else r for r in self.results]
        return combine(step.kind, done, self.mapped)


def _value(source: Source) -> Any:
    step, slot, extra = source
    if step is None:
        return extra
    if step.value is None:
        raise TesseraError(f"the value of “{clip(step.id)}” was let go too early")
    value = step.value[slot]
    return value if extra < 0 else value[min(extra, len(value) - 1)]


def _is_many(source: Source) -> bool:
    step, slot, extra = source
    return step is not None and extra < 0 and step.many is not None and step.many[slot]


def expand(
    step: Step,
    results: Sequence[Outputs],
    mapped: bool,
    registry: Registry,
    subgraphs: Mapping[str, Subgraph],
    nonce: bytes,
    loss: AllowedLoss = "none",
) -> Pending:
    """Make the steps of every fragment among `results`. Raises InvalidWorkflow when a fragment is wrong."""
    pending = Pending(mapped)
    wanted: dict[str, Step] = {}
    for index, result in enumerate(results):
        if not isinstance(result, Expand):
            pending.results.append(result)
            continue
        prefix = f"{step.id}[{index}]:" if mapped else f"{step.id}:"
        known = {**subgraphs, **{s.id: s for s in result.workflow.subgraphs}}
        own = _own_inputs(step, index if mapped else -1)
        plan = build_plan(result.workflow, registry, prefix=prefix, own=own, known=known)
        sources = [_source(step, name, result, plan, prefix, own) for name in step.kind.output_names]
        targets = {s[0].id: s[0] for s in sources if s[0] is not None}
        targets.update({s.id: s for s in plan.output_steps()})
        ordered = in_order(targets.values(), plan.problems)
        needed = {s.id for s in ordered}
        problems = [p for p in plan.sorted_problems() if not p.node or p.node in needed]
        if problems:
            raise InvalidWorkflow(problems)
        for inner in ordered:
            if not inner.digest:
                for wire in inner.wires:
                    wire[1].uses += 1
        sign(ordered, nonce, loss)
        wanted.update(targets)
        pending.results.append(sources)
    pending.targets = list(wanted.values())
    return pending


def _own_inputs(step: Step, element: int) -> dict[str, Any]:
    own: dict[str, Any] = dict.fromkeys(step.kind.ports)
    own.update(step.literals)
    for name, source, slot, taken in step.wires:
        picks = taken < 0 <= element and source.many is not None and source.many[slot] and name not in step.kind.lists
        own[name] = OwnWire(source, slot, element if picks else taken)
    return own


def _source(step: Step, name: str, result: Expand, plan: Plan, prefix: str, own: Mapping[str, Any]) -> Source:
    if name not in result.outputs:
        raise TesseraError(f"the graph it expanded into gives no output “{name}”")
    value = result.outputs[name]
    if not isinstance(value, Link):
        return None, 0, value
    if value.node == OWN:
        found = own.get(value.output)
        if isinstance(found, OwnWire):
            return found.step, found.slot, found.element
        return None, 0, found
    link = plan.groups.get(prefix + value.node, {}).get(value.output, Link(prefix + value.node, value.output))
    source = plan.steps.get(link.node)
    if plan.problems and (source is None or not source.known):
        raise InvalidWorkflow(plan.sorted_problems())
    if source is None or link.output not in source.kind.output_slots:
        known = [n.removeprefix(prefix) for n in list(plan.steps)[:100]]
        what = f"its output “{name}” is linked to “{clip(value.node)}.{clip(value.output)}”, which does not exist"
        raise InvalidWorkflow([Problem("dangling_link", what, suggest(value.node, known), step.id)])
    return source, source.kind.output_slots[link.output], -1
