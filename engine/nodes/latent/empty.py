"""An empty latent."""

from __future__ import annotations

from typing import Annotated

from engine.contracts.errors import InvalidRequest
from engine.graph.node import In, NodeContext, node
from engine.graph.values import Latent, LatentValue, ShapeInfo

CELL = 8  # pixels; the sampler's family re-lays the latent where its own cells differ


def _size(width: int | None, height: int | None, batch_size: int | None) -> ShapeInfo | None:
    return ShapeInfo(batch_size, height, width) if width and height and batch_size else None


@node(
    "latent.empty",
    category="Latent",
    outputs=("latent",),
    title="Empty latent",
    search=("EmptyLatentImage",),
    shapes=_size,
)
def empty(
    ctx: NodeContext,
    width: Annotated[int, In(minimum=64, maximum=16384, step=8)] = 512,
    height: Annotated[int, In(minimum=64, maximum=16384, step=8)] = 512,
    batch_size: Annotated[int, In(minimum=1, maximum=64)] = 1,
) -> Latent:
    """An empty latent to make new pictures in.

    width: pixels
    height: pixels
    batch_size: how many pictures; picture i has the seed plus i
    """
    import torch

    for name, edge in (("width", width), ("height", height)):
        if edge % CELL:
            nearest = round(edge / CELL) * CELL
            raise InvalidRequest(f"the {name} {edge} is not a multiple of {CELL}", where="size", fix=f"Use {nearest}")
    samples = torch.zeros((batch_size, 4, height // CELL, width // CELL))
    return LatentValue(samples, "any", indices=tuple(range(batch_size)))
