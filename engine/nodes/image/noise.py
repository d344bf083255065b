"""Noise: film grain and the like, the same for the same seed on every machine."""

from __future__ import annotations

from typing import Annotated

import numpy as np

from engine.graph.node import In, NodeContext, node
from engine.graph.values import Image
from engine.media.pixels import batched, keep_alpha, rgb


@node("image.noise", category="Image/Filter", outputs=("image",), title="Add noise", search=("grain", "film"))
def add_noise(
    ctx: NodeContext,
    image: Image,
    amount: Annotated[float, In(minimum=0.0, maximum=1.0, step=0.01)] = 0.1,
    seed: Annotated[int, In(minimum=0, maximum=2**63 - 1, seed=True)] = 0,
    kind: Annotated[str, In(choices=("gaussian", "uniform"))] = "gaussian",
    coloured: bool = True,
) -> Image:
    """Add random noise. Item i of a batch gets the noise of seed + i.

    image: the pictures to change
    amount: the standard deviation, or the largest change of uniform noise
    seed: which noise
    kind: gaussian is like film grain; uniform is even
    coloured: each colour on its own, or all three together
    """
    pictures = batched(image)
    if not amount:
        return pictures
    out = np.empty((*pictures.shape[:3], 3), np.float32)
    shape = (*pictures.shape[1:3], 3 if coloured else 1)
    for index, picture in enumerate(rgb(pictures)):
        source = np.random.Generator(np.random.PCG64(seed + index))
        grain = source.standard_normal(shape) if kind == "gaussian" else source.uniform(-1, 1, shape)
        out[index] = np.clip(picture + grain.astype(np.float32) * np.float32(amount), 0, 1)
    return keep_alpha(pictures, out)
