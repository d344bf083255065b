"""Hue, saturation and lightness."""

from __future__ import annotations

from typing import Annotated

import numpy as np

from engine.graph.node import In, NodeContext, node
from engine.graph.values import Image
from engine.media.pixels import batched, keep_alpha, luminance, rgb

Signed = Annotated[float, In(minimum=-1.0, maximum=1.0, step=0.01)]


@node("image.hue_saturation", category="Image/Adjust", outputs=("image",), title="Hue and saturation", search=("hsl",))
def hue_saturation(
    ctx: NodeContext,
    image: Image,
    hue: Annotated[float, In(minimum=-180.0, maximum=180.0, step=1.0)] = 0.0,
    saturation: Signed = 0.0,
    lightness: Signed = 0.0,
) -> Image:
    """Turn the colours around the wheel, make them stronger or weaker, lighter or darker (HSL).

    image: the pictures to change
    hue: degrees; 120 turns red to green
    saturation: −1 is grey, 0 changes nothing, 1 doubles it
    lightness: −1 is black, 0 changes nothing, 1 is white
    """
    import cv2

    pictures = batched(image)
    if not hue and not saturation and not lightness:
        return pictures
    out = np.empty((*pictures.shape[:3], 3), np.float32)
    for index, picture in enumerate(rgb(pictures)):
        hls = cv2.cvtColor(np.ascontiguousarray(picture), cv2.COLOR_RGB2HLS)
        hls[..., 0] = np.mod(hls[..., 0] + np.float32(hue), 360)
        hls[..., 2] = np.clip(hls[..., 2] * np.float32(1 + saturation), 0, 1)
        light = hls[..., 1]
        hls[..., 1] = light + np.float32(lightness) * ((1 - light) if lightness > 0 else light)
        out[index] = cv2.cvtColor(hls, cv2.COLOR_HLS2RGB)
    return keep_alpha(pictures, np.clip(out, 0, 1))


@node("image.greyscale", category="Image/Adjust", outputs=("image",), title="Greyscale", search=("black and white",))
def greyscale(ctx: NodeContext, image: Image) -> Image:
    """Take the colour away, keeping how light each part looks (Rec. 709).

    image: the pictures to change
    """
    pictures = batched(image)
    return keep_alpha(pictures, np.repeat(luminance(pictures)[..., None], 3, axis=-1))
