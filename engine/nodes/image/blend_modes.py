"""Blend modes: one picture over another by the formulas of W3C Compositing and of the old paint programs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated

import numpy as np

from engine.graph.node import In, NodeContext, node
from engine.graph.values import Image, Mask
from engine.media.pixels import Floats, batched, keep_alpha, mask_batched, rgb, same_batch
from engine.media.resize import resize
from engine.nodes.image.composite import blend as lay_over


def _overlay(b: Floats, o: Floats) -> Floats:
    return np.where(b <= 0.5, 2 * b * o, 1 - 2 * (1 - b) * (1 - o))


def _soft_light(b: Floats, o: Floats) -> Floats:
    root = np.where(b <= 0.25, ((16 * b - 12) * b + 4) * b, np.sqrt(b))
    return np.where(o <= 0.5, b - (1 - 2 * o) * b * (1 - b), b + (2 * o - 1) * (root - b))


def _dodge(b: Floats, o: Floats) -> Floats:
    made = np.minimum(1, b / np.maximum(1 - o, np.float32(1e-7)))
    return np.where(b <= 0, np.float32(0), np.where(o >= 1, np.float32(1), made))


def _burn(b: Floats, o: Floats) -> Floats:
    made = 1 - np.minimum(1, (1 - b) / np.maximum(o, np.float32(1e-7)))
    return np.where(b >= 1, np.float32(1), np.where(o <= 0, np.float32(0), made))


# b is the picture below, o the one over it, both in 0..1.
MODES: dict[str, Callable[[Floats, Floats], Floats]] = {
    "normal": lambda b, o: o,
    "multiply": lambda b, o: b * o,
    "screen": lambda b, o: 1 - (1 - b) * (1 - o),
    "overlay": _overlay,
    "soft_light": _soft_light,
    "hard_light": lambda b, o: _overlay(o, b),
    "difference": lambda b, o: np.abs(b - o),
    "add": lambda b, o: np.minimum(1, b + o),
    "subtract": lambda b, o: np.maximum(0, b - o),
    "darken": np.minimum,
    "lighten": np.maximum,
    "dodge": _dodge,
    "burn": _burn,
}


@node("image.blend", category="Image", outputs=("image",), title="Blend images", search=("layer", "mix", "multiply"))
def blend(
    ctx: NodeContext,
    base: Image,
    layer: Image,
    mode: Annotated[str, In(choices=tuple(MODES))] = "normal",
    opacity: Annotated[float, In(minimum=0.0, maximum=1.0, step=0.01)] = 0.5,
    mask: Mask | None = None,
) -> Image:
    """Lay a picture over another with a blend mode. Where nothing covers, the base keeps its exact values.

    base: the picture below
    layer: the picture over it; it is scaled to the base
    mode: how the colours of the two make one
    opacity: how much of the result shows, 0 to 1
    mask: where it shows; everywhere when left open
    """
    below = batched(base)
    height, width = below.shape[1:3]
    over = resize(batched(layer), width, height, "bicubic")
    cover = np.ones((1, height, width), np.float32)
    if mask is not None:
        cover = resize(mask_batched(mask), width, height, "bilinear")
    below, over, cover = same_batch(below, over, cover)
    if over.shape[-1] == 4:
        cover = cover * over[..., 3]
    mixed = np.clip(MODES[mode](rgb(below), rgb(over)), 0, 1).astype(np.float32, copy=False)
    return keep_alpha(below, lay_over(rgb(below), mixed, cover * np.float32(opacity)))
