"""Outpainting: room around a picture, filled with something to begin from, encoded and masked, in one node."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated

import numpy as np

from engine.contracts.node_schema import Effects
from engine.graph.node import In, NodeContext, node
from engine.graph.values import Image, Latent, LatentValue, Mask, Vae
from engine.nodes.image.crop import pad
from engine.nodes.latent.picture import cells_of, pixels_of

Margin = Annotated[int, In(minimum=0, maximum=16384, step=8)]


@node(
    "latent.outpaint",
    category="Latent",
    outputs=("image", "mask", "latent"),
    title="Outpaint",
    effects=Effects(parallel_safe=False),
    search=("extend", "uncrop", "ImagePadForOutpaint"),
)
def outpaint(
    ctx: NodeContext,
    vae: Vae,
    image: Image,
    left: Margin = 0,
    top: Margin = 0,
    right: Margin = 0,
    bottom: Margin = 0,
    feather: Annotated[int, In(minimum=0, maximum=1024, step=1)] = 16,
    fill: Annotated[str, In(choices=("edge", "noise", "grey"), advanced=True)] = "edge",
) -> tuple[Image, Mask, Latent]:
    """Make a picture larger on any side, ready for a sampler that draws the new part.

    vae: the autoencoder of a checkpoint
    image: the pictures to extend; where the whole would not be whole latent cells, it grows by what lacks
    left: new pixels on the left
    top: new pixels above
    right: new pixels on the right
    bottom: new pixels below
    feather: how far the new part fades into the old picture, in pixels
    fill: what the new part begins as: the picture's edge drawn out, noise in its colours, or grey
    """
    from engine.memory.autoencoding import encoded

    family = ctx.session.autoencoder(vae)
    space = family.latent_space
    multiple = space.factor * (2 if space.channels > 4 else 1)  # transformers cut their latents into 2×2 cells
    height, width = image.shape[-3:-1]
    left, right = _widened(left, right, width, multiple)
    top, bottom = _widened(top, bottom, height, multiple)
    padded, mask = pad(ctx, image, left, top, right, bottom, feather, "grey" if fill == "grey" else "edge")
    if fill == "noise":
        padded = _noised(padded, (top, left, height, width))
    ctx.check_cancelled()
    samples = encoded(ctx, family, pixels_of(padded, space.factor))
    latent = LatentValue(samples, space.id, indices=tuple(range(samples.shape[0])))
    return padded, mask, replace(latent, noise_mask=cells_of(mask, *samples.shape[-2:]))


def _widened(first: int, second: int, length: int, multiple: int) -> tuple[int, int]:
    """The two margins so that `multiple` divides the whole: what lacks goes to a side that grows, or to the second."""
    lacks = -(length + first + second) % multiple
    return (first + lacks, second) if first and not second else (first, second + lacks)


def _noised(padded: Image, inside: tuple[int, int, int, int]) -> Image:
    """Pictures whose border is noise of the mean and spread of each picture's own colours; the same every time."""
    top, left, height, width = inside
    own = padded[:, top : top + height, left : left + width]
    mean, spread = own.mean(axis=(1, 2), keepdims=True), own.std(axis=(1, 2), keepdims=True)
    noise = np.random.default_rng(0).standard_normal(padded.shape, dtype=np.float32)
    made: Image = np.clip(mean + spread * noise, 0, 1).astype(np.float32)
    made[:, top : top + height, left : left + width] = own
    if made.shape[-1] == 4:
        made[..., 3] = padded[..., 3]
    return made
