"""The judge's eye for landscapes: sky, sun or moon, ground, mountains, and each tree, house and boat.

A part is found by looking, at every place and a few sizes, for its characteristic regions (a house: walls under a
roof; a tree: a crown over a trunk; a boat: sails over a hull) in the colours that the part has in that light. Each
region's score is the mean Lab distance of its pixels, capped, so that a bent edge costs little; a part's score is that
of its worst region. A part is there when the score is low and the region stands out from what is around it, and has
the asked colour when no other colour of that part scores better.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import cv2
import numpy as np

from engine.training.starter import palette
from engine.training.starter.canvas import Canvas
from engine.training.starter.landscape import (
    BOAT_WIDTH,
    HOUSE_WIDTH,
    MOUNTAIN_SCALE,
    SKY_X,
    SUN_RADIUS,
    TREE_HEIGHT,
    draw_boat,
    draw_house,
    draw_tree,
    foot,
)
from engine.training.starter.palette import Colour
from engine.training.starter.perception import Mask, Picture, Plane, colour_to_lab, nearest_colour, to_lab
from engine.training.starter.scenes import (
    HOUSE_COLOURS,
    MOON_COLOURS,
    SAIL_COLOURS,
    SUN_COLOURS,
    TREES,
    Landscape,
    LandscapeObject,
)

_CAP = 40.0
_PRESENT_BELOW = {"tree": 13.0, "house": 15.0, "boat": 18.0}
"""Rendered ones score at most 5; where there is none, the nearest score is 14, 18 and 28."""
_SUN_BELOW = 28.0
"""More, because a cloud may hide a part of it."""
_FOOT_TOLERANCE = 0.12
_MOUNTAIN_RADIUS = 12.0
_REGION_RADIUS = 26.0
"""RGB distance within which a drawn pixel belongs to a region of this colour."""
_SCALES = (0.85, 1.0, 1.15)
_HEIGHTS = {"tree": TREE_HEIGHT, "house": HOUSE_WIDTH * 1.35, "boat": BOAT_WIDTH}
_VARIANTS = {"tree": TREES, "house": HOUSE_COLOURS, "boat": SAIL_COLOURS}
_ORIGIN = (0.5, 0.8)


@dataclass(frozen=True)
class _Region:
    """One characteristic area of a part, drawn with its foot at `_ORIGIN`."""

    mask: Plane
    colour: Colour


def judge_landscape(picture: Picture, scene: Landscape) -> dict[str, bool]:
    """sky, celestial, ground, mountains, tree, house, boat: those that the scene states.

    Two trees or houses do not occur in one scene, so a kind names its part.
    """
    verdict = {"sky": _sky(picture) == scene.time, "ground": _sees_ground(picture, scene)}
    if scene.celestial:
        verdict["celestial"] = _sees_celestial(picture, scene)
    if scene.ground == "mountains":
        verdict["mountains"] = _sees_mountains(picture, scene)
    for thing in scene.objects:
        verdict[thing.kind] = sees_object(picture, thing, scene)
    return verdict


def sees_object(picture: Picture, thing: LandscapeObject, scene: Landscape, within: Mask | None = None) -> bool:
    """Whether this tree, house or boat stands in the picture, with its middle in `within` when that is given."""
    scores = object_scores(picture, thing.kind, scene, within)
    best = min(scores, key=lambda variant: scores[variant])
    return best == thing.variant and scores[best] < _PRESENT_BELOW[thing.kind]


def object_scores(picture: Picture, kind: str, scene: Landscape, within: Mask | None = None) -> dict[str, float]:
    """For each variant of the kind, how far (0..40, Lab) the most similar place is from showing it."""
    lab = to_lab(picture)
    return {variant: _part_score(lab, kind, variant, scene, within) for variant in _VARIANTS[kind]}


def _part_score(lab: Plane, kind: str, variant: str, scene: Landscape, within: Mask | None) -> float:
    edge = lab.shape[0]
    level = foot(scene.ground)
    factor = MOUNTAIN_SCALE if scene.ground == "mountains" else 1.0
    best = _CAP
    for size in _SCALES:
        regions = _regions(kind, variant, scene.time, round(size * factor, 3), edge)
        scores = np.max([_region_scores(lab, region) for region in regions], axis=0)
        reach = _FOOT_TOLERANCE if within is None else 1.0
        rows = np.abs(np.arange(edge) / edge - level) < reach
        allowed = np.broadcast_to(rows[:, None], scores.shape)
        if within is not None:
            middle = round(edge * 0.5 * _HEIGHTS[kind] * factor)
            lifted = np.zeros_like(within)
            lifted[middle:] = within[: edge - middle]
            allowed = allowed & lifted
        if allowed.any():
            best = min(best, float(scores[allowed].min()))
    return best


def _region_scores(lab: Plane, region: _Region) -> Plane:
    """For each pixel as the foot of the part: how far the region's pixels are from its colour, and stand out."""
    distance = np.minimum(np.linalg.norm(lab - colour_to_lab(region.colour), axis=-1), _CAP).astype(np.float32)
    size = region.mask.shape[0]
    anchor = (round(_ORIGIN[0] * size), round(_ORIGIN[1] * size))
    inside = region.mask / region.mask.sum()
    return np.asarray(
        cv2.filter2D(distance, cv2.CV_32F, inside, anchor=anchor, borderType=cv2.BORDER_REPLICATE), np.float32
    )


