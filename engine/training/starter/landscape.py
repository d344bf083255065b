"""Draws landscapes: sky, sun or moon, clouds, ground, and what stands on it."""

from __future__ import annotations

import numpy as np

from engine.training.starter import palette
from engine.training.starter.canvas import Canvas
from engine.training.starter.palette import Colour, mix, scale, tint
from engine.training.starter.scenes import SIDES, Landscape, pick

SKY_X = {"left": 0.24, "right": 0.76, "middle": 0.5}
SKY_Y = 0.24
SUN_RADIUS = 0.11
HORIZON = 0.6
TREE_HEIGHT = 0.42
HOUSE_WIDTH = 0.27
BOAT_WIDTH = 0.24
MOUNTAIN_SCALE = 0.72
"""Things in front of mountains are this much smaller."""

FEET = {"mountains": 0.9, "sea": 0.76}
"""Where things stand, from the top; elsewhere `_FOOT`."""

_FOOT = 0.84


def foot(ground: str) -> float:
    """The height, from the top, at which things stand on this ground."""
    return FEET.get(ground, _FOOT)


def draw_landscape(canvas: Canvas, scene: Landscape, rng: np.random.Generator) -> None:
    def wander(amount: float = 0.03) -> float:
        return float(rng.uniform(-amount, amount))

    time = scene.time
    sky_top, sky_bottom = palette.SKIES[time]
    canvas.gradient(sky_top, sky_bottom)
    if time == "night":
        _draw_stars(canvas, HORIZON if scene.ground != "mountains" else 0.72, rng)
    side = scene.celestial_side or pick(rng, SIDES)
    if scene.celestial:
        colour = palette.sun_or_moon(scene.celestial, scene.celestial_colour)
        x, y, radius = SKY_X[side] + wander(), SKY_Y + wander(), SUN_RADIUS + wander(0.01)
        canvas.disc(x, y, radius * 1.35, mix(mix(sky_top, sky_bottom, 0.28), colour, 0.3))
        canvas.disc(x, y, radius, colour)
        if scene.celestial == "moon":
            canvas.disc(x - radius * 0.3, y - radius * 0.2, radius * 0.2, scale(colour, 0.92))
            canvas.disc(x + radius * 0.35, y + radius * 0.3, radius * 0.16, scale(colour, 0.92))
    if scene.clouds:
        for index in range(int(rng.integers(1, 4))):
            place = (0.2, 0.8, 0.52)[index] + wander(0.06), 0.2 + 0.1 * index + wander()
            _draw_cloud(canvas, *place, 0.055 + wander(0.01), palette.CLOUDS[time])
    if scene.ground == "mountains":
        _draw_mountains(canvas, scene, rng)
    elif scene.ground == "sea":
        _draw_sea(canvas, scene, SKY_X[side], rng)
    else:
        _draw_land(canvas, scene, rng)
    _draw_objects(canvas, scene, rng)


def draw_tree(canvas: Canvas, x: float, y: float, height: float, kind: str, time: str) -> None:
    """A tree of one of `scenes.TREES`, its foot at x, y."""
    trunk = [(x - height * 0.07, y), (x + height * 0.07, y)]
    trunk += [(x + height * 0.05, y - height * 0.5), (x - height * 0.05, y - height * 0.5)]
    canvas.polygon(trunk, tint(palette.TRUNK, time))
    crown = tint(palette.CROWNS[kind], time)
    if kind == "pine":
        for tier in range(3):
            half, base = height * (0.34 - 0.07 * tier), y - height * (0.22 + 0.24 * tier)
            corners = [(x - half, base), (x + half, base), (x, base - height * 0.38)]
            canvas.polygon(corners, scale(crown, 1 + 0.12 * tier))
        return
    canvas.disc(x, y - height * 0.66, height * 0.3, crown)
    canvas.disc(x - height * 0.18, y - height * 0.52, height * 0.2, scale(crown, 0.93))
    canvas.disc(x + height * 0.18, y - height * 0.52, height * 0.2, scale(crown, 0.93))
    canvas.disc(x - height * 0.06, y - height * 0.72, height * 0.14, scale(crown, 1.1))


