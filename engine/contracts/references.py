"""References to pictures, files and models. Names and URLs are hints; the hash is the identity."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

from engine.contracts.codec import Document
from engine.contracts.errors import InvalidDocument

_SHA256 = re.compile(r"[0-9a-f]{64}")

ModelKind = Literal[
    "checkpoint", "diffusion_model", "text_encoder", "vae", "lora", "embedding", "controlnet",
    "ip_adapter", "motion_adapter", "upscaler", "face_restorer", "annotator", "other",
]  # fmt: skip

STARTER_NAME = "starter"
STARTER_CONTROLNET = "starter-canny"  # ships beside it


@dataclass(frozen=True, kw_only=True)
class BlobRef(Document):
    """A picture or file by content. `sha256` is empty while unresolved; then `name` says what a person picked."""

    sha256: str = ""
    media_type: str = ""
    size: int = 0
    name: str = ""

    def __post_init__(self) -> None:
        _check_hash(self.sha256)


@dataclass(frozen=True, kw_only=True)
class ModelRef(Document):
    """A model by content. Until its sha256 is known, `fingerprint` (of the header) identifies it on one machine.

    `name` is what a person sees ("starter", "sd_xl_base_1.0"); `url` and `licence` are hints.
    """

    kind: ModelKind = "checkpoint"
    name: str = ""
    sha256: str = ""
    fingerprint: str = ""
    url: str = ""
    licence: str = ""

    def __post_init__(self) -> None:
        _check_hash(self.sha256)

    @property
    def identity(self) -> str:
        """What signatures and caches use: the content where known, else the name."""
        return self.sha256 or self.fingerprint or self.name


def _check_hash(value: str) -> None:
    if value and not _SHA256.fullmatch(value):
        raise InvalidDocument("a sha256 is 64 lower-case hexadecimal digits", where="reference")
