"""The typeface for texts on pictures: the one the studio ships, else Pillow's own."""

from __future__ import annotations

import functools
import sys
from pathlib import Path
from typing import Any


@functools.lru_cache(maxsize=16)
def font(size: int) -> Any:
    """A Pillow font `size` pixels high."""
    from PIL import ImageFont

    root = Path(getattr(sys, "_MEIPASS", "") or Path(__file__).resolve().parents[2])
    shipped = root / "resources" / "fonts" / "Inter-Regular.otf"
    if shipped.is_file():
        return ImageFont.truetype(str(shipped), size)
    return ImageFont.load_default(size)
