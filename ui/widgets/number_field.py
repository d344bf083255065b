"""A field for a number that can be typed, dragged, scrolled and computed."""

from __future__ import annotations

import math

from PySide6.QtCore import QPointF, QSize, Qt, Signal, Slot
from PySide6.QtGui import QFocusEvent, QKeyEvent, QMouseEvent, QWheelEvent
from PySide6.QtWidgets import QApplication, QLineEdit, QSizePolicy, QWidget

from ui.widgets.arithmetic import evaluate
from ui.widgets.basics import describe, set_property

PIXELS_PER_STEP = 6


class NumberField(QLineEdit):
    """Type a number or a sum (1024*1.5) and press Enter; drag sideways; scroll or press up and down while focused.

    Shift makes ten steps of one. Dragging and stepping stay within minimum..maximum; a typed value outside is
    reported as it is, so that whoever owns the value can say what would be right. An `optional` field may be empty:
    None, shown as the placeholder (what holds then).
    """

    value_changed = Signal(object)  # int, float or None
    complaint_changed = Signal(str)  # one sentence about what is typed, "" when it is a number

    def __init__(
        self,
        name: str,
        tip: str = "",
        *,
        minimum: float,
        maximum: float,
        step: float = 1,
        decimals: int = 0,
        optional: bool = False,
        shortcut: str = "",
        parent: QWidget | None = None,
    ) -> None:
        super().__init__(parent)
        self._minimum, self._maximum, self._step, self._decimals = minimum, maximum, step, decimals
        self._optional = optional
        self._value: int | float | None = None if optional else self._typed(minimum)
        self._base: int | float = self._typed(minimum)  # where stepping starts from while empty
        self._press: QPointF | None = None
        self._press_value: int | float = 0
        self._dragging = False
        describe(self, name, tip, shortcut)
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
        self.setCursor(Qt.CursorShape.SizeHorCursor)
        self.editingFinished.connect(self._commit)
        self._show()

    # ---- value

    @property
    def value(self) -> int | float | None:
        return self._value

    def set_value(self, value: float | None) -> None:
        """Show a value without telling anyone."""
        self._value = value if value is None else self._typed(value)
        if not (self.hasFocus() and self.isModified()):
            self._show()

    def set_range(self, minimum: float, maximum: float, step: float | None = None) -> None:
        self._minimum, self._maximum = minimum, maximum
        self._step = self._step if step is None else step

    def set_base(self, value: float) -> None:
        """What an empty field stands for: shown in grey, and where stepping starts."""
        self._base = self._typed(value)
        self.setPlaceholderText(self._text(self._base))

    def set_invalid(self, invalid: bool) -> None:
        set_property(self, "invalid", invalid)

    def _typed(self, value: float) -> int | float:
        return round(float(value), self._decimals) if self._decimals else int(value)

    def _text(self, value: float) -> str:
        return str(value) if isinstance(value, int) else f"{value:.{self._decimals}f}".rstrip("0").rstrip(".")

    def _show(self) -> None:
        self.setText("" if self._value is None else self._text(self._value))
        self.setCursorPosition(0)
        self.complaint_changed.emit("")

    def _change(self, value: float | None) -> None:
        value = value if value is None else self._typed(value)
        changed = value != self._value
        self._value = value
        self._show()
        if changed:
            self.value_changed.emit(value)

    @Slot()
    def _commit(self) -> None:
        if not self.isModified():
            return
        self.setModified(False)
        text = self.text().strip()
        if not text and self._optional:
            self._change(None)
            return
        try:
            value = evaluate(text)
        except ValueError as error:
            self.complaint_changed.emit(str(error))
            return
        self._change(value if self._decimals else round(value))

    def step_by(self, steps: float) -> None:
        """Move by whole steps of the grid, within the range."""
        value = self._base if self._value is None else self._value
        self._change(self._limited(value + steps * self._step))

    def _limited(self, value: float) -> float:
        # Land on the grid counted from zero, so that 0.5 stays 4.5, 5.0 and sizes stay divisible. Whole numbers are
        # snapped in whole numbers: seeds are beyond what a float can hold.
        snapped: float = value
        if self._decimals:
            snapped = math.floor(value / self._step + 0.5) * self._step
        elif self._step > 1:
            snapped = (int(value) + int(self._step) // 2) // int(self._step) * int(self._step)
        return min(self._maximum, max(self._minimum, snapped))

    # ---- events

    def sizeHint(self) -> QSize:
        return QSize(self.fontMetrics().horizontalAdvance("0" * 8) + 24, super().sizeHint().height())

    def minimumSizeHint(self) -> QSize:
        return QSize(self.fontMetrics().horizontalAdvance("0" * 4) + 24, super().minimumSizeHint().height())

    def wheelEvent(self, event: QWheelEvent) -> None:
        # Only when focused: a column that is scrolled past must not change its numbers.
        if not self.hasFocus() or not event.angleDelta().y():
            event.ignore()
            return
        self.step_by(_multiple(event) * (1 if event.angleDelta().y() > 0 else -1))
        event.accept()

    def keyPressEvent(self, event: QKeyEvent) -> None:
        if event.key() in (Qt.Key.Key_Up, Qt.Key.Key_Down):
            self._commit()
            self.step_by(_multiple(event) * (1 if event.key() == Qt.Key.Key_Up else -1))
        elif event.key() == Qt.Key.Key_Escape and self.isModified():
            self.setModified(False)
            self._show()
        else:
            super().keyPressEvent(event)

    def mousePressEvent(self, event: QMouseEvent) -> None:
        if event.button() == Qt.MouseButton.LeftButton and not self.hasFocus():
            self._press = event.position()
            self._press_value = self._base if self._value is None else self._value
        super().mousePressEvent(event)

    def mouseMoveEvent(self, event: QMouseEvent) -> None:
        if self._press is None:
            super().mouseMoveEvent(event)
            return
        moved = event.position().x() - self._press.x()
        if not self._dragging and abs(moved) < QApplication.startDragDistance():
            return
        self._dragging = True
        steps = int(moved / PIXELS_PER_STEP) * _multiple(event)
        self._change(self._limited(self._press_value + steps * self._step))

    def mouseReleaseEvent(self, event: QMouseEvent) -> None:
        dragged, self._dragging, self._press = self._dragging, False, None
        if dragged:
            self.clearFocus()
        super().mouseReleaseEvent(event)

    def focusInEvent(self, event: QFocusEvent) -> None:
        super().focusInEvent(event)
        self.setCursor(Qt.CursorShape.IBeamCursor)
        if event.reason() in (Qt.FocusReason.TabFocusReason, Qt.FocusReason.BacktabFocusReason):
            self.selectAll()

    def focusOutEvent(self, event: QFocusEvent) -> None:
        super().focusOutEvent(event)
        self.setCursor(Qt.CursorShape.SizeHorCursor)


def _multiple(event: QKeyEvent | QMouseEvent | QWheelEvent) -> int:
    return 10 if event.modifiers() & Qt.KeyboardModifier.ShiftModifier else 1
