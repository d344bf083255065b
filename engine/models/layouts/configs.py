"""The true configurations of every family, and its tokenizers, from resources/; variants are told by shapes alone."""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

from engine.contracts.errors import UnknownChoice

RESOURCES = Path(__file__).resolve().parents[3] / "resources"
MODEL_CONFIGS = RESOURCES / "model_configs"
TOKENIZERS = RESOURCES / "tokenizers"


def variants_of(family: str) -> tuple[str, ...]:
    """The variants of a family whose configurations are here. Raises UnknownChoice."""
    folder = MODEL_CONFIGS / family
    if not folder.is_dir():
        raise UnknownChoice("model family", family, sorted(path.name for path in MODEL_CONFIGS.iterdir()))
    return tuple(sorted(path.name for path in folder.iterdir() if path.is_dir()))


def default_variant(family: str) -> str:
    """The variant that stands for the family where nothing tells which: its most widely used one."""
    return _DEFAULTS.get(family, "base")


_DEFAULTS = {"sd3": "3.5-large", "flux": "dev", "flux2": "dev"}


def config_of(family: str, variant: str, part: str) -> dict[str, Any]:
    """The configuration of a part: config.json, or scheduler_config.json for "scheduler". Raises UnknownChoice.

    `variant` is a folder's name or as engine.models.identify words it ("3.5 medium", "klein 4B"; "" is the usual one).
    """
    return dict(_read(family, variant.lower().replace(" ", "-") or default_variant(family), part))


@cache
def _read(family: str, variant: str, part: str) -> Mapping[str, Any]:
    names = variants_of(family)
    if variant not in names:
        raise UnknownChoice(f"variant of {family}", variant, names)
    folder = MODEL_CONFIGS / family / variant
    name = "scheduler_config.json" if part == "scheduler" else "config.json"
    path = folder / part / name
    if not path.is_file():
        raise UnknownChoice("part", part, sorted(item.name for item in folder.iterdir()))
    found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return found


# Qwen2.5-VL and Qwen3 have one vocabulary; Qwen3 has four marks more, of its thoughts and its tools' answers.
_TOKENIZERS = {"clip": "clip", "t5": "t5", "qwen2": "qwen", "qwen3": "qwen", "mistral": "mistral"}


def tokenizer_folder(kind: str) -> Path:
    """The folder of a tokenizer as transformers reads it: "clip", "t5", "qwen2", "qwen3" or "mistral".

    Raises UnknownChoice. The folders are made by tests/tools/build_tokenizers.py; each has its licence in NOTICE.
    """
    if kind not in _TOKENIZERS:
        raise UnknownChoice("tokenizer", kind, _TOKENIZERS)
    return TOKENIZERS / _TOKENIZERS[kind]
