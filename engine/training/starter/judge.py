"""A rule-based judge: does a picture show what its scene says?

It knows the renderer's colours and forms, no network. `Verdict` maps each attribute that the scene states to right
or wrong; an attribute the scene does not state is not judged. How often it is right about rendered truth, and that it
sees through decoys, is in `tests/unit/test_starter_judge.py`.

Shapes: background, count, colour, shape, position, size; two figures: the same with the order of the relation, and
`two_objects`, which is all of it. Landscapes: see `landscape_judge`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import TypeAlias

import cv2
import numpy as np
from numpy.typing import NDArray

from engine.training.starter.canvas import Canvas
from engine.training.starter.landscape_judge import judge_landscape, sees_object
from engine.training.starter.palette import COLOURS
from engine.training.starter.perception import Mask, Picture, nearest_colour, to_lab
from engine.training.starter.renderer import POSITIONS, draw_figure
from engine.training.starter.scenes import SHAPES, Figure, LandscapeObject, Scene, ShapesScene

Verdict: TypeAlias = Mapping[str, bool]

_CONTRAST = 16.0
"""CIE Lab distance from the background at which a pixel belongs to a figure."""
_SMALLEST = 0.006
"""Share of the picture below which a spot is not a figure."""
_POSITION_TOLERANCE = 0.12
_SMALL_BELOW, _LARGE_ABOVE = 0.18, 0.29
_TEMPLATE_EDGE = 48


@dataclass(frozen=True)
class Seen:
    """A figure that the judge sees. x, y: middle of its box, and radius: half of its larger edge, as shares."""

    shape: str
    colour: str
    x: float
    y: float
    radius: float
    area: int


def judge(picture: Picture, scene: Scene) -> Verdict:
    """Right or wrong for each attribute that `scene` states. `picture`: uint8 [H, H, 3], sRGB."""
    if isinstance(scene, ShapesScene):
        return _judge_pair(picture, scene) if len(scene.figures) == 2 else _judge_single(picture, scene)
    return judge_landscape(picture, scene)


def judge_inpainting(picture: Picture, mask: Mask, asked: Figure | LandscapeObject, scene: Scene) -> Verdict:
    """Whether the asked thing stands in the mask. `scene`: what the whole picture shall show."""
    if isinstance(asked, LandscapeObject):
        if isinstance(scene, ShapesScene):
            raise ValueError("a tree, house or boat belongs into a landscape")
        return {"inpainting": sees_object(picture, asked, scene, within=mask)}
    _, figures = look(picture)
    edge = picture.shape[0]
    for figure in figures:
        inside = mask[min(edge - 1, int(figure.y * edge)), min(edge - 1, int(figure.x * edge))]
        if inside and (figure.shape, figure.colour) == (asked.shape, asked.colour):
            return {"inpainting": True}
    return {"inpainting": False}


def look(picture: Picture) -> tuple[str, list[Seen]]:
    """The background's colour and the figures on it, largest first."""
    edge = picture.shape[0]
    rim = max(3, edge // 24)
    strips = (picture[:rim], picture[-rim:], picture[:, :rim], picture[:, -rim:])
    border = np.median(np.concatenate([strip.reshape(-1, 3) for strip in strips]), 0)
    distance = np.linalg.norm(to_lab(picture) - to_lab(border.reshape(1, 1, 3)), axis=-1)
    spots = cv2.morphologyEx((distance > _CONTRAST).astype(np.uint8), cv2.MORPH_OPEN, np.ones((3, 3), np.uint8))
    count, labels, boxes, _ = cv2.connectedComponentsWithStats(spots)
    figures = []
    for label in range(1, count):
        left, top, width, height, area = (int(value) for value in boxes[label])
        if area < edge * edge * _SMALLEST:
            continue
        mask = labels == label
        core = cv2.erode(mask.astype(np.uint8), np.ones((3, 3), np.uint8)) > 0
        colour = nearest_colour(np.median(picture[core if core.sum() > 10 else mask], 0), COLOURS)
        x, y = (left + width / 2) / edge, (top + height / 2) / edge
        figures.append(Seen(_shape_of(mask), colour, x, y, max(width, height) / 2 / edge, area))
    return nearest_colour(border, COLOURS), sorted(figures, key=lambda figure: -figure.area)


def _judge_single(picture: Picture, scene: ShapesScene) -> Verdict:
    background, seen = look(picture)
    asked = scene.figures[0]
    verdict = {"background": background == scene.background, "count": len(seen) == 1}
    largest = seen[0] if seen else Seen("", "", -1.0, -1.0, 0.0, 0)
    verdict["colour"] = largest.colour == asked.colour
    verdict["shape"] = largest.shape == asked.shape
    if asked.position:
        x, y = POSITIONS[asked.position]
        verdict["position"] = max(abs(largest.x - x), abs(largest.y - y)) < _POSITION_TOLERANCE
    if asked.size:
        small = asked.size == "small"
        verdict["size"] = 0 < largest.radius < _SMALL_BELOW if small else largest.radius > _LARGE_ABOVE
    return verdict


def _judge_pair(picture: Picture, scene: ShapesScene) -> Verdict:
    background, seen = look(picture)
    vertical = scene.relation in ("above", "below")
    two = sorted(seen[:2], key=lambda figure: figure.y if vertical else figure.x)
    if scene.relation in ("right", "below"):
        two.reverse()
    asked = list(scene.figures)
    both = len(two) == 2
    verdict = {
        "pair_background": background == scene.background,
        "pair_count": len(seen) == 2,
        "pair_colours": both and [figure.colour for figure in two] == [figure.colour for figure in asked],
        "pair_shapes": both and [figure.shape for figure in two] == [figure.shape for figure in asked],
    }
    verdict["two_objects"] = all(verdict.values())
    return verdict


def _shape_of(mask: NDArray[np.bool_]) -> str:
    outline, aspect = _outline(mask)
    scores = {}
    for shape, (template, template_aspect) in _templates().items():
        overlap = float(np.minimum(outline, template).sum() / np.maximum(outline, template).sum())
        scores[shape] = overlap - 0.4 * abs(aspect - template_aspect)
    return max(scores, key=lambda shape: scores[shape])


def _outline(mask: NDArray[np.bool_]) -> tuple[NDArray[np.float32], float]:
    """The mask's box stretched to one size, and the logarithm of the box's width over its height."""
    rows, columns = np.nonzero(mask)
    box = mask[rows.min() : rows.max() + 1, columns.min() : columns.max() + 1].astype(np.float32)
    stretched = cv2.resize(box, (_TEMPLATE_EDGE, _TEMPLATE_EDGE), interpolation=cv2.INTER_AREA)
    return np.asarray(stretched, np.float32), float(np.log(box.shape[1] / box.shape[0]))


@cache
def _templates() -> dict[str, tuple[NDArray[np.float32], float]]:
    templates = {}
    for shape in SHAPES:
        canvas = Canvas(128)
        draw_figure(canvas, shape, 0.5, 0.5, 0.3, (255, 255, 255))
        templates[shape] = _outline(canvas.picture()[..., 0] > 128)
    return templates
