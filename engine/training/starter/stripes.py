"""The style of the starter model's LoRA, “striped paper”: light and dark bands across a picture; and how much there is.

The bands are 32 pixels wide at 128, four cells of the latent: what is finer, the autoencoder does not keep.
"""

from __future__ import annotations

from functools import cache

import cv2
import numpy as np
from numpy.typing import NDArray

from engine.training.starter.perception import Picture

PERIOD = 32
DEPTH = 0.13
"""Share of the lightness that a band adds or takes."""


def striped(picture: Picture, depth: float = DEPTH) -> NDArray[np.uint8]:
    """The picture on striped paper. uint8 [H, H, 3], sRGB; hue and place of what it shows stay."""
    lab = cv2.cvtColor(picture.astype(np.float32) / 255, cv2.COLOR_RGB2LAB)
    lab[..., 0] = np.clip(lab[..., 0] * (1 + depth * _bands(len(picture))), 0, 100)
    return np.asarray(np.round(np.clip(cv2.cvtColor(lab, cv2.COLOR_LAB2RGB), 0, 1) * 255), np.uint8)


def stripe_contrast(picture: Picture) -> float:
    """The style measure: median difference in CIE lightness (0..100) between bands and their neighbours.

    About 0 for pictures without bands: even colour and the edges of things leave a median at nought.
    """
    half = PERIOD // 2
    lightness = cv2.cvtColor(picture.astype(np.float32) / 255, cv2.COLOR_RGB2LAB)[..., 0]
    bands = _bands(len(picture))[half:-half]
    apart = lightness[half:-half] - (lightness[: -2 * half] + lightness[2 * half :]) / 2
    return float(np.median((apart * np.sign(bands))[np.abs(bands) > 0.7]))


@cache
def _bands(edge: int) -> NDArray[np.float32]:
    """−1..1, steeper than a sine: the square root of its size."""
    down, across = np.mgrid[:edge, :edge] + 0.5
    wave = np.sin(2 * np.pi * (down + across) / PERIOD)
    return np.asarray(np.sign(wave) * np.sqrt(np.abs(wave)), np.float32)