@cache
def _regions(kind: str, variant: str, time: str, size: float, edge: int) -> tuple[_Region, ...]:
    """The characteristic regions of a part, as drawn by the renderer alone on a key colour."""
    key = (255, 0, 255)
    canvas = Canvas(edge)
    canvas.gradient(key, key)
    x, y = _ORIGIN
    tint = palette.tint
    if kind == "tree":
        draw_tree(canvas, x, y, TREE_HEIGHT * size, variant, time)
        colours = [tint(palette.CROWNS[variant], time), tint(palette.TRUNK, time)]
    elif kind == "house":
        draw_house(canvas, x, y, HOUSE_WIDTH * size, variant, time)
        colours = [tint(palette.COLOURS[variant], time), tint(palette.roof(variant), time)]
    else:
        draw_boat(canvas, x, y, BOAT_WIDTH * size, variant, time)
        colours = [tint(palette.COLOURS[variant], time), tint(palette.HULL, time)]
    drawn = canvas.picture().astype(np.float32)
    regions = []
    for colour in colours:
        near = np.linalg.norm(drawn - np.asarray(colour, np.float32), axis=-1) < _REGION_RADIUS
        mask = cv2.erode(near.astype(np.float32), np.ones((2, 2), np.uint8))
        regions.append(_Region(np.asarray(mask if mask.sum() > 12 else near, np.float32), colour))
    return tuple(regions)


def _sky(picture: Picture) -> str:
    edge = picture.shape[0]
    top = np.median(picture[: edge // 12].reshape(-1, 3), 0)
    return nearest_colour(top, {time: colours[0] for time, colours in palette.SKIES.items()})


def _sees_ground(picture: Picture, scene: Landscape) -> bool:
    edge = picture.shape[0]
    seen = np.median(picture[-edge // 12 :].reshape(-1, 3), 0)
    colours = {name: palette.tint(colour, scene.time) for name, colour in palette.GROUNDS.items()}
    colours["field"] = palette.scale(colours["field"], 0.87)
    colours["sea"] = palette.sea(scene.time)[1]
    colours["mountains"] = palette.tint(palette.MOUNTAIN_MEADOW, scene.time)
    best = nearest_colour(seen, colours)
    green = ("hills", "mountains")  # their meadows are nearly the same green
    return best == scene.ground or (best in green and scene.ground in green)


def _sees_celestial(picture: Picture, scene: Landscape) -> bool:
    edge = picture.shape[0]
    lab = to_lab(picture)
    names = SUN_COLOURS if scene.celestial == "sun" else MOON_COLOURS
    canvas = Canvas(edge)
    canvas.disc(0.5, 0.5, SUN_RADIUS * 0.85, (255, 255, 255))
    disc = (canvas.picture()[..., 0] > 128).astype(np.float32)
    scores: dict[str, tuple[float, float]] = {}
    for name in names:
        region = _Region(disc, palette.sun_or_moon(scene.celestial, name))
        distance = np.minimum(np.linalg.norm(lab - colour_to_lab(region.colour), axis=-1), _CAP).astype(np.float32)
        found = np.asarray(cv2.filter2D(distance, cv2.CV_32F, disc / disc.sum()))[: edge // 2]
        row_column = np.unravel_index(int(found.argmin()), found.shape)
        scores[name] = float(found.min()), float(row_column[1]) / edge
    best = min(scores, key=lambda name: scores[name][0])
    score, x = scores[best]
    side = scene.celestial_side
    return best == scene.celestial_colour and score < _SUN_BELOW and (not side or abs(x - SKY_X[side]) < 0.13)


def _sees_mountains(picture: Picture, scene: Landscape) -> bool:
    """Whether the band between the peaks and the meadow is mostly of one mountain colour: the asked one, if any."""
    edge = picture.shape[0]
    band = to_lab(picture[int(0.6 * edge) : int(0.76 * edge)])
    names = tuple(palette.MOUNTAINS)
    colours = np.stack([colour_to_lab(palette.tint(palette.MOUNTAINS[name], scene.time)) for name in names])
    distances = np.linalg.norm(band[..., None, :] - colours, axis=-1)
    nearest = np.where(distances.min(-1) < _MOUNTAIN_RADIUS, distances.argmin(-1), -1)
    shares = {name: float((nearest == index).mean()) for index, name in enumerate(names)}
    best = max(shares, key=lambda name: shares[name])
    return shares[best] > 0.25 and best == (scene.mountain_colour or best)
