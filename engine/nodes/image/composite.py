"""Composite: one picture onto another through a mask, exact where the mask says nothing changes."""

from __future__ import annotations

from typing import Annotated

import numpy as np

from engine.graph.node import In, NodeContext, node
from engine.graph.values import Image, Mask
from engine.media.pixels import batched, mask_batched, rgb, same_batch
from engine.media.resize import resize

Offset = Annotated[int, In(minimum=-16384, maximum=16384, step=1)]


@node("image.composite", category="Image", outputs=("image",), title="Composite images", search=("paste", "blend"))
def composite(
    ctx: NodeContext,
    destination: Image,
    source: Image,
    mask: Mask | None = None,
    x: Offset = 0,
    y: Offset = 0,
    resize_source: Annotated[bool, In(advanced=True)] = False,
) -> Image:
    """Lay one picture over another. Where the mask is 0 the destination keeps its exact values.

    destination: the picture below
    source: the picture laid over it
    mask: how much of the source shows, 0 to 1; everywhere when left open
    x: left edge of the source on the destination, in pixels
    y: upper edge of the source on the destination, in pixels
    resize_source: scale the source to the size of the destination first
    """
    below, over = batched(destination), batched(source)
    if resize_source:
        over = resize(over, below.shape[2], below.shape[1], "bilinear")
    height, width = over.shape[1:3]
    cover = (
        np.ones((1, height, width), np.float32)
        if mask is None
        else resize(mask_batched(mask), width, height, "bilinear")
    )
    below, over, cover = same_batch(below, over, cover)
    left, top = max(0, x), max(0, y)
    right, bottom = min(below.shape[2], x + width), min(below.shape[1], y + height)
    out = below.copy()
    if left >= right or top >= bottom:
        return out
    part = (slice(None), slice(top - y, bottom - y), slice(left - x, right - x))
    place = (slice(None), slice(top, bottom), slice(left, right))
    out[place] = blend(below[place], over[part], cover[part])
    return out


def blend(below: Image, over: Image, cover: Mask) -> Image:
    """`below` where `cover` is 0, `over` where it is 1, both exactly; in between below·(1−c) + over·c.

    A source with alpha covers by its alpha where the destination has none; a destination with alpha becomes opaque
    where a source without covers it.
    """
    if over.shape[-1] == 4 and below.shape[-1] == 3:
        cover = cover * over[..., 3]
        over = rgb(over)
    elif over.shape[-1] == 3 and below.shape[-1] == 4:
        over = np.concatenate([over, np.ones((*over.shape[:-1], 1), np.float32)], -1)
    weight = cover[..., None]
    mixed = below * (1 - weight) + over * weight
    return np.where(weight <= 0, below, np.where(weight >= 1, over, mixed)).astype(np.float32, copy=False)
