"""Pictures from files, safely: any bytes give pixels or an InvalidImage with one sentence, in bounded time and memory.

The format is told from the bytes, its declared size is checked before anything is unpacked, a PNG reaches the decoder
without its text and animation chunks, and the decoder is the one of that format alone.
"""

from __future__ import annotations

import functools
import io
import logging
import struct
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from engine.contracts.errors import InvalidImage, clip
from engine.media import exif
from engine.media.embedded_text import TextBomb, read_texts
from engine.media.formats import MAX_PIXELS, check_size, identify, refuse
from engine.media.pixels import Floats, orient, to_float

if TYPE_CHECKING:
    from PIL import Image, ImageFile

MEDIA_TYPES = {
    "PNG": "image/png", "JPEG": "image/jpeg", "WEBP": "image/webp", "GIF": "image/gif", "BMP": "image/bmp",
    "TIFF": "image/tiff", "AVIF": "image/avif",
}  # fmt: skip


@dataclass(frozen=True)
class ImageInfo:
    """A picture file's facts, from its header. Width and height are those of the upright picture, in pixels.

    frames     pictures in the file; only the first is ever used
    bits       per channel, as stored: 1, 8, 16 or 32
    note       one sentence for a person when something of the file is not used, else ""
    """

    width: int
    height: int
    format: str
    media_type: str
    has_alpha: bool = False
    frames: int = 1
    bits: int = 8
    orientation: int = 1
    note: str = ""


def decode(data: bytes, name: str = "") -> Floats:
    """The picture in `data` as float32 [H, W, C] in 0..1 sRGB, C 3, or 4 where it has transparency (straight alpha).

    Upright (EXIF orientation applied), the first frame of an animation, 16-bit values kept as they are, CMYK and
    colours with an embedded profile taken to sRGB. 8-bit values v become exactly v / 255. `name` is the file's name,
    for the sentence. Raises InvalidImage.
    """
    with _opened(data, name) as (picture, source):
        turn = _orientation(picture, source)
        pixels: npt.NDArray[Any] = _array(picture)
        if _stored_bits(picture, source) == 16 and pixels.dtype == np.uint8:
            pixels = _sixteen_bits(source, pixels)
        upright: npt.NDArray[Any] = orient(pixels, turn)
        return upright if upright.dtype == np.float32 else to_float(upright)


def probe(data: bytes, name: str = "") -> ImageInfo:
    """The facts of a picture file without unpacking its pixels. Raises InvalidImage as `decode` does for its header."""
    with _opened(data, name) as (picture, source):
        turn = _orientation(picture, source)
        width, height = picture.size
        if turn >= 5:
            width, height = height, width
        frames = _frames(picture, data)
        kind = picture.format or ""
        return ImageInfo(
            width=width,
            height=height,
            format=kind,
            media_type=MEDIA_TYPES[kind],
            has_alpha=picture.has_transparency_data,
            frames=frames,
            bits=_stored_bits(picture, source),
            orientation=turn,
            note=_note(kind, frames),
        )


def decode_small(data: bytes, edge: int, name: str = "") -> npt.NDArray[np.uint8]:
    """As `decode`, reduced to fit `edge` × `edge`, uint8 [h, w, 3 or 4]; fast for large JPEGs. Raises InvalidImage."""
    with _opened(data, name) as (picture, source):
        from PIL import Image

        turn = _orientation(picture, source)
        picture.draft("RGB", (edge * 2, edge * 2))
        upright = _eight_bits(picture)
        scale = min(1.0, edge / max(upright.size))
        size = (max(1, round(upright.width * scale)), max(1, round(upright.height * scale)))
        if size != upright.size:
            upright = upright.resize(
                size, Image.Resampling.BOX if scale < 0.1 else Image.Resampling.BILINEAR, reducing_gap=2.0
            )
        return orient(np.asarray(upright), turn).astype(np.uint8, copy=False)


@functools.cache
def _pillow() -> Any:
    """Pillow's Image module, told once for the process that a bomb is an error and that doubts stay silent."""
    from PIL import AvifImagePlugin, Image, TiffImagePlugin, WebPImagePlugin

    Image.MAX_IMAGE_PIXELS = MAX_PIXELS
    warnings.filterwarnings("ignore", module=r"PIL\.")
    logging.getLogger("PIL").addHandler(logging.NullHandler())
    warnings.filterwarnings("error", category=Image.DecompressionBombWarning)
    for plugin in (AvifImagePlugin, TiffImagePlugin, WebPImagePlugin):  # so that opening one does not import them all
        assert plugin
    return Image


@contextmanager
def _opened(data: bytes, name: str) -> Iterator[tuple[ImageFile.ImageFile, bytes]]:
    """The open picture and the bytes it is read from; whatever a decoder raises becomes InvalidImage."""
    found = identify(data, name)
    source = _checked_png(data, name) if found.format == "PNG" else data
    image_module = _pillow()
    try:
        with image_module.open(io.BytesIO(source), formats=[found.format]) as picture:
            check_size(picture.width, picture.height, name)
            if min(picture.size) < 1:
                raise refuse("it has no pixels", name)
            yield picture, source
    except InvalidImage:
        raise
    except (image_module.DecompressionBombError, image_module.DecompressionBombWarning):
        raise refuse(f"it has more than {MAX_PIXELS // 10**6} megapixels", name, "Scale it down first") from None
    except MemoryError:
        raise refuse("there is not enough memory to open it", name, "Scale it down first") from None
    except Exception as error:  # decoders raise nearly anything on bytes made to break them
        raise refuse(_why(found.format, error), name, "Save it again in the program it came from") from error


