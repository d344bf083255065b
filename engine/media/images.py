"""Pictures in and out of files: the one door. Decoding is safe with any bytes; encoding gives the same bytes again."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from engine.media.decoding import MEDIA_TYPES, ImageInfo, decode, decode_small, probe
from engine.media.encoding import EXTENSIONS, FORMATS, encode
from engine.media.formats import MAX_EDGE, MAX_PIXELS
from engine.media.pixels import Bytes, Floats, to_bytes, to_float
from engine.media.resize import fit_size, resize

__all__ = [
    "EXTENSIONS", "FORMATS", "MAX_EDGE", "MAX_PIXELS", "MEDIA_TYPES", "ImageInfo", "decode", "decode_small", "encode",
    "probe", "strip", "thumbnail", "to_bytes", "to_float",
]  # fmt: skip


def thumbnail(image: bytes | Floats | Bytes, edge: int, name: str = "") -> npt.NDArray[np.uint8]:
    """A picture [H, W, C] or a file's bytes, reduced to fit `edge` × `edge`: uint8 [h, w, 3 or 4], never enlarged.

    Raises InvalidImage for bytes that are no readable picture.
    """
    if isinstance(image, bytes):
        return decode_small(image, edge, name)
    width, height = fit_size(image.shape[1], image.shape[0], edge)
    if (height, width) == image.shape[:2]:
        return to_bytes(image).copy()
    if image.dtype == np.uint8:
        return to_bytes(resize(to_float(image)[None], width, height, "area")[0])  # type: ignore[arg-type]
    return to_bytes(resize(image[None], width, height, "area")[0])  # type: ignore[arg-type]


def strip(data: bytes, name: str = "", quality: int = 95) -> bytes:
    """The same picture as a file without any metadata: no EXIF, place, comment, profile, text or thumbnail.

    Rebuilt from its upright sRGB pixels, so nothing can hide between them; PNG, WebP and JPEG stay what they are
    (JPEG at `quality`, WebP lossless), everything else becomes PNG. Raises InvalidImage.
    """
    kind = probe(data, name).format.lower()
    pixels = decode(data, name)
    return encode(pixels, kind if kind in FORMATS else "png", 100 if kind == "webp" else quality)
