"""An empty latent for video."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from engine.contracts.errors import InvalidRequest
from engine.graph.node import In, NodeContext, node
from engine.graph.values import Latent, LatentValue


@dataclass(frozen=True)
class _Cells:
    channels: int
    pixels: int  # for each cell, both ways
    frames: int  # for each latent frame after the first


FAMILIES = {
    "hunyuan_video": _Cells(16, 8, 4),
    "wan": _Cells(16, 8, 4),
    "ltx": _Cells(128, 32, 8),
}


@node("latent.empty_video", category="Latent", outputs=("latent",), title="Empty video latent",
      search=("EmptyHunyuanLatentVideo", "EmptyLTXVLatentVideo"))  # fmt: skip
def empty_video(
    ctx: NodeContext,
    width: Annotated[int, In(minimum=16, maximum=16384, step=16)] = 848,
    height: Annotated[int, In(minimum=16, maximum=16384, step=16)] = 480,
    frames: Annotated[int, In(minimum=1, maximum=4096, step=4)] = 25,
    batch_size: Annotated[int, In(minimum=1, maximum=64)] = 1,
    family: Annotated[str, In(choices=tuple(FAMILIES))] = "hunyuan_video",
) -> Latent:
    """An empty latent to make a new video in.

    width: pixels
    height: pixels
    frames: how many pictures; the families count one and then groups of 4 (LTX: 8)
    batch_size: how many videos; video i has the seed plus i
    family: whose latents they are
    """
    import torch

    cells = FAMILIES[family]
    for name, edge in (("width", width), ("height", height)):
        if edge % cells.pixels:
            nearest = max(1, round(edge / cells.pixels)) * cells.pixels
            raise InvalidRequest(f"the {name} {edge} is not a multiple of {cells.pixels}", where="size",
                                 fix=f"Use {nearest}")  # fmt: skip
    shape = (
        batch_size,
        cells.channels,
        (frames - 1) // cells.frames + 1,
        height // cells.pixels,
        width // cells.pixels,
    )
    return LatentValue(torch.zeros(shape), family, indices=tuple(range(batch_size)))
