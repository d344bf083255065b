"""The picture of a model: the one a person chose, the one beside its file, or the one inside its header.

Chosen pictures lie in the data folder by the model's content, so that other programs' folders stay as they are and the
picture survives renames and moves.
"""

from __future__ import annotations

import base64
import binascii
import contextlib
from pathlib import Path

from engine.contracts.errors import BadInput, TesseraError
from engine.models.model_file import ModelFile
from studio_app.files import storage_error, write_atomically

EDGE = 768  # pixels of a chosen picture's longer side: sharp on a card at twice the scale
MOST_BYTES = 32 << 20


class Previews:
    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def chosen(self) -> frozenset[str]:
        """The fingerprints of the models whose picture a person chose."""
        return frozenset(path.stem for path in self._folder.glob("*.png"))

    def read(self, path: Path, about: ModelFile) -> bytes | None:
        """The picture's bytes, None when there is none or it can't be read. May be called on any thread."""
        with contextlib.suppress(OSError):
            return self._chosen(about.fingerprint).read_bytes()
        if about.preview == "embedded":
            return _embedded(path)
        if about.preview:
            beside = (path if path.is_dir() else path.parent) / about.preview
            with contextlib.suppress(OSError):
                return beside.read_bytes() if beside.stat().st_size <= MOST_BYTES else None
        return None

    def choose(self, about: ModelFile, picture: bytes) -> None:
        """Keep a picture for this model, made smaller. Raises InvalidImage, BadInput or StorageError."""
        from engine.media import images

        if len(picture) > MOST_BYTES:
            raise BadInput(f"the picture has more than {MOST_BYTES >> 20} MiB", fix="Choose a smaller one")
        small = images.thumbnail(picture, EDGE)
        write_atomically(self._chosen(about.fingerprint), images.encode(small.astype("float32") / 255, "png"))

    def forget(self, about: ModelFile) -> None:
        """Drop the chosen picture; the file's own one shows again. Raises StorageError."""
        chosen = self._chosen(about.fingerprint)
        try:
            chosen.unlink(missing_ok=True)
        except OSError as error:
            raise storage_error(error, chosen) from error

    def _chosen(self, fingerprint: str) -> Path:
        return self._folder / f"{fingerprint}.png"


def _embedded(path: Path) -> bytes | None:
    from engine.models.contents import read_contents

    with contextlib.suppress(TesseraError, binascii.Error, ValueError):
        text = read_contents(path).metadata.get("modelspec.thumbnail", "")
        return base64.b64decode(text.partition(",")[2], validate=True)
    return None
