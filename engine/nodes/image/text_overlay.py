"""Text and watermarks on pictures. What they don't cover keeps its exact values."""

from __future__ import annotations

from typing import Annotated, Any

import numpy as np

from engine.contracts.errors import InvalidRequest
from engine.graph.node import In, NodeContext, node
from engine.graph.values import Image, Mask
from engine.media.colours import colour_values
from engine.media.fonts import font
from engine.media.pixels import Floats, batched, keep_alpha, mask_batched, rgb, same_batch, to_float
from engine.media.resize import resize
from engine.nodes.image.composite import blend

PLACES = (
    "top left", "top", "top right", "left", "middle", "right", "bottom left", "bottom", "bottom right",
)  # fmt: skip
Place = Annotated[str, In(choices=PLACES)]
Margin = Annotated[int, In(minimum=0, maximum=4096, step=1)]
Opacity = Annotated[float, In(minimum=0.0, maximum=1.0, step=0.01)]


@node("image.text_overlay", category="Image", outputs=("image",), title="Text overlay", search=("write", "caption"))
def text_overlay(
    ctx: NodeContext,
    image: Image,
    text: Annotated[str, In(multiline=True)],
    size: Annotated[int, In(minimum=4, maximum=1024, step=1)] = 32,
    colour: Annotated[str, In(type="COLOUR")] = "#ffffff",
    place: Place = "bottom",
    margin: Margin = 16,
    opacity: Opacity = 1.0,
) -> Image:
    """Write a text on pictures, in the studio's own typeface.

    image: the pictures to write on
    text: what to write; it may have several lines
    size: height of the letters in pixels
    colour: of the letters
    place: where it stands
    margin: pixels to the edge of the picture
    opacity: 1 covers, 0 does not show
    """
    if len(text) > 2000:
        raise InvalidRequest(f"the text has {len(text):,} letters", where="text", fix="At most 2,000 are written")
    pictures = batched(image)
    if not text.strip():
        return pictures
    height, width = pictures.shape[1:3]
    cover = _lettering(text, size, place, margin, width, height)[None] * np.float32(opacity)
    over = np.broadcast_to(colour_values(colour, 3), (1, height, width, 3))
    colours, over, cover = same_batch(rgb(pictures), over, cover)
    return _covered(pictures, colours, over, cover)


@node("image.watermark", category="Image", outputs=("image",), title="Watermark", search=("logo", "stamp"))
def watermark(
    ctx: NodeContext,
    image: Image,
    mark: Image,
    mask: Mask | None = None,
    place: Place = "bottom right",
    share: Annotated[float, In(minimum=0.01, maximum=1.0, step=0.01)] = 0.2,
    margin: Margin = 16,
    opacity: Opacity = 0.5,
) -> Image:
    """Lay a small picture over pictures.

    image: the pictures to mark
    mark: the picture laid over them; its transparency is kept
    mask: where the mark is transparent, as Load image gives it
    place: where it stands
    share: its width as a part of the picture's width
    margin: pixels to the edge of the picture
    opacity: 1 covers, 0 does not show
    """
    pictures, small = batched(image), batched(mark)
    height, width = pictures.shape[1:3]
    factor = min(width * share / small.shape[2], height / small.shape[1])
    mark_width, mark_height = max(1, round(small.shape[2] * factor)), max(1, round(small.shape[1] * factor))
    small = resize(small, mark_width, mark_height, "area" if factor < 1 else "bicubic")
    cover = small[..., 3] if small.shape[-1] == 4 else np.ones(small.shape[:3], np.float32)
    if mask is not None:
        cover, clear = same_batch(cover, 1 - resize(mask_batched(mask), mark_width, mark_height, "bilinear"))
        cover = cover * clear
    x, y = _corner(place, margin, width, height, mark_width, mark_height)
    pictures, small, cover = same_batch(pictures, small, cover * np.float32(opacity))
    full = np.zeros(pictures.shape[:3], np.float32)
    over = np.zeros((*pictures.shape[:3], 3), np.float32)
    full[:, y : y + mark_height, x : x + mark_width] = cover
    over[:, y : y + mark_height, x : x + mark_width] = rgb(small)
    return _covered(pictures, rgb(pictures), over, full)


def _covered(pictures: Floats, colours: Floats, over: Floats, cover: Floats) -> Floats:
    out = keep_alpha(pictures, blend(colours, over, cover))
    if pictures.shape[-1] == 4:
        out[..., 3] = np.maximum(out[..., 3], cover)
    return out


def _lettering(text: str, size: int, place: str, margin: int, width: int, height: int) -> Floats:
    """How much the letters cover of each pixel, [height, width] in 0..1."""
    from PIL import Image as Pillow
    from PIL import ImageDraw

    face: Any = font(size)
    align = "left" if "left" in place else "right" if "right" in place else "center"
    canvas = Pillow.new("L", (width, height))
    draw = ImageDraw.Draw(canvas)
    left, top, right, bottom = draw.multiline_textbbox((0, 0), text, font=face, align=align)
    x, y = _corner(place, margin, width, height, round(right - left), round(bottom - top))
    draw.multiline_text((x - left, y - top), text, fill=255, font=face, align=align)
    return to_float(np.asarray(canvas))


def _corner(place: str, margin: int, width: int, height: int, own_width: int, own_height: int) -> tuple[int, int]:
    x = margin if "left" in place else width - own_width - margin if "right" in place else (width - own_width) // 2
    y = margin if "top" in place else height - own_height - margin if "bottom" in place else (height - own_height) // 2
    return max(0, min(x, width - own_width)), max(0, min(y, height - own_height))
