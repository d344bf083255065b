"""A latent for in-painting with an ordinary model."""

from __future__ import annotations

from typing import Annotated

import numpy as np

from engine.contracts.errors import InvalidRequest
from engine.contracts.node_schema import Effects
from engine.graph.node import In, NodeContext, node
from engine.graph.values import Image, Latent, LatentValue, Mask, Vae
from engine.nodes.latent.picture import cells_of, pixels_of


@node("latent.encode_for_inpaint", category="Latent", outputs=("latent",), title="Encode for in-painting",
      effects=Effects(parallel_safe=False), search=("VAEEncodeForInpaint",))  # fmt: skip
def encode_for_inpaint(
    ctx: NodeContext, vae: Vae, image: Image, mask: Mask, grow: Annotated[int, In(minimum=0, maximum=64)] = 6
) -> Latent:
    """Encode a picture with grey where it is to be made anew, and let the sampler draw only there.

    vae: the autoencoder of a checkpoint
    image: its width and height must be whole numbers of latent cells (8 pixels)
    mask: white where it is to be made anew
    grow: by how many pixels the part to draw is widened in all, so that its edge fits
    """
    import torch
    import torch.nn.functional as F  # noqa: N812 - the field's own name for it

    from engine.memory.autoencoding import encoded

    if mask.shape[-2:] != image.shape[1:3]:
        raise InvalidRequest(
            f"the mask is {mask.shape[-1]}×{mask.shape[-2]} and the picture {image.shape[2]}×{image.shape[1]}",
            where="mask", fix="Scale the mask to the picture",
        )  # fmt: skip
    family = ctx.session.autoencoder(vae)
    space = family.latent_space
    drawn = torch.from_numpy(np.ascontiguousarray(mask >= 0.5))[:, None].float()
    samples = encoded(ctx, family, pixels_of(image, space.factor) * (1.0 - drawn))  # 0 is middle grey
    reach = grow // 2
    wide = F.max_pool2d(drawn, 2 * reach + 1, stride=1, padding=reach)[:, 0].numpy()
    cells = cells_of(wide, samples.shape[-2], samples.shape[-1])
    return LatentValue(samples, space.id, noise_mask=cells, indices=tuple(range(samples.shape[0])))
