"""Feather: a mask's edge made soft towards its inside."""

from __future__ import annotations

from typing import Annotated

import numpy as np

from engine.graph.node import In, NodeContext, node
from engine.graph.values import Mask
from engine.media.pixels import mask_batched


@node("mask.feather", category="Mask", outputs=("mask",), title="Feather mask", search=("blur", "soften", "edge"))
def feather(
    ctx: NodeContext, mask: Mask, radius: Annotated[float, In(minimum=0.0, maximum=256.0, step=0.5)] = 8.0
) -> Mask:
    """Make the edge of a mask soft inwards: what was outside stays outside, exactly.

    mask: the mask to soften
    radius: how many pixels inside the edge the mask is whole again
    """
    masks = mask_batched(mask)
    if radius <= 0:
        return masks
    import cv2

    out = np.empty_like(masks)
    for index, item in enumerate(masks):
        # The distance of every inside pixel to the nearest outside one; the picture's border is no edge of the mask.
        inside = (item > 0).astype(np.uint8)
        distance = cv2.distanceTransform(inside, cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
        ramp = np.clip(distance / np.float32(radius + 1), 0.0, 1.0)
        smooth = ramp * ramp * (3 - 2 * ramp) if inside.min() == 0 else np.ones_like(item)
        out[index] = item * smooth
    return out
