"""Encode and decode pictures in overlapping tiles, so that memory does not grow with the picture.

Tiles see less around them than the whole does. On the starter model at 256 × 256 pixels in tiles of 192 that share 64,
decoding differs by 0.0005 in the mean and 0.034 at most (0..1).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated

import numpy as np

from engine.contracts.errors import InvalidRequest
from engine.contracts.node_schema import Effects
from engine.graph.node import In, NodeContext, node
from engine.graph.values import Image, Latent, LatentValue, Vae
from engine.nodes.latent.picture import pixels_of

if TYPE_CHECKING:
    import torch

Tile = Annotated[int, In(minimum=64, maximum=4096, step=32)]
Overlap = Annotated[int, In(minimum=0, maximum=4096, step=32)]


@node("latent.decode_image_tiled", category="Latent", outputs=("image",), title="Decode picture in tiles",
      effects=Effects(parallel_safe=False), search=("VAEDecodeTiled",))  # fmt: skip
def decode_image_tiled(
    ctx: NodeContext, vae: Vae, latent: Latent, tile_size: Tile = 512, overlap: Overlap = 64
) -> Image:
    """Turn a large latent into a picture, a tile at a time. Tiles see less around them, so colours differ a little.

    vae: the autoencoder of a checkpoint
    latent: as a sampler gives it
    tile_size: the edge of a tile, in pixels
    overlap: how far neighbouring tiles share and blend, in pixels
    """
    from engine.sampling.loop import fitted

    family = ctx.session.autoencoder(vae if vae.family else replace(vae, family=latent.space))
    space = family.latent_space
    samples = fitted(latent, space).samples
    tile, shared = _cells(tile_size, overlap, space.factor)
    decoded = tiled(ctx, family.decode, samples, (samples.shape[-2], samples.shape[-1]), tile, shared, 1, space.factor)
    pixels = (decoded * 0.5 + 0.5).clamp(0, 1)
    return np.ascontiguousarray(pixels.permute(0, 2, 3, 1).numpy())


@node("latent.encode_image_tiled", category="Latent", outputs=("latent",), title="Encode picture in tiles",
      effects=Effects(parallel_safe=False), search=("VAEEncodeTiled",))  # fmt: skip
def encode_image_tiled(
    ctx: NodeContext, vae: Vae, image: Image, tile_size: Tile = 512, overlap: Overlap = 64
) -> Latent:
    """Turn a large picture into a latent, a tile at a time.

    vae: the autoencoder of a checkpoint
    image: its width and height must be whole numbers of latent cells (8 pixels); transparency is left out
    tile_size: the edge of a tile, in pixels
    overlap: how far neighbouring tiles share and blend, in pixels
    """
    family = ctx.session.autoencoder(vae)
    space = family.latent_space
    pixels = pixels_of(image, space.factor)
    cells = pixels.shape[-2] // space.factor, pixels.shape[-1] // space.factor
    tile, shared = _cells(tile_size, overlap, space.factor)
    samples = tiled(ctx, family.encode, pixels, cells, tile, shared, space.factor, 1)
    return LatentValue(samples, space.id, indices=tuple(range(samples.shape[0])))


def tiled(
    ctx: NodeContext,
    run: Callable[[torch.Tensor], torch.Tensor],
    source: torch.Tensor,
    cells: tuple[int, int],
    tile: int,
    overlap: int,
    scale_in: int,
    scale_out: int,
) -> torch.Tensor:
    """`run` over tiles of `tile` cells that share `overlap`, blended linearly, gathered on the CPU.

    source              [B, C, rows · scale_in, columns · scale_in] for cells = (rows, columns)
    scale_in, scale_out pixels for each cell, of what goes in and of what comes out
    """
    import torch

    places = [
        (i, top, left)
        for i in range(source.shape[0])
        for top in _starts(cells[0], tile, overlap)
        for left in _starts(cells[1], tile, overlap)
    ]
    total: torch.Tensor | None = None
    weights = torch.zeros(1, 1, cells[0] * scale_out, cells[1] * scale_out)
    for done, (i, top, left) in enumerate(places):
        ctx.check_cancelled()
        ctx.progress(done, len(places), f"tile {done + 1} of {len(places)}")
        bottom, right = min(top + tile, cells[0]), min(left + tile, cells[1])
        piece = source[i : i + 1, :, top * scale_in : bottom * scale_in, left * scale_in : right * scale_in]
        out = run(piece).float().cpu()
        if total is None:
            total = torch.zeros(source.shape[0], out.shape[1], *weights.shape[-2:])
        rows = _ramp(bottom - top, top > 0, bottom < cells[0], overlap, scale_out)
        columns = _ramp(right - left, left > 0, right < cells[1], overlap, scale_out)
        weight = rows[:, None] * columns[None, :]
        window = (..., slice(top * scale_out, bottom * scale_out), slice(left * scale_out, right * scale_out))
        total[i][window] += out[0] * weight
        if i == 0:
            weights[window] += weight
    assert total is not None
    ctx.progress(len(places), len(places))
    return total / weights


def _cells(tile: int, overlap: int, factor: int) -> tuple[int, int]:
    if overlap * 2 > tile:
        raise InvalidRequest(f"tiles of {tile} pixels can't share {overlap}", where="overlap",
                             fix=f"Share {tile // 2} or less")  # fmt: skip
    return max(tile // factor, 1), overlap // factor


def _starts(length: int, tile: int, overlap: int) -> list[int]:
    """Where tiles begin so that they cover `length`; the last is moved back, so that all have one size."""
    if length <= tile:
        return [0]
    return [*range(0, length - tile, tile - overlap), length - tile]


def _ramp(cells: int, before: bool, after: bool, overlap: int, scale: int) -> torch.Tensor:
    """The weight of a tile along one edge: rising over the overlap where a neighbour lies, 1 elsewhere."""
    import torch

    ramp = torch.ones(cells * scale)
    shared = overlap * scale
    if shared:
        rise = (torch.arange(shared) + 0.5) / shared
        if before:
            ramp[:shared] *= rise
        if after:
            ramp[-shared:] *= rise.flip(0)
    return ramp
