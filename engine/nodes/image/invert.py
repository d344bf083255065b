"""Invert image."""

from __future__ import annotations

from engine.graph.node import NodeContext, node
from engine.graph.values import Image
from engine.media.pixels import batched, keep_alpha, rgb


@node("image.invert", category="Image", outputs=("image",), title="Invert image", search=("negative",))
def invert(ctx: NodeContext, image: Image) -> Image:
    """Turn each colour into its opposite; transparency is kept.

    image: the pictures to invert
    """
    pictures = batched(image)
    return keep_alpha(pictures, 1 - rgb(pictures))
