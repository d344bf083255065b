"""Half-size copies of a picture, so that a big one shown small looks as if averaged, not as if sampled.

Drawing an 8k picture small straight from its pixels is as fast as from a pyramid, but 16 dB worse. The copies are
made by area averaging on a worker thread; until they are there the viewer draws from the full picture.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray
from PySide6.QtGui import QImage

SMALLEST_EDGE = 256


def display_image(image: QImage) -> QImage:
    """`image` in the pixel format that raster painting is fastest with: RGB32, or premultiplied ARGB32 with alpha."""
    wanted = QImage.Format.Format_ARGB32_Premultiplied if image.hasAlphaChannel() else QImage.Format.Format_RGB32
    return image if image.format() == wanted else image.convertToFormat(wanted)


def pixels_of(image: QImage) -> NDArray[np.uint8]:
    """A copy of a 32-bit image's bytes, [H, W, 4] in B, G, R, A order."""
    raw = np.frombuffer(image.constBits(), dtype=np.uint8)
    return raw.reshape(image.height(), image.bytesPerLine())[:, : image.width() * 4].reshape(
        image.height(), image.width(), 4
    ).copy()  # fmt: skip


def image_from_pixels(pixels: NDArray[np.uint8], image_format: QImage.Format) -> QImage:
    """A QImage that owns its memory, from [H, W, 4] bytes."""
    height, width = pixels.shape[:2]
    return QImage(np.ascontiguousarray(pixels).data, width, height, width * 4, image_format).copy()


def image_from_rgb(pixels: NDArray[np.uint8]) -> QImage:
    """A display image from [H, W, 3] or [H, W, 4] bytes in R, G, B(, A) order, straight alpha."""
    contiguous = np.ascontiguousarray(pixels)
    height, width, channels = contiguous.shape
    source = QImage.Format.Format_RGBA8888 if channels == 4 else QImage.Format.Format_RGB888
    return display_image(QImage(contiguous.data, width, height, width * channels, source).copy())


def build_levels(image: QImage) -> tuple[QImage, ...]:
    """`image` and its halves, quarters, … down to SMALLEST_EDGE. Level n is 2**n times smaller. Any thread."""
    base = display_image(image)
    levels = [base]
    pixels: NDArray[np.uint8] | None = None
    while max(levels[-1].width(), levels[-1].height()) > 2 * SMALLEST_EDGE:
        pixels = pixels_of(base) if pixels is None else pixels
        height, width = pixels.shape[:2]
        size = (max(1, width // 2), max(1, height // 2))
        pixels = cv2.resize(pixels, size, interpolation=cv2.INTER_AREA).astype(np.uint8, copy=False)
        levels.append(image_from_pixels(pixels, base.format()))
    return tuple(levels)


def level_for(device_scale: float, levels: int) -> int:
    """Which level to draw from at `device_scale` screen pixels per picture pixel: the smallest that is not enlarged."""
    level = 0
    while level + 1 < levels and device_scale * 2 ** (level + 1) <= 1.0 + 1e-9:
        level += 1
    return level
