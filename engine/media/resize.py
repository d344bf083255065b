"""Scaling pictures and masks. All methods work in float32, and those that average are antialiased when shrinking."""

from __future__ import annotations

from typing import Literal, TypeAlias, get_args

import numpy as np

from engine.media.pixels import Floats

Method: TypeAlias = Literal["nearest", "bilinear", "bicubic", "area", "lanczos", "nearest-exact"]
METHODS: tuple[str, ...] = get_args(Method)


def resize(image: Floats, width: int, height: int, method: str = "lanczos") -> Floats:
    """[B, H, W, C] or [B, H, W] at `width` × `height` pixels, float32, clipped to 0..1.

    nearest, which ComfyUI calls nearest-exact, takes the pixel whose centre is nearest; area is the mean over each new
    pixel; bilinear, bicubic (a = −0.5) and lanczos (3 lobes) are Pillow's, which widen when shrinking. Colours are
    weighted by alpha, so that invisible pixels don't bleed into visible ones. The size it already has returns it.
    """
    if image.shape[1:3] == (height, width):
        return image
    if image.ndim == 4 and image.shape[-1] == 4 and not method.startswith("nearest") and image[..., 3].min() < 1.0:
        return _resize_premultiplied(image, width, height, method)
    planes = image[..., None] if image.ndim == 3 else image
    out = np.stack([_resize_one(item, width, height, method) for item in planes])
    return out[..., 0] if image.ndim == 3 else out


def _resize_premultiplied(image: Floats, width: int, height: int, method: str) -> Floats:
    opacity = image[..., 3:]
    coloured = resize(np.concatenate([image[..., :3] * opacity], -1), width, height, method)
    small = resize(image[..., 3], width, height, method)[..., None]
    plain = resize(np.ascontiguousarray(image[..., :3]), width, height, method)
    colours = np.where(small > 1e-4, coloured / np.maximum(small, 1e-4), plain)
    return np.concatenate([np.clip(colours, 0, 1), small], -1, dtype=np.float32)


def _resize_one(item: Floats, width: int, height: int, method: str) -> Floats:
    if method.startswith("nearest"):
        rows = np.minimum(((np.arange(height) + 0.5) * item.shape[0] / height).astype(int), item.shape[0] - 1)
        columns = np.minimum(((np.arange(width) + 0.5) * item.shape[1] / width).astype(int), item.shape[1] - 1)
        chosen: Floats = item[rows[:, None], columns[None, :]]
        return chosen
    if method == "area":
        import cv2

        made = cv2.resize(np.ascontiguousarray(item), (width, height), interpolation=cv2.INTER_AREA)
        return np.clip(made.reshape(height, width, item.shape[-1]), 0, 1).astype(np.float32, copy=False)
    from PIL import Image

    kernel = Image.Resampling[method.upper()]
    out = np.empty((height, width, item.shape[-1]), np.float32)
    for channel in range(item.shape[-1]):
        plane = Image.fromarray(np.ascontiguousarray(item[..., channel]))
        out[..., channel] = np.asarray(plane.resize((width, height), kernel))
    return np.clip(out, 0, 1, out=out)


def fit_size(width: int, height: int, edge: int) -> tuple[int, int]:
    """The size that fits within `edge` × `edge` with the same shape, never larger than it is, at least 1 × 1."""
    scale = min(1.0, edge / max(width, height, 1))
    return max(1, round(width * scale)), max(1, round(height * scale))


def centre_crop_box(width: int, height: int, to_width: int, to_height: int) -> tuple[int, int, int, int]:
    """(x, y, width, height) of the largest centred part of a picture that has the shape of `to_width` × `to_height`."""
    if width * to_height > to_width * height:
        part = max(1, round(height * to_width / to_height))
        return (width - part) // 2, 0, part, height
    part = max(1, round(width * to_height / to_width))
    return 0, (height - part) // 2, width, part
