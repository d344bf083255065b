"""What the floating lists to choose from share: rows, the ground behind the chosen one, a field that narrows, keys."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, Generic, TypeAlias, TypeVar

from PySide6.QtCore import QAbstractListModel, QEvent, QModelIndex, QObject, QPersistentModelIndex, Qt, Slot
from PySide6.QtGui import QKeyEvent, QPainter
from PySide6.QtWidgets import QFrame, QLineEdit, QListView, QStyle, QStyleOptionViewItem, QWidget
from shiboken6 import isValid

from ui import theme
from ui.widgets.basics import Label
from ui.widgets.layouts import Column

PAGE = 9
"""Rows that a list with a field shows at most, and a page of its keys."""

Index: TypeAlias = QModelIndex | QPersistentModelIndex
Item = TypeVar("Item")


class RowsModel(QAbstractListModel, Generic[Item]):
    """The rows shown now; a subclass says what is read of one."""

    def __init__(self, parent: QObject) -> None:
        super().__init__(parent)
        self.rows: list[Item] = []

    def show(self, rows: Sequence[Item]) -> None:
        self.beginResetModel()
        self.rows = list(rows)
        self.endResetModel()

    def rowCount(self, parent: Index = QModelIndex()) -> int:  # noqa: B008
        return 0 if parent.isValid() else len(self.rows)


def floating_list() -> QListView:
    """A list that keys reach through another widget."""
    made = QListView()
    made.setUniformItemSizes(True)
    made.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
    made.setFocusPolicy(Qt.FocusPolicy.NoFocus)
    return made


def paint_ground(painter: QPainter, option: QStyleOptionViewItem) -> None:
    """The soft ground behind the chosen row."""
    state: QStyle.StateFlag = option.state
    if state & QStyle.StateFlag.State_Selected:
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        painter.setPen(Qt.PenStyle.NoPen)
        painter.setBrush(theme.token("accent_soft"))
        painter.drawRoundedRect(option.rect, theme.corner(), theme.corner())


class FloatingSearch(QFrame):
    """A field over the list that it narrows: arrows choose, Enter or a click takes, Esc or leaving closes.

    A subclass gives the list its model and delegate, fills it in `_filter` and acts in `_choose`.
    """

    _tab_steps: ClassVar[bool] = False
    """Whether Tab goes to the next row; else it leaves."""

    def __init__(self, host: QWidget, spacing: float) -> None:
        super().__init__(host)
        self._host = host
        self._before: QWidget | None = None
        self.setProperty("surface", "float")
        self.setAttribute(Qt.WidgetAttribute.WA_StyledBackground)
        self.column = Column(self, spacing=spacing, margins=1)
        self.query = QLineEdit()
        self.list = floating_list()
        self.list.setMouseTracking(True)
        self.nothing = Label("", "muted", wrap=True)
        for widget in (self.query, self.list, self.nothing):
            self.column.addWidget(widget)
        self.query.textChanged.connect(self._filter)
        self.query.installEventFilter(self)
        self.list.clicked.connect(self._choose)
        self.list.entered.connect(self.list.setCurrentIndex)
        self.hide()

    def open_empty(self) -> None:
        """Show it with nothing typed, and type into it."""
        if not self.isVisible():
            self._before = self._host.window().focusWidget()
        self.query.clear()
        self._filter("")
        self.show()
        self.raise_()
        self.query.setFocus(Qt.FocusReason.PopupFocusReason)

    def close_popup(self) -> None:
        """Hide it; the keyboard goes back to where it was."""
        if self.isVisible():
            self.hide()
            if self._before is not None and isValid(self._before):
                self._before.setFocus(Qt.FocusReason.PopupFocusReason)

    @Slot(str)
    def _filter(self, text: str) -> None:
        raise NotImplementedError

    @Slot(QModelIndex)
    def _choose(self, index: QModelIndex) -> None:
        raise NotImplementedError

    def _show_rows(self, count: int) -> None:
        """After the model has changed: the list with its first row chosen, or the sentence that nothing was found."""
        self.list.setVisible(bool(count))
        self.nothing.setVisible(not count)
        if count:
            self.list.setCurrentIndex(self.list.model().index(0, 0))
            self.list.scrollToTop()

    def eventFilter(self, watched: QObject, event: QEvent) -> bool:
        if watched is not self.query:
            return False
        if event.type() == QEvent.Type.FocusOut and not self.list.hasFocus():
            self.hide()
        if not isinstance(event, QKeyEvent):
            return False
        if event.type() == QEvent.Type.ShortcutOverride:
            own = {Qt.Key.Key_Escape, Qt.Key.Key_Return, Qt.Key.Key_Enter}
            if event.key() in own or (self._tab_steps and event.key() == Qt.Key.Key_Tab):
                event.accept()  # these belong to the list while it is open, not to the window's commands
                return True
            return False
        return event.type() == QEvent.Type.KeyPress and self._key(event.key())

    def _key(self, key: int) -> bool:
        steps = {Qt.Key.Key_Down: 1, Qt.Key.Key_Up: -1, Qt.Key.Key_PageDown: PAGE, Qt.Key.Key_PageUp: -PAGE}
        if self._tab_steps:
            steps |= {Qt.Key.Key_Tab: 1, Qt.Key.Key_Backtab: -1}
        model = self.list.model()
        if key in steps:
            if count := model.rowCount():
                step = steps[Qt.Key(key)]
                row = self.list.currentIndex().row() + step
                row = row % count if abs(step) == 1 else min(count - 1, max(0, row))
                self.list.setCurrentIndex(model.index(row, 0))
            return True
        if key in {Qt.Key.Key_Return, Qt.Key.Key_Enter}:
            self._choose(self.list.currentIndex())
            return True
        if key == Qt.Key.Key_Escape:
            self.close_popup()
            return True
        return False
