"""Load image: a picture from the studio's store."""

from __future__ import annotations

import numpy as np

from engine.graph.node import NodeContext, node
from engine.graph.values import Blob, Image, Mask
from engine.media.images import decode, probe


@node("image.load", category="Image", outputs=("image", "mask"), title="Load image", search=("open", "file", "input"))
def load_image(ctx: NodeContext, image: Blob) -> tuple[Image, Mask]:
    """Load a picture, upright and in sRGB. Its transparency comes out as a mask: 1 where it is transparent.

    image: the picture to load: PNG, JPEG, WebP, GIF, BMP, TIFF or AVIF
    """
    data = ctx.blobs.read(image)
    note = probe(data, image.name).note
    if note:
        ctx.log(note)
    pixels = decode(data, image.name)
    if pixels.shape[-1] == 4:
        return np.ascontiguousarray(pixels[None, ..., :3]), 1.0 - pixels[None, ..., 3]
    return pixels[None], np.zeros((1, *pixels.shape[:2]), np.float32)
