"""Canny: the edges of a picture as white lines."""

from __future__ import annotations

from typing import Annotated

import numpy as np

from engine.graph.node import In, NodeContext, node
from engine.graph.values import Image
from engine.media.pixels import batched, luminance, to_bytes, to_float

Level = Annotated[float, In(minimum=0.01, maximum=0.99, step=0.01)]


@node("image.canny", category="Image/Filter", outputs=("image",), title="Canny edges", search=("outline", "controlnet"))
def canny(ctx: NodeContext, image: Image, low_threshold: Level = 0.4, high_threshold: Level = 0.8) -> Image:
    """Draw the edges of pictures white on black (Canny 1986).

    image: the pictures
    low_threshold: weaker edges are kept only where they continue strong ones
    high_threshold: edges stronger than this are always kept
    """
    import cv2

    low, high = sorted((low_threshold * 255, high_threshold * 255))
    edges = np.stack([cv2.Canny(to_bytes(item), low, high) for item in luminance(batched(image))])
    return np.repeat(to_float(edges.astype(np.uint8, copy=False))[..., None], 3, axis=-1)
