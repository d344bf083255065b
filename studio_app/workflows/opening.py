"""Whatever file a person drops on the canvas → a workflow, and what should be known of it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from engine.contracts.errors import InvalidDocument, MissingModel, TesseraError, clip
from engine.contracts.job_spec import JobSpec
from engine.contracts.references import ModelRef
from engine.contracts.workflow import Node, Workflow
from engine.graph.registry import Registry
from engine.graph.subgraphs import SUBGRAPH
from engine.interchange.comfyui.report import Imported, ImportReport, Locate
from engine.interchange.read_file import import_bytes, import_path, with_bindings

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
