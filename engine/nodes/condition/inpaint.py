"""Conditioning for in-painting models."""

from __future__ import annotations

import numpy as np

from engine.contracts.errors import InvalidRequest
from engine.contracts.node_schema import Effects
from engine.graph.node import NodeContext, node
from engine.graph.values import Conditioning, Image, Latent, LatentValue, Mask, Vae
from engine.nodes.latent.picture import cells_of, pixels_of


@node(
    "condition.inpaint_model",
    category="Condition",
    outputs=("positive", "negative", "latent"),
    title="Condition an in-painting model",
    effects=Effects(parallel_safe=False),
    search=("InpaintModelConditioning", "9 channel"),
)
def inpaint_model(
    ctx: NodeContext, positive: Conditioning, negative: Conditioning, vae: Vae, image: Image, mask: Mask
) -> tuple[Conditioning, Conditioning, Latent]:
    """Give an in-painting model (9-channel Stable Diffusion, Flux Fill) the picture around the mask.

    positive: what the masked part should show
    negative: what it should not
    vae: the autoencoder of the in-painting checkpoint
    image: the picture to change; its size must be a multiple of 8, for Flux of 16
    mask: white where it may change
    """
    import torch

    from engine.memory.autoencoding import encoded

    if mask.shape[-2:] != image.shape[1:3]:
        raise InvalidRequest(
            f"the mask is {mask.shape[-1]}×{mask.shape[-2]} and the picture {image.shape[2]}×{image.shape[1]}",
            where="mask", fix="Scale the mask to the picture",
        )  # fmt: skip
    family = ctx.session.autoencoder(vae)
    space = family.latent_space
    pixels = pixels_of(image, space.factor)
    kept = torch.from_numpy(np.ascontiguousarray(mask < 0.5))[:, None].float()
    latents = encoded(ctx, family, pixels)
    ctx.check_cancelled()
    masked = encoded(ctx, family, pixels * kept)
    cells = (cells_of(mask, latents.shape[-2], latents.shape[-1]) >= 0.5).float()
    indices = tuple(range(latents.shape[0]))
    whole = 1.0 - kept
    made = LatentValue(latents, space.id, indices=indices, inpaint=(cells, masked), inpaint_mask=whole)
    return positive, negative, made
