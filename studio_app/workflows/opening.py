"""Whatever file a person drops on the canvas → a workflow, and what should be known of it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from engine.contracts.errors import InvalidDocument, MissingModel, TesseraError, clip
from engine.contracts.job_spec import JobSpec
from engine.contracts.references import ModelRef
from engine.contracts.workflow import Link, Node, Workflow
from engine.graph.registry import Registry
from engine.graph.subgraphs import SUBGRAPH
from engine.interchange.comfyui.report import Imported, ImportReport, Locate
from engine.interchange.read_file import import_bytes, import_path, with_bindings
from engine.recipes.build import RECIPE, request_of
from engine.recipes.request import ImageRequest

if TYPE_CHECKING:
    from collections.abc import Iterator

MAX_REPORT_LINES = 200


@dataclass(frozen=True)
class Opened:
    """A workflow out of a file. `report` are sentences to show; the other two name what this studio lacks."""

    workflow: Workflow
    report: tuple[str, ...] = ()
    missing_types: tuple[str, ...] = ()
    missing_models: tuple[ModelRef, ...] = ()


def open_dropped(data: bytes, name: str, registry: Registry, locate: Locate | None = None) -> Opened:
    """The workflow in a file: ours, ComfyUI's, or one that a picture or video carries (A1111's settings too).

    `locate` finds a model's file and raises MissingModel. Raises InvalidDocument with one sentence; nothing in the
    file is ever run.
    """
    if not data:
        raise InvalidDocument("it is empty", where=name)
    try:
        imported = import_bytes(data, name)
    except RecursionError:
        raise InvalidDocument("it is nested too deeply", where=name) from None
    return _opened(imported, name, registry, locate)


def open_file(path: Path, registry: Registry, locate: Locate | None = None) -> Opened:
    """As `open_dropped`, for a file of any size: no more of it is read than is needed."""
    try:
        imported = import_path(path)
    except RecursionError:
        raise InvalidDocument("it is nested too deeply", where=path.name) from None
    return _opened(imported, path.name, registry, locate)


def open_as_graph(spec: JobSpec, registry: Registry, locate: Locate | None = None) -> Opened:
    """What made a picture, as a graph: its job's workflow with the job's values laid in."""
    workflow, sentences = with_bindings(spec)
    report = ImportReport(nodes=len(workflow.nodes), warnings=sentences)
    return _opened(Imported(workflow, report), "", registry, locate)


def as_request(workflow: Workflow) -> ImageRequest | None:
    """What Create has to be told to make what a workflow makes; None where the workflow does more than Create can.

    A workflow that came from Create may have had its values changed since: those are read off its nodes, and it counts
    only if Create would build exactly this workflow from them.
    """
    spec = JobSpec(workflow=workflow)
    found = request_of(spec)
    note = workflow.extra.get(RECIPE)
    if found is not None or not isinstance(note, dict):
        return found
    try:
        request = ImageRequest.from_json(note.get("request"))
    except InvalidDocument:
        return None
    nodes = {node.id: node for node in workflow.nodes}
    changed: dict[str, Any] = {}
    for (node, name), field in _IN_CREATE.items():
        value = nodes[node].inputs.get(name) if node in nodes else None
        if value is not None and not isinstance(value, Link):
            changed[field] = value
    if note.get("style_prompt") or note.get("style_negative"):  # the words on the nodes hold the style's as well
        changed.pop("prompt", None)
        changed.pop("negative", None)
    try:
        told = {**note, "request": replace(request, **changed).to_json()}
        return request_of(replace(spec, workflow=replace(workflow, extra={**workflow.extra, RECIPE: told})))
    except (TesseraError, TypeError, ValueError):
        return None  # a value that no request can hold


_IN_CREATE = {
    ("checkpoint", "checkpoint"): "model", ("prompt", "text"): "prompt", ("negative", "text"): "negative",
    ("latent", "width"): "width", ("latent", "height"): "height", ("latent", "batch_size"): "count",
    **{("sampler", name): name for name in ("seed", "steps", "cfg", "sampler", "scheduler")},
}  # fmt: skip


def _opened(imported: Imported, name: str, registry: Registry, locate: Locate | None) -> Opened:
    workflow, report = imported.workflow, imported.report
    if not imported.placed:  # all at one place: the canvas lays them out as large as they are drawn
        workflow = replace(workflow, nodes=tuple(replace(node, position=(0.0, 0.0)) for node in workflow.nodes))
    types = missing_types(workflow, registry)
    models = missing_models(workflow, locate) if locate is not None else ()
    lines = [f"{name}: {report.nodes} nodes." if name else f"{report.nodes} nodes."]
    lines += [f"This studio has no node “{clip(kind)}”; it stands in its place with its wires." for kind in types]
    hints = {hint.name: hint for hint in report.models.values()}
    for ref in models:
        hint = hints.get(ref.name)
        lines.append(hint.what_to_do() if hint else f"The model “{clip(ref.name)}” is not here; choose another one.")
    lines += report.warnings
    if len(lines) > MAX_REPORT_LINES:
        lines = [*lines[:MAX_REPORT_LINES], f"… and {len(lines) - MAX_REPORT_LINES} more."]
    return Opened(workflow, tuple(lines), types, models)


def missing_types(workflow: Workflow, registry: Registry) -> tuple[str, ...]:
    """The node types that this studio lacks, at any level, each once."""
    known = {SUBGRAPH + s.id for s in workflow.subgraphs} | registry.types.keys()
    return tuple(dict.fromkeys(node.type for node in _nodes(workflow) if node.type not in known))


def missing_models(workflow: Workflow, locate: Locate) -> tuple[ModelRef, ...]:
    """The models a workflow names that are not here, each once."""
    found: dict[tuple[str, str], ModelRef] = {}
    for node in _nodes(workflow):
        for ref in node.inputs.values():
            if not isinstance(ref, ModelRef) or not ref.identity or (ref.kind, ref.identity) in found:
                continue
            try:
                locate(ref)
            except MissingModel:
                found[ref.kind, ref.identity] = ref
            except TesseraError:
                continue  # it is here; what is wrong with it is said when it is loaded
    return tuple(found.values())


def _nodes(workflow: Workflow) -> Iterator[Node]:
    yield from workflow.nodes
    for subgraph in workflow.subgraphs:
        yield from subgraph.nodes
