"""What pictures look like on the clipboard and in a drag."""

from __future__ import annotations

from pathlib import Path

from PySide6.QtCore import QMimeData

SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff", ".gif", ".avif")


def local_picture(data: QMimeData) -> Path | None:
    """The first file on this machine that a drag or the clipboard holds and that may be a picture."""
    for url in data.urls() if data.hasUrls() else []:
        path = Path(url.toLocalFile())
        if url.isLocalFile() and path.suffix.lower() in SUFFIXES:
            return path
    return None