def _why(kind: str, error: Exception) -> str:
    label = {"WEBP": "WebP"}.get(kind, kind)
    text = str(error).lower()
    if "truncated" in text or "unexpected end" in text or isinstance(error, EOFError | struct.error):
        return f"the {label} data is cut off"
    if "cannot identify" in text:
        return f"it begins like a {label} file and is damaged"
    return f"the {label} data is damaged ({clip(str(error) or type(error).__name__, 60)})"


# The chunks that say what the pixels are; everything else in a PNG is text, time or animation.
_PIXEL_CHUNKS = frozenset({b"IHDR", b"PLTE", b"IDAT", b"IEND", b"tRNS", b"iCCP", b"sRGB", b"gAMA", b"eXIf"})


def _checked_png(data: bytes, name: str) -> bytes:
    """The PNG with the chunks that make its pixels only. Raises InvalidImage when a text chunk is a bomb."""
    try:
        read_texts(data)
    except TextBomb as bomb:
        raise refuse(f"its text chunk “{clip(str(bomb), 40)}” unpacks beyond all bounds", name) from None
    at, kept, dropped = 8, [data[:8]], False
    while at + 12 <= len(data):
        end = at + 12 + int(struct.unpack_from(">I", data, at)[0])
        if end > len(data):
            break
        if data[at + 4 : at + 8] in _PIXEL_CHUNKS:
            kept.append(data[at:end])
        else:
            dropped = True
        at = end
    return b"".join([*kept, data[at:]]) if dropped else data


def _orientation(picture: ImageFile.ImageFile, source: bytes) -> int:
    if picture.format == "TIFF":
        return 1  # its decoder turns the pixels itself
    block = picture.info.get("exif", b"")
    value = exif.read(block).get(exif.ORIENTATION, 1) if isinstance(block, bytes) else 1
    return value if isinstance(value, int) and 1 <= value <= 8 else 1


def _stored_bits(picture: ImageFile.ImageFile, source: bytes) -> int:
    if picture.format == "PNG":
        return 16 if source[24] == 16 else 1 if source[24] == 1 and source[25] == 0 else 8
    if picture.format == "TIFF":
        stored = getattr(picture, "tag_v2", {}).get(258, (8,))
        return int(max(stored)) if isinstance(stored, tuple) else int(stored)
    return {"1": 1, "I;16": 16, "I": 32, "F": 32}.get(picture.mode, 8)


def _frames(picture: ImageFile.ImageFile, data: bytes) -> int:
    if picture.format == "PNG":
        at = data.find(b"acTL", 0, 4096)
        return max(1, int.from_bytes(data[at + 4 : at + 8], "big")) if at > 0 else 1
    if picture.format == "TIFF":
        return 2 if getattr(picture, "is_animated", False) else 1  # counting them means walking the file
    return int(getattr(picture, "n_frames", 1))


def _note(kind: str, frames: int) -> str:
    if frames < 2:
        return ""
    if kind == "TIFF":
        return "It holds several pages; only the first is used."
    return f"It is animated; only the first of its {frames} frames is used."


def _array(picture: ImageFile.ImageFile) -> npt.NDArray[Any]:
    """uint8, uint16 or float32 (already 0..1) pixels [H, W, 3 or 4]."""
    if picture.mode in ("I;16", "I;16B", "I;16L", "I;16N", "I", "F"):
        values = np.asarray(picture)
        if picture.mode == "F":
            plane = np.clip(np.nan_to_num(values.astype(np.float32)), 0, 1)
        else:
            plane = np.clip(values, 0, 65535).astype(np.uint16)
        return np.repeat(plane[..., None], 3, axis=-1)
    return np.asarray(_eight_bits(picture))


def _eight_bits(picture: ImageFile.ImageFile) -> Image.Image:
    """The picture as 8-bit RGB or RGBA in sRGB."""
    if picture.mode in ("I;16", "I;16B", "I;16L", "I;16N", "I", "F"):
        from PIL import Image

        plane = _array(picture)[..., 0]
        scaled = plane * 255 if plane.dtype == np.float32 else plane.astype(np.float32) / 257
        return Image.fromarray(np.rint(scaled).astype(np.uint8)).convert("RGB")
    picture.load()
    profiled = _to_srgb(picture)
    if profiled is not None:
        return profiled
    return picture.convert("RGBA" if picture.has_transparency_data else "RGB")


def _to_srgb(picture: ImageFile.ImageFile) -> Image.Image | None:
    """The picture taken through its colour profile to sRGB; None when it has none, an sRGB one or a broken one."""
    profile = picture.info.get("icc_profile")
    if not isinstance(profile, bytes) or picture.mode not in ("RGB", "RGBA", "CMYK"):
        return None
    from PIL import ImageCms

    try:
        source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        if "sRGB" in ImageCms.getProfileDescription(source):
            return None  # no arithmetic where none is needed: the stored values are the values
        target = ImageCms.createProfile("sRGB")
        opaque = picture.convert("RGB") if picture.mode == "RGBA" else picture
        made = ImageCms.profileToProfile(opaque, source, target, outputMode="RGB")
    except (ImageCms.PyCMSError, OSError, ValueError):
        return None
    if made is not None and picture.mode == "RGBA":
        made.putalpha(picture.getchannel("A"))
    return made


def _sixteen_bits(source: bytes, eight: npt.NDArray[np.uint8]) -> npt.NDArray[Any]:
    """The 16-bit pixels of a colour PNG or TIFF, which Pillow cuts to 8; `eight` where OpenCV reads it otherwise."""
    import cv2

    found = cv2.imdecode(np.frombuffer(source, np.uint8), cv2.IMREAD_UNCHANGED)
    if found is None or found.dtype != np.uint16 or found.shape != eight.shape:
        return eight
    order = [2, 1, 0, 3][: found.shape[-1]]
    return found[..., order]
