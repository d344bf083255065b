"""Masks from nothing, from transparency and to it; and a look at them."""

from __future__ import annotations

from typing import Annotated

import numpy as np

from engine.contracts.node_schema import Effects
from engine.graph.node import In, NodeContext, node
from engine.graph.values import Image, Mask
from engine.media.pixels import alpha, batched, mask_batched
from engine.nodes.image.channels import join_alpha
from engine.nodes.image.save import emit_pictures
from engine.nodes.image.scale import check_pixels

Edge = Annotated[int, In(minimum=1, maximum=16384, step=1)]
Pixels = Annotated[int, In(minimum=0, maximum=16384, step=1)]
Value = Annotated[float, In(minimum=0.0, maximum=1.0, step=0.01)]


@node("mask.solid", category="Mask", outputs=("mask",), title="Solid mask", search=("empty", "full", "fill"))
def solid_mask(ctx: NodeContext, value: Value = 1.0, width: Edge = 512, height: Edge = 512) -> Mask:
    """Make a mask of one value.

    value: 1 edits everything, 0 nothing
    width: pixels
    height: pixels
    """
    check_pixels(width, height)
    return np.full((1, height, width), value, np.float32)


@node("mask.rectangle", category="Mask", outputs=("mask",), title="Rectangle mask", search=("box", "region"))
def rectangle(
    ctx: NodeContext,
    width: Edge = 512,
    height: Edge = 512,
    x: Pixels = 128,
    y: Pixels = 128,
    rectangle_width: Pixels = 256,
    rectangle_height: Pixels = 256,
    value: Value = 1.0,
) -> Mask:
    """Make a mask with a rectangle in it; 0 elsewhere.

    width: pixels of the whole mask
    height: pixels of the whole mask
    x: left edge of the rectangle, pixels from the left
    y: upper edge of the rectangle, pixels from the top
    rectangle_width: pixels
    rectangle_height: pixels
    value: of the rectangle
    """
    check_pixels(width, height)
    out = np.zeros((1, height, width), np.float32)
    out[:, y : y + rectangle_height, x : x + rectangle_width] = value
    return out


@node("mask.from_alpha", category="Mask", outputs=("mask",), title="Mask from alpha", search=("transparency",))
def from_alpha(ctx: NodeContext, image: Image) -> Mask:
    """1 where a picture is transparent, 0 where it is opaque.

    image: the picture to read
    """
    return 1 - alpha(batched(image))


@node("mask.to_alpha", category="Mask", outputs=("image",), title="Mask to alpha", search=("transparency", "cut out"))
def to_alpha(ctx: NodeContext, mask: Mask, image: Image) -> Image:
    """Make a picture transparent where a mask is 1.

    mask: the mask; it is scaled to the picture
    image: the picture
    """
    return join_alpha(ctx, image, mask)


@node("mask.preview", category="Mask", title="Preview mask", effects=Effects(output=True, cacheable=False))
def preview_mask(ctx: NodeContext, mask: Mask) -> None:
    """Show a mask: 0 is black, 1 is white.

    mask: the mask to show
    """
    emit_pictures(ctx, mask_batched(mask)[..., None], "mask-%index%", "png", 90, preview=True)
