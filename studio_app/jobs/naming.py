"""File names of finished pictures from the person's pattern (its syntax is engine.media.file_names')."""

from __future__ import annotations

import re

from engine.contracts.errors import InvalidRequest
from engine.contracts.results import ResultRecord

EXTENSIONS = {"image/png": ".png", "image/webp": ".webp", "image/jpeg": ".jpg"}
_TOKEN = re.compile(r"%([^%\s]*)%")


def check_pattern(pattern: str) -> str:
    """The pattern, or InvalidRequest for a field that does not exist."""
    from engine.media.file_names import TOKENS

    for name in _TOKEN.findall(pattern):
        if name not in TOKENS:
            listed = ", ".join(f"%{token}%" for token in TOKENS)
            raise InvalidRequest(f"a file name has no field “%{name}%”", fix=f"Use {listed}")
    return pattern


def file_name(pattern: str, record: ResultRecord, model: str = "") -> str:
    """A name that every system takes, with the extension of the picture's format."""
    from engine.media.file_names import safe_name, time_fields

    fields: dict[str, object] = {
        **time_fields(record.created),
        "prompt": record.spec.title,
        "seed": record.seed,
        "model": model,
        "width": record.width,
        "height": record.height,
        "index": record.index + 1,
    }
    return safe_name(pattern, fields) + EXTENSIONS.get(record.artifact.media_type, ".bin")
