"""Encode and decode pictures in overlapping tiles, so that memory does not grow with the picture.

Norms and attention see the whole picture all the same: see engine/memory/tiling.py, and docs/tiles.md for figures.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated

import numpy as np

from engine.contracts.errors import InvalidRequest
from engine.contracts.node_schema import Effects
from engine.graph.node import In, NodeContext, node
from engine.graph.numerics import note
from engine.graph.values import Image, Latent, LatentValue, Vae
from engine.memory import tiling
from engine.memory.smaller_tiles import in_smaller_tiles
from engine.nodes.latent.picture import _decoded, _encoded, pixels_of

if TYPE_CHECKING:
    import torch

Tile = Annotated[int, In(minimum=64, maximum=4096, step=32)]
Overlap = Annotated[int, In(minimum=0, maximum=4096, step=32)]
Tone = Annotated[str, In(choices=tiling.STATISTICS, advanced=True)]


@node("latent.decode_image_tiled", category="Latent", outputs=("image",), title="Decode picture in tiles",
      effects=Effects(parallel_safe=False), search=("VAEDecodeTiled",), shapes=_decoded)  # fmt: skip
def decode_image_tiled(
    ctx: NodeContext,
    vae: Vae,
    latent: Latent,
    tile_size: Tile = 512,
    overlap: Overlap = 128,
    tone: Tone = "swept",
) -> Image:
    """Turn a large latent into a picture, a tile at a time, in the tone that it has when decoded whole.

    vae: the autoencoder of a checkpoint
    latent: as a sampler gives it
    tile_size: the edge of a tile, in pixels
    overlap: how far neighbouring tiles share, in pixels; from 288 on they equal the whole in all but tone
    tone: swept counts it over the whole picture; estimated only over smaller copies, half the work; own is each tile's
    """
    from engine.sampling.loop import fitted

    family = ctx.session.autoencoder(vae if vae.family else replace(vae, family=latent.space))
    space = family.latent_space
    samples = fitted(latent, space).samples
    tile, shared = _cells(tile_size, overlap, space.factor)
    decoded = tiled(ctx, family.decode, samples, (samples.shape[-2], samples.shape[-1]), tile, shared, 1, space.factor,
                    tone)  # fmt: skip
    pixels = (decoded * 0.5 + 0.5).clamp(0, 1)
    return np.ascontiguousarray(pixels.permute(0, 2, 3, 1).numpy())


@node("latent.encode_image_tiled", category="Latent", outputs=("latent",), title="Encode picture in tiles",
      effects=Effects(parallel_safe=False), search=("VAEEncodeTiled",), shapes=_encoded)  # fmt: skip
def encode_image_tiled(
    ctx: NodeContext,
    vae: Vae,
    image: Image,
    tile_size: Tile = 512,
    overlap: Overlap = 128,
    tone: Tone = "swept",
) -> Latent:
    """Turn a large picture into a latent, a tile at a time.

    vae: the autoencoder of a checkpoint
    image: its width and height must be whole numbers of latent cells (8 pixels); transparency is left out
    tile_size: the edge of a tile, in pixels
    overlap: how far neighbouring tiles share, in pixels; from 288 on they equal the whole in all but tone
    tone: swept counts it over the whole picture; estimated only over smaller copies, half the work; own is each tile's
    """
    family = ctx.session.autoencoder(vae)
    space = family.latent_space
    pixels = pixels_of(image, space.factor)
    cells = pixels.shape[-2] // space.factor, pixels.shape[-1] // space.factor
    tile, shared = _cells(tile_size, overlap, space.factor)
    samples = tiled(ctx, family.encode, pixels, cells, tile, shared, space.factor, 1, tone)
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
    statistics: str = "swept",
) -> torch.Tensor:
    """`run` over tiles of `tile` cells that share `overlap`, gathered on the CPU; in smaller ones if memory runs out.

    source              [B, C, rows · scale_in, columns · scale_in] for cells = (rows, columns)
    scale_in, scale_out pixels for each cell, of what goes in and of what comes out
    statistics          see engine.memory.tiling.Tiling
    """
    kind = next(known for known in tiling.STATISTICS if known == statistics)
    factor = scale_in * scale_out

    def tell(done: int, total: int) -> None:
        ctx.progress(done, total, f"tile {done} of {total}" if done < total else "")

    def made_in(size: int) -> torch.Tensor:
        cut = tiling.Tiling(size, min(overlap * factor // 2, size // 4), kind)
        found = tiling.run_tiles(run, source, cut, scale_in, scale_out, ctx.check_cancelled, tell)
        if size < tile * factor:
            note("vae_tile", size)
        return found

    return in_smaller_tiles(ctx, tile * factor, max(cells) * factor, made_in, "decoded" if scale_in == 1 else "encoded")


def _cells(tile: int, overlap: int, factor: int) -> tuple[int, int]:
    if overlap * 2 > tile:
        raise InvalidRequest(f"tiles of {tile} pixels can't share {overlap}", where="overlap",
                             fix=f"Share {tile // 2} or less")  # fmt: skip
    return max(tile // factor, 1), overlap // factor
