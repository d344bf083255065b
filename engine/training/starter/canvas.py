"""Vector drawing: anti-aliased polygons, discs and gradients, drawn at twice the size and reduced."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from engine.training.starter.palette import Colour

SUPERSAMPLING = 2
_SUBPIXEL_BITS = 4
_SUBPIXELS = 1 << _SUBPIXEL_BITS

Point = tuple[float, float]


class Canvas:
    """A square picture of `size` pixels. Coordinates and lengths are shares of the edge: 0..1, y downwards."""

    def __init__(self, size: int) -> None:
        self.size = size
        self._edge = size * SUPERSAMPLING
        self._pixels = np.zeros((self._edge, self._edge, 3), np.uint8)

    def polygon(self, points: Sequence[Point] | NDArray[np.float64], colour: Colour) -> None:
        fixed = np.round(np.asarray(points, np.float64) * self._edge * _SUBPIXELS).astype(np.int32)
        cv2.fillPoly(self._pixels, [fixed.reshape(-1, 1, 2)], colour, cv2.LINE_AA, _SUBPIXEL_BITS)

    def disc(self, x: float, y: float, radius: float, colour: Colour) -> None:
        self._circle(x, y, radius, colour, -1)

    def annulus(self, x: float, y: float, radius: float, width: float, colour: Colour) -> None:
        """A ring whose middle line has `radius`."""
        self._circle(x, y, radius, colour, max(1, round(width * self._edge)))

    def ellipse(self, x: float, y: float, radius_x: float, radius_y: float, colour: Colour) -> None:
        unit = self._edge * _SUBPIXELS
        centre, axes = (int(x * unit), int(y * unit)), (int(radius_x * unit), int(radius_y * unit))
        cv2.ellipse(self._pixels, centre, axes, 0, 0, 360, colour, -1, cv2.LINE_AA, _SUBPIXEL_BITS)

    def rectangle(self, left: float, top: float, right: float, bottom: float, colour: Colour) -> None:
        self.polygon([(left, bottom), (right, bottom), (right, top), (left, top)], colour)

    def gradient(self, top: Colour, bottom: Colour, start: float = 0.0, end: float = 1.0) -> None:
        """Fill the rows from `start` to `end`, blending evenly."""
        first, last = int(start * self._edge), int(end * self._edge)
        share = np.linspace(0, 1, max(1, last - first))[:, None, None]
        self._pixels[first:last] = (np.asarray(top) * (1 - share) + np.asarray(bottom) * share).astype(np.uint8)

    def picture(self) -> NDArray[np.uint8]:
        """uint8 [size, size, 3], sRGB."""
        reduced = cv2.resize(self._pixels, (self.size, self.size), interpolation=cv2.INTER_AREA)
        return np.asarray(reduced, np.uint8)

    def _circle(self, x: float, y: float, radius: float, colour: Colour, thickness: int) -> None:
        unit = self._edge * _SUBPIXELS
        centre = (int(x * unit), int(y * unit))
        cv2.circle(self._pixels, centre, int(radius * unit), colour, thickness, cv2.LINE_AA, _SUBPIXEL_BITS)
