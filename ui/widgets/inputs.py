"""Editors: a list to choose from, a switch, and a number that can be typed, computed, dragged and scrolled."""

from __future__ import annotations

from PySide6.QtCore import QEvent, QPointF, QRectF, QSize, Qt, Signal, Slot
from PySide6.QtGui import (
    QAccessible,
    QAccessibleAnnouncementEvent,
    QEnterEvent,
    QFocusEvent,
    QKeyEvent,
    QMouseEvent,
    QPainter,
    QPaintEvent,
    QPen,
    QWheelEvent,
)
from PySide6.QtWidgets import (
    QCheckBox,
    QComboBox,
    QLineEdit,
    QSizePolicy,
    QSlider,
    QStyle,
    QStyleOptionComboBox,
    QStylePainter,
    QWidget,
)

from engine.contracts.errors import clip
from ui import theme
from ui.widgets.arithmetic import evaluate
from ui.widgets.basics import describe, set_property
from ui.widgets.layouts import Row

_COMBO = QStyle.ComplexControl.CC_ComboBox


class Choice(QComboBox):
    """A drop-down list. The wheel changes it only while it has the focus, so that scrolling a page is safe."""

    def __init__(self, name: str, tip: str = "", parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setFocusPolicy(Qt.FocusPolicy.StrongFocus)
        self.setSizeAdjustPolicy(QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon)
        self.setMinimumContentsLength(6)
        self.setMaxVisibleItems(16)
        describe(self, name, tip)
        self.view().setAccessibleName(f"{name}: choices")

    def wheelEvent(self, event: QWheelEvent) -> None:
        if self.hasFocus():
            super().wheelEvent(event)
        else:
            event.ignore()

    def paintEvent(self, event: QPaintEvent) -> None:
        """As the style does, but that words without room are elided in the middle, not cut."""
        edge = theme.px(16)
        option = QStyleOptionComboBox()
        self.initStyleOption(option)
        style, room = self.style(), self.width() - edge - theme.px(7) - theme.px(4)
        room -= style.subControlRect(_COMBO, option, QStyle.SubControl.SC_ComboBoxEditField, self).x()
        option.currentText = self.fontMetrics().elidedText(option.currentText, Qt.TextElideMode.ElideMiddle, room)
        painter = QStylePainter(self)
        painter.drawComplexControl(_COMBO, option)
        painter.drawControl(QStyle.ControlElement.CE_ComboBoxLabel, option)
        painter.end()
        rect = QRectF(self.width() - edge - theme.px(7), (self.height() - edge) / 2, edge, edge).toRect()
        theme.paint_icon(QPainter(self), "chevron-down", rect, "text" if self.isEnabled() else "text_disabled")


class Toggle(QCheckBox):
    """An on/off switch with its label. A check box in all but looks: Space toggles, screen readers say "check box"."""

    def __init__(self, text: str, tip: str = "", parent: QWidget | None = None) -> None:
        super().__init__(text, parent)
        describe(self, text, tip)
        self.setSizePolicy(QSizePolicy.Policy.Minimum, QSizePolicy.Policy.Fixed)
        theme.notifier.changed.connect(self.updateGeometry)

    def sizeHint(self) -> QSize:
        metrics = self.fontMetrics()
        text = metrics.horizontalAdvance(self.text()) + theme.space(1) if self.text() else 0
        return QSize(theme.px(34) + text + theme.px(4), max(theme.px(24), metrics.height()) + theme.px(4))

    def minimumSizeHint(self) -> QSize:
        return self.sizeHint()

    def hitButton(self, position: object) -> bool:
        return True

    def paintEvent(self, event: QPaintEvent) -> None:
        painter = QPainter(self)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        width, height = theme.px(30), theme.px(16)
        track = QRectF(theme.px(3), (self.height() - height) / 2, width, height)
        on, enabled = self.isChecked(), self.isEnabled()
        fill = "surface4" if not enabled else "accent" if on else "surface3"
        painter.setPen(QPen(theme.token("accent" if on and enabled else "control_line" if enabled else "line"), 1))
        painter.setBrush(theme.token(fill))
        painter.drawRoundedRect(track, height / 2, height / 2)
        knob = height / 2 - theme.px(3)
        x = track.right() - height / 2 if on else track.left() + height / 2
        painter.setPen(Qt.PenStyle.NoPen)
        painter.setBrush(theme.token("on_accent" if on and enabled else "text" if enabled else "text_disabled"))
        painter.drawEllipse(QPointF(x, track.center().y()), knob, knob)
        if self.hasFocus():
            painter.setPen(QPen(theme.token("focus"), 2))
            painter.setBrush(Qt.BrushStyle.NoBrush)
            ring = track.adjusted(-2, -2, 2, 2)
            painter.drawRoundedRect(ring, ring.height() / 2, ring.height() / 2)
        painter.setPen(theme.token("text" if enabled else "text_disabled"))
        left = int(track.right()) + theme.space(1)
        painter.drawText(self.rect().adjusted(left, 0, 0, 0), Qt.AlignmentFlag.AlignVCenter, self.text())


class NumberField(QLineEdit):
    """A number that can be typed ("512"), computed ("2*256"), dragged sideways, scrolled and stepped with the arrows.

    Values are clamped to minimum..maximum and rounded to `decimals`; what can't be read puts the old value back.
    Shift makes steps ten times as large. `value_changed` fires on every change, also while dragging; `corrected` with
    a sentence when something was typed that can't be used as it is.
    """

    value_changed = Signal(float)
    corrected = Signal(str)

    def __init__(
        self,
        name: str,
        tip: str = "",
        *,
        minimum: float = 0,
        maximum: float = 100,
        value: float = 0,
        step: float = 1,
        decimals: int = 0,
        suffix: str = "",
        parent: QWidget | None = None,
    ) -> None:
        super().__init__(parent)
        self._name, self._tip = name, tip or name
        self._minimum, self._maximum, self._step, self._decimals = minimum, maximum, step, decimals
        self._suffix = suffix
        self._value = value
        self._press: QPointF | None = None
        self._dragged = False
        self._drag_start = value
        self._describe()
        self.setCursor(Qt.CursorShape.SizeHorCursor)
        self.editingFinished.connect(self._commit)
        self.setValue(value)

    def value(self) -> float:
        return self._value

    def setValue(self, value: float) -> None:
        value = round(min(self._maximum, max(self._minimum, value)), self._decimals)
        changed = value != self._value
        self._value = value
        text = self._format(value) + self._suffix
        if self.text() != text:
            self.setText(text)
        set_property(self, "invalid", False)
        if changed:
            self.value_changed.emit(value)

    def set_range(self, minimum: float, maximum: float, step: float | None = None) -> None:
        self._minimum, self._maximum = minimum, maximum
        self._step = self._step if step is None else step
        self._describe()
        self.setValue(self._value)

    def sizeHint(self) -> QSize:
        hint = super().sizeHint()
        widest = max((self._format(v) for v in (self._minimum, self._maximum)), key=len) + self._suffix
        return QSize(self.fontMetrics().horizontalAdvance(widest + "00") + theme.space(2.5), hint.height())

    def minimumSizeHint(self) -> QSize:
        return QSize(self.sizeHint().width(), super().minimumSizeHint().height())

    def _format(self, value: float) -> str:
        return f"{value:.{self._decimals}f}"

    @Slot()
    def _commit(self) -> None:
        text = self.text().removesuffix(self._suffix) if self._suffix else self.text()
        result = evaluate(text)
        self.setValue(self._value if result is None else result)
        if result is None:
            self._say(f"“{clip(text, 24)}” is no number; {self._format(self._value)} is kept.")
        elif not self._minimum <= result <= self._maximum:
            goes = "go" if self._name.endswith("s") else "goes"
            limits = f"from {self._format(self._minimum)} to {self._format(self._maximum)}"
            self._say(f"{self._name} {goes} {limits}; {self._format(self._value)} is used.")

    def _say(self, sentence: str) -> None:
        self.corrected.emit(sentence)
        QAccessible.updateAccessibility(QAccessibleAnnouncementEvent(self, sentence))

    def _describe(self) -> None:
        describe(self, self._name, f"{self._tip} From {self._format(self._minimum)} to {self._format(self._maximum)}.")

    def _nudge(self, steps: float) -> None:
        self.setValue(self._value + steps * self._step)

    def keyPressEvent(self, event: QKeyEvent) -> None:
        steps = {Qt.Key.Key_Up: 1, Qt.Key.Key_Down: -1, Qt.Key.Key_PageUp: 10, Qt.Key.Key_PageDown: -10}
        if event.key() in steps:
            self._commit()
            large = 10 if event.modifiers() & Qt.KeyboardModifier.ShiftModifier else 1
            self._nudge(steps[Qt.Key(event.key())] * large)
            self.selectAll()
            return
        super().keyPressEvent(event)

    def wheelEvent(self, event: QWheelEvent) -> None:
        if not self.hasFocus():
            event.ignore()
            return
        large = 10 if event.modifiers() & Qt.KeyboardModifier.ShiftModifier else 1
        self._nudge((1 if event.angleDelta().y() > 0 else -1) * large)
        event.accept()

    def mousePressEvent(self, event: QMouseEvent) -> None:
        if event.button() == Qt.MouseButton.LeftButton and not self.hasFocus():
            self._press, self._drag_start, self._dragged = event.position(), self._value, False
            event.accept()
            return
        super().mousePressEvent(event)

    def mouseMoveEvent(self, event: QMouseEvent) -> None:
        if self._press is None:
            super().mouseMoveEvent(event)
            return
        moved = event.position().x() - self._press.x()
        if abs(moved) >= 4 or self._dragged:
            self._dragged = True
            large = 10 if event.modifiers() & Qt.KeyboardModifier.ShiftModifier else 1
            self.setValue(self._drag_start + int(moved / 4) * self._step * large)

    def mouseReleaseEvent(self, event: QMouseEvent) -> None:
        pressed, self._press = self._press is not None, None
        if not pressed:
            super().mouseReleaseEvent(event)
        elif not self._dragged:  # a plain click starts typing
            self.setFocus(Qt.FocusReason.MouseFocusReason)
            self.selectAll()

    def focusInEvent(self, event: QFocusEvent) -> None:
        super().focusInEvent(event)
        self.setCursor(Qt.CursorShape.IBeamCursor)
        self.selectAll()

    def focusOutEvent(self, event: QFocusEvent) -> None:
        super().focusOutEvent(event)
        self.setCursor(Qt.CursorShape.SizeHorCursor)

    def enterEvent(self, event: QEnterEvent) -> None:
        super().enterEvent(event)

    def changeEvent(self, event: QEvent) -> None:
        super().changeEvent(event)
        if event.type() == QEvent.Type.FontChange:
            self.updateGeometry()


class SliderField(QWidget):
    """A slider with a NumberField: the quick way and the exact way to one value."""

    value_changed = Signal(float)
    corrected = Signal(str)

    def __init__(
        self,
        name: str,
        tip: str = "",
        *,
        minimum: float = 0,
        maximum: float = 100,
        value: float = 0,
        step: float = 1,
        decimals: int = 0,
        suffix: str = "",
        parent: QWidget | None = None,
    ) -> None:
        super().__init__(parent)
        self._step, self._minimum = step, minimum
        self.slider = QSlider(Qt.Orientation.Horizontal)
        self.slider.setRange(0, round((maximum - minimum) / step))
        self.slider.setMinimumWidth(theme.space(6))
        describe(self.slider, name, tip)
        self.field = NumberField(
            name, tip, minimum=minimum, maximum=maximum, value=value, step=step, decimals=decimals, suffix=suffix
        )
        self.field.setFixedWidth(self.field.sizeHint().width())
        row = Row(self)
        row.addWidget(self.slider, 1)
        row.addWidget(self.field)
        self.setFocusProxy(self.slider)
        self._show(value)
        self.slider.valueChanged.connect(self._slid)
        self.field.value_changed.connect(self._typed)
        self.field.corrected.connect(self.corrected)
        theme.notifier.changed.connect(self._rescale)

    def value(self) -> float:
        return self.field.value()

    def setValue(self, value: float) -> None:
        self.field.setValue(value)

    def set_range(self, minimum: float, maximum: float, step: float | None = None) -> None:
        value = self.field.value()
        self._minimum, self._step = minimum, self._step if step is None else step
        self.slider.blockSignals(True)
        self.slider.setRange(0, round((maximum - minimum) / self._step))
        self.slider.blockSignals(False)
        self.field.set_range(minimum, maximum, step)
        self._show(value)

    def _show(self, value: float) -> None:
        self.slider.blockSignals(True)
        self.slider.setValue(round((value - self._minimum) / self._step))
        self.slider.blockSignals(False)

    @Slot(int)
    def _slid(self, position: int) -> None:
        self.field.setValue(self._minimum + position * self._step)

    @Slot(float)
    def _typed(self, value: float) -> None:
        self._show(value)
        self.value_changed.emit(value)

    @Slot()
    def _rescale(self) -> None:
        self.field.setFixedWidth(self.field.sizeHint().width())
        self.slider.setMinimumWidth(theme.space(6))
