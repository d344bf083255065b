"""What a workflow asks of memory: each sampler with the model, the size and the controls that reach it. Torch-free."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from engine.contracts.references import ModelRef
from engine.contracts.workflow import Workflow
from engine.graph.plan import Step, build_plan
from engine.graph.registry import Registry
from engine.graph.shapes import shapes
from engine.graph.subgraphs import Overrides
from engine.memory.request import Request

USUAL_STEPS = 20


@dataclass(frozen=True)
class Work:
    """One sampling run of a workflow. `request` is None while its size is known only when it is reached; `fast`: its
    node lets weights have eight bits."""

    node: str
    model: ModelRef
    request: Request | None
    fast: bool = False


def work_of(workflow: Workflow, registry: Registry, overrides: Overrides | None = None) -> list[Work]:
    """Every sampling run of a workflow, in the order of the document. Total: what can't be told is left out."""
    plan = build_plan(workflow, registry, overrides)
    sizes = shapes(workflow, registry, overrides)
    found = []
    for step in plan.steps.values():
        if not step.known or not step.kind.schema.type.startswith("sample."):
            continue
        sources = {name: source for name, source, _, _ in step.wires}
        model = _model_of(sources.get("model") or sources.get("guider"))
        if model is None or all(output.type != "LATENT" for output in step.kind.schema.outputs):
            continue
        latent = sizes.get(step.id, {}).get("latent") or _size_before(sources.get("latent"), sizes)
        request = None
        if latent is not None:
            upstream = _upstream(step)
            types = [before.kind.schema.type for before in upstream]
            request = Request(
                latent.width, latent.height, latent.batch, _guided(step, upstream), steps=_steps(step, upstream),
                controls=types.count("condition.control") + types.count("condition.control_pair"),
                adapters=sum(name.startswith("load.lora") for name in types),
                references=types.count("condition.reference_latent"),
            )  # fmt: skip
        found.append(Work(step.id, model, request, step.literals.get("fast") is True))
    return found


def _upstream(step: Step) -> list[Step]:
    """Every known step that feeds this one, each once."""
    seen: dict[str, Step] = {}
    waiting = [source for _, source, _, _ in step.wires]
    while waiting:
        current = waiting.pop()
        if current.id not in seen and current.known:
            seen[current.id] = current
            waiting.extend(source for _, source, _, _ in current.wires)
    return list(seen.values())


def _model_of(step: Step | None) -> ModelRef | None:
    """The model at the start of a chain of nodes that change it."""
    for _ in range(200):
        if step is None or not step.known:
            return None
        for value in step.literals.values():
            if isinstance(value, ModelRef) and value.kind in ("checkpoint", "diffusion_model"):
                return value
        step = next((source for name, source, _, _ in step.wires if name in ("model", "value", "a", "guider")), None)
    return None


def _size_before(step: Step | None, sizes: Mapping[str, Mapping[str, Any]]) -> Any:
    return None if step is None else next((s for s in sizes.get(step.id, {}).values() if s is not None), None)


def _steps(step: Step, upstream: list[Step]) -> int:
    """The sampler's own steps, or those of the schedule it is given."""
    for place in (step, *(before for before in upstream if before.kind.schema.type.startswith("sample."))):
        value = place.literals.get("steps")
        if isinstance(value, int) and not isinstance(value, bool):
            return max(value, 1)
    return USUAL_STEPS


def _guided(step: Step, upstream: list[Step]) -> bool:
    for place in (step, *upstream):
        value = place.literals.get("cfg")
        if isinstance(value, (int, float)) and not isinstance(value, bool):
            return float(value) != 1.0
    return False
