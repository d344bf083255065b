"""Arrange: grid, stitch, flip, rotate."""

from __future__ import annotations

import math
from typing import Annotated

import numpy as np

from engine.graph.node import In, NodeContext, node
from engine.graph.values import Image
from engine.media.colours import colour_values
from engine.media.pixels import Floats, batched, same_batch, with_alpha
from engine.media.resize import resize
from engine.nodes.image.scale import check_pixels

Gap = Annotated[int, In(minimum=0, maximum=1024, step=1)]
Colour = Annotated[str, In(type="COLOUR")]


@node("image.grid", category="Image/Arrange", outputs=("image",), title="Image grid", search=("contact sheet", "tile"))
def grid(
    ctx: NodeContext,
    image: Image,
    columns: Annotated[int, In(minimum=0, maximum=100, step=1)] = 0,
    gap: Gap = 0,
    colour: Colour = "#000000",
) -> Image:
    """Lay the pictures of a batch out in one picture, row by row.

    image: the pictures
    columns: how many side by side; 0 makes the grid as square as it can be
    gap: pixels between them
    colour: what stands in the gaps and in empty places
    """
    pictures = batched(image)
    count, height, width, channels = pictures.shape
    across = min(columns or math.ceil(math.sqrt(count)), count)
    down = math.ceil(count / across)
    total_width, total_height = across * (width + gap) - gap, down * (height + gap) - gap
    check_pixels(total_width, total_height)
    out = _filled(1, total_height, total_width, channels, colour)
    for index, picture in enumerate(pictures):
        y, x = index // across * (height + gap), index % across * (width + gap)
        out[0, y : y + height, x : x + width] = picture
    return out


@node("image.stitch", category="Image/Arrange", outputs=("image",), title="Stitch images", search=("join", "concat"))
def stitch(
    ctx: NodeContext,
    a: Image,
    b: Image | None = None,
    direction: Annotated[str, In(choices=("right", "down", "left", "up"))] = "right",
    match_size: bool = True,
    spacing: Gap = 0,
    spacing_colour: Colour = "#ffffff",
) -> Image:
    """Put a second picture beside the first.

    a: the first picture
    b: the second picture; without it the first comes out unchanged
    direction: on which side of the first the second stands
    match_size: scale the second so that the edges that meet are equally long; else it is centred on the colour
    spacing: pixels between them
    spacing_colour: what stands between and beside them
    """
    first = batched(a)
    if b is None:
        return first
    second, level = batched(b), direction in ("right", "left")
    if match_size:
        height, width = second.shape[1:3]
        if level:
            second = resize(second, max(1, round(width * first.shape[1] / height)), first.shape[1])
        else:
            second = resize(second, first.shape[2], max(1, round(height * first.shape[2] / width)))
    first, second = same_batch(first, second)
    if 4 in (first.shape[-1], second.shape[-1]):
        first, second = (
            p if p.shape[-1] == 4 else with_alpha(p, np.ones(p.shape[:3], np.float32)) for p in (first, second)
        )
    parts = [first, second] if direction in ("right", "down") else [second, first]
    along, across = (2, 1) if level else (1, 2)
    length = sum(part.shape[along] for part in parts) + spacing
    breadth = max(part.shape[across] for part in parts)
    width, height = (length, breadth) if level else (breadth, length)
    check_pixels(width, height)
    out = _filled(first.shape[0], height, width, first.shape[-1], spacing_colour)
    at = 0
    for part in parts:
        start = (breadth - part.shape[across]) // 2
        y, x = (start, at) if level else (at, start)
        out[:, y : y + part.shape[1], x : x + part.shape[2]] = part
        at += part.shape[along] + spacing
    return out


@node("image.flip", category="Image/Arrange", outputs=("image",), title="Flip image", search=("mirror",))
def flip(
    ctx: NodeContext, image: Image, axis: Annotated[str, In(choices=("horizontal", "vertical"))] = "horizontal"
) -> Image:
    """Mirror pictures.

    image: the pictures to mirror
    axis: horizontal swaps left and right, vertical swaps top and bottom
    """
    pictures = batched(image)
    return np.ascontiguousarray(pictures[:, :, ::-1] if axis == "horizontal" else pictures[:, ::-1])


@node("image.rotate", category="Image/Arrange", outputs=("image",), title="Rotate image", search=("turn",))
def rotate(
    ctx: NodeContext,
    image: Image,
    rotation: Annotated[str, In(choices=("none", "90 degrees", "180 degrees", "270 degrees"))] = "90 degrees",
) -> Image:
    """Turn pictures clockwise by quarter turns; no pixel changes.

    image: the pictures to turn
    rotation: how far, clockwise
    """
    turns = ("none", "90 degrees", "180 degrees", "270 degrees").index(rotation)
    return np.ascontiguousarray(np.rot90(batched(image), -turns, axes=(1, 2)))


def _filled(count: int, height: int, width: int, channels: int, colour: str) -> Floats:
    return np.broadcast_to(colour_values(colour, channels), (count, height, width, channels)).copy()
