"""What a workflow asks of memory: each sampler with the model, the size and the controls that reach it. Torch-free."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from engine.contracts.references import ModelRef
from engine.contracts.workflow import Workflow
from engine.graph.plan import Constant, Step, build_plan
from engine.graph.registry import Registry
from engine.graph.shapes import shapes
from engine.graph.subgraphs import Overrides
from engine.graph.values import ShapeInfo
from engine.memory.request import OVERLAP, Request

USUAL_STEPS = 20
USUAL_WINDOW = 1024
# Inputs of a sampler or a guider that steer a run, and those that change its model.
_STEERING = frozenset({"positive", "negative", "conditioning", "positive_1", "positive_2"})
_PATCHING = frozenset({"model"})


@dataclass(frozen=True)
class Work:
    """One sampling run of a workflow. `request` is None while its size is known only when it is reached; `fast`: its
    node lets weights have eight bits."""

    node: str
    model: ModelRef
    request: Request | None
    fast: bool = False


def work_of(workflow: Workflow, registry: Registry, overrides: Overrides | None = None) -> list[Work]:
    """Every sampling run of a workflow, in the order of the document. Total: what can't be told is left out.

    A run in windows (the tiled sampler) asks for its windows, however large the picture.
    """
    plan = build_plan(workflow, registry, overrides)
    sizes = shapes(workflow, registry, overrides)
    found = []
    for step in plan.steps.values():
        if not step.known or not step.kind.schema.type.startswith("sample."):
            continue
        model = _model_of(_source(step, "model") or _source(step, "guider"))
        if model is None or all(output.type != "LATENT" for output in step.kind.schema.outputs):
            continue
        latent = (
            sizes.get(step.id, {}).get("latent") or _size_before(_source(step, "latent"), sizes) or _scaled_to(step)
        )
        request = None if latent is None else _request(step, latent)
        found.append(Work(step.id, model, request, step.literals.get("fast") is True))
    return found


def _request(step: Step, latent: ShapeInfo) -> Request:
    # What feeds the latent belongs to the run before this one.
    steering = [before.kind.schema.type for before in _upstream(step, _STEERING)]
    patches = [before.kind.schema.type for before in _upstream(step, _PATCHING)]
    window, overlap = 0, OVERLAP
    if step.kind.schema.type == "sample.tiled":
        window = _number(step, "tile_size", USUAL_WINDOW)
        window = window if window < max(latent.width, latent.height) else 0
        overlap = _number(step, "overlap", OVERLAP) if window else OVERLAP
    return Request(
        latent.width, latent.height, latent.batch, _guided(step), steps=_steps(step),
        controls=steering.count("condition.control") + steering.count("condition.control_pair"),
        adapters=sum(name.startswith("load.lora") for name in patches),
        references=steering.count("condition.reference_latent"), prompts=patches.count("model.ip_adapter"),
        window=window, overlap=overlap,
    )  # fmt: skip


def _source(step: Step, name: str) -> Step | None:
    """The step that an input comes from."""
    return next((source for wire, source, _, _ in step.wires if wire == name), None)


def _upstream(step: Step, names: frozenset[str]) -> list[Step]:
    """Every known step that feeds these inputs of this one, or of a guider before it, each once."""
    seen: dict[str, Step] = {}
    waiting = [source for name, source, _, _ in step.wires if name in names]
    guider = _source(step, "guider")
    if guider is not None and guider.known:
        waiting += [source for name, source, _, _ in guider.wires if name in names]
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


def _scaled_to(step: Step) -> ShapeInfo | None:
    """The size that a picture, known only when it is reached, is scaled to before this run encodes it. One picture is
    expected: that is what a file or an upscaler gives."""
    encoder = _source(step, "latent")
    scale = _source(encoder, "image") if encoder is not None and encoder.known else None
    if scale is None or not scale.known or scale.kind.schema.type != "image.scale":
        return None
    width, height = _number(scale, "width", 0), _number(scale, "height", 0)
    return ShapeInfo(1, height, width) if width > 0 and height > 0 else None


def _value(step: Step, name: str) -> Any:
    """What an input is, as far as the document says."""
    source = _source(step, name)
    if source is None:
        return step.literals.get(name)
    return source.stands.value if isinstance(source.stands, Constant) else None


def _number(step: Step, name: str, usual: int) -> int:
    value = _value(step, name)
    return value if isinstance(value, int) and not isinstance(value, bool) else usual


def _steps(step: Step) -> int:
    """How many steps a run makes: its own, or those of the noise levels it is given."""
    if "sigmas" in step.kind.ports:
        source, slot = next(((s, place) for name, s, place, _ in step.wires if name == "sigmas"), (None, 0))
        return max(_levels(source, slot), 1)
    steps = _number(step, "steps", USUAL_STEPS)
    if "start_step" in step.kind.ports:
        steps = min(_number(step, "end_step", steps), steps) - _number(step, "start_step", 0)
    strength = _value(step, "denoise")
    if isinstance(strength, (int, float)) and _value(step, "exact_steps") is not True:
        steps = round(steps * min(float(strength), 1.0))
    return max(steps, 1)


def _levels(step: Step | None, slot: int) -> int:
    """Steps that the noise levels of a node's output make."""
    for _ in range(50):
        if step is None or not step.known:
            break
        kind, before = step.kind.schema.type, _source(step, "sigmas")
        if kind == "sample.split_sigmas":
            first = _number(step, "step", 0)
            return first if slot == 0 else _levels(before, 0) - first
        if kind == "sample.split_sigmas_denoise":
            whole, share = _levels(before, 0), _value(step, "denoise")
            second = round(whole * share) if isinstance(share, (int, float)) else whole
            return second if slot else whole - second
        if kind == "sample.manual_sigmas":
            return len(str(_value(step, "sigmas")).replace(",", " ").split()) - 1
        if before is None:
            return _number(step, "steps", USUAL_STEPS)
        step, slot = before, 0
    return USUAL_STEPS


def _guided(step: Step) -> bool:
    """Whether a negative side is computed."""
    place = _source(step, "guider") or step
    values = [_value(place, name) for name in ("cfg", "cfg_1", "cfg_2") if place.known and name in place.kind.ports]
    return any(not isinstance(value, (int, float)) or float(value) != 1.0 for value in values)
