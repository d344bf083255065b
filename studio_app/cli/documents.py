"""Reading a workflow, a job or a picture that holds one, and laying `--set` values over it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from engine.contracts.codec import MAX_DOCUMENT_BYTES, parse_json
from engine.contracts.errors import InvalidDocument, InvalidRequest, UnknownChoice, clip
from engine.contracts.job_spec import Binding, JobSpec, Sweep
from engine.contracts.references import BlobRef
from engine.contracts.workflow import InputValue, Node, Workflow, decode_input
from engine.graph.registry import Registry
from studio_app.application import Application

_PICTURES = (".png", ".webp", ".jpg", ".jpeg")


def read_spec(path: Path) -> JobSpec:
    """The job in a file: a workflow, a job, or a picture the studio made. Raises InvalidDocument."""
    data = _read(path)
    if path.suffix.lower() in _PICTURES:
        from engine.interchange.image_metadata import read_metadata

        spec = read_metadata(data).spec
        if spec is None:
            raise InvalidDocument("this picture holds no workflow of the studio", where=path.name)
        return spec
    parsed = parse_json(data, path.name)
    if isinstance(parsed, dict) and parsed.get("format") == JobSpec.format:
        return JobSpec.from_json(parsed, path.name)
    if isinstance(parsed, dict) and "format" not in parsed:
        from engine.interchange.comfyui.importer import looks_like_comfyui

        if looks_like_comfyui(parsed):
            where, fix = path.name, f"Turn it into a workflow first: main.py import {path.name} -o workflow.json"
            raise InvalidDocument("this is a file of ComfyUI", where=where, fix=fix)
    return JobSpec(workflow=Workflow.from_json(parsed, path.name))


def _read(path: Path) -> bytes:
    try:
        if path.is_dir():
            raise InvalidDocument("it is a folder, not a file", where=str(path))
        if path.stat().st_size > MAX_DOCUMENT_BYTES:
            raise InvalidDocument(f"it is larger than {MAX_DOCUMENT_BYTES // 2**20} MB", where=str(path))
        return path.read_bytes()
    except FileNotFoundError:
        raise InvalidDocument("there is no such file", where=str(path)) from None
    except OSError as error:
        raise InvalidDocument(f"it can't be read ({error.strerror})", where=str(path)) from error


def with_settings(spec: JobSpec, settings: Sequence[str], registry: Registry, app: Application) -> JobSpec:
    """The job with "node.input=value" laid over it; a value is JSON where that is meant, else text.

    For a picture input the value is a file's path, for a model input its name, and a JSON list is a sweep.
    """
    bindings: dict[str, Binding] = dict(spec.bindings)
    for text in settings:
        key, equals, raw = text.partition("=")
        node_id, dot, name = key.rpartition(".")
        if not equals or not dot or not node_id or not name:
            raise InvalidRequest(f"“{clip(text)}” is not a setting", fix="Write it as node.input=value")
        bindings[key] = _value(raw, _socket(spec, node_id, name, registry), app)
    return replace(spec, bindings=bindings)


def _socket(spec: JobSpec, node_id: str, name: str, registry: Registry) -> tuple[str, str]:
    """(socket type, model kind) of an input. Raises UnknownChoice for a node or input that is not there."""
    node = next((n for n in spec.workflow.nodes if n.id == node_id), None)
    if node is None:
        raise UnknownChoice("node", node_id, [n.id for n in spec.workflow.nodes])
    definition = registry.find(node.type)
    if definition is None:
        return "", ""  # validation names the unknown node type
    found = definition.schema.input(name)
    if found is None:
        raise UnknownChoice("input", name, [i.name for i in definition.schema.inputs], where=f"node “{node_id}”")
    return found.type, found.model_kind


def _value(raw: str, socket: tuple[str, str], app: Application) -> Binding:
    kind, model_kind = socket
    if kind == "BLOB":
        return app.library.import_picture(Path(raw))
    if model_kind:
        return app.models.find(raw).ref
    if kind in ("STRING", "COMBO", "COLOUR") and not raw.startswith(("[", '"')):
        return raw
    try:
        value: Any = json.loads(raw, parse_constant=_refuse)
    except ValueError:
        return raw
    if isinstance(value, list) and value:
        return Sweep(tuple(decode_input(item, "--set") for item in value))
    return decode_input(value, "--set")


def _refuse(name: str) -> Any:
    raise InvalidRequest(f"{name} is not a number that can be used", where="--set")


def with_pictures(spec: JobSpec, folder: Path, app: Application) -> JobSpec:
    """The job with pictures that are only named brought in from beside the workflow's file."""

    def value(item: InputValue) -> InputValue:
        if isinstance(item, BlobRef) and not item.sha256:
            name = Path(item.name)
            if not item.name or name.is_absolute() or ".." in name.parts:
                raise InvalidRequest(f"the picture “{clip(item.name)}” has not been chosen", fix="Set it with --set")
            return app.library.import_picture(folder / name)
        return item

    def node(item: Node) -> Node:
        return replace(item, inputs={name: value(v) for name, v in item.inputs.items()})

    return replace(spec, workflow=replace(spec.workflow, nodes=tuple(node(n) for n in spec.workflow.nodes)))
