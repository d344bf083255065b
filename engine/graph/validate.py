"""What is wrong with a workflow, node by node and input by input, before anything runs."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from engine.contracts.errors import InvalidWorkflow, Problem
from engine.contracts.workflow import Workflow
from engine.graph.plan import Plan, Step, build_plan, in_order
from engine.graph.registry import Registry
from engine.graph.subgraphs import Overrides

# What may be wrong with a node that nothing made depends on: it is not run, as ComfyUI does not run it.
HARMLESS_APART = frozenset(
    {
        "missing_input", "wrong_type", "out_of_range", "not_finite", "unknown_choice", "no_model", "no_file",
        "dangling_link", "unknown_output",
    }
)  # fmt: skip
OPENING = ("subgraph_cycle", "unknown_subgraph", "too_large")  # of a subgraph that can't be opened
NOTHING_TO_MAKE = Problem(
    "no_output", "nothing in it makes a picture or a file", "Add a node that saves or shows its result, or choose nodes"
)


def problems(
    workflow: Workflow, registry: Registry, targets: Sequence[str] = (), overrides: Overrides | None = None
) -> list[Problem]:
    """Every problem, in the order of the nodes; an empty list means it can run. Never raises.

    With targets, only they and what they need are looked at; without, the whole document, which must have something
    to make. Half-finished nodes that no output needs are no problem, see `warnings`.
    """
    plan = build_plan(workflow, registry, overrides)
    if not targets:
        found, _ = _sorted_out(plan)
        if not found and not plan.output_steps():
            found.append(NOTHING_TO_MAKE)
        return found
    chosen = plan.targets(targets)
    needed = {s.id for s in in_order(chosen, plan.problems)}
    asked = set(targets)
    return [
        p for p in plan.sorted_problems() if not p.node or p.node in needed or p.node in asked or within(p, targets)
    ]


def warnings(workflow: Workflow, registry: Registry, overrides: Overrides | None = None) -> list[Problem]:
    """What is wrong with nodes that no output needs, and does not keep the workflow from running. Never raises."""
    return _sorted_out(build_plan(workflow, registry, overrides))[1]


def blocks(problem: Problem, needed: Iterable[str], outputs: Sequence[Step]) -> bool:
    """Whether a problem keeps a whole workflow from running whose `outputs` need the nodes `needed`."""
    return not outputs or not problem.node or problem.node in needed or problem.code not in HARMLESS_APART


def _sorted_out(plan: Plan) -> tuple[list[Problem], list[Problem]]:
    """(what keeps it from running, what does not)."""
    outputs = plan.output_steps()
    needed = {step.id for step in in_order(outputs, plan.problems)}
    in_order(plan.steps.values(), plan.problems)
    found = plan.sorted_problems()
    blocking = [problem for problem in found if blocks(problem, needed, outputs)]
    return blocking, [problem for problem in found if not blocks(problem, needed, outputs)]


def within(problem: Problem, targets: Sequence[str]) -> bool:
    """Whether a problem lies in a subgraph that is a target, though it could not be opened so far as to be needed."""
    return problem.code in OPENING and any(problem.node.startswith(f"{target}:") for target in targets)


def check(workflow: Workflow, registry: Registry, targets: Sequence[str] = ()) -> None:
    """Raises InvalidWorkflow with every problem when the workflow can't run."""
    found = problems(workflow, registry, targets)
    if found:
        raise InvalidWorkflow(found)
