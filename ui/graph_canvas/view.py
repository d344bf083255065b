"""The window onto a scene: pan, zoom about the pointer, framing, and painting each frame in one pass.

What the pointer does is decided by `tools/`; what keys do by commands.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

from PySide6.QtCore import QEvent, QPoint, QPointF, QRect, QRectF, Qt, QTimer, Signal, Slot
from PySide6.QtGui import (
    QDragEnterEvent,
    QDragMoveEvent,
    QDropEvent,
    QFocusEvent,
    QKeyEvent,
    QMouseEvent,
    QPainter,
    QPaintEvent,
    QResizeEvent,
    QTransform,
    QWheelEvent,
)
from PySide6.QtWidgets import QFrame, QGraphicsView

from ui import theme
from ui.graph_canvas.passes import FramePainter
from ui.graph_canvas.scene import EVERYWHERE, GraphScene

if TYPE_CHECKING:
    from ui.graph_canvas.tools.pointer import Pointer

SMALLEST, LARGEST = 0.02, 4.0
WHEEL_STEP = 1.15
REST_MS = 90  # after the last step of a zoom, nodes get pictures of the new scale
ROOM = 48  # pixels kept free around what is framed


class GraphView(QGraphicsView):
    """Signals speak in scene pixels.

    moved          another part of the canvas is seen
    search_wanted  (scene place, LooseEnd or None): find a node to put there, and to wire to the loose end
    menu_wanted    (global place, scene place)
    dropped        a QDropEvent of files or text
    """

    moved = Signal()
    search_wanted = Signal(QPointF, object)
    menu_wanted = Signal(QPoint, QPointF)
    edit_wanted = Signal(str, str)  # node, input: a person wants to change this value
    open_wanted = Signal(str)  # node: a double click on its title
    frame_wanted = Signal(QPointF)  # a double click on a frame's title
    said = Signal(str)  # one sentence about what just could not be done
    dropped = Signal(object)

    def __init__(self, scene: GraphScene) -> None:
        super().__init__(scene)
        self.graph = scene
        self.foot = 0  # pixels at the lower edge over which something floats
        self.setSceneRect(EVERYWHERE)
        self.frames = FramePainter(scene)
        self.setFrameShape(QFrame.Shape.NoFrame)
        self.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self.setVerticalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self.setViewportUpdateMode(QGraphicsView.ViewportUpdateMode.BoundingRectViewportUpdate)
        self.setTransformationAnchor(QGraphicsView.ViewportAnchor.NoAnchor)
        self.setResizeAnchor(QGraphicsView.ViewportAnchor.NoAnchor)
        self.setDragMode(QGraphicsView.DragMode.NoDrag)
        self.setMouseTracking(True)
        self.setAcceptDrops(True)
        self.setFocusPolicy(Qt.FocusPolicy.StrongFocus)
        self.setAccessibleName("Graph canvas")
        self.setAccessibleDescription("Nodes and wires of the workflow; arrow keys go along the wires.")
        self.viewport().setAttribute(Qt.WidgetAttribute.WA_OpaquePaintEvent)
        self.setContextMenuPolicy(Qt.ContextMenuPolicy.NoContextMenu)
        self.snap = False
        self.keys: Callable[[QKeyEvent, bool], bool] = lambda event, run: False  # who knows what keys mean
        self.walking = False  # the keyboard goes from node to node
        self._moving = False
        self._rest = QTimer(self)
        self._rest.setSingleShot(True)
        self._rest.setInterval(REST_MS)
        self._rest.timeout.connect(self._settle)
        self.pointer: Pointer | None = None
        scene.dirty.connect(self._on_dirty)
        theme.notifier.changed.connect(self._restyle)

    # ---- where one looks

    @property
    def scale_factor(self) -> float:
        """Viewport pixels for one canvas pixel."""
        return self.transform().m11()

    def visible_area(self) -> QRectF:
        """What is seen, in scene pixels."""
        return self.mapToScene(self.viewport().rect()).boundingRect()

    def centre(self) -> QPointF:
        """The place in the middle; `look_at` of it changes nothing."""
        return self.to_scene(self._middle())

    def _middle(self) -> QPointF:
        port = self.viewport()
        return QPointF(port.width() / 2, port.height() / 2)

    def to_scene(self, place: QPointF) -> QPointF:
        """A place in the viewport, exactly (mapToScene takes whole pixels only)."""
        inverse, _ = self.viewportTransform().inverted()
        return inverse.map(place)

    def look_at(self, centre: QPointF, scale: float | None = None) -> None:
        """Show `centre` in the middle, at `scale` where given."""
        if scale is not None:
            self._set_scale(scale)
        now = self.scale_factor
        middle = self._middle()
        self._scroll_to(centre.x() * now - middle.x(), centre.y() * now - middle.y())

    def zoom(self, factor: float, about: QPointF | None = None) -> None:
        """Zoom by `factor`; the canvas under `about` (viewport pixels, else the middle) stays where it is."""
        about = about if about is not None else QPointF(self.viewport().rect().center())
        fixed = self.to_scene(about)
        self._set_scale(self.scale_factor * factor)
        now = self.scale_factor
        self._moving = True
        self._rest.start()
        self._scroll_to(fixed.x() * now - about.x(), fixed.y() * now - about.y())

    def pan(self, dx: float, dy: float) -> None:
        """Move the canvas by viewport pixels."""
        across, down = self.horizontalScrollBar(), self.verticalScrollBar()
        across.setValue(across.value() - round(dx))
        down.setValue(down.value() - round(dy))

    def frame_nodes(self, names: Iterable[str] | None = None) -> None:
        """Show these nodes, or everything, as large as they fit, at most in their own size."""
        box = self.graph.bounds(names)
        if box.isNull():
            self.look_at(QPointF(0, 0), 1.0)
            return
        room = self.viewport().rect().adjusted(ROOM, ROOM, -ROOM, -max(ROOM, self.foot))
        fit = min(1.0, room.width() / max(1.0, box.width()), room.height() / max(1.0, box.height()))
        below = (self.foot - ROOM) / 2 / fit if self.foot > ROOM else 0.0
        self.look_at(box.center() + QPointF(0, below), fit)

    def ensure_seen(self, box: QRectF) -> None:
        """Pan by as little as brings `box` (scene pixels) into view."""
        area = self.visible_area()
        edge = ROOM / self.scale_factor
        area.adjust(edge, edge, -edge, -edge)
        dx = min(0.0, box.left() - area.left()) or max(0.0, box.right() - area.right())
        dy = min(0.0, box.top() - area.top()) or max(0.0, box.bottom() - area.bottom())
        if dx or dy:
            self.pan(-dx * self.scale_factor, -dy * self.scale_factor)

    def _set_scale(self, scale: float) -> None:
        scale = min(LARGEST, max(SMALLEST, scale))
        if abs(scale - 1.0) < 0.02:
            scale = 1.0  # wheel steps pass by it otherwise, and it is where nodes are sharpest
        self.setTransform(QTransform.fromScale(scale, scale))

    def _scroll_to(self, left: float, top: float) -> None:
        self.horizontalScrollBar().setValue(round(left))
        self.verticalScrollBar().setValue(round(top))
        self.viewport().update()
        self.moved.emit()

    def scrollContentsBy(self, dx: int, dy: int) -> None:
        super().scrollContentsBy(dx, dy)
        self.moved.emit()

    # ---- painting

    def paintEvent(self, event: QPaintEvent) -> None:
        painter = QPainter(self.viewport())
        transform = self.viewportTransform()
        inverse, _ = transform.inverted()
        ratio, stale = self.devicePixelRatioF(), False
        region = event.region()
        # A pan uncovers two thin strips; their bounding box would be everything.
        parts: list[QRect] = [*region] if region.rectCount() <= 3 else [event.rect()]  # type: ignore[misc]  # iterates
        for rect in parts:
            painter.resetTransform()
            painter.setClipRect(rect)
            painter.fillRect(rect, self.frames.ground)
            stale |= self.frames.paint(painter, transform, inverse.mapRect(QRectF(rect)), ratio, moving=self._moving)
        painter.setClipping(False)
        if stale and not self._rest.isActive():
            self._rest.start()
        if self.pointer is not None:
            painter.setWorldTransform(transform)
            self.pointer.paint(painter)
        painter.end()

    def wait_for_pictures(self) -> None:
        """Paint everything at the present scale now, as it looks at rest."""
        self._rest.stop()
        self._settle()

    @Slot()
    def _settle(self) -> None:
        self._moving = False
        self.frames.rest(self.scale_factor, self.devicePixelRatioF())
        self.viewport().update()

    @Slot(QRectF)
    def _on_dirty(self, area: QRectF) -> None:
        self.update_area(area)

    def update_area(self, area: QRectF) -> None:
        """Paint a part of the canvas (scene pixels) again."""
        port = self.viewport().rect()
        seen = self.viewportTransform().mapRect(area)
        if seen.intersects(QRectF(port)):
            left, top = max(-8.0, seen.left()), max(-8.0, seen.top())
            right, bottom = min(port.width() + 8.0, seen.right()), min(port.height() + 8.0, seen.bottom())
            box = QRect(
                math.floor(left) - 2, math.floor(top) - 2, math.ceil(right - left) + 5, math.ceil(bottom - top) + 5
            )
            self.viewport().update(box & port)

    @Slot()
    def _restyle(self) -> None:
        self.frames.refresh()
        self.viewport().update()

    def resizeEvent(self, event: QResizeEvent) -> None:
        super().resizeEvent(event)
        self.moved.emit()

    # ---- pointer and keys

    def wheelEvent(self, event: QWheelEvent) -> None:
        """The wheel zooms about the pointer; with Shift it pans sideways; a touch pad pans, with Ctrl it zooms."""
        modifiers, pixels, turns = event.modifiers(), event.pixelDelta(), event.angleDelta()
        if not pixels.isNull() and not modifiers & Qt.KeyboardModifier.ControlModifier:
            self.pan(pixels.x(), pixels.y())
        elif modifiers & Qt.KeyboardModifier.ShiftModifier:
            self.pan(turns.y() or turns.x(), 0)
        else:
            steps = (turns.y() or turns.x()) / 120
            self.zoom(WHEEL_STEP**steps, event.position())
        event.accept()

    def mousePressEvent(self, event: QMouseEvent) -> None:
        if self.pointer is not None:
            self.pointer.press(event)

    def mouseMoveEvent(self, event: QMouseEvent) -> None:
        if self.pointer is not None:
            self.pointer.move(event)

    def mouseReleaseEvent(self, event: QMouseEvent) -> None:
        if self.pointer is not None:
            self.pointer.release(event)

    def mouseDoubleClickEvent(self, event: QMouseEvent) -> None:
        if self.pointer is not None:
            self.pointer.double_click(event)

    def keyPressEvent(self, event: QKeyEvent) -> None:
        if self.pointer is not None and self.pointer.key(event):
            return
        if not self.keys(event, True):
            event.ignore()  # QGraphicsView would scroll with the arrow keys

    def focusOutEvent(self, event: QFocusEvent) -> None:
        super().focusOutEvent(event)
        self.viewport().update()

    def event(self, event: QEvent) -> bool:
        """Keys of the canvas go before the window's: Delete here is no picture's."""
        if not isinstance(event, QKeyEvent):
            return super().event(event)
        if event.type() == QEvent.Type.ShortcutOverride:
            if (self.pointer is not None and self.pointer.gesture is not None) or self.keys(event, False):
                event.accept()
                return True
        elif event.type() == QEvent.Type.KeyPress and event.key() in {Qt.Key.Key_Tab, Qt.Key.Key_Backtab}:
            if event.modifiers() & Qt.KeyboardModifier.ControlModifier:  # the way out for the keyboard
                return self.focusNextPrevChild(event.key() == Qt.Key.Key_Tab)
            self.keyPressEvent(event)  # QWidget would give the focus on
            return event.isAccepted()
        return super().event(event)

    def viewportEvent(self, event: QEvent) -> bool:
        if event.type() == QEvent.Type.Leave and self.pointer is not None:
            self.pointer.leave()
        if event.type() == QEvent.Type.ToolTip and self.pointer is not None:
            return self.pointer.tool_tip(event)
        return super().viewportEvent(event)

    def dragEnterEvent(self, event: QDragEnterEvent) -> None:
        if event.mimeData().hasUrls() or event.mimeData().hasText():
            event.acceptProposedAction()

    def dragMoveEvent(self, event: QDragMoveEvent) -> None:
        event.acceptProposedAction()

    def dropEvent(self, event: QDropEvent) -> None:
        self.dropped.emit(event)
        event.acceptProposedAction()
