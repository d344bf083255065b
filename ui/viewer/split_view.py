"""Two pictures of one size laid over each other: left of a line the one, right of it the other."""

from __future__ import annotations

from PySide6.QtCore import QPoint, QRect, QRectF, QSize, Qt, Signal
from PySide6.QtGui import QImage, QKeyEvent, QMouseEvent, QPainter, QPaintEvent, QPen
from PySide6.QtWidgets import QSizePolicy, QWidget

from ui import theme

KEY_STEP = 0.05


class SplitView(QWidget):
    """Dragging, or the left and right arrow, moves the line. `moved(fraction)`: where it is, 0 left to 1 right."""

    moved = Signal(float)

    def __init__(self, left: str, right: str) -> None:
        super().__init__()
        self._names = (left, right)
        self._images: tuple[QImage, QImage] | None = None
        self._line = 0.5
        self.setFocusPolicy(Qt.FocusPolicy.StrongFocus)
        self.setCursor(Qt.CursorShape.SplitHCursor)
        self.setMinimumSize(theme.px(240), theme.px(180))
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Expanding)
        self.setAccessibleName("Difference")
        self._say()

    def sizeHint(self) -> QSize:
        return QSize(theme.px(560), theme.px(480))

    def set_images(self, left: QImage, right: QImage) -> None:
        """The second one is shown as large as the first."""
        self._images = left, right
        self.update()

    @property
    def line(self) -> float:
        return self._line

    def set_line(self, fraction: float) -> None:
        """Where the two meet, 0..1 of the picture's width; what lies beyond is taken as the nearer end."""
        fraction = min(max(fraction, 0.0), 1.0)
        if fraction != self._line:
            self._line = fraction
            self._say()
            self.moved.emit(fraction)
            self.update()

    def _say(self) -> None:
        left, right = self._names
        self.setAccessibleDescription(
            f"Left of {self._line:.0%}: {left}. Right of it: {right}. The arrow keys move the line."
        )

    def picture_rect(self) -> QRect:
        """Where the pictures are, in this widget's pixels; empty without pictures."""
        if self._images is None or self._images[0].isNull():
            return QRect()
        fitted = self._images[0].size().scaled(self.size(), Qt.AspectRatioMode.KeepAspectRatio)
        corner = QPoint((self.width() - fitted.width()) // 2, (self.height() - fitted.height()) // 2)
        return QRect(corner, fitted)

    def paintEvent(self, event: QPaintEvent) -> None:
        painter = QPainter(self)
        place = self.picture_rect()
        if self._images is None or place.isEmpty():
            return
        painter.setRenderHint(QPainter.RenderHint.SmoothPixmapTransform)
        at = place.left() + self._line * place.width()
        halves = (
            QRectF(place.left(), place.top(), at - place.left(), place.height()),
            QRectF(at, place.top(), place.left() + place.width() - at, place.height()),
        )
        for image, half in zip(self._images, halves, strict=True):
            painter.setClipRect(half)
            painter.drawImage(place, image)
        painter.setClipping(False)
        # Light within dark or dark within light: seen on any picture.
        for name, width in (("surface1", 5), ("focus" if self.hasFocus() else "text", 2)):
            painter.setPen(QPen(theme.token(name), theme.px(width)))
            painter.drawLine(round(at), place.top(), round(at), place.bottom())
        self._paint_names(painter, place)

    def _paint_names(self, painter: QPainter, place: QRect) -> None:
        pad = theme.space(1)
        painter.setFont(theme.font(-1))
        for name, side in zip(self._names, (Qt.AlignmentFlag.AlignLeft, Qt.AlignmentFlag.AlignRight), strict=True):
            room = painter.fontMetrics().boundingRect(name).adjusted(-pad, -pad // 2, pad, pad // 2)
            room.moveTop(place.top() + pad)
            if side == Qt.AlignmentFlag.AlignLeft:
                room.moveLeft(place.left() + pad)
            else:
                room.moveRight(place.right() - pad)
            painter.setPen(Qt.PenStyle.NoPen)
            painter.setBrush(theme.token("surface1"))
            painter.drawRoundedRect(room, theme.corner(), theme.corner())
            painter.setPen(theme.token("text"))
            painter.drawText(room, Qt.AlignmentFlag.AlignCenter, name)

    def mousePressEvent(self, event: QMouseEvent) -> None:
        self._follow(event)

    def mouseMoveEvent(self, event: QMouseEvent) -> None:
        self._follow(event)

    def _follow(self, event: QMouseEvent) -> None:
        place = self.picture_rect()
        if event.buttons() & Qt.MouseButton.LeftButton and not place.isEmpty():
            self.set_line((event.position().x() - place.left()) / place.width())

    def keyPressEvent(self, event: QKeyEvent) -> None:
        by = {Qt.Key.Key_Left: -KEY_STEP, Qt.Key.Key_Right: KEY_STEP}.get(Qt.Key(event.key()))
        if by is None:
            super().keyPressEvent(event)
        else:
            self.set_line(self._line + by)
