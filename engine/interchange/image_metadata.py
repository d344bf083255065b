"""What a picture file says about how it was made: this studio's own job, and the formats of seven other programs.

Written: `tessera` (the whole JobSpec as JSON), `tessera_item` (which picture of its batch, when not the first) and
`parameters` (A1111's infotext). Read besides: ComfyUI, A1111/Forge, InvokeAI, Fooocus, NovelAI, SwarmUI.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from engine.contracts.codec import dump_json, parse_json
from engine.contracts.errors import InvalidDocument
from engine.contracts.job_spec import JobSpec
from engine.interchange import infotext, other_studios
from engine.interchange.generation_settings import GenerationSettings, settings_of
from engine.media.embedded_text import TextBomb, read_texts

Kind = Literal["tessera", "comfyui", "a1111", "invokeai", "fooocus", "novelai", "swarmui", ""]

SPEC_KEY = "tessera"
ITEM_KEY = "tessera_item"
PARAMETERS_KEY = "parameters"


@dataclass(frozen=True)
class ImageMetadata:
    """The metadata of one picture; everything empty when it holds none that is known.

    kind            the program that wrote it, "" when nothing is known
    spec            this studio's job, with `item` saying which picture of its batch this is
    parameters      the A1111-style text, as it stands
    comfy_prompt, comfy_workflow   ComfyUI's API prompt and canvas document, parsed
    settings        what is known of prompt, sampler, seed and so on, in this studio's words; from any program
    document        the other program's own object (InvokeAI, Fooocus, NovelAI, SwarmUI), parsed
    raw             every text in the file by its key
    """

    kind: Kind = ""
    spec: JobSpec | None = None
    item: int = 0
    parameters: str = ""
    comfy_prompt: dict[str, Any] | None = None
    comfy_workflow: dict[str, Any] | None = None
    settings: GenerationSettings | None = None
    document: dict[str, Any] | None = None
    raw: Mapping[str, str] = field(default_factory=dict)


def metadata_for(spec: JobSpec, parameters: str, item: int = 0) -> dict[str, str]:
    """The texts to keep in a picture that `spec` made as item `item` of its batch."""
    texts = {PARAMETERS_KEY: parameters} if parameters else {}
    if item:
        texts[ITEM_KEY] = str(item)
    return {**texts, SPEC_KEY: dump_json(spec.to_json(), indent=None)}


def read_metadata(data: bytes) -> ImageMetadata:
    """What the picture in `data` says of itself. Total: broken, foreign or hostile bytes give empty metadata."""
    try:
        raw = read_texts(data)
    except TextBomb:
        return ImageMetadata()
    return metadata_of(raw)


def metadata_of(raw: Mapping[str, str]) -> ImageMetadata:
    """The metadata in texts already read from a file. Total."""
    parameters = raw.get(PARAMETERS_KEY, "")
    spec = _spec(raw.get(SPEC_KEY, ""))
    if spec is not None:
        item = _item(raw.get(ITEM_KEY, ""))
        return ImageMetadata(
            kind="tessera",
            spec=spec,
            item=item,
            parameters=parameters,
            settings=infotext.parse(parameters).settings() if parameters else settings_of(spec).item(item),
            raw=raw,
        )
    for kind, reader in _OTHERS:
        found = reader(raw)
        if found is not None:
            document, settings = found
            return ImageMetadata(kind=kind, parameters=parameters, settings=settings, document=document, raw=raw)
    prompt, workflow = (
        other_studios.json_object(raw.get("prompt", "")),
        other_studios.json_object(raw.get("workflow", "")),
    )
    plain = _a1111(parameters)
    if prompt is not None or workflow is not None:
        return ImageMetadata("comfyui", None, 0, parameters, prompt, workflow, plain, None, raw)
    return ImageMetadata("a1111" if plain else "", parameters=parameters, settings=plain, raw=raw)


def _spec(text: str) -> JobSpec | None:
    if not text:
        return None
    try:
        return JobSpec.from_json(parse_json(text, SPEC_KEY))
    except InvalidDocument:
        return None


def _item(text: str) -> int:
    return int(text) if text.isascii() and text.isdecimal() and len(text) < 7 else 0


def _a1111(parameters: str) -> GenerationSettings | None:
    found = infotext.parse(parameters)
    return found.settings() if found.fields else None


_OTHERS: tuple[tuple[Kind, other_studios.Reader], ...] = (
    ("invokeai", other_studios.invokeai),
    ("swarmui", other_studios.swarmui),
    ("fooocus", other_studios.fooocus),
    ("novelai", other_studios.novelai),
)
