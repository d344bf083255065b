"""How model cards travel in a drag: their words for prompts, their paths for the canvas."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from PySide6.QtCore import QMimeData

MODELS = "application/x-tessera-models"


def put_paths(data: QMimeData, paths: Sequence[Path]) -> None:
    data.setData(MODELS, json.dumps([str(path) for path in paths]).encode())


def model_paths(data: QMimeData) -> list[Path]:
    """The files or folders of the cards in a drag; none where it holds no cards."""
    if not data.hasFormat(MODELS):
        return []
    try:
        found = json.loads(bytes(data.data(MODELS).data()))
    except ValueError:  # another program may use the name
        return []
    return [Path(path) for path in found if isinstance(path, str)] if isinstance(found, list) else []
