"""Channels and transparency: split, merge, join alpha, flatten."""

from __future__ import annotations

from typing import Annotated

import numpy as np

from engine.contracts.errors import InvalidRequest
from engine.graph.node import In, NodeContext, node
from engine.graph.values import Image, Mask
from engine.media.colours import colour_values
from engine.media.pixels import alpha as alpha_of
from engine.media.pixels import batched, mask_batched, rgb, same_batch, with_alpha
from engine.media.resize import resize


@node("image.split_channels", category="Image/Channels", outputs=("red", "green", "blue", "alpha"))
def split_channels(ctx: NodeContext, image: Image) -> tuple[Mask, Mask, Mask, Mask]:
    """Give each channel on its own; alpha is 1 everywhere in a picture without transparency.

    image: the pictures to split
    """
    pictures = batched(image)
    colours = rgb(pictures)
    red, green, blue = (np.ascontiguousarray(colours[..., index]) for index in range(3))
    return red, green, blue, np.ascontiguousarray(alpha_of(pictures))


@node("image.merge_channels", category="Image/Channels", outputs=("image",))
def merge_channels(ctx: NodeContext, red: Mask, green: Mask, blue: Mask, alpha: Mask | None = None) -> Image:
    """Put channels together to a picture.

    red: the red values
    green: the green values, as large as the red ones
    blue: the blue values, as large as the red ones
    alpha: how opaque each pixel is; without it the picture is opaque
    """
    given = [mask_batched(part) for part in (red, green, blue, alpha) if part is not None]
    if len({part.shape[1:] for part in given}) > 1:
        sizes = ", ".join(f"{part.shape[2]}×{part.shape[1]}" for part in given)
        raise InvalidRequest(f"the channels are not equally large ({sizes})", where="channels", fix="Scale them first")
    return np.stack(same_batch(*given), axis=-1)


@node("image.split_alpha", category="Image/Channels", outputs=("image", "mask"), search=("transparency",))
def split_alpha(ctx: NodeContext, image: Image) -> tuple[Image, Mask]:
    """Separate the colours from the transparency. The mask is 1 where the picture is transparent.

    image: the pictures to split
    """
    pictures = batched(image)
    return np.ascontiguousarray(rgb(pictures)), 1 - alpha_of(pictures)


@node("image.join_alpha", category="Image/Channels", outputs=("image",), search=("transparency", "mask to alpha"))
def join_alpha(ctx: NodeContext, image: Image, alpha: Mask) -> Image:
    """Make a picture transparent where a mask is 1.

    image: the pictures
    alpha: the mask; it is scaled to the picture
    """
    pictures, mask = same_batch(batched(image), mask_batched(alpha))
    height, width = pictures.shape[1:3]
    return with_alpha(pictures, 1 - resize(mask, width, height, "bilinear"))


@node("image.flatten", category="Image/Channels", outputs=("image",), search=("background", "opaque"))
def flatten(ctx: NodeContext, image: Image, colour: Annotated[str, In(type="COLOUR")] = "#ffffff") -> Image:
    """Lay transparent pictures on one colour.

    image: the pictures
    colour: what shows where they are transparent
    """
    pictures = batched(image)
    if pictures.shape[-1] == 3:
        return pictures
    opacity = pictures[..., 3:]
    mixed = pictures[..., :3] * opacity + colour_values(colour, 3) * (1 - opacity)
    return np.where(opacity >= 1, pictures[..., :3], mixed).astype(np.float32, copy=False)
