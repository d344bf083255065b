"""The aspect ratios as little rectangles, with the pixel size each one means for the chosen model."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from PySide6.QtCore import QRectF, QSize, Qt, Signal, Slot
from PySide6.QtGui import QPainter, QPaintEvent, QPen
from PySide6.QtWidgets import QAbstractButton, QButtonGroup, QSizePolicy, QWidget

from engine.recipes.shapes import Shape
from ui import theme
from ui.widgets.basics import describe, tab_to_chosen
from ui.widgets.layouts import Row


class ShapeButton(QAbstractButton):
    """A rectangle of the shape with its ratio below."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.shape = shape
        self.setCheckable(True)
        self.setText(shape.id)
        self.setFocusPolicy(Qt.FocusPolicy.StrongFocus)
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
        theme.notifier.changed.connect(self.updateGeometry)

    def sizeHint(self) -> QSize:
        return QSize(theme.px(40), theme.px(48))

    def minimumSizeHint(self) -> QSize:
        return self.sizeHint()

    def paintEvent(self, event: QPaintEvent) -> None:
        painter = QPainter(self)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        frame = QRectF(self.rect()).adjusted(1, 1, -1, -1)
        on = self.isChecked()
        if on or self.underMouse():
            painter.setPen(Qt.PenStyle.NoPen)
            painter.setBrush(theme.token("accent_soft" if on else "surface3"))
            painter.drawRoundedRect(frame, theme.corner(), theme.corner())
        if self.hasFocus() or on:
            painter.setPen(QPen(theme.token("focus" if self.hasFocus() else "accent"), 2 if self.hasFocus() else 1))
            painter.setBrush(Qt.BrushStyle.NoBrush)
            painter.drawRoundedRect(frame, theme.corner(), theme.corner())
        long = theme.px(24)
        width = long if self.shape.ratio >= 1 else long * self.shape.ratio
        height = long if self.shape.ratio <= 1 else long / self.shape.ratio
        room = QRectF(frame.x(), frame.y() + theme.px(3), frame.width(), theme.px(25))
        box = QRectF(room.center().x() - width / 2, room.center().y() - height / 2, width, height)
        painter.setPen(QPen(theme.token("text_strong" if on else "text_muted"), 1.5))
        painter.setBrush(theme.token("accent") if on else Qt.BrushStyle.NoBrush)
        painter.drawRoundedRect(box, 2, 2)
        painter.setFont(theme.font(-1))
        painter.setPen(theme.token("text_strong" if on else "text"))
        label = QRectF(frame.x(), room.bottom(), frame.width(), frame.bottom() - room.bottom())
        painter.drawText(label, Qt.AlignmentFlag.AlignCenter, self.text())


class ShapePicker(QWidget):
    """One button for each shape; none is checked when the size is the person's own. `chosen(Shape)`."""

    chosen = Signal(object)

    def __init__(self, shapes: Sequence[Shape], parent: QWidget | None = None) -> None:
        super().__init__(parent)
        row = Row(self, spacing=0.5)
        self._group = QButtonGroup(self)
        self._buttons: dict[str, ShapeButton] = {}
        for shape in shapes:
            button = ShapeButton(shape)
            self._buttons[shape.id] = button
            self._group.addButton(button)
            row.addWidget(button)
        self._group.buttonClicked.connect(self._clicked)

    def show_sizes(self, size_of: Callable[[Shape], tuple[int, int]]) -> None:
        """Say in each button's help what pixel size it means now."""
        for button in self._buttons.values():
            width, height = size_of(button.shape)
            describe(
                button,
                f"{button.shape.name} {button.shape.id}",
                f"{button.shape.name}, {width} × {height} pixels: for {button.shape.use}.",
            )

    def show_choice(self, shape: Shape | None) -> None:
        if shape is None:
            self._group.setExclusive(False)
            for button in self._buttons.values():
                button.setChecked(False)
            self._group.setExclusive(True)
        else:
            self._buttons[shape.id].setChecked(True)
        tab_to_chosen(self._group)

    def button(self, shape_id: str) -> ShapeButton:
        """The button of a shape. Raises KeyError."""
        return self._buttons[shape_id]

    @Slot(QAbstractButton)
    def _clicked(self, button: QAbstractButton) -> None:
        assert isinstance(button, ShapeButton)
        self.chosen.emit(button.shape)
