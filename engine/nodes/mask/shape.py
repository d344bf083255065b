"""The shape of masks: grow, shrink, fill holes, blur, feather from the picture's edges, threshold, invert."""

from __future__ import annotations

from typing import Annotated

import numpy as np

from engine.graph.node import In, NodeContext, node
from engine.graph.values import Mask
from engine.media.pixels import Floats, mask_batched
from engine.nodes.image.blur import gaussian

Edge = Annotated[int, In(minimum=0, maximum=16384, step=1)]


@node("mask.grow", category="Mask", outputs=("mask",), title="Grow mask", search=("expand", "dilate"))
def grow(
    ctx: NodeContext,
    mask: Mask,
    amount: Annotated[int, In(minimum=-512, maximum=512, step=1)] = 6,
    round: bool = True,  # noqa: A002  the input's name
) -> Mask:
    """Make a mask larger on all sides.

    mask: the mask to grow
    amount: pixels; below 0 it shrinks
    round: round corners, or square ones
    """
    masks = mask_batched(mask)
    if amount < 0:
        return 1 - _grown(1 - masks, -amount, round)
    return _grown(masks, amount, round)


@node("mask.shrink", category="Mask", outputs=("mask",), title="Shrink mask", search=("contract", "erode"))
def shrink(
    ctx: NodeContext,
    mask: Mask,
    amount: Annotated[int, In(minimum=0, maximum=512, step=1)] = 6,
    round: bool = True,  # noqa: A002  the input's name
) -> Mask:
    """Make a mask smaller on all sides, but for the edges of the picture.

    mask: the mask to shrink
    amount: pixels
    round: round corners, or square ones
    """
    return 1 - _grown(1 - mask_batched(mask), amount, round)


def _grown(masks: Floats, amount: int, rounded: bool) -> Floats:
    """The largest value within `amount` pixels: of a disc (exact for hard masks, an octagon for soft), or a square."""
    import cv2

    if not amount:
        return masks
    out = np.empty_like(masks)
    for index, item in enumerate(masks):
        if not rounded:
            kernel = np.ones((2 * amount + 1, 2 * amount + 1), np.uint8)
            out[index] = cv2.dilate(np.ascontiguousarray(item), kernel)
        elif np.isin(item, (0, 1)).all():
            if not item.any():
                out[index] = 0
                continue
            far = cv2.distanceTransform((item == 0).astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
            out[index] = far <= amount + 1e-3
        else:
            cross = cv2.getStructuringElement(cv2.MORPH_CROSS, (3, 3))
            wide = cv2.dilate(np.ascontiguousarray(item), cross, iterations=-(-amount // 2))
            out[index] = cv2.dilate(wide, np.ones((3, 3), np.uint8), iterations=amount // 2)
    return out


@node("mask.fill_holes", category="Mask", outputs=("mask",), title="Fill holes", search=("solid", "close"))
def fill_holes(ctx: NodeContext, mask: Mask) -> Mask:
    """Fill what a mask encloses. Values are kept everywhere else.

    mask: the mask to fill
    """
    import cv2

    masks = mask_batched(mask)
    out = masks.copy()
    for index, item in enumerate(masks):
        # Everything the outside reaches without crossing the mask; a frame lets it go around.
        outside = np.pad((item < 0.5).astype(np.uint8), 1, constant_values=1)
        cv2.floodFill(outside, None, (0, 0), 2)
        out[index][outside[1:-1, 1:-1] == 1] = 1
    return out


@node("mask.blur", category="Mask", outputs=("mask",), title="Blur mask", search=("soften", "feather"))
def blur_mask(ctx: NodeContext, mask: Mask, radius: Annotated[int, In(minimum=0, maximum=512, step=1)] = 8) -> Mask:
    """Make the edge of a mask soft to both sides.

    mask: the mask to soften
    radius: how far, in pixels
    """
    masks = mask_batched(mask)
    return np.clip(gaussian(masks, radius, radius / 2), 0, 1) if radius else masks


@node("mask.feather_edges", category="Mask", outputs=("mask",), title="Feather edges", search=("fade", "border"))
def feather_edges(
    ctx: NodeContext, mask: Mask, left: Edge = 0, top: Edge = 0, right: Edge = 0, bottom: Edge = 0
) -> Mask:
    """Fade a mask towards the edges of the picture.

    mask: the mask to fade
    left: pixels from the left edge to where it is whole
    top: pixels from the upper edge to where it is whole
    right: pixels from the right edge to where it is whole
    bottom: pixels from the lower edge to where it is whole
    """
    masks = mask_batched(mask)
    height, width = masks.shape[1:3]
    return masks * (_ramp(height, top, bottom)[:, None] * _ramp(width, left, right)[None, :])


def _ramp(length: int, first: int, last: int) -> Floats:
    """1/n, 2/n … at the beginning and backwards at the end, 1 between."""
    out = np.ones(length, np.float32)
    for amount, part in ((min(first, length), out), (min(last, length), out[::-1])):
        part[:amount] *= (np.arange(amount, dtype=np.float32) + 1) / np.float32(max(amount, 1))
    return out


@node("mask.threshold", category="Mask", outputs=("mask",), title="Threshold mask", search=("binary", "hard"))
def threshold(
    ctx: NodeContext, mask: Mask, value: Annotated[float, In(minimum=0.0, maximum=1.0, step=0.01)] = 0.5
) -> Mask:
    """Make a mask hard: 1 where it is above a value, 0 elsewhere.

    mask: the mask to make hard
    value: the value to be above
    """
    return (mask_batched(mask) > value).astype(np.float32)


@node("mask.invert", category="Mask", outputs=("mask",), title="Invert mask", search=("opposite", "negative"))
def invert_mask(ctx: NodeContext, mask: Mask) -> Mask:
    """Swap what is masked and what is not.

    mask: the mask to invert
    """
    return 1 - mask_batched(mask)
