"""Draws a scene as a picture. What the scene leaves open is chosen at random."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from engine.training.starter.canvas import Canvas, Point
from engine.training.starter.landscape import draw_landscape
from engine.training.starter.palette import COLOURS, Colour
from engine.training.starter.scenes import Scene, ShapesScene

POSITIONS: dict[str, Point] = {
    "left": (0.27, 0.5),
    "right": (0.73, 0.5),
    "top": (0.5, 0.27),
    "bottom": (0.5, 0.73),
    "center": (0.5, 0.5),
    "": (0.5, 0.5),
}
RELATION_POSITIONS: dict[str, tuple[Point, Point]] = {
    "and": (POSITIONS["left"], POSITIONS["right"]),
    "beside": (POSITIONS["left"], POSITIONS["right"]),
    "left": (POSITIONS["left"], POSITIONS["right"]),
    "right": (POSITIONS["right"], POSITIONS["left"]),
    "above": (POSITIONS["top"], POSITIONS["bottom"]),
    "below": (POSITIONS["bottom"], POSITIONS["top"]),
}
RADII = {"small": 0.13, "": 0.24, "large": 0.36}
PAIR_RADIUS = 0.165
_WANDER = 0.03


Place: TypeAlias = tuple[float, float, float]
"""x, y and radius of a figure, as shares of the picture's edge."""


def render(
    scene: Scene, size: int, rng: np.random.Generator, places: Sequence[Place] | None = None
) -> NDArray[np.uint8]:
    """`scene` as uint8 [size, size, 3], sRGB. `places`: of its figures, instead of those that the scene asks for."""
    canvas = Canvas(size)
    if isinstance(scene, ShapesScene):
        _draw_shapes(canvas, scene, rng, places)
    else:
        draw_landscape(canvas, scene, rng)
    return canvas.picture()


def random_places(rng: np.random.Generator, figures: int) -> tuple[Place, ...]:
    """Places anywhere in the picture for one or two figures, which do not touch."""
    largest = 0.36 if figures == 1 else 0.24
    while True:
        radii = rng.uniform(0.11, largest, figures)
        middles = [rng.uniform(1.15 * radius, 1 - 1.15 * radius, 2) for radius in radii]
        if figures == 1 or float(np.hypot(*(middles[0] - middles[1]))) > 1.2 * float(radii.sum()):
            return tuple((float(x), float(y), float(r)) for (x, y), r in zip(middles, radii, strict=True))


def _draw_shapes(canvas: Canvas, scene: ShapesScene, rng: np.random.Generator, places: Sequence[Place] | None) -> None:
    background = COLOURS[scene.background]
    if scene.gradient:
        canvas.gradient(_vary(background, rng, 4), _vary(COLOURS[scene.gradient], rng, 4))
    else:
        red, green, blue = _vary(background, rng, 5)
        light = (min(255, red + 10), min(255, green + 10), min(255, blue + 10))
        canvas.gradient(light, (max(0, red - 10), max(0, green - 10), max(0, blue - 10)))
    wander = _WANDER if places is None else 0.0
    for figure, (x, y, radius) in zip(scene.figures, places or _usual_places(scene, rng), strict=True):
        dx, dy = (float(value) for value in rng.uniform(-wander, wander, 2))
        draw_figure(canvas, figure.shape, x + dx, y + dy, radius, _vary(COLOURS[figure.colour], rng, 5))


def _usual_places(scene: ShapesScene, rng: np.random.Generator) -> tuple[Place, ...]:
    if len(scene.figures) == 1:
        figure = scene.figures[0]
        radius = RADII[figure.size] * (1 + float(rng.uniform(-0.06, 0.06)))
        return ((*POSITIONS[figure.position], radius),)
    return tuple((x, y, PAIR_RADIUS) for x, y in RELATION_POSITIONS[scene.relation])


def draw_figure(canvas: Canvas, shape: str, x: float, y: float, radius: float, colour: Colour) -> None:
    """One of `scenes.SHAPES`, its centre at x, y; `radius` is about half of its larger edge."""
    if shape == "circle":
        canvas.disc(x, y, radius, colour)
    elif shape == "ring":
        canvas.annulus(x, y, radius * 0.76, radius * 0.42, colour)
    elif shape == "heart":
        canvas.polygon(_heart(x, y, radius), colour)
    elif shape == "star":
        canvas.polygon(_star(x, y, radius), colour)
    elif shape == "square":
        half = radius * 0.86
        canvas.rectangle(x - half, y - half, x + half, y + half, colour)
    elif shape == "diamond":
        wide, tall = radius * 0.72, radius * 1.1
        canvas.polygon([(x, y - tall), (x + wide, y), (x, y + tall), (x - wide, y)], colour)
    elif shape == "triangle":
        wide, foot = radius * 1.02, y + radius * 0.8
        canvas.polygon([(x, y - radius), (x + wide, foot), (x - wide, foot)], colour)
    else:
        raise ValueError(f"there is no shape {shape!r}")


def _star(x: float, y: float, radius: float) -> list[Point]:
    points = []
    for corner in range(10):
        reach = radius * (1.1 if corner % 2 == 0 else 0.46)
        angle = corner * math.pi / 5
        points.append((x + reach * math.sin(angle), y - reach * math.cos(angle)))
    return points


def _heart(x: float, y: float, radius: float) -> NDArray[np.float64]:
    # the usual heart curve, https://mathworld.wolfram.com/HeartCurve.html, moved to its middle
    t = np.linspace(0, 2 * np.pi, 60)
    across = 16 * np.sin(t) ** 3
    up = 13 * np.cos(t) - 5 * np.cos(2 * t) - 2 * np.cos(3 * t) - np.cos(4 * t) + 2
    return np.stack([x + radius * across / 16.5, y - radius * up / 16.5], 1)


def _vary(colour: Colour, rng: np.random.Generator, amount: int) -> Colour:
    red, green, blue = np.clip(np.array(colour) + rng.integers(-amount, amount + 1, 3), 0, 255).tolist()
    return int(red), int(green), int(blue)
