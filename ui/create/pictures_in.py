"""Bringing a picture in from outside: checked, kept by content, and asked whether it holds its own settings."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from engine.contracts.errors import TesseraError
from engine.contracts.references import BlobRef
from engine.recipes.build import request_of
from engine.recipes.request import ImageRequest
from studio_app.application import Application


@dataclass(frozen=True)
class Arrival:
    """A picture that came in. `request` is what it was made from, when our own metadata says so."""

    ref: BlobRef
    width: int
    height: int
    request: ImageRequest | None


def bring_in(app: Application, source: Path | bytes) -> Arrival:
    """Off the GUI thread. Raises InvalidImage or StorageError with one sentence."""
    from engine.interchange.image_metadata import read_metadata
    from engine.media import images

    ref = app.library.import_picture(source, "" if isinstance(source, Path) else "picture from the clipboard")
    data = app.library.read(ref)
    info = images.probe(data, ref.name)
    try:
        spec = read_metadata(data).spec
    except TesseraError:  # broken metadata does not make the picture any less usable
        spec = None
    return Arrival(ref, info.width, info.height, request_of(spec) if spec is not None else None)
