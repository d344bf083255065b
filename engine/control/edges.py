"""Hints of lines: canny, soft edges, scribbles and line art, by classical means and therefore without weights.

Every function takes float32 [B, H, W, C] in 0..1 (sRGB, the first three channels count) and gives float32 [B, H, W, 3],
white lines on black, as the ControlNets of these kinds were trained to read them.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from engine.media.pixels import batched, luminance, to_bytes, to_float

Pixels = npt.NDArray[np.float32]


def canny(image: Pixels, low: float = 0.4, high: float = 0.8) -> Pixels:
    """Edges one pixel wide (Canny 1986). `low`, `high`: thresholds of the 3×3 Sobel gradient, as shares of 255."""
    import cv2

    least, most = sorted((low * 255, high * 255))
    edges = np.stack([cv2.Canny(to_bytes(item), least, most) for item in luminance(batched(image))])
    return three(to_float(edges.astype(np.uint8, copy=False)))


def three(grey: Pixels) -> Pixels:
    """[B, H, W] as [B, H, W, 3]."""
    return np.repeat(grey[..., None], 3, axis=-1)
