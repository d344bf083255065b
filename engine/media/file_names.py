"""File names from patterns: whatever a prompt or a person writes, the result is one harmless name in one folder."""

from __future__ import annotations

import re
import time
import unicodedata
from collections.abc import Mapping

TOKENS = ("date", "time", "seed", "model", "width", "height", "index", "prompt")
DEFAULT_PATTERN = "%date%-%time%-%seed%"

_TOKEN = re.compile(r"%([a-z_]{1,20})%")
_FORBIDDEN = re.compile(r'[<>:"/\\|?*\s]+')  # refused by Windows, a separator somewhere, or a nuisance in a shell
_DEVICES = re.compile(r"(con|prn|aux|nul|clock\$|conin\$|conout\$|(com|lpt)[0-9¹²³])( *\.| *$)", re.IGNORECASE)
_LIMITS = {"prompt": 60, "model": 60}
_MAX_LETTERS, _MAX_BYTES = 120, 200


def safe_name(pattern: str, fields: Mapping[str, object], fallback: str = "picture") -> str:
    """A file name without extension: `pattern` with each %token% replaced by its field, made safe on every system.

    The result is never empty, has no separator, control or invisible character, does not begin or end with a dot,
    blank or hyphen, is no device name (CON, NUL, COM1…), and is at most 120 letters and 200 bytes long. A token
    without a field becomes nothing. A field's own percent signs are not expanded again.
    """
    text = _TOKEN.sub(lambda found: _field(found.group(1), fields), pattern[:2000])
    name = _harmless(text)
    return name or _harmless(fallback) or "picture"


def time_fields(now: float | None = None) -> dict[str, str]:
    """The %date% and %time% of a moment (Unix seconds; None = now), local: 2026-11-21 and 14-05-59."""
    moment = time.localtime(now)
    return {"date": time.strftime("%Y-%m-%d", moment), "time": time.strftime("%H-%M-%S", moment)}


def _field(token: str, fields: Mapping[str, object]) -> str:
    value = fields.get(token)
    return "" if value is None else str(value)[: _LIMITS.get(token, 40)]


def _harmless(text: str) -> str:
    text = unicodedata.normalize("NFC", text[:4000])
    # C* are control, format (also right-to-left overrides), surrogate, private and unassigned characters.
    text = "".join(c if unicodedata.category(c)[0] != "C" else " " for c in text)
    text = _FORBIDDEN.sub("_", text)
    text = re.sub(r"\.{2,}", ".", text)
    text = re.sub(r"_{2,}", "_", text).strip("._- ")
    text = text[:_MAX_LETTERS].encode()[:_MAX_BYTES].decode("utf-8", "ignore").rstrip("._- ")
    return f"_{text}" if _DEVICES.match(text) else text
