"""Combine masks, cut and scale them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated

import numpy as np

from engine.contracts.errors import InvalidRequest
from engine.graph.node import In, NodeContext, node
from engine.graph.values import Mask
from engine.media.pixels import Floats, mask_batched, same_batch
from engine.media.resize import METHODS, resize
from engine.nodes.image.scale import check_pixels

Offset = Annotated[int, In(minimum=-16384, maximum=16384, step=1)]
Pixels = Annotated[int, In(minimum=0, maximum=16384, step=1)]
Edge = Annotated[int, In(minimum=1, maximum=16384, step=1)]

# "and", "or", "xor" work on soft masks too; on hard ones they are what their names say.
OPERATIONS: dict[str, Callable[[Floats, Floats], Floats]] = {
    "add": lambda a, b: np.minimum(1, a + b),
    "subtract": lambda a, b: np.maximum(0, a - b),
    "multiply": lambda a, b: a * b,
    "and": np.minimum,
    "or": np.maximum,
    "xor": lambda a, b: np.abs(a - b),
}


@node("mask.combine", category="Mask", outputs=("mask",), title="Combine masks", search=("union", "intersect", "xor"))
def combine(
    ctx: NodeContext,
    destination: Mask,
    source: Mask,
    x: Offset = 0,
    y: Offset = 0,
    operation: Annotated[str, In(choices=tuple(OPERATIONS))] = "add",
) -> Mask:
    """Make one mask of two. Where the second does not lie, the first is kept.

    destination: the first mask
    source: the second mask, laid on the first
    x: left edge of the second on the first, in pixels
    y: upper edge of the second on the first, in pixels
    operation: add, subtract, multiply; and is what both cover (intersect), or what either does, xor what only one does
    """
    first, second = same_batch(mask_batched(destination), mask_batched(source))
    height, width = second.shape[1:3]
    left, top = max(0, x), max(0, y)
    right, bottom = min(first.shape[2], x + width), min(first.shape[1], y + height)
    out = first.copy()
    if left < right and top < bottom:
        place = (slice(None), slice(top, bottom), slice(left, right))
        part = second[:, top - y : bottom - y, left - x : right - x]
        out[place] = OPERATIONS[operation](first[place], part)
    return out


@node("mask.crop", category="Mask", outputs=("mask",), title="Crop mask", search=("cut",))
def crop_mask(ctx: NodeContext, mask: Mask, x: Pixels, y: Pixels, width: Edge, height: Edge) -> Mask:
    """Cut out a rectangle. What of it lies outside the mask is left away.

    mask: the mask to cut from
    x: left edge, pixels from the left
    y: upper edge, pixels from the top
    width: pixels
    height: pixels
    """
    masks = mask_batched(mask)
    part = masks[:, y : y + height, x : x + width]
    if 0 in part.shape:
        raise InvalidRequest(
            f"the rectangle at {x}, {y} lies outside the mask of {masks.shape[2]}×{masks.shape[1]} pixels", where="crop"
        )
    return part


@node("mask.scale", category="Mask", outputs=("mask",), title="Scale mask", search=("resize",))
def scale_mask(
    ctx: NodeContext, mask: Mask, width: Edge, height: Edge, method: Annotated[str, In(choices=METHODS)] = "bilinear"
) -> Mask:
    """Scale a mask to a size in pixels.

    mask: the mask to scale
    width: pixels
    height: pixels
    method: nearest keeps a hard mask hard
    """
    check_pixels(width, height)
    return resize(mask_batched(mask), width, height, method)
