"""Crop and pad image."""

from __future__ import annotations

from typing import Annotated

import numpy as np

from engine.contracts.errors import InvalidRequest
from engine.graph.node import In, NodeContext, node
from engine.graph.values import Image, Mask
from engine.media.pixels import batched
from engine.nodes.image.scale import check_pixels

Pixels = Annotated[int, In(minimum=0, maximum=16384, step=1)]
Edge = Annotated[int, In(minimum=1, maximum=16384, step=1)]


@node("image.crop", category="Image", outputs=("image",), title="Crop image", search=("cut",))
def crop(ctx: NodeContext, image: Image, x: Pixels, y: Pixels, width: Edge, height: Edge) -> Image:
    """Cut out a rectangle. What of it lies outside the picture is left away.

    image: the pictures to cut from
    x: left edge, pixels from the left
    y: upper edge, pixels from the top
    width: pixels
    height: pixels
    """
    pictures = batched(image)
    part = pictures[:, y : y + height, x : x + width]
    if 0 in part.shape:
        raise InvalidRequest(
            f"the rectangle at {x}, {y} lies outside the picture of {pictures.shape[2]}×{pictures.shape[1]} pixels",
            where="crop",
            fix="Move it inside",
        )
    return part


@node("image.pad", category="Image", outputs=("image", "mask"), title="Pad image", search=("outpaint", "extend"))
def pad(
    ctx: NodeContext,
    image: Image,
    left: Pixels = 0,
    top: Pixels = 0,
    right: Pixels = 0,
    bottom: Pixels = 0,
    feather: Annotated[int, In(minimum=0, maximum=1024, step=1)] = 40,
    fill: Annotated[str, In(choices=("grey", "edge"), advanced=True)] = "grey",
) -> tuple[Image, Mask]:
    """Make room around a picture for outpainting, with the mask of the new part.

    image: the pictures to extend
    left: new pixels on the left
    top: new pixels above
    right: new pixels on the right
    bottom: new pixels below
    feather: how far the mask fades into the old picture, in pixels
    fill: grey, or the picture's own edge drawn out
    """
    pictures = batched(image)
    height, width = pictures.shape[1:3]
    check_pixels(width + left + right, height + top + bottom)
    around = ((0, 0), (top, bottom), (left, right), (0, 0))
    if fill == "edge":
        padded = np.pad(pictures, around, mode="edge")
    else:
        padded = np.pad(pictures, around, constant_values=0.5)
        if pictures.shape[-1] == 4:
            padded[..., 3] = np.pad(pictures[..., 3], around[:3], constant_values=1.0)
    mask = np.ones((1, *padded.shape[1:3]), np.float32)
    mask[0, top : top + height, left : left + width] = _fade(height, width, (top, bottom, left, right), feather)
    return padded, mask


def _fade(height: int, width: int, added: tuple[int, int, int, int], feather: int) -> Mask:
    """((feather − d) / feather)² within `feather` pixels of an extended edge, d its distance; 0 further in."""
    if not feather:
        return np.zeros((height, width), np.float32)
    far = np.float32(feather)
    top, bottom, left, right = added
    rows, columns = np.arange(height, dtype=np.float32), np.arange(width, dtype=np.float32)
    down = np.minimum(rows if top else far, (height - rows) if bottom else far)
    across = np.minimum(columns if left else far, (width - columns) if right else far)
    distance = np.minimum(np.broadcast_to(down, (height,))[:, None], np.broadcast_to(across, (width,))[None, :])
    faded: Mask = np.square(np.clip((far - distance) / far, 0, 1), dtype=np.float32)
    return faded