def draw_house(canvas: Canvas, x: float, y: float, width: float, colour: str, time: str) -> None:
    """A house with a door and two windows, the middle of its foot at x, y."""
    height = width * 0.8
    canvas.rectangle(x - width / 2, y - height, x + width / 2, y, tint(palette.COLOURS[colour], time))
    gable = [(x - width * 0.62, y - height), (x + width * 0.62, y - height), (x, y - height - width * 0.55)]
    canvas.polygon(gable, tint(palette.roof(colour), time))
    canvas.rectangle(x - width * 0.1, y - height * 0.45, x + width * 0.1, y, tint(palette.DOOR, time))
    for direction in (-1, 1):
        middle, level, half = x + direction * width * 0.3, y - height * 0.65, width * 0.09
        canvas.rectangle(middle - half, level - half, middle + half, level + half, palette.window(time))


def draw_boat(canvas: Canvas, x: float, y: float, width: float, sail: str, time: str) -> None:
    """A sailing boat that swims at height y."""
    deck, keel = y - width * 0.16, y + width * 0.06
    hull = [(x - width / 2, deck), (x + width / 2, deck), (x + width * 0.33, keel), (x - width * 0.33, keel)]
    canvas.polygon(hull, tint(palette.HULL, time))
    colour, foot_of_sail = palette.COLOURS[sail], y - width * 0.2
    main = [
        (x - width * 0.02, foot_of_sail),
        (x - width * 0.02, y - width * 0.95),
        (x + width * 0.42, y - width * 0.22),
    ]
    jib = [(x - width * 0.07, foot_of_sail), (x - width * 0.07, y - width * 0.8), (x - width * 0.36, y - width * 0.22)]
    canvas.polygon(main, tint(colour, time))
    canvas.polygon(jib, tint(scale(colour, 0.9), time))


def _draw_objects(canvas: Canvas, scene: Landscape, rng: np.random.Generator) -> None:
    if not scene.objects:
        return
    if len(scene.objects) == 2:
        places = [0.3, 0.7]
    else:
        places = [0.5 if scene.objects[0].kind == "boat" else pick(rng, (0.3, 0.5, 0.7))]
    factor = MOUNTAIN_SCALE if scene.ground == "mountains" else 1.0
    for thing, place in zip(scene.objects, places, strict=True):
        x = place + float(rng.uniform(-0.03, 0.03))
        y = foot(scene.ground) + float(rng.uniform(-0.015, 0.015))
        if thing.kind == "tree":
            draw_tree(canvas, x, y, TREE_HEIGHT * factor, thing.variant, scene.time)
        elif thing.kind == "house":
            draw_house(canvas, x, y, HOUSE_WIDTH * factor, thing.variant, scene.time)
        else:
            draw_boat(canvas, x, y, BOAT_WIDTH, thing.variant, scene.time)


def _draw_stars(canvas: Canvas, horizon: float, rng: np.random.Generator) -> None:
    for _ in range(28):
        x, y = float(rng.random()), float(rng.random()) * horizon * 0.9
        canvas.disc(x, y, 0.006 if rng.random() < 0.7 else 0.01, (235, 235, 255))


def _draw_cloud(canvas: Canvas, x: float, y: float, radius: float, colour: Colour) -> None:
    canvas.disc(x, y, radius, colour)
    canvas.disc(x - radius * 1.1, y + radius * 0.25, radius * 0.7, colour)
    canvas.disc(x + radius * 1.1, y + radius * 0.25, radius * 0.72, colour)
    canvas.ellipse(x, y + radius * 0.55, radius * 1.9, radius * 0.42, colour)


