"""Hints of lines: canny, soft edges, scribbles and line art, by classical means and therefore without weights.

Every function takes float32 [B, H, W, C] in 0..1 (sRGB, the first three channels count) and gives float32 [B, H, W, 3],
white lines on black, as the ControlNets of these kinds were trained to read them.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from engine.media.pixels import batched, luminance, rgb, to_bytes, to_float

Pixels = npt.NDArray[np.float32]

_SCALES = (0.8, 1.6, 3.2)
_FAINTEST = 0.05  # a gradient that counts as a whole edge at least, so that flat pictures stay black


def canny(image: Pixels, low: float = 0.4, high: float = 0.8) -> Pixels:
    """Edges one pixel wide (Canny 1986). `low`, `high`: thresholds of the 3×3 Sobel gradient, as shares of 255."""
    import cv2

    least, most = sorted((low * 255, high * 255))
    edges = np.stack([cv2.Canny(to_bytes(item), least, most) for item in luminance(batched(image))])
    return three(to_float(edges.astype(np.uint8, copy=False)))


def soft_edges(image: Pixels, strength: float = 1.0) -> Pixels:
    """Broad soft edges like a holistically-nested detector's (1504.06375): colour gradients at three scales, averaged.

    `strength` 1 makes the strongest hundredth of the gradients white.
    """
    return three(np.stack([_softness(item) * np.float32(strength) for item in rgb(batched(image))]).clip(0, 1))


def scribble(image: Pixels, threshold: float = 0.25, width: int = 3) -> Pixels:
    """Hard lines `width` pixels wide along the ridges of the soft edges above `threshold`; specks are left out.

    After ControlNet's scribble from HED: thinning by non-maximum suppression, then widening.
    """
    import cv2

    out = []
    for item in rgb(batched(image)):
        soft = cv2.GaussianBlur(_softness(item), (0, 0), 1.5)
        ridge = _ridge(np.asarray(soft, np.float32), threshold)
        _, labels, boxes, _ = cv2.connectedComponentsWithStats(ridge, connectivity=8)
        spans = np.maximum(boxes[:, cv2.CC_STAT_WIDTH], boxes[:, cv2.CC_STAT_HEIGHT])
        keep = spans >= max(4, min(item.shape[:2]) // 40)
        keep[0] = False
        lines = keep[labels].astype(np.uint8)
        brush = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (max(1, width), max(1, width)))
        out.append(cv2.dilate(lines, brush).astype(np.float32))
    return three(np.stack(out))


def line_art(image: Pixels, reach: float = 6.0, threshold: float = 0.03) -> Pixels:
    """What is darker than its surroundings within `reach` pixels, as a pencil would draw it.

    ControlNet 1.1's “lineart standard”: the least of the channels of blur − picture, scaled so that the middle one of
    those above `threshold` is half white.
    """
    import cv2

    out = []
    for item in rgb(batched(image)):
        darker = (cv2.GaussianBlur(item, (0, 0), reach) - item).min(axis=2).clip(0, 1)
        marked = darker[darker > threshold]
        middle = float(np.median(marked)) if marked.size else 1.0
        out.append((darker / max(16 / 255, middle) * 0.5).clip(0, 1))
    return three(np.stack(out).astype(np.float32))


def three(grey: Pixels) -> Pixels:
    """[B, H, W] as [B, H, W, 3]."""
    return np.repeat(grey[..., None], 3, axis=-1)


def _softness(item: Pixels) -> Pixels:
    import cv2

    total = np.zeros(item.shape[:2], np.float32)
    for scale in _SCALES:
        soft = cv2.GaussianBlur(item, (0, 0), scale)
        across, down = (cv2.Scharr(soft, cv2.CV_32F, *step) / 32 * scale for step in ((1, 0), (0, 1)))
        total += np.sqrt(across**2 + down**2).max(axis=2)
    strongest = float(np.quantile(total, 0.99))
    return np.asarray(total / max(strongest, _FAINTEST), np.float32)


def _ridge(soft: Pixels, threshold: float) -> npt.NDArray[np.uint8]:
    """Where `soft` is above `threshold` and largest across the line, the direction in which it falls off most."""
    padded = np.pad(soft, 1, mode="edge")
    height, width = soft.shape
    pairs = []
    for down, across in ((0, 1), (1, 0), (1, 1), (1, -1)):
        one, other = (
            padded[1 + sign * down : 1 + sign * down + height, 1 + sign * across : 1 + sign * across + width]
            for sign in (1, -1)
        )
        pairs.append((2 * soft - one - other, (soft >= one) & (soft > other)))
    steepest = np.argmax([fall for fall, _ in pairs], axis=0)
    largest = np.choose(steepest, [top for _, top in pairs])
    return np.asarray(largest & (soft > threshold), np.uint8)
