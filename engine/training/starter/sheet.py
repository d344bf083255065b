"""Contact sheets of pictures, with or without their prompts."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np

from engine.training.starter.perception import Picture


def write_sheet(path: Path, pictures: Sequence[Picture], *, columns: int, captions: Sequence[str] = ()) -> None:
    """Write the pictures in rows as one file, its format by the suffix; missing cells are white."""
    size = pictures[0].shape[0]
    gap = 8 if captions else 2
    text = 34 if captions else 0
    rows = -(-len(pictures) // columns)
    sheet = np.full((rows * (size + text + gap) + gap, columns * (size + gap) + gap, 3), 255, np.uint8)
    for index, picture in enumerate(pictures):
        top = gap + (index // columns) * (size + text + gap)
        left = gap + (index % columns) * (size + gap)
        sheet[top : top + size, left : left + size] = picture
        if captions:
            _write_text(sheet, captions[index], left, top + size, size)
    encoded, data = cv2.imencode(path.suffix, cv2.cvtColor(sheet, cv2.COLOR_RGB2BGR))
    if not encoded:
        raise ValueError(f"pictures can't be written as {path.suffix}")
    path.write_bytes(data.tobytes())


def _write_text(sheet: Picture, caption: str, left: int, top: int, width: int) -> None:
    """The caption in small letters, broken into up to three lines."""
    lines, scale = [""], 0.27
    for word in caption.split():
        longer = f"{lines[-1]} {word}".strip()
        if cv2.getTextSize(longer, cv2.FONT_HERSHEY_SIMPLEX, scale, 1)[0][0] <= width:
            lines[-1] = longer
        else:
            lines.append(word)
    for number, line in enumerate(lines[:3]):
        place = (left, top + 10 + 11 * number)
        cv2.putText(sheet, line, place, cv2.FONT_HERSHEY_SIMPLEX, scale, (40, 40, 40), 1, cv2.LINE_AA)
