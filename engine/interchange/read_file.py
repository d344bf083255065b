"""Any file that tells how a picture or video was made → a workflow and a report.

Documents (.json, .txt), pictures (.png, .webp, .jpg) and videos (.mp4, .mov, .webm, .mkv), told apart by content.
"""

from __future__ import annotations

import io
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, BinaryIO

from engine.contracts.codec import MAX_DOCUMENT_BYTES
from engine.contracts.errors import InvalidDocument, clip
from engine.contracts.job_spec import JobSpec, Sweep
from engine.contracts.workflow import InputValue, Workflow
from engine.interchange import infotext
from engine.interchange.comfyui.importer import import_comfyui, looks_like_comfyui
from engine.interchange.comfyui.report import Imported, ImportReport
from engine.interchange.from_settings import workflow_of
from engine.interchange.image_metadata import ImageMetadata, metadata_of, read_metadata
from engine.interchange.lenient_json import cleaned, parse
from engine.interchange.video_tags import looks_like_video, read_video_tags
from engine.media.embedded_text import TextBomb, read_texts

MAX_PICTURE_BYTES = 512 * 2**20

_PROGRAMS = {
    "a1111": "A1111", "invokeai": "InvokeAI", "fooocus": "Fooocus", "novelai": "NovelAI", "swarmui": "SwarmUI",
}  # fmt: skip
# Metadata that stands alone in a JSON file: what tells it → the texts it would be in a picture, "" for the whole file.
_METADATA_OF_KEYS: dict[str, dict[str, str]] = {
    "positive_prompt": {"invokeai_metadata": ""},
    "sui_image_params": {"parameters": ""},
    "base_model": {"parameters": "", "fooocus_scheme": "fooocus"},
    "uc": {"Comment": "", "Software": "NovelAI"},
    "v4_prompt": {"Comment": "", "Software": "NovelAI"},
}
_READABLE = "It takes workflows and prompts of ComfyUI, and pictures and videos that say how they were made"


def import_path(path: Path) -> Imported:
    """The workflow in a file. Raises InvalidDocument with one sentence; nothing in the file is ever run."""
    try:
        if path.is_dir():
            raise InvalidDocument("it is a folder, not a file", where=str(path))
        with path.open("rb") as file:
            return import_file(file, path.name)
    except FileNotFoundError:
        raise InvalidDocument("there is no such file", where=str(path)) from None
    except OSError as error:
        raise InvalidDocument(f"it can't be read ({error.strerror})", where=str(path)) from error


def import_bytes(data: bytes, name: str) -> Imported:
    """As `import_path`, for bytes that came from elsewhere; `name` is for sentences and the workflow's name."""
    return import_file(io.BytesIO(data), name)


def import_file(file: BinaryIO, name: str) -> Imported:
    head = file.read(16)
    if looks_like_video(head):
        return _from_texts(read_video_tags(file), name)
    size = file.seek(0, io.SEEK_END)
    file.seek(0)
    picture = head.startswith((b"\x89PNG", b"\xff\xd8\xff")) or (head[:4] == b"RIFF" and head[8:12] == b"WEBP")
    limit = MAX_PICTURE_BYTES if picture else MAX_DOCUMENT_BYTES
    if size > limit:
        raise InvalidDocument(f"it is larger than {limit // 2**20} MB", where=name)
    data = file.read()
    if picture:
        return _from_picture(data, name)
    return _from_document(data, name)


def _from_picture(data: bytes, name: str) -> Imported:
    try:
        texts = read_texts(data)
    except TextBomb as bomb:
        raise InvalidDocument(f"its text “{bomb}” unpacks beyond all bounds", where=name) from None
    if not texts:
        raise InvalidDocument("this picture does not say how it was made", where=name, fix=_READABLE)
    return _from_metadata(read_metadata(data), name)


def _from_texts(texts: Mapping[str, str], name: str) -> Imported:
    """Texts of a video; some programs put all of them, as one JSON object, into the comment."""
    found = dict(texts)
    comment = texts.get("comment", "")
    if comment.lstrip()[:1] == "{" and not {"prompt", "workflow", "parameters"} & set(found):
        try:
            inside = parse(comment, name)
        except InvalidDocument:
            inside = None
        if isinstance(inside, dict):
            return _from_value(inside, comment, name)
    return _from_metadata(metadata_of(found), name)


