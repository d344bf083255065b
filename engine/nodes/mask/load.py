"""Load mask: a mask from a picture in the studio's store."""

from __future__ import annotations

from typing import Annotated

import numpy as np

from engine.graph.node import In, NodeContext, node
from engine.graph.values import Blob, Mask
from engine.media.images import decode


@node("mask.load", category="Mask", outputs=("mask",), title="Load mask", search=("open", "file"))
def load_mask(
    ctx: NodeContext, image: Blob, channel: Annotated[str, In(choices=("alpha", "red", "green", "blue"))] = "alpha"
) -> Mask:
    """Load one channel of a picture as a mask.

    image: the picture to load
    channel: alpha gives 1 where the picture is transparent; a colour gives 1 where it is full
    """
    pixels = decode(ctx.blobs.read(image), image.name)
    if channel == "alpha":
        return 1 - pixels[None, ..., 3] if pixels.shape[-1] == 4 else np.zeros((1, *pixels.shape[:2]), np.float32)
    return np.ascontiguousarray(pixels[None, ..., ("red", "green", "blue").index(channel)])
