"""What an import found: classes the studio lacks, the models the file names, and what else a person should know."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from engine.contracts.errors import MissingModel, clip
from engine.contracts.references import ModelKind, ModelRef
from engine.contracts.workflow import Workflow

Locate = Callable[[ModelRef], Path]

# The folders of ComfyUI's models, as files name them, and what lies in them. The rest is "other".
KINDS_OF_FOLDERS: dict[str, ModelKind] = {
    "checkpoints": "checkpoint", "diffusion_models": "diffusion_model", "unet": "diffusion_model",
    "text_encoders": "text_encoder", "clip": "text_encoder", "clip_vision": "text_encoder", "vae": "vae",
    "loras": "lora", "controlnet": "controlnet", "upscale_models": "upscaler", "embeddings": "embedding",
}  # fmt: skip


@dataclass(frozen=True)
class ModelHint:
    """A model that a file names; `url`, `hash`, `hash_type` and `directory` as far as the file tells them."""

    name: str
    kind: ModelKind
    url: str = ""
    hash: str = ""
    hash_type: str = ""
    directory: str = ""

    def ref(self) -> ModelRef:
        """As a reference; a hash the file gives is taken as the model's own only where it is a whole sha256."""
        digest = self.hash.lower()
        known = self.hash_type.upper() in ("", "SHA256") and len(digest) == 64 and set(digest) <= set(_HEX)
        return ModelRef(kind=self.kind, name=self.name, url=self.url, sha256=digest if known else "")

    def to_json(self) -> dict[str, str]:
        found = {"name": self.name, "kind": self.kind}
        found |= {key: getattr(self, key) for key in ("url", "hash", "hash_type", "directory") if getattr(self, key)}
        return found | {"what_to_do": self.what_to_do()}

    def what_to_do(self) -> str:
        """One sentence: where the model comes from and where it goes."""
        source = f"get it from {self.url}" if self.url else "the file does not say where it comes from"
        noun = _NOUNS.get(self.kind, f"a {self.kind.replace('_', ' ')}")
        return f"“{clip(self.name)}” ({noun}) is not among your models; {source}, or choose another one in its place."


_HEX = "0123456789abcdef"
_NOUNS = {
    "embedding": "an embedding", "lora": "a LoRA", "vae": "a VAE", "controlnet": "a ControlNet", "other": "a model",
    "ip_adapter": "an IP-Adapter", "upscaler": "an upscaler",
}  # fmt: skip


@dataclass
class ImportReport:
    """`nodes` counts the nodes of every level; `models` are all that the file names, here or not."""

    nodes: int = 0
    unsupported: list[str] = field(default_factory=list)
    models: dict[tuple[str, str], ModelHint] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)

    def lacks(self, comfy_class: str) -> None:
        if comfy_class not in self.unsupported:
            self.unsupported.append(comfy_class)

    def names(self, hint: ModelHint) -> None:
        known = self.models.get((hint.kind, hint.name))
        if known is None or (hint.url and not known.url):
            self.models[hint.kind, hint.name] = hint

    def warn(self, sentence: str) -> None:
        if sentence not in self.warnings:
            self.warnings.append(sentence)

    def to_json(self, locate: Locate) -> dict[str, Any]:
        """`{nodes, unsupported, missing_models, warnings}`."""
        return {
            "nodes": self.nodes,
            "unsupported": sorted(self.unsupported),
            "missing_models": [hint.to_json() for hint in missing_models(self, locate)],
            "warnings": list(self.warnings),
        }


@dataclass(frozen=True)
class Imported:
    """`placed` is False where the file says nowhere where its nodes lie: they are in a plain grid."""

    workflow: Workflow
    report: ImportReport
    placed: bool = True


def missing_models(report: ImportReport, locate: Locate) -> list[ModelHint]:
    """Those of the report's models that `locate` does not find, by kind and name."""
    found = []
    for hint in report.models.values():
        try:
            locate(hint.ref())
        except MissingModel:
            found.append(hint)
    return sorted(found, key=lambda hint: (hint.kind, hint.name))


def kind_of_folder(directory: str) -> ModelKind:
    return KINDS_OF_FOLDERS.get(directory, "other")
