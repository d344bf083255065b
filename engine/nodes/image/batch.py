"""Batches of pictures: put together, take out, repeat, and their size."""

from __future__ import annotations

from typing import Annotated

import numpy as np

from engine.contracts.errors import InvalidRequest
from engine.graph.node import In, NodeContext, node
from engine.graph.values import Image
from engine.media.pixels import batched, with_alpha
from engine.media.resize import centre_crop_box, resize
from engine.nodes.image.scale import check_pixels


@node("image.batch", category="Image/Batch", outputs=("image",), title="Combine batches", search=("join", "append"))
def combine_batches(ctx: NodeContext, a: Image, b: Image) -> Image:
    """Put two batches one after the other. The second is cut and scaled to the size of the first.

    a: the first pictures
    b: the pictures that follow
    """
    first, second = batched(a), batched(b)
    height, width = first.shape[1:3]
    if second.shape[1:3] != (height, width):
        x, y, part_width, part_height = centre_crop_box(second.shape[2], second.shape[1], width, height)
        second = resize(second[:, y : y + part_height, x : x + part_width], width, height, "lanczos")
    if 4 in (first.shape[-1], second.shape[-1]):
        first, second = (
            p if p.shape[-1] == 4 else with_alpha(p, np.ones(p.shape[:3], np.float32)) for p in (first, second)
        )
    check_pixels(width, height * (len(first) + len(second)))
    return np.concatenate([first, second])


@node(
    "image.from_batch", category="Image/Batch", outputs=("image",), title="Pick from batch", search=("select", "slice")
)
def from_batch(
    ctx: NodeContext,
    image: Image,
    index: Annotated[int, In(minimum=-4096, maximum=4096, step=1)] = 0,
    length: Annotated[int, In(minimum=1, maximum=4096, step=1)] = 1,
) -> Image:
    """Take some pictures out of a batch.

    image: the batch
    index: the first to take, from 0; −1 is the last one
    length: how many; fewer where the batch ends
    """
    pictures = batched(image)
    start = index + len(pictures) if index < 0 else index
    if not 0 <= start < len(pictures):
        raise InvalidRequest(
            f"there is no picture {index} in a batch of {len(pictures)}",
            where="index",
            fix=f"Use 0 to {len(pictures) - 1}",
        )
    return pictures[start : start + length]


@node("image.repeat", category="Image/Batch", outputs=("image",), title="Repeat batch", search=("duplicate",))
def repeat(ctx: NodeContext, image: Image, amount: Annotated[int, In(minimum=1, maximum=4096, step=1)] = 2) -> Image:
    """Make a batch several times as long, its pictures in turn.

    image: the pictures
    amount: how often
    """
    pictures = batched(image)
    check_pixels(pictures.shape[2], pictures.shape[1] * len(pictures) * amount)
    return np.tile(pictures, (amount, 1, 1, 1))


@node(
    "image.size", category="Image", outputs=("width", "height", "batch"), title="Size of image", search=("dimensions",)
)
def size(ctx: NodeContext, image: Image) -> tuple[int, int, int]:
    """The width and height in pixels, and how many pictures there are.

    image: the pictures to measure
    """
    count, height, width = batched(image).shape[:3]
    return width, height, count