def _draw_mountains(canvas: Canvas, scene: Landscape, rng: np.random.Generator) -> None:
    time = scene.time
    colour = tint(palette.MOUNTAINS[scene.mountain_colour or pick(rng, tuple(palette.MOUNTAINS))], time)
    far = mix(colour, palette.SKIES[time][1], 0.4)
    for peaks, level, shade in (
        ((-0.1, 0.25, 0.68, 1.1), 0.36, far),
        ((-0.15, 0.1, 0.48, 0.85, 1.15), 0.46, scale(colour, 0.95)),
    ):
        for peak in peaks:
            x, top = peak + float(rng.uniform(-0.05, 0.05)), level + float(rng.uniform(-0.05, 0.05))
            half = 0.34 + float(rng.uniform(-0.04, 0.04))
            canvas.polygon([(x - half, 1.0), (x, top), (x + half, 1.0)], shade)
            if scene.snowy:
                _draw_snow_cap(canvas, x, top, half, tint(palette.SNOW_CAP, time))
    dip = [float(rng.uniform(-amount, amount)) for amount in (0.01, 0.02, 0.01)]
    meadow = [(0, 0.84 + dip[0]), (0.5, 0.8 + dip[1]), (1, 0.84 + dip[2]), (1, 1), (0, 1)]
    canvas.polygon(meadow, tint(palette.MOUNTAIN_MEADOW, time))


def _draw_snow_cap(canvas: Canvas, x: float, top: float, half: float, colour: Colour) -> None:
    depth, height = 0.26, 1 - top
    edge = [(x - half * depth, top + height * depth), (x, top), (x + half * depth, top + height * depth)]
    teeth = [
        (x + half * depth * 0.4, top + height * depth * 0.8),
        (x, top + height * depth * 1.1),
        (x - half * depth * 0.4, top + height * depth * 0.8),
    ]
    canvas.polygon(edge + teeth, colour)


def _draw_sea(canvas: Canvas, scene: Landscape, sky_x: float, rng: np.random.Generator) -> None:
    far, near = palette.sea(scene.time)
    canvas.gradient(far, near, HORIZON)
    for _ in range(9):
        x, y = float(rng.random()), float(rng.uniform(HORIZON + 0.03, 0.98))
        crest = mix(mix(far, near, (y - HORIZON) / 0.4), (255, 255, 255), 0.35)
        canvas.ellipse(x, y, 0.03 + 0.12 * (y - HORIZON), 0.005, crest)
    if scene.celestial:
        glint = mix(far, palette.sun_or_moon(scene.celestial, scene.celestial_colour), 0.6)
        for row in range(4):
            canvas.ellipse(sky_x, HORIZON + 0.03 + row * 0.035, 0.07 - 0.012 * row, 0.008, glint)


def _draw_land(canvas: Canvas, scene: Landscape, rng: np.random.Generator) -> None:
    def wander(amount: float) -> float:
        return float(rng.uniform(-amount, amount))

    colour = tint(palette.GROUNDS[scene.ground], scene.time)
    if scene.ground == "hills":
        for x, wide, tall, shade in ((0.15, 0.5, 0.24, 0.85), (0.85, 0.55, 0.27, 0.92), (0.45, 0.7, 0.2, 1.0)):
            canvas.ellipse(x + wander(0.05), 0.86, wide, tall + wander(0.02), scale(colour, shade))
        canvas.rectangle(0, 0.84, 1, 1, colour)
    elif scene.ground == "desert":
        canvas.ellipse(0.2 + wander(0.08), 0.72, 0.6, 0.14, scale(colour, 0.9))
        canvas.ellipse(0.85 + wander(0.08), 0.78, 0.7, 0.17, colour)
        canvas.rectangle(0, 0.78, 1, 1, colour)
    else:
        near = scale(colour, 0.86 if scene.ground == "field" else 0.93)
        canvas.gradient(scale(colour, 0.96), near, HORIZON + 0.05)
