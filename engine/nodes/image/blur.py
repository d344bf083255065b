"""Blur and sharpen."""

from __future__ import annotations

from typing import Annotated

import numpy as np

from engine.graph.node import In, NodeContext, node
from engine.graph.values import Image
from engine.media.pixels import Floats, batched, keep_alpha, rgb

Radius = Annotated[int, In(minimum=0, maximum=512, step=1)]
Sigma = Annotated[float, In(minimum=0.0, maximum=256.0, step=0.1)]


@node("image.blur", category="Image/Filter", outputs=("image",), title="Gaussian blur", search=("soften",))
def blur(ctx: NodeContext, image: Image, radius: Radius = 4, sigma: Sigma = 0.0) -> Image:
    """Blur by a Gaussian. Invisible pixels give no colour to visible ones.

    image: the pictures to blur
    radius: how far the blur reaches, in pixels; 0 changes nothing
    sigma: its width in pixels; 0 takes half the radius
    """
    pictures = batched(image)
    if not radius:
        return pictures
    sigma = sigma or radius / 2
    if pictures.shape[-1] == 3:
        return np.clip(gaussian(pictures, radius, sigma), 0, 1)
    opacity = pictures[..., 3:]
    spread = gaussian(np.concatenate([pictures[..., :3] * opacity, opacity], -1), radius, sigma)
    soft = spread[..., 3:]
    colours = np.where(soft > 1e-6, spread[..., :3] / np.maximum(soft, 1e-6), pictures[..., :3])
    return np.clip(np.concatenate([colours, soft], -1, dtype=np.float32), 0, 1)


@node("image.sharpen", category="Image/Filter", outputs=("image",), title="Sharpen", search=("unsharp mask", "detail"))
def sharpen(
    ctx: NodeContext,
    image: Image,
    radius: Annotated[int, In(minimum=1, maximum=64, step=1)] = 2,
    sigma: Sigma = 0.0,
    amount: Annotated[float, In(minimum=0.0, maximum=5.0, step=0.05)] = 0.5,
    threshold: Annotated[float, In(minimum=0.0, maximum=1.0, step=0.01, advanced=True)] = 0.0,
) -> Image:
    """Sharpen by an unsharp mask: add what a blur takes away.

    image: the pictures to sharpen
    radius: how far the blur reaches, in pixels
    sigma: its width in pixels; 0 takes half the radius
    amount: how much is added; 0 changes nothing
    threshold: differences smaller than this stay as they are, so that noise is not sharpened
    """
    pictures = batched(image)
    if not amount:
        return pictures
    colours = rgb(pictures)
    detail = colours - gaussian(colours, radius, sigma or radius / 2)
    if threshold:
        detail = np.where(np.abs(detail) >= threshold, detail, 0)
    return keep_alpha(pictures, np.clip(colours + np.float32(amount) * detail, 0, 1))


def gaussian(batch: Floats, radius: int, sigma: float) -> Floats:
    """[B, H, W, C] or [B, H, W] convolved with a Gaussian cut off at `radius`; edges are mirrored."""
    import cv2

    size = (2 * radius + 1, 2 * radius + 1)
    return np.stack(
        [
            cv2.GaussianBlur(np.ascontiguousarray(item), size, sigma, borderType=cv2.BORDER_REFLECT).reshape(item.shape)
            for item in batch
        ]
    ).astype(np.float32, copy=False)
