"""Canny: the edges of a picture as white lines."""

from __future__ import annotations

from typing import Annotated

from engine.control import edges
from engine.graph.node import In, NodeContext, node
from engine.graph.values import Image

Level = Annotated[float, In(minimum=0.01, maximum=0.99, step=0.01)]


@node("image.canny", category="Image/Filter", outputs=("image",), title="Canny edges", search=("outline", "controlnet"))
def canny(ctx: NodeContext, image: Image, low_threshold: Level = 0.4, high_threshold: Level = 0.8) -> Image:
    """Draw the edges of pictures white on black (Canny 1986).

    image: the pictures
    low_threshold: weaker edges are kept only where they continue strong ones
    high_threshold: edges stronger than this are always kept
    """
    return edges.canny(image, low_threshold, high_threshold)
