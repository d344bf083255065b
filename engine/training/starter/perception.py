"""How the judge sees colour: distances in CIE Lab, about even to the eye."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeAlias

import cv2
import numpy as np
from numpy.typing import NDArray

from engine.training.starter.palette import Colour

Picture: TypeAlias = NDArray[np.uint8]
"""[H, W, 3], sRGB."""
Mask: TypeAlias = NDArray[np.bool_]
"""[H, W], true where a picture is to be redrawn."""
Plane: TypeAlias = NDArray[np.float32]


def to_lab(rgb: NDArray[Any]) -> Plane:
    """sRGB 0..255 [H, W, 3] → CIE Lab (L 0..100)."""
    return np.asarray(cv2.cvtColor((rgb / 255.0).astype(np.float32), cv2.COLOR_RGB2LAB), np.float32)


def colour_to_lab(colour: Colour | NDArray[Any]) -> Plane:
    """One colour, [3]."""
    return np.asarray(to_lab(np.asarray(colour, np.float32).reshape(1, 1, 3))[0, 0], np.float32)


def nearest_colour(rgb: Colour | NDArray[Any], among: Mapping[str, Colour]) -> str:
    """The name of the colour in `among` that is nearest to `rgb`."""
    wanted = colour_to_lab(rgb)
    return min(among, key=lambda name: float(np.linalg.norm(colour_to_lab(among[name]) - wanted)))
