"""Scale image: to a size, by a factor, to a number of pixels."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Annotated

from engine.contracts.errors import InvalidRequest
from engine.graph.node import In, NodeContext, node
from engine.graph.values import Image, ShapeInfo
from engine.media.formats import MAX_PIXELS
from engine.media.pixels import batched
from engine.media.resize import METHODS, centre_crop_box, resize

Size = Annotated[int, In(minimum=0, maximum=16384, step=1)]
Method = Annotated[str, In(choices=METHODS)]


def _edges(old_width: int, old_height: int, width: int, height: int) -> tuple[int, int]:
    """The width and height to scale to, where 0 follows from the other so that the shape is kept."""
    if not width and not height:
        return old_width, old_height
    new_width = width or max(1, round(old_width * height / old_height))
    return new_width, height or max(1, round(old_height * width / old_width))


def _scaled(image: ShapeInfo | None, width: int | None, height: int | None, **_: object) -> ShapeInfo | None:
    if image is None or width is None or height is None:
        return None
    new_width, new_height = _edges(image.width, image.height, width, height)
    return replace(image, width=new_width, height=new_height)


def _scaled_by(image: ShapeInfo | None, factor: float | None, **_: object) -> ShapeInfo | None:
    if image is None or factor is None:
        return None
    width, height = (max(1, round(edge * factor)) for edge in (image.width, image.height))
    return replace(image, width=width, height=height)


@node(
    "image.scale",
    category="Image",
    outputs=("image",),
    title="Scale image",
    search=("resize", "upscale", "size"),
    shapes=_scaled,
)
def scale(
    ctx: NodeContext,
    image: Image,
    width: Size,
    height: Size,
    method: Method = "lanczos",
    crop: Annotated[str, In(choices=("disabled", "center"))] = "disabled",
) -> Image:
    """Scale to a size in pixels.

    image: the pictures to scale
    width: pixels; 0 follows from the height so that the shape is kept
    height: pixels; 0 follows from the width so that the shape is kept
    method: nearest for pixel art, area for shrinking, lanczos for everything else
    crop: center cuts the edges so that nothing is stretched; disabled stretches
    """
    pictures = batched(image)
    old_height, old_width = pictures.shape[1:3]
    if not width and not height:
        return pictures
    width, height = _edges(old_width, old_height, width, height)
    check_pixels(width, height)
    if crop == "center":
        x, y, part_width, part_height = centre_crop_box(old_width, old_height, width, height)
        pictures = pictures[:, y : y + part_height, x : x + part_width]
    return resize(pictures, width, height, method)


@node(
    "image.scale_by",
    category="Image",
    outputs=("image",),
    title="Scale image by",
    search=("resize", "upscale"),
    shapes=_scaled_by,
)
def scale_by(
    ctx: NodeContext,
    image: Image,
    factor: Annotated[float, In(minimum=0.01, maximum=16.0, step=0.01)],
    method: Method = "lanczos",
) -> Image:
    """Scale both edges by one factor.

    image: the pictures to scale
    factor: 2 doubles width and height
    method: nearest for pixel art, area for shrinking, lanczos for everything else
    """
    pictures = batched(image)
    width, height = (max(1, round(edge * factor)) for edge in (pictures.shape[2], pictures.shape[1]))
    check_pixels(width, height)
    return resize(pictures, width, height, method)


@node("image.scale_to_megapixels", category="Image", outputs=("image",), title="Scale image to megapixels")
def scale_to_megapixels(
    ctx: NodeContext,
    image: Image,
    megapixels: Annotated[float, In(minimum=0.01, maximum=100.0, step=0.01)] = 1.0,
    method: Method = "lanczos",
    multiple: Annotated[int, In(minimum=1, maximum=256, step=1, advanced=True)] = 1,
) -> Image:
    """Scale to a number of pixels, keeping the shape.

    image: the pictures to scale
    megapixels: the size to reach; 1 is 1024 × 1024 pixels
    method: nearest for pixel art, area for shrinking, lanczos for everything else
    multiple: round both edges to a multiple of this
    """
    pictures = batched(image)
    old_height, old_width = pictures.shape[1:3]
    factor = math.sqrt(megapixels * 1024 * 1024 / (old_width * old_height))
    width, height = (max(1, round(edge * factor / multiple)) * multiple for edge in (old_width, old_height))
    check_pixels(width, height)
    return resize(pictures, width, height, method)


def check_pixels(width: int, height: int) -> None:
    """Raises InvalidRequest when a picture of this size is too large to be made here."""
    if width * height > MAX_PIXELS:
        raise InvalidRequest(
            f"{width}×{height} pixels are more than the {MAX_PIXELS // 10**6} megapixels a picture may have",
            where="size",
            fix="Use a smaller size",
        )


@node("image.scale_longest", category="Image", outputs=("image",), title="Scale longest edge", search=("max", "limit"))
def scale_longest(
    ctx: NodeContext,
    image: Image,
    longest: Annotated[int, In(minimum=1, maximum=16384, step=1)] = 1024,
    method: Method = "lanczos",
) -> Image:
    """Scale so that the longer edge has a length, keeping the shape.

    image: the pictures to scale
    longest: the length of the longer edge in pixels
    method: nearest for pixel art, area for shrinking, lanczos for everything else
    """
    pictures = batched(image)
    factor = longest / max(pictures.shape[1:3])
    width, height = (max(1, round(edge * factor)) for edge in (pictures.shape[2], pictures.shape[1]))
    check_pixels(width, height)
    return resize(pictures, width, height, method)
