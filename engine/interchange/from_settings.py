"""The settings of a picture, from any program's metadata → a workflow, through the same recipe that Create uses.

What the recipe has no place for is never lost silently: it stands in the report.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace

from engine.contracts.errors import clip
from engine.contracts.references import STARTER_NAME, ModelRef
from engine.contracts.workflow import InputValue, Link, Node, Workflow
from engine.interchange.comfyui.builder import NodeBuilder
from engine.interchange.comfyui.report import Imported, ImportReport, ModelHint
from engine.interchange.generation_settings import GenerationSettings
from engine.recipes.build import build
from engine.recipes.checks import MAX_SEED
from engine.recipes.recommended import Recommended
from engine.recipes.request import ImageRequest
from engine.sampling.names import SAMPLERS, SCHEDULERS

_LIMITS = Recommended(maximum=8192)
_LORA_TAG = re.compile(r"<lora:([^:>]{1,200})(?::([^:>]{0,20}))?[^>]{0,80}>")
_STAND_IN = "picture"  # a recipe needs some prompt; an empty one is put back afterwards


def workflow_of(settings: GenerationSettings, program: str, parameters: str = "") -> Imported:
    """The workflow that makes what the settings describe, and what of them could not be carried over.

    program     who wrote them, for sentences ("A1111")      parameters  their text as it stood, kept in the workflow
    """
    builder = NodeBuilder()
    report = builder.report
    prompt, tagged = _without_lora_tags(settings.prompt)
    request = replace(_request(settings, report), prompt=prompt.strip() or _STAND_IN)
    workflow = build(request, _LIMITS).workflow
    if not prompt.strip():
        workflow = _with_input(workflow, "prompt", "text", "")
    loras = (*settings.loras, *tagged)
    workflow = _with_loras(workflow, loras, builder)
    extra = {**workflow.extra, "imported_from": program, **({"parameters": parameters} if parameters else {})}
    if settings.extra:
        listed = ", ".join(f"{clip(name, 40)}: {clip(str(value), 60)}" for name, value in settings.extra.items())
        report.warn(f"{program} also says, and the workflow has no place for it: {listed}.")
    report.nodes = len(workflow.nodes)
    return Imported(replace(workflow, extra=extra), report)


def _request(settings: GenerationSettings, report: ImportReport) -> ImageRequest:
    name = settings.model.replace("\\", "/")
    if name:
        kind = "AutoV2" if settings.model_hash else ""
        report.names(ModelHint(name=name, kind="checkpoint", hash=settings.model_hash, hash_type=kind))
    else:
        report.warn("It names no model; the starter model stands in its place.")
    if settings.denoise is not None and settings.denoise < 1:
        report.warn(
            f"It was made from another picture (strength {settings.denoise:g}), which the file does not hold; "
            "the workflow makes a new picture."
        )
    seed = settings.seed if settings.seed is not None else 0
    if not 0 <= seed <= MAX_SEED:
        report.warn(f"The seed {seed} is not one; 0 stands in its place.")
        seed = 0
    return ImageRequest(
        prompt=_STAND_IN,
        negative=settings.negative,
        model=ModelRef(kind="checkpoint", name=name or STARTER_NAME),
        width=_edge("width", settings.width, report),
        height=_edge("height", settings.height, report),
        steps=_whole("number of steps", settings.steps, 1, 150, report),
        cfg=_number("guidance (cfg)", settings.cfg, 1, 30, report),
        sampler=_choice("sampler", settings.sampler, SAMPLERS, _LIMITS.sampler, report),
        scheduler=_choice("schedule", settings.scheduler, SCHEDULERS, _LIMITS.scheduler, report),
        seed=seed,
        clip_skip=_whole("CLIP skip", settings.clip_skip, 0, 11, report) or 0,
    )


def _edge(name: str, value: int | None, report: ImportReport) -> int | None:
    if value is None:
        return None
    held = max(_LIMITS.minimum, min(_LIMITS.maximum, value))
    held -= held % _LIMITS.multiple
    if held != value:
        report.warn(f"The {name} {value} became {held}: sizes here are multiples of {_LIMITS.multiple}.")
    return held


def _whole(name: str, value: int | None, low: int, high: int, report: ImportReport) -> int | None:
    held = _number(name, value, low, high, report)
    return None if held is None else int(held)


def _number(name: str, value: float | None, low: float, high: float, report: ImportReport) -> float | None:
    if value is None:
        return None
    held = max(low, min(high, value))
    if held != value:
        report.warn(f"The {name} {value:g} is out of range; {held:g} stands in its place.")
    return held


def _choice(name: str, value: str, known: Sequence[str], fallback: str, report: ImportReport) -> str | None:
    if not value or value in known:
        return value or None
    report.warn(f"The studio has no {name} “{clip(value, 40)}”; “{fallback}” stands in its place.")
    return fallback


def _without_lora_tags(prompt: str) -> tuple[str, tuple[tuple[str, float], ...]]:
    """The prompt without A1111's `<lora:name:weight>`, and what these named."""
    found = []
    for name, weight in _LORA_TAG.findall(prompt):
        try:
            strength = float(weight) if weight else 1.0
        except ValueError:
            strength = 1.0
        found.append((name, max(-100.0, min(100.0, strength)) if strength == strength else 1.0))
    return _LORA_TAG.sub("", prompt), tuple(found)


def _with_loras(workflow: Workflow, loras: Sequence[tuple[str, float]], builder: NodeBuilder) -> Workflow:
    """LoRA loaders, one after the other, between the checkpoint and all that takes its model and text encoder."""
    nodes = list(workflow.nodes)
    for index, (name, weight) in enumerate(dict(loras).items()):
        node_id = f"lora_{index + 1}"
        source = f"lora_{index}" if index else "checkpoint"
        inputs: dict[str, InputValue] = {
            "model": Link(source, "model"),
            "clip": Link(source, "clip"),
            "lora_name": name,
            "strength_model": weight,
            "strength_clip": weight,
        }
        raw = {"class_type": "LoraLoader"}
        made = builder.node(node_id, "LoraLoader", inputs, raw, position=(160.0, -260.0 * (index + 1)))
        outputs = ("model", "clip") if made.type.startswith("load.") else ("output_0", "output_1")
        nodes = [_rewired(node, source, node_id, outputs) for node in nodes]
        nodes.append(made)
    return replace(workflow, nodes=tuple(nodes))


def _rewired(node: Node, source: str, target: str, outputs: tuple[str, str]) -> Node:
    """`node` with its links to model and clip of `source` moved to `target`."""
    moved = {
        name: Link(target, outputs[0 if value.output in ("model", "output_0") else 1])
        for name, value in node.inputs.items()
        if isinstance(value, Link)
        and value.node == source
        and value.output in ("model", "clip", "output_0", "output_1")
    }
    return replace(node, inputs={**node.inputs, **moved}) if moved else node


def _with_input(workflow: Workflow, node_id: str, name: str, value: InputValue) -> Workflow:
    return replace(
        workflow,
        nodes=tuple(
            replace(node, inputs={**node.inputs, name: value}) if node.id == node_id else node
            for node in workflow.nodes
        ),
    )