def _from_metadata(found: ImageMetadata, name: str) -> Imported:
    if found.spec is not None:
        return _of_our_own(found.spec)
    if found.kind == "comfyui":
        return _from_comfyui(found.comfy_workflow, found.comfy_prompt, name)
    if found.settings is not None:
        return workflow_of(found.settings, _PROGRAMS.get(found.kind, found.kind), found.parameters)
    raise InvalidDocument("this file does not say how it was made", where=name, fix=_READABLE)


def _from_comfyui(canvas: Any, prompt: Any, name: str) -> Imported:
    """The canvas, which has the layout and the muted nodes; the prompt where that can't be read."""
    if canvas is None:
        return import_comfyui(prompt, name)
    try:
        return import_comfyui(canvas, name)
    except InvalidDocument as error:
        if prompt is None:
            raise
        imported = import_comfyui(prompt, name)
        imported.report.warn(f"Its canvas can't be read, so the layout is lost: {error}")
        return imported


def _from_document(data: bytes, name: str) -> Imported:
    if data.lstrip(b"\xef\xbb\xbf \t\r\n")[:1] in (b"{", b"["):
        value = parse(data, name)
        return _from_value(value, data.decode("utf-8-sig"), name)
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise InvalidDocument("it is of no kind that can be imported", where=name, fix=_READABLE) from None
    read = infotext.parse(text)
    if not read.fields:
        raise InvalidDocument("it is neither JSON nor the settings of a picture", where=name, fix=_READABLE)
    return workflow_of(read.settings(), "A1111", text.strip())


def _from_value(value: Any, whole: str, name: str) -> Imported:
    if isinstance(value, dict):
        if value.get("format") in (Workflow.format, JobSpec.format):
            plain, repairs = cleaned(value, name)
            imported = _of_our_own(_our_spec(plain, name))
            imported.report.warnings[:0] = repairs
            return imported
        inside = {key: _parsed(value[key], name) for key in ("workflow", "prompt") if key in value}
        inside = {key: item for key, item in inside.items() if looks_like_comfyui(item)}
        if inside:
            return _from_comfyui(inside.get("workflow"), inside.get("prompt"), name)
        if looks_like_comfyui(value):
            return import_comfyui(value, name)
        texts = {str(key): item for key, item in value.items() if isinstance(item, str)}
        for key, raw in _METADATA_OF_KEYS.items():
            if key in value:
                texts |= {name: text for name, kept in raw.items() if (text := kept or whole)}
        found = metadata_of(texts)
        if found.spec is not None or found.settings is not None:
            return _from_metadata(found, name)
    raise InvalidDocument("it is JSON of no kind that can be imported", where=name, fix=_READABLE)


def _parsed(value: Any, name: str) -> Any:
    if isinstance(value, str) and value.lstrip()[:1] == "{":
        try:
            return parse(value, name)
        except InvalidDocument:
            return None
    return value


def _our_spec(value: Any, name: str) -> JobSpec:
    if value.get("format") == JobSpec.format:
        return JobSpec.from_json(value, name)
    return JobSpec(workflow=Workflow.from_json(value, name))


def _of_our_own(spec: JobSpec) -> Imported:
    """This studio's own: the workflow, with a job's values laid into it."""
    report = ImportReport()
    workflow, swept = with_bindings(spec)
    report.warnings += swept
    report.nodes = len(workflow.nodes) + sum(len(subgraph.nodes) for subgraph in workflow.subgraphs)
    return Imported(workflow, report)


def with_bindings(spec: JobSpec) -> tuple[Workflow, list[str]]:
    """A job's workflow with its values laid in, and a sentence for each sweep, of which the first value counts."""
    laid: dict[str, dict[str, InputValue]] = {}
    sentences = []
    for key, binding in spec.bindings.items():
        node_id, _, name = key.rpartition(".")
        laid.setdefault(node_id, {})[name] = binding.values[0] if isinstance(binding, Sweep) else binding
        if isinstance(binding, Sweep):
            sentences.append(f"“{clip(key)}” runs through {len(binding.values)} values; the first one stands here.")
    nodes = tuple(
        replace(node, inputs={**node.inputs, **laid[node.id]}) if node.id in laid else node
        for node in spec.workflow.nodes
    )
    return replace(spec.workflow, nodes=nodes), sentences
