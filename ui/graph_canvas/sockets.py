"""Socket shapes: each type has a colour and a form of its own (theme tokens), so that neither alone must be seen.

Every path is closed, about the origin, and fits a circle of radius 1; a socket is drawn by scaling it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import lru_cache

from PySide6.QtCore import QPointF, QRectF, Qt
from PySide6.QtGui import QColor, QPainterPath, QPolygonF, QTransform

from engine.contracts.node_schema import ANY
from ui import theme


def kind_of(types: str) -> str:
    """The one socket type that stands for "A|B" or "*" on the canvas; "ANY" for several."""
    if types == ANY or "|" in types:
        return "ANY"
    return _STAND_IN.get(types, types)


def colour_of(types: str) -> QColor:
    return theme.socket_colour(kind_of(types))


def words_for(types: str) -> str:
    """A socket type as a person reads it: "conditioning", "image or mask", "anything"."""
    if types == ANY:
        return "anything"
    return " or ".join(" ".join(_word(word) for word in part.split("_")) for part in types.split("|"))


def name_words(name: str) -> str:
    """A socket's name as a person reads it: "clip_vision" is "CLIP vision"."""
    words = " ".join(word.upper() if word in _ACRONYMS else word for word in name.split("_"))
    return words[:1].upper() + words[1:]


_ACRONYMS = frozenset({"vae", "clip", "cfg", "id"})


def _word(word: str) -> str:
    return word if word.lower() in _ACRONYMS else word.lower()


@lru_cache(maxsize=256)
def shape_path(types: str, radius: float) -> QPainterPath:
    """The outline of a socket type, `radius` large, about the origin. Shared: never changed by who draws it."""
    make = _SHAPES.get(theme.socket_shape(kind_of(types)), _circle)
    return QTransform.fromScale(radius, radius).map(make())


def _polygon(points: Sequence[tuple[float, float]]) -> QPainterPath:
    path = QPainterPath()
    path.addPolygon(QPolygonF([QPointF(x, y) for x, y in points]))
    path.closeSubpath()
    return path


def _regular(corners: int, turn: float = 0.0) -> Callable[[], QPainterPath]:
    def make() -> QPainterPath:
        step = 2 * math.pi / corners
        return _polygon([(math.cos(turn + i * step), math.sin(turn + i * step)) for i in range(corners)])

    return make


def _starred(points: int, inner: float) -> Callable[[], QPainterPath]:
    def make() -> QPainterPath:
        step = math.pi / points
        radii = (1.0, inner)
        return _polygon([
            (radii[i % 2] * math.sin(i * step), -radii[i % 2] * math.cos(i * step)) for i in range(2 * points)
        ])  # fmt: skip

    return make


def _fixed(*points: tuple[float, float]) -> Callable[[], QPainterPath]:
    return lambda: _polygon(points)


def _circle(radius: float = 1.0) -> QPainterPath:
    path = QPainterPath()
    path.addEllipse(QPointF(0, 0), radius, radius)
    return path


def _ring() -> QPainterPath:
    return _circle().subtracted(_circle(0.5))


def _sector(start: float, sweep: float) -> Callable[[], QPainterPath]:
    def make() -> QPainterPath:
        path = QPainterPath(QPointF(0, 0))
        path.arcTo(QRectF(-1, -1, 2, 2), start, sweep)
        path.closeSubpath()
        return path

    return make


def _split() -> QPainterPath:
    bar = QPainterPath()
    bar.addRect(QRectF(-0.18, -1.2, 0.36, 2.4))
    return _circle().subtracted(bar)


def _bars(*boxes: tuple[float, float, float, float]) -> Callable[[], QPainterPath]:
    def make() -> QPainterPath:
        path = QPainterPath()
        for x, y, width, height in boxes:
            path.addRect(QRectF(x, y, width, height))
        return path

    return make


def _lens() -> QPainterPath:
    path = QPainterPath(QPointF(-1.1, 0))
    path.quadTo(QPointF(0, -1.5), QPointF(1.1, 0))
    path.quadTo(QPointF(0, 1.5), QPointF(-1.1, 0))
    return path.subtracted(_circle(0.3))


def _drop() -> QPainterPath:
    path = QPainterPath(QPointF(0, -1.1))
    path.cubicTo(QPointF(0.5, -0.3), QPointF(0.9, 0), QPointF(0.8, 0.4))
    path.arcTo(QRectF(-0.8, -0.5, 1.6, 1.6), 0, -180)
    path.cubicTo(QPointF(-0.9, 0), QPointF(-0.5, -0.3), QPointF(0, -1.1))
    path.setFillRule(Qt.FillRule.WindingFill)
    return path


def _frame() -> QPainterPath:
    path = _bars((-0.9, -0.9, 1.8, 1.8))()
    return path.subtracted(_bars((-0.4, -0.4, 0.8, 0.8))())


_SHAPES: dict[str, Callable[[], QPainterPath]] = {
    "circle": _circle,
    "dot": lambda: _circle(0.68),
    "ring": _ring,
    "square": _fixed((-0.85, -0.85), (0.85, -0.85), (0.85, 0.85), (-0.85, 0.85)),
    "diamond": _regular(4),
    "pentagon": _regular(5, -math.pi / 2),
    "hexagon": _regular(6),
    "octagon": _regular(8, math.pi / 8),
    "triangle": _fixed((0, -1), (0.95, 0.75), (-0.95, 0.75)),
    "play": _fixed((-0.7, -0.95), (1, 0), (-0.7, 0.95)),
    "cross": _fixed((-0.35, -1), (0.35, -1), (0.35, -0.35), (1, -0.35), (1, 0.35), (0.35, 0.35), (0.35, 1),
                    (-0.35, 1), (-0.35, 0.35), (-1, 0.35), (-1, -0.35), (-0.35, -0.35)),
    "half": _sector(90, 180),
    "pie": _sector(45, 270),
    "bar": _bars((-1, -0.5, 2, 1)),
    "split": _split,
    "star": _starred(5, 0.45),
    "burst": _starred(8, 0.6),
    "stairs": _fixed((-1, -0.9), (-0.33, -0.9), (-0.33, -0.3), (0.33, -0.3), (0.33, 0.3), (1, 0.3), (1, 0.9),
                     (-1, 0.9)),
    "arrow": _fixed((-1, -0.4), (0.1, -0.4), (0.1, -0.95), (1, 0), (0.1, 0.95), (0.1, 0.4), (-1, 0.4)),
    "house": _fixed((0, -1), (0.95, -0.1), (0.6, -0.1), (0.6, 0.9), (-0.6, 0.9), (-0.6, -0.1), (-0.95, -0.1)),
    "lens": _lens,
    "drop": _drop,
    "wave": _bars((-1, -0.35, 0.4, 0.7), (-0.45, -0.95, 0.4, 1.9), (0.1, -0.6, 0.4, 1.2), (0.65, -0.3, 0.4, 0.6)),
    "page": _fixed((-0.7, -1), (0.25, -1), (0.75, -0.5), (0.75, 1), (-0.7, 1)),
    "chevron": _fixed((-1, -0.7), (-0.5, -0.7), (0, -0.1), (0.5, -0.7), (1, -0.7), (0, 0.7)),
    "lines": _bars((-0.9, -0.9, 1.8, 0.45), (-0.9, -0.22, 1.8, 0.45), (-0.9, 0.46, 1.8, 0.45)),
    "frame": _frame,
}  # fmt: skip

_STAND_IN = {"CLIP_VISION_OUTPUT": "CLIP_VISION"}
