"""Colours as people write them: "#f00", "#ff0000", "#ff000080" or an English name, and their hue, saturation, value."""

from __future__ import annotations

import re

import numpy as np

from engine.contracts.errors import InvalidRequest, clip
from engine.media.pixels import Floats

_HEX = re.compile(r"#?([0-9a-fA-F]{3,4}|[0-9a-fA-F]{6}|[0-9a-fA-F]{8})")


def parse_colour(text: str, where: str = "colour") -> tuple[int, int, int, int]:
    """Red, green, blue and alpha, 0..255 each (alpha 255 where none is said). Raises InvalidRequest."""
    found = _HEX.fullmatch(text.strip())
    if found:
        digits = found.group(1)
        if len(digits) <= 4:
            digits = "".join(2 * digit for digit in digits)
        red, green, blue, alpha = (int((digits + "ff")[at : at + 2], 16) for at in (0, 2, 4, 6))
        return red, green, blue, alpha
    from PIL import ImageColor

    known = ImageColor.colormap.get(text.strip().lower()) if len(text) < 40 else None
    if known is None:
        raise InvalidRequest(f"“{clip(text, 40)}” is no colour", where=where, fix="Write it like #1e90ff or “red”")
    code = known if isinstance(known, str) else "#{:02x}{:02x}{:02x}".format(*known)
    return parse_colour(code, where)


def colour_values(text: str, channels: int, where: str = "colour") -> Floats:
    """A colour as float32 [channels] in 0..1; channels 3 or 4. Raises InvalidRequest."""
    return np.array(parse_colour(text, where)[:channels], np.float32) / np.float32(255)
