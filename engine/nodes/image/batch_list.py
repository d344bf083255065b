"""A list of pictures into one batch: what ran once for each item comes together again."""

from __future__ import annotations

from functools import reduce
from typing import Annotated

from engine.contracts.errors import InvalidRequest
from engine.graph.node import In, NodeContext, node
from engine.graph.values import Image, Socket
from engine.nodes.image.batch import combine_batches


@node("image.batch_list", category="Image/Batch", outputs=("image",), title="Batch from list", search=("collect",))
def batch_list(
    ctx: NodeContext, images: Annotated[list[Image], Socket("IMAGE"), In(list=True, link_only=True)]
) -> Image:
    """Put the pictures of a list into one batch; all are fitted to the size of the first.

    images: the list, such as what a node made that ran once for each item
    """
    if not images:
        raise InvalidRequest("the list holds no pictures")
    return reduce(lambda first, second: combine_batches(ctx, first, second), images)
