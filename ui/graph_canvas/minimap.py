"""The whole graph in a corner; a press or drag looks there."""

from __future__ import annotations

from PySide6.QtCore import QPointF, QRectF, QSize, Qt, QTimer, Slot
from PySide6.QtGui import QColor, QMouseEvent, QPainter, QPaintEvent, QPen, QPixmap
from PySide6.QtWidgets import QWidget

from ui import theme
from ui.graph_canvas.view import GraphView
from ui.widgets.basics import describe

_LATER_MS = 120  # a drag changes the map many times a second; it follows a little later


class Minimap(QWidget):
    """A picture of all nodes, drawn when the graph has changed, and on it the part that is seen."""

    def __init__(self, view: GraphView, parent: QWidget) -> None:
        super().__init__(parent)
        self._view = view
        self._picture: QPixmap | None = None
        self._area = QRectF()
        describe(self, "Minimap", "The whole workflow; press or drag to look there.")
        self.setCursor(Qt.CursorShape.PointingHandCursor)
        self._later = QTimer(self)
        self._later.setSingleShot(True)
        self._later.setInterval(_LATER_MS)
        self._later.timeout.connect(self._redraw)
        view.graph.dirty.connect(self._changed)
        view.moved.connect(self.update)
        theme.notifier.changed.connect(self._redraw)
        self._rescale()
        theme.notifier.changed.connect(self._rescale)

    @Slot()
    def _rescale(self) -> None:
        self.resize(QSize(theme.px(190), theme.px(124)))

    @Slot()
    def _changed(self) -> None:
        if not self._later.isActive():
            self._later.start()

    @Slot()
    def _redraw(self) -> None:
        self._picture = None
        self.update()

    def _fit(self) -> tuple[float, QPointF]:
        """(scale, corner) that bring the graph into the map."""
        inner = QRectF(self.rect()).adjusted(8, 8, -8, -8)
        scale = min(inner.width() / max(1.0, self._area.width()), inner.height() / max(1.0, self._area.height()))
        corner = inner.center() - self._area.center() * scale
        return scale, corner

    def _draw(self) -> QPixmap:
        scene = self._view.graph
        self._area = scene.bounds()
        ratio = self.devicePixelRatioF()
        picture = QPixmap(round(self.width() * ratio), round(self.height() * ratio))
        picture.setDevicePixelRatio(ratio)
        picture.fill(Qt.GlobalColor.transparent)
        painter = QPainter(picture)
        scale, corner = self._fit()
        painter.translate(corner)
        painter.scale(scale, scale)
        painter.setPen(Qt.PenStyle.NoPen)
        nodes = self._view.frames.nodes
        for group in scene.document.groups:
            colour = QColor(group.colour) if QColor.isValidColorName(group.colour) else nodes.muted
            colour.setAlphaF(0.25)
            painter.fillRect(QRectF(*group.rectangle), colour)
        boxes: dict[str, list[QRectF]] = {}
        for item in scene.items_by_id.values():
            name = item.node.colour or nodes.stripe_name(item.node, item.schema)
            box = item.rect()
            box.setHeight(max(box.height(), 1.5 / scale))
            boxes.setdefault(name, []).append(box)
        for name, found in boxes.items():
            colour = QColor(name)
            colour.setAlphaF(0.75)
            painter.setBrush(colour)
            painter.drawRects(found)
        painter.end()
        return picture

    def paintEvent(self, event: QPaintEvent) -> None:
        if self._picture is None or self._picture.size() != self.size() * self.devicePixelRatioF():
            self._picture = self._draw()
        painter = QPainter(self)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        painter.setPen(QPen(theme.token("line"), 1))
        painter.setBrush(theme.token("surface1"))
        painter.drawRoundedRect(QRectF(self.rect()).adjusted(0.5, 0.5, -0.5, -0.5), theme.corner(), theme.corner())
        painter.drawPixmap(0, 0, self._picture)
        scale, corner = self._fit()
        seen = self._view.visible_area()
        box = QRectF(seen.topLeft() * scale + corner, seen.size() * scale)
        painter.setClipRect(self.rect().adjusted(2, 2, -2, -2))
        painter.setBrush(Qt.BrushStyle.NoBrush)
        painter.setPen(QPen(theme.token("accent"), 1.5))
        painter.drawRect(box & QRectF(self.rect()).adjusted(3, 3, -3, -3))

    def mousePressEvent(self, event: QMouseEvent) -> None:
        self._look(event.position())

    def mouseMoveEvent(self, event: QMouseEvent) -> None:
        if event.buttons() & Qt.MouseButton.LeftButton:
            self._look(event.position())

    def _look(self, place: QPointF) -> None:
        scale, corner = self._fit()
        self._view.look_at((place - corner) / scale)
