"""What is wrong with a workflow, node by node and input by input, before anything runs."""

from __future__ import annotations

from collections.abc import Sequence

from engine.contracts.errors import InvalidWorkflow, Problem
from engine.contracts.workflow import Workflow
from engine.graph.plan import build_plan, in_order
from engine.graph.registry import Registry
from engine.graph.subgraphs import Overrides

OPENING = ("subgraph_cycle", "unknown_subgraph", "too_large")  # of a subgraph that can't be opened
NOTHING_TO_MAKE = Problem(
    "no_output", "nothing in it makes a picture or a file", "Add a node that saves or shows its result, or choose nodes"
)


def problems(
    workflow: Workflow, registry: Registry, targets: Sequence[str] = (), overrides: Overrides | None = None
) -> list[Problem]:
    """Every problem, in the order of the nodes; an empty list means it can run. Never raises.

    With targets, only they and what they need are looked at; without, the whole document, which must have something
    to make.
    """
    plan = build_plan(workflow, registry, overrides)
    if not targets:
        in_order(plan.steps.values(), plan.problems)
        found = plan.sorted_problems()
        if not found and not plan.output_steps():
            found.append(NOTHING_TO_MAKE)
        return found
    chosen = plan.targets(targets)
    needed = {s.id for s in in_order(chosen, plan.problems)}
    asked = set(targets)
    return [
        p for p in plan.sorted_problems() if not p.node or p.node in needed or p.node in asked or within(p, targets)
    ]


def within(problem: Problem, targets: Sequence[str]) -> bool:
    """Whether a problem lies in a subgraph that is a target, though it could not be opened so far as to be needed."""
    return problem.code in OPENING and any(problem.node.startswith(f"{target}:") for target in targets)


def check(workflow: Workflow, registry: Registry, targets: Sequence[str] = ()) -> None:
    """Raises InvalidWorkflow with every problem when the workflow can't run."""
    found = problems(workflow, registry, targets)
    if found:
        raise InvalidWorkflow(found)
