"""Pixels as numbers: uint8 and float32, channels, alpha, orientation, batches.

IMAGE values are float32 [B, H, W, C] in 0..1 sRGB, C 3 or 4 with straight (not premultiplied) alpha; MASK values are
float32 [B, H, W], 1 = edit. Functions here never change their arguments; where nothing has to change they may return
the argument itself.
"""

from __future__ import annotations

from typing import TypeAlias

import numpy as np
import numpy.typing as npt

Floats: TypeAlias = npt.NDArray[np.float32]
Bytes: TypeAlias = npt.NDArray[np.uint8]


def to_float(pixels: npt.NDArray[np.uint8] | npt.NDArray[np.uint16]) -> Floats:
    """uint8 or uint16 to float32 in 0..1: v / 255 or v / 65535. `to_bytes` gives the same uint8 values back."""
    scale = np.float32(255 if pixels.dtype == np.uint8 else 65535)
    return np.divide(pixels, scale, dtype=np.float32)


def to_bytes(image: npt.NDArray[np.floating] | Bytes) -> Bytes:
    """Float 0..1 to uint8, rounded to the nearest; values outside are clipped, NaN is 0. uint8 passes as it is."""
    if image.dtype == np.uint8:
        return image  # type: ignore[return-value]  # narrowed by its dtype
    scaled = np.multiply(image, np.float32(255), dtype=np.float32)
    np.nan_to_num(scaled, copy=False, nan=0.0, posinf=255.0, neginf=0.0)
    np.rint(scaled, out=scaled)
    return np.clip(scaled, 0, 255, out=scaled).astype(np.uint8)


def rgb(image: Floats) -> Floats:
    """The first three channels of [..., C]; one channel is repeated."""
    if image.shape[-1] == 1:
        return np.repeat(image, 3, axis=-1)
    return image if image.shape[-1] == 3 else image[..., :3]


def alpha(image: Floats) -> Floats:
    """The alpha of [..., C] as [...]; ones where there is none."""
    if image.shape[-1] == 4:
        return image[..., 3]
    return np.ones(image.shape[:-1], np.float32)


def with_alpha(image: Floats, opacity: Floats) -> Floats:
    """[..., 4] with the colours of `image` and `opacity` [...] as alpha."""
    return np.concatenate([rgb(image), opacity[..., None]], axis=-1, dtype=np.float32)


def keep_alpha(original: Floats, colours: Floats) -> Floats:
    """`colours` [..., 3] with the alpha of `original` where it has one."""
    if original.shape[-1] != 4:
        return np.ascontiguousarray(colours, np.float32)
    return with_alpha(colours, original[..., 3])


def luminance(image: Floats) -> Floats:
    """Rec. 709 luma of the sRGB values, [...]: 0.2126 R + 0.7152 G + 0.0722 B."""
    return (rgb(image) @ np.array([0.2126, 0.7152, 0.0722], np.float32)).astype(np.float32, copy=False)


def orient(pixels: npt.NDArray[np.generic], orientation: int) -> npt.NDArray[np.generic]:
    """Pixels [H, W, …] turned upright as EXIF orientation 1..8 says (Exif 2.3, tag 0x0112)."""
    if orientation in (5, 6, 7, 8):
        pixels = np.swapaxes(pixels, 0, 1)
    if orientation in (2, 3, 6, 7):
        pixels = pixels[:, ::-1]
    if orientation in (3, 4, 7, 8):
        pixels = pixels[::-1]
    return np.ascontiguousarray(pixels)


def batched(image: Floats) -> Floats:
    """[H, W, C] as [1, H, W, C]; a batch passes as it is."""
    return image[None] if image.ndim == 3 else image


def mask_batched(mask: Floats) -> Floats:
    """[H, W] as [1, H, W]; a batch passes as it is."""
    return mask[None] if mask.ndim == 2 else mask


def repeat_to(values: Floats, count: int) -> Floats:
    """The batch `values` [B, …] made `count` long: its items in turn, again from the first where they run out."""
    if values.shape[0] == count:
        return values
    repeated: Floats = values[np.arange(count) % values.shape[0]]
    return repeated


def same_batch(*batches: Floats) -> tuple[Floats, ...]:
    """Each batch made as long as the longest, its items repeated in turn."""
    longest = max(batch.shape[0] for batch in batches)
    return tuple(repeat_to(batch, longest) for batch in batches)
