"""Tone: levels, curves, brightness and contrast. Alpha is kept."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, TypeAlias

import numpy as np
import numpy.typing as npt

from engine.contracts.errors import InvalidRequest, clip
from engine.graph.node import In, NodeContext, node
from engine.graph.values import Image
from engine.media.pixels import Floats, batched, keep_alpha, rgb

Doubles: TypeAlias = npt.NDArray[np.float64]

CHANNELS = ("rgb", "red", "green", "blue")
Channel = Annotated[str, In(choices=CHANNELS)]
Unit = Annotated[float, In(minimum=0.0, maximum=1.0, step=0.01)]


@node("image.levels", category="Image/Adjust", outputs=("image",), title="Levels", search=("gamma", "contrast"))
def levels(
    ctx: NodeContext,
    image: Image,
    black: Unit = 0.0,
    white: Unit = 1.0,
    gamma: Annotated[float, In(minimum=0.1, maximum=10.0, step=0.01)] = 1.0,
    out_black: Unit = 0.0,
    out_white: Unit = 1.0,
    channel: Channel = "rgb",
) -> Image:
    """Stretch the values between two points over the whole range, with a gamma for the middle.

    image: the pictures to change
    black: the value that becomes black
    white: the value that becomes white
    gamma: above 1 the middle becomes lighter, below 1 darker
    out_black: what black becomes in the end
    out_white: what white becomes in the end
    channel: all colours, or one
    """
    if white <= black:
        raise InvalidRequest("the white point must lie above the black point", where="levels")

    def curve(values: Floats) -> Floats:
        stretched = np.clip((values - np.float32(black)) / np.float32(white - black), 0, 1)
        bent = np.power(stretched, np.float32(1 / gamma)) * np.float32(out_white - out_black)
        return np.asarray(bent + np.float32(out_black), np.float32)

    pictures = batched(image)
    return keep_alpha(pictures, _on_channel(rgb(pictures), channel, curve))


@node("image.curves", category="Image/Adjust", outputs=("image",), title="Curves", search=("tone", "contrast"))
def curves(
    ctx: NodeContext, image: Image, points: str = "0,0; 0.25,0.2; 0.75,0.8; 1,1", channel: Channel = "rgb"
) -> Image:
    """Redraw the tones by a smooth curve through given points; it never overshoots between them.

    image: the pictures to change
    points: in,out pairs from 0 to 1 with semicolons between them, like 0,0; 0.5,0.6; 1,1
    channel: all colours, or one
    """
    xs, ys = parse_points(points)
    positions = np.linspace(0, 1, 4097)
    table = np.clip(monotone(xs, ys, positions), 0, 1)
    pictures = batched(image)
    return keep_alpha(
        pictures, _on_channel(rgb(pictures), channel, lambda v: np.interp(v, positions, table).astype(np.float32))
    )


@node("image.brightness_contrast", category="Image/Adjust", outputs=("image",), title="Brightness and contrast")
def brightness_contrast(
    ctx: NodeContext,
    image: Image,
    brightness: Annotated[float, In(minimum=-1.0, maximum=1.0, step=0.01)] = 0.0,
    contrast: Annotated[float, In(minimum=-1.0, maximum=1.0, step=0.01)] = 0.0,
) -> Image:
    """Make pictures lighter or darker, and the distance between light and dark larger or smaller.

    image: the pictures to change
    brightness: added to each colour; 0 changes nothing
    contrast: −1 is flat grey, 0 changes nothing, 1 doubles the distance from the middle
    """
    pictures = batched(image)
    changed = (rgb(pictures) - np.float32(0.5)) * np.float32(1 + contrast) + np.float32(0.5 + brightness)
    if not brightness and not contrast:
        return pictures
    return keep_alpha(pictures, np.clip(changed, 0, 1))


def _on_channel(colours: Floats, channel: str, change: Callable[[Floats], Floats]) -> Floats:
    if channel == "rgb":
        return np.clip(change(colours), 0, 1).astype(np.float32, copy=False)
    index = CHANNELS.index(channel) - 1
    out = colours.copy()
    out[..., index] = np.clip(change(colours[..., index]), 0, 1)
    return out


def parse_points(text: str) -> tuple[list[float], list[float]]:
    """The in and out values of "0,0; 1,1", sorted by in. Raises InvalidRequest for anything else."""
    pairs: dict[float, float] = {}
    for part in text.replace("\n", ";").split(";"):
        if not part.strip():
            continue
        try:
            x, y = (float(number) for number in part.split(","))
        except ValueError:
            x = y = -1.0
        if not (0 <= x <= 1 and 0 <= y <= 1) or x in pairs or len(pairs) >= 64:
            raise InvalidRequest(
                f"“{clip(part, 30)}” is no point of a curve",
                where="points",
                fix="Write pairs from 0 to 1 like 0,0; 0.5,0.6; 1,1, each place once",
            )
        pairs[x] = y
    if len(pairs) < 2:
        raise InvalidRequest("a curve needs at least two points", where="points", fix="Write them like 0,0; 1,1")
    xs = sorted(pairs)
    return xs, [pairs[x] for x in xs]


def monotone(xs: list[float], ys: list[float], at: Doubles) -> Doubles:
    """The monotone cubic through the points (Fritsch and Carlson 1980) at `at`; flat outside them."""
    x, y = np.array(xs), np.array(ys)
    width = np.diff(x)
    slope = np.diff(y) / width
    tangent = np.concatenate([slope[:1], np.zeros(max(0, len(slope) - 1)), slope[-1:]])
    for i in range(1, len(slope)):
        if slope[i - 1] * slope[i] > 0:
            w1, w2 = 2 * width[i] + width[i - 1], width[i] + 2 * width[i - 1]
            tangent[i] = (w1 + w2) / (w1 / slope[i - 1] + w2 / slope[i])
    for i, s in enumerate(slope):  # the ends too, so that no part overshoots
        tangent[i] = np.clip(tangent[i], min(0, 3 * s), max(0, 3 * s))
        tangent[i + 1] = np.clip(tangent[i + 1], min(0, 3 * s), max(0, 3 * s))
    place = np.clip(at, x[0], x[-1])
    index = np.clip(np.searchsorted(x, place, side="right") - 1, 0, len(slope) - 1)
    t = (place - x[index]) / width[index]
    made: Doubles = (
        y[index] * (1 + 2 * t) * (1 - t) ** 2
        + tangent[index] * width[index] * t * (1 - t) ** 2
        + y[index + 1] * t**2 * (3 - 2 * t)
        + tangent[index + 1] * width[index] * t**2 * (t - 1)
    )
    return made
