"""Enlarge pictures with a network."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated

import numpy as np

from engine.contracts.node_schema import Effects
from engine.graph.node import In, NodeContext, node
from engine.graph.values import Image, UpscaleModel

Tile = Annotated[int, In(minimum=64, maximum=4096, step=32, advanced=True)]


@node("image.upscale_with_model", category="Image", outputs=("image",), title="Upscale with a model",
      effects=Effects(parallel_safe=False, dear=True), search=("ImageUpscaleWithModel", "ESRGAN"))  # fmt: skip
def upscale_with_model(ctx: NodeContext, upscale_model: UpscaleModel, image: Image, tile_size: Tile = 512) -> Image:
    """Enlarge a picture by as much as its upscaler was trained for, a tile at a time.

    upscale_model: the network
    image: the picture; its transparency is enlarged without it
    tile_size: the edge of a tile, in pixels of the picture that goes in; smaller needs less memory
    """
    from engine.enhance.tiled import reach, upscaled
    from engine.graph.numerics import note
    from engine.memory.smaller_tiles import in_smaller_tiles

    upscaler = ctx.session.other(replace(upscale_model.weights, kind="upscaler"))

    def tell(done: int, total: int) -> None:
        ctx.progress(done, total, f"tile {done + 1} of {total}" if done < total else "")

    asked, _, _ = reach(upscaler, tile_size)

    def made_in(tile: int) -> Image:
        found = upscaled(upscaler, image, tile, exact=tile == asked, check=ctx.check_cancelled, progress=tell)
        if tile < asked:
            note("upscale_tile", tile)
        return found

    made = in_smaller_tiles(ctx, asked, max(image.shape[1:3]), made_in, "enlarged")
    if image.shape[-1] < 4:
        return made
    import cv2

    size = made.shape[2], made.shape[1]
    alpha = [cv2.resize(np.ascontiguousarray(one), size, interpolation=cv2.INTER_CUBIC) for one in image[..., 3]]
    clear = np.clip(np.stack(alpha), 0, 1).astype(np.float32)
    return np.concatenate([made, clear[..., None]], axis=-1)
