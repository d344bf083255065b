"""Pictures to files: PNG, WebP and JPEG with texts inside. The same pixels and texts give the same bytes."""

from __future__ import annotations

import io
import zlib
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from engine.contracts.errors import InvalidRequest, UnknownChoice
from engine.media.embedded_text import exif_block, jpeg_with_texts, png_with_texts
from engine.media.formats import MAX_EDGE
from engine.media.pixels import Bytes, to_bytes

FORMATS = ("png", "webp", "jpeg")
EXTENSIONS = {"png": ".png", "webp": ".webp", "jpeg": ".jpg"}
_MAX_EDGES = {"png": MAX_EDGE, "webp": 16_383, "jpeg": 65_500}


def encode(
    image: npt.NDArray[np.floating[Any]] | Bytes,
    file_format: str = "png",
    quality: int = 90,
    metadata: Mapping[str, str] | None = None,
) -> bytes:
    """A picture [H, W, 1, 3 or 4], float 0..1 (rounded to the nearest of 256) or uint8, as a file's bytes.

    file_format  "png" (lossless), "webp" (lossless at quality 100), "jpeg" ("jpg" too); JPEG knows no transparency and
                 shows it on white
    quality      1..100, for WebP and JPEG; JPEG keeps full colour resolution from 90 on
    metadata     texts by key, kept inside (see engine.media.embedded_text)

    No other metadata is written: no time, no profile, no thumbnail. Raises UnknownChoice, InvalidRequest.
    """
    kind = {"jpg": "jpeg"}.get(file_format.lower(), file_format.lower())
    if kind not in FORMATS:
        raise UnknownChoice("picture format", file_format, FORMATS)
    if image.ndim != 3 or image.shape[-1] not in (1, 3, 4) or min(image.shape) < 1:
        raise InvalidRequest(f"a picture is [height, width, 1, 3 or 4], not {list(image.shape)}", where="picture")
    if max(image.shape[:2]) > _MAX_EDGES[kind]:
        raise InvalidRequest(
            f"{image.shape[1]}×{image.shape[0]} pixels are too many: {kind.upper()} ends at {_MAX_EDGES[kind]} an edge",
            where="picture",
            fix="Save it as PNG",
        )
    pixels, texts = np.ascontiguousarray(to_bytes(image)), dict(metadata or {})
    quality = min(100, max(1, int(quality)))
    if kind == "png":
        return png_with_texts(_png(pixels), texts)
    if kind == "webp":
        return _webp(pixels, quality, exif_block(texts))
    return jpeg_with_texts(_jpeg(pixels, quality), texts)


def _picture(pixels: Bytes) -> Any:
    from PIL import Image

    return Image.fromarray(pixels[..., 0] if pixels.shape[-1] == 1 else pixels)


def _png(pixels: Bytes) -> bytes:
    out = io.BytesIO()
    # On what models make, levels above 4 save under 1 %.
    _picture(pixels).save(out, "PNG", compress_level=4, compress_type=zlib.Z_DEFAULT_STRATEGY)
    return out.getvalue()


def _webp(pixels: Bytes, quality: int, block: bytes) -> bytes:
    out = io.BytesIO()
    extra: dict[str, Any] = {"exif": block} if block else {}
    if quality == 100:
        _picture(pixels).save(out, "WEBP", lossless=True, quality=60, method=3, exact=True, **extra)
    else:
        _picture(pixels).save(out, "WEBP", quality=quality, method=4, **extra)
    return out.getvalue()


def _jpeg(pixels: Bytes, quality: int) -> bytes:
    if pixels.shape[-1] == 4:
        weight = pixels[..., 3:].astype(np.float32) / 255
        pixels = np.rint(pixels[..., :3] * weight + 255 * (1 - weight)).astype(np.uint8)
    out = io.BytesIO()
    _picture(pixels).save(out, "JPEG", quality=quality, subsampling=0 if quality >= 90 else 2, optimize=True)
    return out.getvalue()
