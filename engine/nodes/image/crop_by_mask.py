"""Crop by mask: the part of a picture that a mask covers, to be worked on alone and put back."""

from __future__ import annotations

from typing import Annotated, TypeAlias

import numpy as np
import numpy.typing as npt

from engine.contracts.errors import InvalidRequest
from engine.graph.node import In, NodeContext, node
from engine.graph.values import Image, Mask
from engine.media.pixels import batched, mask_batched
from engine.media.resize import resize

Flags: TypeAlias = npt.NDArray[np.bool_]


@node("image.crop_by_mask", category="Image", outputs=("image", "mask", "x", "y"), search=("bounding box", "inpaint"))
def crop_by_mask(
    ctx: NodeContext,
    image: Image,
    mask: Mask,
    padding: Annotated[int, In(minimum=0, maximum=4096, step=1)] = 32,
    multiple: Annotated[int, In(minimum=1, maximum=256, step=1)] = 8,
) -> tuple[Image, Mask, int, int]:
    """Cut out the smallest rectangle around a mask. Composite puts the result back at x and y.

    image: the pictures to cut from
    mask: what to cut around; it is scaled to the picture
    padding: pixels to keep around it
    multiple: make both edges a multiple of this, as far as the picture goes
    """
    pictures = batched(image)
    height, width = pictures.shape[1:3]
    masks = resize(mask_batched(mask), width, height, "bilinear")
    covered: Flags = np.any(masks > 0, axis=0)
    if not covered.any():
        raise InvalidRequest("the mask is empty", where="crop by mask", fix="Paint where to cut")
    left, right = _span(np.asarray(covered.any(axis=0)), padding, multiple)
    top, bottom = _span(np.asarray(covered.any(axis=1)), padding, multiple)
    return pictures[:, top:bottom, left:right], masks[:, top:bottom, left:right], left, top


def _span(covered: Flags, padding: int, multiple: int) -> tuple[int, int]:
    """(start, end) of the covered part, widened on both sides and to the multiple, within its length."""
    places = np.flatnonzero(covered)
    start, end = int(places[0]) - padding, int(places[-1]) + 1 + padding
    missing = -(min(end, len(covered)) - max(start, 0)) % multiple
    start, end = max(0, start), min(len(covered), end)
    end = min(len(covered), end + missing - missing // 2)
    start = max(0, start - missing // 2)
    rest = -(end - start) % multiple  # one side met the edge of the picture: the other gives the rest
    end = min(len(covered), end + rest)
    return max(0, start - (-(end - start) % multiple)), end
