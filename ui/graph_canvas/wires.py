"""Wires as a table of end points: found, hit and painted by arithmetic on whole columns instead of one item each.

A graph of 5,000 nodes has 10,000 wires, of which a window shows a few dozen or all at once. Columns find the visible
ones in microseconds; paths are made for those that are drawn.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping

import numpy as np
from numpy.typing import NDArray
from PySide6.QtCore import QPointF, QRectF
from PySide6.QtGui import QPainterPath

from studio_app.documents.graph_document import Wire

_SAMPLES = 24  # points along a wire that hit tests look at
_PRECISE = 400  # wires, beyond which the closer look costs more than it saves
_KEPT = 4096  # paths remembered
Ends = tuple[float, float, float, float]  # x, y of the output; x, y of the input


class WireTable:
    """Every wire of the open level with its end points in scene pixels and its socket type.

    Rows are reused; `wires` maps a row to its wire.
    """

    def __init__(self) -> None:
        self.rows: dict[Wire, int] = {}
        self.wires: dict[int, Wire] = {}
        self.kinds: list[str] = []
        self._kind_numbers: dict[str, int] = {}
        self._ends: NDArray[np.float64] = np.full((256, 4), np.nan)
        self._boxes: NDArray[np.float64] = np.full((4, 256), np.nan)  # left, top, right, bottom of each curve
        self._kind: NDArray[np.int16] = np.zeros(256, np.int16)
        self._free: list[int] = []
        self._used = 0
        self._paths: dict[int, QPainterPath] = {}
        self._touching: dict[str, set[Wire]] = {}
        self.revision = 0  # rises with every change, for who keeps a picture of all

    def __len__(self) -> int:
        return len(self.rows)

    # ---- changing

    def set_many(self, items: Iterable[tuple[Wire, Ends, str]]) -> None:
        """Add wires or move those that are there."""
        rows, ends_of = [], []
        for wire, ends, kind in items:
            row = self.rows.get(wire)
            if row is None:
                row = self._new_row()
                self.rows[wire], self.wires[row] = row, wire
                self._touching.setdefault(wire.source, set()).add(wire)
                self._touching.setdefault(wire.target, set()).add(wire)
            else:
                self._paths.pop(row, None)
            rows.append(row)
            ends_of.append(ends)
            self._kind[row] = self._number(kind)
        if rows:
            placed = np.array(ends_of)
            reach = bend(placed[:, 0], placed[:, 2], placed[:, 1], placed[:, 3])
            self._ends[rows] = placed
            self._boxes[0, rows] = np.minimum(placed[:, 0], placed[:, 2]) - reach
            self._boxes[1, rows] = np.minimum(placed[:, 1], placed[:, 3])
            self._boxes[2, rows] = np.maximum(placed[:, 0], placed[:, 2]) + reach
            self._boxes[3, rows] = np.maximum(placed[:, 1], placed[:, 3])
        self.revision += 1

    def remove(self, wire: Wire) -> None:
        row = self.rows.pop(wire, None)
        if row is not None:
            del self.wires[row]
            self._touching[wire.source].discard(wire)
            self._touching[wire.target].discard(wire)
            self._paths.pop(row, None)
            self._boxes[:, row] = np.nan  # never found again: comparisons with NaN are false
            self._free.append(row)
            self.revision += 1

    def _new_row(self) -> int:
        if self._free:
            return self._free.pop()
        if self._used == len(self._ends):
            self._ends = np.concatenate([self._ends, np.full_like(self._ends, np.nan)])
            self._boxes = np.concatenate([self._boxes, np.full_like(self._boxes, np.nan)], axis=1)
            self._kind = np.concatenate([self._kind, np.zeros_like(self._kind)])
        self._used += 1
        return self._used - 1

    def _number(self, kind: str) -> int:
        found = self._kind_numbers.get(kind)
        if found is None:
            found = self._kind_numbers[kind] = len(self.kinds)
            self.kinds.append(kind)
        return found

    # ---- finding

    def touching(self, node_id: str) -> set[Wire]:
        """The wires into and out of a node, as the table has them."""
        return self._touching.get(node_id, set())

    def ends(self, row: int) -> Ends:
        x0, y0, x1, y1 = self._ends[row].tolist()
        return x0, y0, x1, y1

    def visible(self, area: QRectF) -> NDArray[np.intp]:
        """The rows whose wire may touch `area`."""
        left, top, right, bottom = self._boxes[:, : self._used]
        inside = (
            (left <= area.right()) & (right >= area.left()) & (top <= area.bottom()) & (bottom >= area.top())
        )  # fmt: skip
        return np.flatnonzero(inside)

    def crossing(self, area: QRectF, width: float) -> tuple[NDArray[np.intp], NDArray[np.float64]]:
        """As `visible`, but only the wires whose curve, `width` wide, does run through `area`; and [n, 2] from where to
        where on its way (0..1) each may be inside. Stroking costs as much where all of it is clipped away."""
        rows = self.visible(area)
        if not len(rows) or len(rows) > _PRECISE:
            return rows, np.tile(np.array([0.0, 1.0]), (len(rows), 1))
        points = sampled(self._ends[rows])
        start, end = points[:, :-1], points[:, 1:]
        low, high = np.minimum(start, end) - width, np.maximum(start, end) + width
        inside = (
            (low[..., 0] <= area.right()) & (high[..., 0] >= area.left())
            & (low[..., 1] <= area.bottom()) & (high[..., 1] >= area.top())
        )  # fmt: skip
        there = inside.any(axis=1)
        inside = inside[there]
        parts = _SAMPLES - 1
        first = np.maximum(inside.argmax(axis=1) - 1, 0) / parts
        last = np.minimum(parts - inside[:, ::-1].argmax(axis=1) + 1, parts) / parts
        return rows[there], np.stack([first, last], axis=1)

    def all_rows(self) -> NDArray[np.intp]:
        return np.array(sorted(self.wires), np.intp)

    def kind_of_rows(self, rows: NDArray[np.intp]) -> NDArray[np.int16]:
        return self._kind[rows]

    def kind(self, row: int) -> str:
        return self.kinds[int(self._kind[row])]

    def ends_of_rows(self, rows: NDArray[np.intp]) -> NDArray[np.float64]:
        """[n, 4] end points."""
        return self._ends[rows]

    def near(self, x: float, y: float, distance: float) -> Wire | None:
        """The wire nearest to a point, at most `distance` away."""
        rows = self.visible(QRectF(x - distance, y - distance, 2 * distance, 2 * distance))
        if not len(rows):
            return None
        points = sampled(self._ends[rows])
        gaps = _distances(points, np.array([x, y]))
        best = int(np.argmin(gaps))
        return self.wires[int(rows[best])] if gaps[best] <= distance else None

    def crossed(self, stroke: list[QPointF]) -> list[Wire]:
        """The wires that a stroke (scene points) cuts through."""
        if len(stroke) < 2:
            return []
        line = np.array([(p.x(), p.y()) for p in stroke])
        low, high = line.min(axis=0), line.max(axis=0)
        rows = self.visible(QRectF(low[0], low[1], max(1.0, high[0] - low[0]), max(1.0, high[1] - low[1])))
        if not len(rows):
            return []
        points = sampled(self._ends[rows])
        cut = np.zeros(len(rows), bool)
        for start, end in itertools.pairwise(line):
            cut |= _crosses(points[:, :-1], points[:, 1:], start, end).any(axis=1)
        return [self.wires[int(row)] for row in rows[cut]]

    # ---- drawing

    def path(self, row: int) -> QPainterPath:
        """The curve of one wire, remembered."""
        found = self._paths.get(row)
        if found is None:
            if len(self._paths) >= _KEPT:
                self._paths.clear()
            found = self._paths[row] = wire_path(*self.ends(row))
        return found

    def part(self, row: int, first: float, last: float) -> QPainterPath:
        """The curve of one wire from `first` to `last` on its way (0..1): exactly that part of `path`."""
        return part_of(self.ends(row), first, last)

    def lines(self, rows: NDArray[np.intp]) -> Mapping[str, NDArray[np.float64]]:
        """Socket type → [n, 4] of the wires of that type among `rows`."""
        kinds = self._kind[rows]
        return {self.kinds[number]: self._ends[rows[kinds == number]] for number in np.unique(kinds)}


def bend(
    x0: NDArray[np.float64], x1: NDArray[np.float64], y0: NDArray[np.float64], y1: NDArray[np.float64]
) -> NDArray[np.float64]:
    """How far the handles of a wire reach out: half its way, more when it runs backwards."""
    across = x1 - x0
    forward = np.minimum(np.abs(across) * 0.5, 160.0)
    backward = np.minimum(np.abs(across) * 0.35 + 40.0, 220.0)
    reach = np.where(across >= 0, np.maximum(forward, np.minimum(30.0, np.abs(y1 - y0) * 0.5)), backward)
    return np.asarray(reach)


def _bend(x0: float, y0: float, x1: float, y1: float) -> float:
    across = x1 - x0
    if across >= 0:
        return max(min(across * 0.5, 160.0), min(30.0, abs(y1 - y0) * 0.5))
    return min(-across * 0.35 + 40.0, 220.0)


def bounds_of(x0: float, y0: float, x1: float, y1: float) -> QRectF:
    """The box a wire is painted in."""
    reach = _bend(x0, y0, x1, y1) + 4.0
    low, high = (x0, x1) if x0 < x1 else (x1, x0)
    top, bottom = (y0, y1) if y0 < y1 else (y1, y0)
    return QRectF(low - reach, top - 4.0, high - low + 2 * reach, bottom - top + 8.0)


def wire_path(x0: float, y0: float, x1: float, y1: float) -> QPainterPath:
    """The curve from an output at (x0, y0) to an input at (x1, y1): leaves to the right, arrives from the left."""
    reach = _bend(x0, y0, x1, y1)
    path = QPainterPath()
    path.moveTo(x0, y0)
    path.cubicTo(x0 + reach, y0, x1 - reach, y1, x1, y1)
    return path


def part_of(ends: Ends, first: float, last: float) -> QPainterPath:
    """A part of a wire's curve, by de Casteljau's blossom: control points at (f,f,f), (f,f,l), (f,l,l), (l,l,l)."""
    x0, y0, x1, y1 = ends
    reach = _bend(x0, y0, x1, y1)
    xs, ys = (x0, x0 + reach, x1 - reach, x1), (y0, y0, y1, y1)

    def blossom(p: tuple[float, float, float, float], a: float, b: float, c: float) -> float:
        first_two = [p[i] + (p[i + 1] - p[i]) * a for i in range(3)]
        middle = [first_two[i] + (first_two[i + 1] - first_two[i]) * b for i in range(2)]
        return middle[0] + (middle[1] - middle[0]) * c

    f, g = first, last
    path = QPainterPath()
    path.moveTo(blossom(xs, f, f, f), blossom(ys, f, f, f))
    path.cubicTo(
        blossom(xs, f, f, g), blossom(ys, f, f, g), blossom(xs, f, g, g), blossom(ys, f, g, g),
        blossom(xs, g, g, g), blossom(ys, g, g, g),
    )  # fmt: skip
    return path


def sampled(ends: NDArray[np.float64]) -> NDArray[np.float64]:
    """[n, samples, 2]: points along each curve."""
    x0, y0, x1, y1 = (ends[:, i, None] for i in range(4))
    reach = bend(ends[:, 0], ends[:, 2], ends[:, 1], ends[:, 3])[:, None]
    t = np.linspace(0.0, 1.0, _SAMPLES)[None, :]
    a, b, c, d = (1 - t) ** 3, 3 * t * (1 - t) ** 2, 3 * t * t * (1 - t), t**3
    xs = a * x0 + b * (x0 + reach) + c * (x1 - reach) + d * x1
    ys = (a + b) * y0 + (c + d) * y1
    return np.stack([xs, ys], axis=2)


def _distances(points: NDArray[np.float64], place: NDArray[np.float64]) -> NDArray[np.float64]:
    """The distance of `place` from each polyline of `points` [n, samples, 2]."""
    start, end = points[:, :-1], points[:, 1:]
    along = end - start
    length = np.maximum((along**2).sum(axis=2), 1e-9)
    share = np.clip(((place - start) * along).sum(axis=2) / length, 0.0, 1.0)
    nearest = start + along * share[..., None]
    gaps = np.sqrt(((nearest - place) ** 2).sum(axis=2)).min(axis=1)
    return np.asarray(gaps)


def _crosses(
    a: NDArray[np.float64], b: NDArray[np.float64], c: NDArray[np.float64], d: NDArray[np.float64]
) -> NDArray[np.bool_]:
    """Whether segments a–b [n, m, 2] cross the segment c–d."""

    def side(p: NDArray[np.float64], q: NDArray[np.float64], r: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.asarray((q[..., 0] - p[..., 0]) * (r[..., 1] - p[..., 1])
                          - (q[..., 1] - p[..., 1]) * (r[..., 0] - p[..., 0]))  # fmt: skip

    first = (side(a, b, c) > 0) != (side(a, b, d) > 0)
    second = (side(c, d, a) > 0) != (side(c, d, b) > 0)
    return np.asarray(first & second)
