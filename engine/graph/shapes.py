"""How large pictures and latents will be, told before a run from the document alone, for plans of memory and time."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from engine.contracts.workflow import Workflow
from engine.graph.plan import Constant, Step, build_plan, in_order
from engine.graph.registry import Registry
from engine.graph.subgraphs import Overrides
from engine.graph.values import ShapeInfo

Known = Constant | ShapeInfo


def shapes(
    workflow: Workflow, registry: Registry, overrides: Overrides | None = None
) -> dict[str, dict[str, ShapeInfo | None]]:
    """Full node id → output → its size, None for what is known when it is reached. Total; runs no node.

    Outputs that have no size (a model, a text) are None too. A node's own `shapes` that fails tells nothing: what is
    wrong with its inputs is said when it runs.
    """
    plan = build_plan(workflow, registry, overrides)
    known: dict[Step, dict[str, Known]] = {}
    for step in in_order(plan.steps.values(), plan.problems):
        known[step] = _outputs(step, known) if step.known else {}
    return {
        step.id: {
            name: found if isinstance(found := known[step].get(name), ShapeInfo) else None
            for name in step.kind.output_names
        }
        for step in plan.steps.values()
        if step.known
    }


def _outputs(step: Step, known: Mapping[Step, Mapping[str, Known]]) -> dict[str, Known]:
    kind = step.kind
    inputs: dict[str, Any] = dict.fromkeys(kind.ports)
    inputs.update(step.literals)
    linked: dict[str, Known | None] = {}
    for name, source, slot, _ in step.wires:
        names = source.kind.output_names if source.known else ()
        found = known.get(source, {}).get(names[slot]) if slot < len(names) else None
        linked[name] = found
        inputs[name] = found.value if isinstance(found, Constant) else found
    if kind.passes:
        name = kind.passes
        value = linked[name] if name in linked else Constant(step.literals.get(name))
        return {} if value is None else {kind.output_names[0]: value}
    declared = kind.definition.shapes
    if declared is None:
        return {}
    try:
        told = declared(**inputs)
    except Exception:  # noqa: BLE001  # a plugin's code, and inputs that are wrong or not known yet
        return {}
    if isinstance(told, ShapeInfo):
        return {kind.output_names[0]: told}
    if not isinstance(told, Mapping):
        return {}
    return {name: shape for name, shape in told.items() if isinstance(shape, ShapeInfo)}


def in_words(shape: ShapeInfo | None) -> str:
    """ "2 of 512×768 pixels"; "known when reached"."""
    if shape is None:
        return "known when reached"
    size = f"{shape.width}×{shape.height} pixels"
    return size if shape.batch == 1 else f"{shape.batch} of {size}"
