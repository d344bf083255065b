"""Between pictures and latents."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from engine.contracts.errors import InvalidRequest
from engine.contracts.node_schema import Effects
from engine.graph.node import NodeContext, node
from engine.graph.values import Image, Latent, LatentValue, Mask, ShapeInfo, Vae

if TYPE_CHECKING:
    import torch


def _encoded(vae: None, image: ShapeInfo | None, **_: object) -> ShapeInfo | None:
    return replace(image, channels=None) if image else None


def _decoded(vae: None, latent: ShapeInfo | None, **_: object) -> ShapeInfo | None:
    return replace(latent, channels=3) if latent else None


def _as_latent(latent: ShapeInfo | None, **_: object) -> ShapeInfo | None:
    return latent


@node(
    "latent.encode_image",
    category="Latent",
    outputs=("latent",),
    title="Encode picture",
    effects=Effects(parallel_safe=False),
    search=("VAEEncode",),
    shapes=_encoded,
)
def encode_image(ctx: NodeContext, vae: Vae, image: Image) -> Latent:
    """Turn a picture into a latent, to start from it.

    vae: the autoencoder of a checkpoint
    image: its width and height must be whole numbers of latent cells (8 pixels); transparency is left out
    """
    from engine.memory.autoencoding import encoded

    family = ctx.session.autoencoder(vae)
    space = family.latent_space
    pixels = pixels_of(image, space.factor)
    ctx.check_cancelled()
    samples = encoded(ctx, family, pixels)
    return LatentValue(samples, space.id, indices=tuple(range(samples.shape[0])))


@node(
    "latent.decode_image",
    category="Latent",
    outputs=("image",),
    title="Decode picture",
    effects=Effects(parallel_safe=False),
    search=("VAEDecode",),
    shapes=_decoded,
)
def decode_image(ctx: NodeContext, vae: Vae, latent: Latent) -> Image:
    """Turn a latent into a picture.

    vae: the autoencoder of a checkpoint
    latent: as a sampler gives it
    """
    import torch

    from engine.memory.autoencoding import decoded
    from engine.sampling.loop import fitted

    family = ctx.session.autoencoder(vae if vae.family else replace(vae, family=latent.space))
    samples = fitted(latent, family.latent_space).samples
    pictures = []
    for i, item in enumerate(samples):
        ctx.check_cancelled()
        pictures.append(decoded(ctx, family, item[None]))
        ctx.progress(i + 1, len(samples), f"picture {i + 1} of {len(samples)}")
    whole = (torch.cat(pictures) * 0.5 + 0.5).clamp(0, 1)
    out: npt.NDArray[np.float32] = np.ascontiguousarray(whole.permute(0, 2, 3, 1).numpy())
    return out


@node(
    "latent.set_noise_mask",
    category="Latent",
    outputs=("latent",),
    title="Set noise mask",
    effects=Effects(parallel_safe=False),
    search=("SetLatentNoiseMask", "inpaint"),
    shapes=_as_latent,
)
def set_noise_mask(ctx: NodeContext, latent: Latent, mask: Mask) -> Latent:
    """Let only a part of a latent be made anew. A cell that the mask touches at all is made anew.

    latent: an encoded picture
    mask: white where the sampler may draw
    """
    return replace(latent, noise_mask=cells_of(mask, latent.samples.shape[-2], latent.samples.shape[-1]))


def pixels_of(image: npt.NDArray[np.float32], factor: int) -> torch.Tensor:
    """IMAGE → float32 tensor [B, 3, H, W] in −1..1. Raises InvalidRequest when it is not whole cells of `factor`."""
    import torch

    _, height, width, _ = image.shape
    if height % factor or width % factor or not height or not width:
        raise InvalidRequest(
            f"the picture is {width}×{height}, which is not a multiple of {factor} pixels both ways", where="image",
            fix=f"Scale or crop it to {max(1, width // factor) * factor}×{max(1, height // factor) * factor}",
        )  # fmt: skip
    tensor = torch.from_numpy(np.array(image[..., :3].transpose(0, 3, 1, 2), dtype=np.float32, order="C"))
    return 2.0 * tensor - 1.0


def cells_of(mask: npt.NDArray[np.float32], height: int, width: int) -> torch.Tensor:
    """MASK [B, H, W] → float32 [B, 1, height, width]: the strongest value in each cell.

    diffusers takes each cell's corner pixel, which leaves cells undrawn that the mask only touches; for masks that end
    on cell borders the two agree.
    """
    import torch
    import torch.nn.functional as F  # noqa: N812 - the field's own name for it

    tensor = torch.from_numpy(np.array(mask, dtype=np.float32, order="C"))[:, None]  # a copy: wires are read-only
    return F.adaptive_max_pool2d(tensor, (height, width)).clamp(0, 1)
