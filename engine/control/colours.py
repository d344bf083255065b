"""Hints of colour and surface: tiles, colour grids, segments and normals, without weights.

Pictures are float32 [B, H, W, C] in 0..1 (the first three channels count), hints float32 [B, H, W, 3].
"""

from __future__ import annotations

import colorsys

import numpy as np
import numpy.typing as npt

from engine.media.pixels import batched, rgb
from engine.media.resize import resize

Pixels = npt.NDArray[np.float32]

_SAMPLE_EDGE = 128  # colours of segments are found on a picture no larger than this
_ROUNDS = 12


def tile(image: Pixels, factor: float = 4.0) -> Pixels:
    """The picture without its detail: scaled down by `factor` and up again (ControlNet 1.1's “tile resample”)."""
    pictures = rgb(batched(image))
    height, width = pictures.shape[1:3]
    small = resize(pictures, max(1, round(width / factor)), max(1, round(height / factor)), "area")
    return resize(small, width, height, "bilinear").clip(0, 1)


def colour_grid(image: Pixels, cell: int = 64) -> Pixels:
    """Squares of `cell` pixels, each in the mean of its colours (T2I-Adapter's colour hint)."""
    pictures = rgb(batched(image))
    height, width = pictures.shape[1:3]
    small = resize(pictures, max(1, -(-width // cell)), max(1, -(-height // cell)), "area")
    return resize(small, width, height, "nearest").clip(0, 1)


def segments(image: Pixels, count: int = 6, *, palette: bool = False) -> Pixels:
    """Surfaces of at most `count` colours: k-means in CIE Lab, edges smoothed by a median.

    Each segment has its mean colour, or with `palette` one far from the others'.
    """
    return np.stack([_segmented(item, max(1, min(count, 64)), palette) for item in rgb(batched(image))])


def normals(depth: Pixels, strength: float = 4.0, background: float = 0.0) -> Pixels:
    """Normals of depth pictures whose near parts are light: red to the right, green up, blue to the viewer.

    `strength` is how far the nearest lies before the farthest, in picture widths × 0.25; what is darker than
    `background` faces the viewer.
    """
    import cv2

    out = []
    for item in rgb(batched(depth)).mean(axis=-1):
        soft = cv2.GaussianBlur(np.ascontiguousarray(item), (0, 0), 1.0)
        scale = np.float32(strength * 0.25 * max(item.shape) / 8)  # Sobel's weights sum to 8
        across, down = (cv2.Sobel(soft, cv2.CV_32F, *step, ksize=3) * scale for step in ((1, 0), (0, 1)))
        far = item < background
        across[far], down[far] = 0, 0
        normal = np.stack([-across, down, np.ones_like(across)], axis=-1)
        normal /= np.linalg.norm(normal, axis=-1, keepdims=True)
        out.append(normal * 0.5 + 0.5)
    return np.stack(out).astype(np.float32)


def distinct_colours(count: int) -> Pixels:
    """float32 [count, 3]: hues far from each other, in two rows of brightness."""
    golden = 0.618034
    return np.array(
        [colorsys.hsv_to_rgb(index * golden % 1, 0.85, 1.0 if index % 2 == 0 else 0.65) for index in range(count)],
        np.float32,
    ).reshape(-1, 3)


def _segmented(item: Pixels, count: int, palette: bool) -> Pixels:
    import cv2

    height, width = item.shape[:2]
    scale = min(1.0, _SAMPLE_EDGE / max(height, width))
    small = resize(item[None], max(1, round(width * scale)), max(1, round(height * scale)), "area")[0]
    centres = _centres(cv2.cvtColor(small, cv2.COLOR_RGB2LAB).reshape(-1, 3), count)
    lab = cv2.cvtColor(np.ascontiguousarray(item), cv2.COLOR_RGB2LAB)
    labels = np.zeros((height, width), np.uint8)
    nearest = np.full((height, width), np.inf, np.float32)
    for index, centre in enumerate(centres):
        far = np.square(lab - centre).sum(axis=-1)
        labels[far < nearest] = index
        nearest = np.minimum(nearest, far)
    labels = np.asarray(cv2.medianBlur(labels, 5), np.uint8)
    if palette:
        return distinct_colours(len(centres))[labels]
    colours = np.zeros((len(centres), 3), np.float32)
    for index in range(len(centres)):
        inside = labels == index
        if inside.any():
            colours[index] = item[inside].mean(axis=0)
    return colours[labels]


def _centres(points: Pixels, count: int) -> Pixels:
    """k-means from the farthest points, so that the same picture always gives the same segments."""
    centres = [points.mean(axis=0)]
    nearest = np.square(points - centres[0]).sum(axis=1)
    while len(centres) < count and float(nearest.max()) > 4.0:  # two Lab units: no other colour is left
        centres.append(points[int(nearest.argmax())])
        nearest = np.minimum(nearest, np.square(points - centres[-1]).sum(axis=1))
    found = np.stack(centres)
    for _ in range(_ROUNDS):
        labels = np.square(points[:, None] - found[None]).sum(axis=2).argmin(axis=1)
        moved = np.stack(
            [points[labels == i].mean(axis=0) if (labels == i).any() else found[i] for i in range(len(found))]
        )
        if np.allclose(moved, found, atol=0.05):
            break
        found = moved
    return found
