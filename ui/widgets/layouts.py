"""Rows and columns measured in steps of the grid, which follow the scale by themselves; and a wrapping row."""

from __future__ import annotations

from PySide6.QtCore import QPoint, QRect, QSize, Qt, Slot
from PySide6.QtWidgets import QBoxLayout, QLayout, QLayoutItem, QWidget

from ui import theme

Margins = float | tuple[float, float] | tuple[float, float, float, float]


class Box(QBoxLayout):
    """A QBoxLayout whose spacing and margins are grid steps: one number, (horizontal, vertical) or (l, t, r, b)."""

    def __init__(
        self, direction: QBoxLayout.Direction, parent: QWidget | None, spacing: float, margins: Margins
    ) -> None:
        if parent is None:
            super().__init__(direction)
        else:
            super().__init__(direction, parent)
        self._spacing_steps = spacing
        self._margin_steps = margins
        self._rescale()
        theme.notifier.changed.connect(self._rescale)

    @Slot()
    def _rescale(self) -> None:
        self.setSpacing(theme.space(self._spacing_steps))
        steps = self._margin_steps
        if isinstance(steps, int | float):
            left = top = right = bottom = steps
        elif len(steps) == 2:
            left, top, right, bottom = steps[0], steps[1], steps[0], steps[1]
        else:
            left, top, right, bottom = steps
        self.setContentsMargins(theme.space(left), theme.space(top), theme.space(right), theme.space(bottom))


class Row(Box):
    def __init__(self, parent: QWidget | None = None, *, spacing: float = 1, margins: Margins = 0) -> None:
        super().__init__(QBoxLayout.Direction.LeftToRight, parent, spacing, margins)


class Column(Box):
    def __init__(self, parent: QWidget | None = None, *, spacing: float = 1, margins: Margins = 0) -> None:
        super().__init__(QBoxLayout.Direction.TopToBottom, parent, spacing, margins)


class Flow(QLayout):
    """Left to right, wrapping to a new line when the width is used up. Spacing in grid steps."""

    def __init__(self, parent: QWidget | None = None, *, spacing: float = 1) -> None:
        if parent is None:
            super().__init__()
        else:
            super().__init__(parent)
        self._items: list[QLayoutItem] = []
        self._steps = spacing
        self.setContentsMargins(0, 0, 0, 0)
        theme.notifier.changed.connect(self.invalidate)

    def addItem(self, item: QLayoutItem) -> None:
        self._items.append(item)

    def count(self) -> int:
        return len(self._items)

    def itemAt(self, index: int) -> QLayoutItem | None:
        return self._items[index] if 0 <= index < len(self._items) else None

    def takeAt(self, index: int) -> QLayoutItem | None:
        return self._items.pop(index) if 0 <= index < len(self._items) else None

    def expandingDirections(self) -> Qt.Orientation:
        return Qt.Orientation(0)

    def hasHeightForWidth(self) -> bool:
        return True

    def heightForWidth(self, width: int) -> int:
        return self._arrange(QRect(0, 0, width, 0), apply=False)

    def setGeometry(self, rect: QRect) -> None:
        super().setGeometry(rect)
        self._arrange(rect, apply=True)

    def sizeHint(self) -> QSize:
        return self.minimumSize()

    def minimumSize(self) -> QSize:
        size = QSize()
        for item in self._items:
            size = size.expandedTo(item.minimumSize())
        return size

    def _arrange(self, rect: QRect, *, apply: bool) -> int:
        gap = theme.space(self._steps)
        x, y, line = rect.x(), rect.y(), 0
        for item in self._items:
            if item.isEmpty():  # hidden
                continue
            hint = item.sizeHint()
            if x + hint.width() > rect.right() + 1 and line:
                x, y, line = rect.x(), y + line + gap, 0
            if apply:
                item.setGeometry(QRect(QPoint(x, y), QSize(min(hint.width(), rect.width()), hint.height())))
            x += hint.width() + gap
            line = max(line, hint.height())
        return y + line - rect.y()
