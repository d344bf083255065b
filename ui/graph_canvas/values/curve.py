"""A tone curve: points in a square, dragged by the mouse or moved by arrow keys, written as "0,0; 0.5,0.6; 1,1"."""

from __future__ import annotations

from PySide6.QtCore import QPointF, QRectF, QSize, Qt, Signal
from PySide6.QtGui import QKeyEvent, QMouseEvent, QPainter, QPainterPath, QPaintEvent, QPen
from PySide6.QtWidgets import QSizePolicy, QWidget

from engine.contracts.node_schema import InputSchema
from engine.contracts.workflow import InputValue
from ui import theme
from ui.graph_canvas.values.fields import ValueField
from ui.widgets.basics import describe

Point = tuple[float, float]
STRAIGHT: list[Point] = [(0.0, 0.0), (1.0, 1.0)]
MOST, NEAR, STEP = 16, 12.0, 0.01


def read_points(text: str) -> list[Point]:
    """The points of "in,out; in,out", sorted, within 0..1; a straight line where the text is none."""
    found: list[Point] = []
    for pair in text.split(";"):
        parts = pair.split(",")
        try:
            x, y = (min(1.0, max(0.0, float(part))) for part in parts)
        except ValueError:
            continue
        found.append((x, y))
    return sorted(found)[:MOST] if len(found) > 1 else list(STRAIGHT)


def write_points(points: list[Point]) -> str:
    return "; ".join(f"{round(x, 3):g},{round(y, 3):g}" for x, y in points)


class CurveArea(QWidget):
    """The square. Double click adds a point, Delete takes the chosen one away; Tab-less: arrows move, N goes on."""

    moved = Signal()

    def __init__(self, name: str, tip: str) -> None:
        super().__init__()
        self.points = list(STRAIGHT)
        self.chosen = 0
        self.setFocusPolicy(Qt.FocusPolicy.StrongFocus)
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
        keys = "Drag points; double-click adds one, Delete takes it away; N goes to the next, arrows move it."
        describe(self, name, f"{tip[:1].upper()}{tip[1:]}. {keys}" if tip else keys)

    def sizeHint(self) -> QSize:
        return QSize(theme.px(200), theme.px(140))

    def _box(self) -> QRectF:
        return QRectF(self.rect()).adjusted(6, 6, -6, -6)

    def _at(self, point: Point) -> QPointF:
        box = self._box()
        return QPointF(box.left() + point[0] * box.width(), box.bottom() - point[1] * box.height())

    def _point(self, place: QPointF) -> Point:
        box = self._box()
        x, y = (place.x() - box.left()) / box.width(), (box.bottom() - place.y()) / box.height()
        return min(1.0, max(0.0, x)), min(1.0, max(0.0, y))

    def paintEvent(self, event: QPaintEvent) -> None:
        painter = QPainter(self)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        painter.setPen(QPen(theme.token("focus" if self.hasFocus() else "line"), 1))
        painter.setBrush(theme.token("surface0"))
        painter.drawRoundedRect(self._box().adjusted(-4, -4, 4, 4), 4, 4)
        path = QPainterPath(self._at((0.0, self.points[0][1])))
        for point in self.points:
            path.lineTo(self._at(point))
        path.lineTo(self._at((1.0, self.points[-1][1])))
        painter.setBrush(Qt.BrushStyle.NoBrush)
        painter.setPen(QPen(theme.token("accent"), 2))
        painter.drawPath(path)
        for index, point in enumerate(self.points):
            painter.setBrush(theme.token("accent" if index == self.chosen else "surface3"))
            painter.drawEllipse(self._at(point), 4, 4)

    def set_point(self, index: int, point: Point) -> None:
        """Move a point between its neighbours."""
        low = self.points[index - 1][0] + 0.001 if index else 0.0
        high = self.points[index + 1][0] - 0.001 if index + 1 < len(self.points) else 1.0
        self.points[index] = (min(high, max(low, point[0])), min(1.0, max(0.0, point[1])))
        self._changed()

    def _changed(self) -> None:
        self.update()
        self.moved.emit()

    def mousePressEvent(self, event: QMouseEvent) -> None:
        self.setFocus()
        gaps = [(self._at(p) - event.position()).manhattanLength() for p in self.points]
        nearest = min(range(len(gaps)), key=gaps.__getitem__)
        self.chosen = nearest if gaps[nearest] <= NEAR else -1
        self.update()

    def mouseMoveEvent(self, event: QMouseEvent) -> None:
        if 0 <= self.chosen < len(self.points):
            self.set_point(self.chosen, self._point(event.position()))

    def mouseDoubleClickEvent(self, event: QMouseEvent) -> None:
        point = self._point(event.position())
        if len(self.points) < MOST and all(abs(point[0] - x) > 0.002 for x, _ in self.points):
            self.points = sorted([*self.points, point])
            self.chosen = self.points.index(point)
            self._changed()

    def keyPressEvent(self, event: QKeyEvent) -> None:
        large = 10 if event.modifiers() & Qt.KeyboardModifier.ShiftModifier else 1
        steps = {
            Qt.Key.Key_Left: (-STEP, 0.0), Qt.Key.Key_Right: (STEP, 0.0), Qt.Key.Key_Up: (0.0, STEP),
            Qt.Key.Key_Down: (0.0, -STEP),
        }  # fmt: skip
        here = self.points[self.chosen] if 0 <= self.chosen < len(self.points) else None
        if event.key() in steps and here is not None:
            dx, dy = steps[Qt.Key(event.key())]
            self.set_point(self.chosen, (here[0] + dx * large, here[1] + dy * large))
        elif event.key() == Qt.Key.Key_N:
            self.chosen = (self.chosen + 1) % len(self.points)
            self.update()
        elif event.key() == Qt.Key.Key_Delete and here is not None and len(self.points) > 2:
            del self.points[self.chosen]
            self.chosen = max(0, self.chosen - 1)
            self._changed()
        else:
            super().keyPressEvent(event)


class CurveValue(ValueField):
    def __init__(self, name: str, item: InputSchema) -> None:
        super().__init__(name, item)
        self.area = CurveArea(name, item.tooltip)
        self.add(self.area, 1)
        self.setFocusProxy(self.area)
        self.area.moved.connect(self._moved)

    def _moved(self) -> None:
        self.tell(write_points(self.area.points))

    def display(self, value: InputValue, mixed: bool) -> None:
        points = read_points(str(value or ""))
        if write_points(points) != write_points(self.area.points):
            self.area.points = points
            self.area.chosen = min(self.area.chosen, len(points) - 1)
        self.area.update()
