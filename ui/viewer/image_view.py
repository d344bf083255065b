"""The large view of one picture: zoom about the cursor, pan, fit, 1:1; checkerboard behind transparency."""

from __future__ import annotations

from PySide6.QtCore import QObject, QPoint, QPointF, QRect, QRectF, QRunnable, Qt, QThreadPool, Signal, Slot
from PySide6.QtGui import (
    QBrush,
    QColor,
    QImage,
    QKeyEvent,
    QMouseEvent,
    QPainter,
    QPaintEvent,
    QPalette,
    QPixmap,
    QResizeEvent,
    QWheelEvent,
)
from PySide6.QtWidgets import QApplication, QSizePolicy, QWidget

from ui.viewer.pyramid import build_levels, display_image, level_for
from ui.viewer.view_transform import ViewTransform, fit

MARGIN = 16
WHEEL_STEP = 1.25
NEAREST_FROM = 8.0  # from here on a pixel is shown as a square, because one looks at pixels
CHECKER = 8


class _PyramidSignals(QObject):
    done = Signal(object, object)  # generation, levels


class _PyramidTask(QRunnable):
    def __init__(self, generation: int, image: QImage, signals: _PyramidSignals) -> None:
        super().__init__()
        self._generation, self._image, self._signals = generation, image, signals

    def run(self) -> None:
        self._signals.done.emit(self._generation, build_levels(self._image))


