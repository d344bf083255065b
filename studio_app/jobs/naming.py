"""File names of finished pictures from the person's pattern."""

from __future__ import annotations

import re
import time
import unicodedata
from collections.abc import Mapping

from engine.contracts.errors import InvalidRequest
from engine.contracts.results import ResultRecord

FIELDS = ("date", "time", "title", "seed", "model", "width", "height", "job", "index")
_FIELD = re.compile(r"\{([^{}]*)\}")
_UNSAFE = re.compile(r'[\x00-\x1f<>:"/\\|?*]+')
_RESERVED = frozenset({"con", "prn", "aux", "nul", *(f"com{i}" for i in range(10)), *(f"lpt{i}" for i in range(10))})
EXTENSIONS = {"image/png": ".png", "image/webp": ".webp", "image/jpeg": ".jpg"}
_LONGEST = 120


def check_pattern(pattern: str) -> str:
    """The pattern, or InvalidRequest for a field that does not exist."""
    for name in _FIELD.findall(pattern):
        if name not in FIELDS:
            listed = ", ".join(f"{{{field}}}" for field in FIELDS)
            raise InvalidRequest(f"a file name has no field “{{{name}}}”", fix=f"Use {listed}")
    return pattern


def file_name(pattern: str, record: ResultRecord, model: str = "") -> str:
    """A name that every system takes, with the extension of the picture's format."""
    local = time.localtime(record.created)
    values: Mapping[str, object] = {
        "date": time.strftime("%Y-%m-%d", local),
        "time": time.strftime("%H-%M-%S", local),
        "title": record.spec.title,
        "seed": "" if record.seed is None else record.seed,
        "model": model,
        "width": record.width,
        "height": record.height,
        "job": record.job[:8],
        "index": record.index + 1,
    }
    stem = _FIELD.sub(lambda m: str(values.get(m.group(1), "")), pattern)
    return safe_stem(stem) + EXTENSIONS.get(record.artifact.media_type, ".bin")


def safe_stem(text: str) -> str:
    """Text as a file name without extension: no separators, no leading dots, not a device name, never empty."""
    text = unicodedata.normalize("NFC", text)
    text = " ".join(_UNSAFE.sub(" ", text).split()).strip(" .")
    while len(text.encode()) > _LONGEST:
        text = text[:-1]
    text = text.strip(" .")
    if not text:
        return "picture"
    return f"_{text}" if text.split(".")[0].lower() in _RESERVED else text
