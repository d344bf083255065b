"""Many pictures into one batch."""

from __future__ import annotations

from functools import reduce
from typing import Annotated

from engine.graph.node import In, NodeContext, node
from engine.graph.values import Image, Socket
from engine.nodes.image.batch import combine_batches


@node("image.batch_all", category="Image/Batch", outputs=("image",), title="Batch many", search=("BatchImagesNode",))
def batch_all(
    ctx: NodeContext, image: Annotated[list[Image], Socket("IMAGE"), In(variadic=True, link_only=True)]
) -> Image:
    """Put any number of pictures behind one another; all are fitted to the size of the first.

    image: the pictures, in the order of their numbers
    """
    return reduce(lambda first, second: combine_batches(ctx, first, second), image)
