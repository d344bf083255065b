"""Masks from pictures and back."""

from __future__ import annotations

from typing import Annotated

import numpy as np

from engine.graph.node import In, NodeContext, node
from engine.graph.values import Image, Mask
from engine.media.colours import parse_colour
from engine.media.pixels import alpha, batched, luminance, mask_batched, rgb, to_bytes


@node("mask.from_image", category="Mask", outputs=("mask",), title="Mask from image", search=("channel",))
def from_image(
    ctx: NodeContext,
    image: Image,
    channel: Annotated[str, In(choices=("red", "green", "blue", "alpha", "luminance"))] = "red",
) -> Mask:
    """Use one channel of a picture as a mask: white becomes 1, the part to edit.

    image: the picture to read
    channel: which values to take; alpha is 1 everywhere in a picture without transparency
    """
    pictures = batched(image)
    if channel == "alpha":
        return alpha(pictures).copy()
    if channel == "luminance":
        return luminance(pictures)
    return rgb(pictures)[..., ("red", "green", "blue").index(channel)].copy()


@node("mask.from_colour", category="Mask", outputs=("mask",), title="Mask from colour", search=("color", "key"))
def from_colour(
    ctx: NodeContext,
    image: Image,
    colour: Annotated[str, In(type="COLOUR")] = "#ffffff",
    tolerance: Annotated[float, In(minimum=0.0, maximum=1.0, step=0.01)] = 0.0,
) -> Mask:
    """1 where the picture has a colour, 0 elsewhere.

    image: the picture to read
    colour: the colour to find, like #ff8800
    tolerance: how far each of red, green and blue may be from it; 0 finds that colour alone
    """
    wanted = np.array(parse_colour(colour)[:3], np.int16)
    distance = np.abs(to_bytes(rgb(batched(image))).astype(np.int16) - wanted).max(axis=-1)
    return np.asarray(distance <= tolerance * 255, np.float32)


@node("mask.to_image", category="Mask", outputs=("image",), title="Mask to image", search=("grey", "show"))
def to_image(ctx: NodeContext, mask: Mask) -> Image:
    """Show a mask as a grey picture: 0 is black, 1 is white.

    mask: the mask to show
    """
    return np.repeat(mask_batched(mask)[..., None], 3, axis=-1)
