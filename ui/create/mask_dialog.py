"""Paint where a picture is to be redrawn: a brush, a rectangle, undo, invert."""

from __future__ import annotations

from PySide6.QtCore import QPointF, QRectF, QSize, Qt, Signal, Slot
from PySide6.QtGui import QBrush, QColor, QImage, QKeyEvent, QMouseEvent, QPainter, QPen
from PySide6.QtWidgets import QDialog, QWidget

from ui import theme
from ui.viewer.image_view import ImageView
from ui.widgets.basics import Button, IconButton, Label
from ui.widgets.inputs import SliderField
from ui.widgets.layouts import Column, Row

MAX_UNDO = 30


class MaskView(ImageView):
    """The picture with a mask over it. Left paints, right erases, middle pans, the wheel zooms."""

    def __init__(self, image: QImage, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setAccessibleName("Mask painter")
        self.painted_mask = QImage(image.size(), QImage.Format.Format_Grayscale8)
        self.painted_mask.fill(0)
        self.brush = max(4, min(image.width(), image.height()) // 6)  # diameter in picture pixels
        self.rectangle = False
        self._undo: list[QImage] = []
        self._from: QPointF | None = None
        self._to = QPointF()
        self._erase = False
        self.setMouseTracking(True)
        self.set_image(image, "Paint over what is to be redrawn.")

    def undo(self) -> None:
        if self._undo:
            self.painted_mask = self._undo.pop()
            self.update()

    def clear(self) -> None:
        self._remember()
        self.painted_mask.fill(0)
        self.update()

    def invert(self) -> None:
        self._remember()
        self.painted_mask.invertPixels()
        self.update()

    def _remember(self) -> None:
        self._undo = [*self._undo[1 - MAX_UNDO :], self.painted_mask.copy()]

    def stroke(self, start: QPointF, end: QPointF, *, erase: bool = False) -> None:
        """A line of the brush between two points in picture pixels."""
        painter = QPainter(self.painted_mask)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        ink = QColor(0, 0, 0) if erase else QColor(255, 255, 255)
        pen = QPen(ink, self.brush, Qt.PenStyle.SolidLine, Qt.PenCapStyle.RoundCap)
        painter.setPen(pen)
        if start == end:
            painter.drawPoint(start)
        else:
            painter.drawLine(start, end)
        painter.end()
        self.update()

    def fill_rectangle(self, rect: QRectF, *, erase: bool = False) -> None:
        """A filled rectangle in picture pixels."""
        painter = QPainter(self.painted_mask)
        painter.fillRect(rect.toAlignedRect(), QColor(0, 0, 0) if erase else QColor(255, 255, 255))
        painter.end()
        self.update()

    def paint_over(self, painter: QPainter, target: QRectF) -> None:
        overlay = QImage(self.painted_mask.size(), QImage.Format.Format_ARGB32_Premultiplied)
        overlay.fill(theme.token("danger"))
        ink = QPainter(overlay)
        ink.setCompositionMode(QPainter.CompositionMode.CompositionMode_DestinationIn)
        alpha = QImage(self.painted_mask)
        alpha.reinterpretAsFormat(QImage.Format.Format_Alpha8)
        ink.drawImage(0, 0, alpha)
        ink.end()
        painter.setOpacity(0.55)
        painter.drawImage(target, overlay)
        painter.setOpacity(1)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        if self.rectangle and self._from is not None:
            self._outline(painter, [self._widget_rect(self._from, self._to)], round_=False)
        elif not self.rectangle:
            size = self.brush * self.view_transform.scale
            middle = self.mapFromGlobal(self.cursor().pos())
            box = QRectF(middle.x() - size / 2, middle.y() - size / 2, size, size)
            self._outline(painter, [box], round_=True)

    def _outline(self, painter: QPainter, boxes: list[QRectF], *, round_: bool) -> None:
        painter.setBrush(QBrush(Qt.BrushStyle.NoBrush))
        for colour, width in ((QColor(0, 0, 0), 3), (QColor(255, 255, 255), 1)):
            painter.setPen(QPen(colour, width))
            for box in boxes:
                if round_:
                    painter.drawEllipse(box)
                else:
                    painter.drawRect(box)

    def _widget_rect(self, a: QPointF, b: QPointF) -> QRectF:
        target, scale = self.picture_rect(), self.view_transform.scale
        return QRectF(target.topLeft() + a * scale, target.topLeft() + b * scale).normalized()

    def mousePressEvent(self, event: QMouseEvent) -> None:
        if event.button() == Qt.MouseButton.MiddleButton:
            super().mousePressEvent(event)
            return
        alt = bool(event.modifiers() & Qt.KeyboardModifier.AltModifier)
        self._erase = event.button() == Qt.MouseButton.RightButton or alt
        self._remember()
        self._from = self._to = self.picture_point(event.position())
        if not self.rectangle:
            self.stroke(self._from, self._from, erase=self._erase)

    def mouseMoveEvent(self, event: QMouseEvent) -> None:
        if self._from is None:
            super().mouseMoveEvent(event)
        else:
            self._to = self.picture_point(event.position())
            if not self.rectangle:
                self.stroke(self._from, self._to, erase=self._erase)
                self._from = self._to
        self.update()

    def mouseReleaseEvent(self, event: QMouseEvent) -> None:
        if self._from is not None and self.rectangle:
            self.fill_rectangle(QRectF(self._from, self._to).normalized(), erase=self._erase)
        self._from = None
        super().mouseReleaseEvent(event)

    def mouseDoubleClickEvent(self, event: QMouseEvent) -> None:
        self.mousePressEvent(event)

    def keyPressEvent(self, event: QKeyEvent) -> None:
        if event.key() in (Qt.Key.Key_BracketLeft, Qt.Key.Key_BracketRight):
            self.brush = max(1, round(self.brush * (0.8 if event.key() == Qt.Key.Key_BracketLeft else 1.25)))
            self.update()
        else:
            super().keyPressEvent(event)


class MaskDialog(QDialog):
    """Paint a mask on a picture. `painted(mask)`: grey, of the picture's size, white where it is to be redrawn."""

    painted = Signal(object)

    def __init__(self, image: QImage, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setWindowTitle("Paint a mask")
        self.view = MaskView(image)
        column = Column(self, spacing=1, margins=1.5)
        tools = Row(spacing=1)
        self.brush_tool = IconButton("brush", "Brush", "Paints freely; the right button erases.", checkable=True)
        self.box_tool = IconButton("square", "Rectangle", "Fills a rectangle.", checkable=True)
        self.brush_tool.setChecked(True)
        largest = max(16, min(1024, max(image.width(), image.height())))
        self.brush_size = SliderField(
            "Brush size", "Diameter in picture pixels; [ and ] change it too.", minimum=1, maximum=largest,
            value=self.view.brush,
        )  # fmt: skip
        undo = IconButton("undo", "Undo", "Takes back the last stroke.", shortcut="Ctrl+Z")
        undo.setShortcut("Ctrl+Z")
        invert = IconButton("contrast", "Invert", "Swaps what is redrawn and what is kept.")
        clear = IconButton("trash-2", "Clear", "Removes all of the mask.")
        for widget in (self.brush_tool, self.box_tool):
            tools.addWidget(widget)
        tools.addWidget(self.brush_size, 1)
        for widget in (undo, invert, clear):
            tools.addWidget(widget)
        column.addLayout(tools)
        column.addWidget(self.view, 1)
        bottom = Row(spacing=1)
        bottom.addWidget(Label("Red is redrawn; everything else stays exactly as it is.", "small"), 1)
        cancel = Button("Cancel", tip="Leaves the mask as it was.")
        use = Button("Use this mask", kind="primary", tip="Redraws only what is painted.")
        bottom.addWidget(cancel)
        bottom.addWidget(use)
        column.addLayout(bottom)
        self.brush_tool.clicked.connect(self._use_brush)
        self.box_tool.clicked.connect(self._use_box)
        self.brush_size.value_changed.connect(self._size_set)
        undo.clicked.connect(self.view.undo)
        invert.clicked.connect(self.view.invert)
        clear.clicked.connect(self.view.clear)
        cancel.clicked.connect(self.reject)
        use.clicked.connect(self.accept)
        use.setDefault(True)
        self.view.setFocus()

    def sizeHint(self) -> QSize:
        return QSize(theme.px(820), theme.px(700))

    def done(self, result: int) -> None:
        self.view.wait_for_levels()
        if result:
            self.painted.emit(self.view.painted_mask.copy())
        super().done(result)

    @Slot()
    def _use_brush(self) -> None:
        self._set_tool(rectangle=False)

    @Slot()
    def _use_box(self) -> None:
        self._set_tool(rectangle=True)

    def _set_tool(self, *, rectangle: bool) -> None:
        self.view.rectangle = rectangle
        self.brush_tool.setChecked(not rectangle)
        self.box_tool.setChecked(rectangle)
        self.view.update()

    @Slot(float)
    def _size_set(self, value: float) -> None:
        self.view.brush = int(value)
        self.view.update()