class ImageView(QWidget):
    """Shows one picture. The wheel zooms about the cursor; dragging pans; F fits, 1 shows one pixel per pixel.

    Signals: `zoom_changed(percent)`, `previous_wanted`, `next_wanted` (left and right arrow while all is seen),
    `closed` (Escape), `drag_wanted` (a drag that starts on a picture that is wholly seen).
    """

    zoom_changed = Signal(float)
    previous_wanted = Signal()
    next_wanted = Signal()
    closed = Signal()
    drag_wanted = Signal()

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setFocusPolicy(Qt.FocusPolicy.StrongFocus)
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Expanding)
        self.setAccessibleName("Picture")
        self.setMinimumSize(160, 120)
        self._levels: tuple[QImage, ...] = ()
        self._size = (0, 0)
        self._generation = 0
        self._view = ViewTransform()
        self._fitted = True
        self._pressed: QPointF | None = None
        self._last: QPointF | None = None
        self._panning = False
        self._checker: QBrush | None = None
        self._signals = _PyramidSignals(self)
        self._signals.done.connect(self._take_levels)
        self._pool = QThreadPool(self)
        self._pool.setMaxThreadCount(1)

    # ---- what is shown

    def set_image(self, image: QImage | None, description: str = "") -> None:
        """Show `image` (fitted, unless it has the size of the one before), or nothing."""
        self._generation += 1
        self.setAccessibleDescription(description)
        if image is None or image.isNull():
            self._levels, self._size = (), (0, 0)
            self.update()
            return
        shown = display_image(image)
        same = (shown.width(), shown.height()) == self._size
        self._levels, self._size = (shown,), (shown.width(), shown.height())
        if not same or self._fitted:
            self.fit()
        self._pool.start(_PyramidTask(self._generation, shown, self._signals))
        self.update()

    @property
    def image_size(self) -> tuple[int, int]:
        """Pixels, (0, 0) when nothing is shown."""
        return self._size

    @property
    def zoom_percent(self) -> float:
        """100 means one picture pixel for each pixel of the screen."""
        return self._view.scale * self.devicePixelRatioF() * 100

    @property
    def view_transform(self) -> ViewTransform:
        return self._view

    @Slot(object, object)
    def _take_levels(self, generation: int, levels: tuple[QImage, ...]) -> None:
        if generation == self._generation:
            self._levels = levels
            self.update()

    def wait_for_levels(self) -> None:
        """Blocks until the worker has nothing left to do; used when closing and by tests."""
        self._pool.waitForDone()

    # ---- moving

    @Slot()
    def fit(self) -> None:
        """Show all of the picture."""
        self._fitted = True
        if self._size[0]:
            self._view = fit(self._size, self._viewport(), MARGIN)
        self._changed()

    @Slot()
    def actual_size(self) -> None:
        """One picture pixel for each pixel of the screen."""
        self.zoom_to(100.0)

    def zoom_to(self, percent: float) -> None:
        """Zoom about the middle of the view."""
        self._zoom(percent / max(1e-9, self.zoom_percent), QPointF(self.rect().center()))

    @Slot()
    def zoom_in(self) -> None:
        self._zoom(WHEEL_STEP, QPointF(self.rect().center()))

    @Slot()
    def zoom_out(self) -> None:
        self._zoom(1 / WHEEL_STEP, QPointF(self.rect().center()))

    def _zoom(self, factor: float, about: QPointF) -> None:
        if not self._size[0]:
            return
        self._fitted = False
        self._view = self._view.zoomed(factor, about.x(), about.y(), self._size, self._viewport())
        self._changed()

    def _pan(self, dx: float, dy: float) -> None:
        if self._size[0]:
            self._fitted = False
            self._view = self._view.panned(dx, dy, self._size, self._viewport())
            self._changed()

    def _changed(self) -> None:
        self.zoom_changed.emit(self.zoom_percent)
        self.update()

    def _viewport(self) -> tuple[float, float]:
        return float(self.width()), float(self.height())

    def picture_rect(self) -> QRectF:
        """Where the picture lies in this widget."""
        return QRectF(*self._view.picture_rect(self._size, self._viewport()))

    def picture_point(self, point: QPointF) -> QPointF:
        """The picture pixel under a point of this widget."""
        return QPointF(*self._view.to_picture(point.x(), point.y(), self._size, self._viewport()))

    def _wholly_seen(self) -> bool:
        return QRectF(self.rect()).adjusted(-1, -1, 1, 1).contains(self.picture_rect())

    # ---- painting

    def paintEvent(self, event: QPaintEvent) -> None:
        painter = QPainter(self)
        painter.fillRect(event.rect(), self.palette().color(QPalette.ColorRole.Window))
        if not self._levels:
            return
        target = self.picture_rect()
        seen = target.intersected(QRectF(event.rect()).adjusted(-1, -1, 1, 1))
        if seen.isEmpty():
            return
        base = self._levels[0]
        if base.hasAlphaChannel():
            painter.fillRect(seen, self._checkerboard())
        device_scale = self._view.scale * self.devicePixelRatioF()
        level = self._levels[level_for(device_scale, len(self._levels))]
        painter.setRenderHint(QPainter.RenderHint.SmoothPixmapTransform, device_scale < NEAREST_FROM)
        fx, fy = level.width() / target.width(), level.height() / target.height()
        source = QRectF(
            (seen.x() - target.x()) * fx, (seen.y() - target.y()) * fy, seen.width() * fx, seen.height() * fy
        )
        painter.drawImage(seen, level, source)
        self.paint_over(painter, target)
        if self.hasFocus():
            painter.setPen(self.palette().color(QPalette.ColorRole.Highlight))
            painter.drawRect(self.rect().adjusted(0, 0, -1, -1))

    def paint_over(self, painter: QPainter, target: QRectF) -> None:
        """Drawn over the picture; for subclasses. `target` is where the picture lies."""

    def _checkerboard(self) -> QBrush:
        if self._checker is None:
            tile = QPixmap(2 * CHECKER, 2 * CHECKER)
            tile.fill(QColor(150, 150, 150))
            painter = QPainter(tile)
            for x, y in ((0, 0), (CHECKER, CHECKER)):
                painter.fillRect(QRect(x, y, CHECKER, CHECKER), QColor(105, 105, 105))
            painter.end()
            self._checker = QBrush(tile)
        return self._checker

    # ---- events

    def resizeEvent(self, event: QResizeEvent) -> None:
        super().resizeEvent(event)
        if self._size[0]:
            if self._fitted:
                self.fit()
            else:
                self._view = self._view.kept_in(self._size, self._viewport())

    def wheelEvent(self, event: QWheelEvent) -> None:
        notches = event.angleDelta().y() / 120
        if notches:
            self._zoom(WHEEL_STEP**notches, event.position())
        event.accept()

    def mousePressEvent(self, event: QMouseEvent) -> None:
        if event.button() in (Qt.MouseButton.LeftButton, Qt.MouseButton.MiddleButton):
            self._pressed = self._last = event.position()
            self._panning = event.button() == Qt.MouseButton.MiddleButton or not self._wholly_seen()
            if self._panning:
                self.setCursor(Qt.CursorShape.ClosedHandCursor)

    def mouseMoveEvent(self, event: QMouseEvent) -> None:
        if self._pressed is None or self._last is None:
            return
        if self._panning:
            step = event.position() - self._last
            self._last = event.position()
            self._pan(step.x(), step.y())
        elif _far(event.position() - self._pressed):
            self._pressed = None
            self.drag_wanted.emit()

    def mouseReleaseEvent(self, event: QMouseEvent) -> None:
        self._pressed = self._last = None
        self._panning = False
        self.unsetCursor()

    def mouseDoubleClickEvent(self, event: QMouseEvent) -> None:
        if self._fitted:
            self._zoom(100.0 / max(1e-9, self.zoom_percent), event.position())
        else:
            self.fit()

    def keyPressEvent(self, event: QKeyEvent) -> None:
        key = event.key()
        step = 48
        pans = {
            Qt.Key.Key_Left: (step, 0), Qt.Key.Key_Right: (-step, 0),
            Qt.Key.Key_Up: (0, step), Qt.Key.Key_Down: (0, -step),
        }  # fmt: skip
        if event.modifiers() & Qt.KeyboardModifier.ControlModifier:
            super().keyPressEvent(event)
        elif key in (Qt.Key.Key_Left, Qt.Key.Key_Right) and self._wholly_seen():
            (self.previous_wanted if key == Qt.Key.Key_Left else self.next_wanted).emit()
        elif key in pans:
            self._pan(*pans[Qt.Key(key)])
        elif key == Qt.Key.Key_F:
            self.fit()
        elif key in (Qt.Key.Key_Plus, Qt.Key.Key_Equal):
            self.zoom_in()
        elif key == Qt.Key.Key_Minus:
            self.zoom_out()
        elif key == Qt.Key.Key_Escape:
            self.closed.emit()
        else:
            super().keyPressEvent(event)


def _far(step: QPointF) -> bool:
    return QPoint(int(step.x()), int(step.y())).manhattanLength() >= QApplication.startDragDistance()
