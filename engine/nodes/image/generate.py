"""Pictures from nothing: one colour, a gradient."""

from __future__ import annotations

import math
from typing import Annotated

import numpy as np

from engine.graph.node import In, NodeContext, node
from engine.graph.values import Image, ShapeInfo
from engine.media.colours import colour_values, parse_colour
from engine.nodes.image.scale import check_pixels

Edge = Annotated[int, In(minimum=1, maximum=16384, step=1)]
Colour = Annotated[str, In(type="COLOUR")]


def _made(width: int | None, height: int | None, batch: int | None, **_: object) -> ShapeInfo | None:
    return ShapeInfo(batch, height, width) if batch and height and width else None


@node(
    "image.solid",
    category="Image/Make",
    outputs=("image",),
    title="Solid colour",
    search=("empty", "fill", "blank"),
    shapes=_made,
)
def solid(
    ctx: NodeContext,
    width: Edge = 512,
    height: Edge = 512,
    batch: Annotated[int, In(minimum=1, maximum=4096, step=1)] = 1,
    colour: Colour = "#000000",
) -> Image:
    """Make pictures of one colour. A colour with transparency, like #ff000080, makes transparent ones.

    width: pixels
    height: pixels
    batch: how many
    colour: the colour
    """
    check_pixels(width, height * batch)
    values = colour_values(colour, _channels(colour))
    return np.broadcast_to(values, (batch, height, width, len(values))).copy()


@node("image.gradient", category="Image/Make", outputs=("image",), title="Gradient", search=("ramp", "fade"))
def gradient(
    ctx: NodeContext,
    width: Edge = 512,
    height: Edge = 512,
    start: Colour = "#000000",
    end: Colour = "#ffffff",
    kind: Annotated[str, In(choices=("linear", "radial"))] = "linear",
    angle: Annotated[float, In(minimum=-360.0, maximum=360.0, step=1.0)] = 0.0,
) -> Image:
    """Make a picture that goes from one colour to another.

    width: pixels
    height: pixels
    start: the colour at the beginning, or in the middle of a radial gradient
    end: the colour at the end
    kind: linear goes along a line, radial from the middle to the corners
    angle: degrees, clockwise; 0 goes from left to right, 90 from top to bottom
    """
    check_pixels(width, height)
    channels = max(_channels(start), _channels(end))
    x = (np.arange(width, dtype=np.float32) + 0.5 - width / 2)[None, :]
    y = (np.arange(height, dtype=np.float32) + 0.5 - height / 2)[:, None]
    if kind == "radial":
        place = np.hypot(x, y) / np.float32(math.hypot(width / 2, height / 2))
    else:
        cosine, sine = math.cos(math.radians(angle)), math.sin(math.radians(angle))
        reach = abs(cosine) * (width - 1) / 2 + abs(sine) * (height - 1) / 2
        place = 0.5 + (x * np.float32(cosine) + y * np.float32(sine)) / np.float32(max(2 * reach, 1e-6))
    weight = np.clip(place, 0, 1)[..., None]
    first, last = colour_values(start, channels), colour_values(end, channels)
    return np.asarray(first * (1 - weight) + last * weight, np.float32)[None]


def _channels(colour: str) -> int:
    return 4 if parse_colour(colour)[3] < 255 else 3
