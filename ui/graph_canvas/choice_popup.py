"""A list that floats over the canvas: type to narrow it, arrows to choose, Enter to take, Esc to leave."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from PySide6.QtCore import (
    QAbstractListModel,
    QEvent,
    QModelIndex,
    QObject,
    QPersistentModelIndex,
    QPoint,
    QRect,
    QSize,
    Qt,
    Slot,
)
from PySide6.QtGui import QKeyEvent, QPainter, QPen
from PySide6.QtWidgets import (
    QFrame,
    QLineEdit,
    QListView,
    QStyle,
    QStyledItemDelegate,
    QStyleOptionViewItem,
    QWidget,
)
from shiboken6 import isValid

from ui import theme
from ui.graph_canvas.sockets import colour_of, shape_path
from ui.widgets.basics import Label, describe
from ui.widgets.layouts import Column

ROWS = 9
_Index = QModelIndex | QPersistentModelIndex


@dataclass(frozen=True)
class Choice:
    """One row: its title, a muted note at the right, the socket type whose mark stands before it, a longer help."""

    title: str
    note: str = ""
    kind: str = ""
    help: str = ""
    value: Any = None


class ChoiceModel(QAbstractListModel):
    """The choices shown now."""

    def __init__(self, parent: QObject) -> None:
        super().__init__(parent)
        self.rows: list[Choice] = []

    def show(self, rows: Sequence[Choice]) -> None:
        self.beginResetModel()
        self.rows = list(rows)
        self.endResetModel()

    def rowCount(self, parent: _Index = QModelIndex()) -> int:  # noqa: B008
        return 0 if parent.isValid() else len(self.rows)

    def data(self, index: _Index, role: int = Qt.ItemDataRole.DisplayRole) -> Any:
        row = self.rows[index.row()]
        if role == Qt.ItemDataRole.DisplayRole:
            return row.title
        if role == Qt.ItemDataRole.AccessibleTextRole:
            return f"{row.title}, {row.note}" if row.note else row.title
        if role == Qt.ItemDataRole.AccessibleDescriptionRole:
            return row.help
        return None


class _Delegate(QStyledItemDelegate):
    def sizeHint(self, option: QStyleOptionViewItem, index: _Index) -> QSize:
        return QSize(theme.px(160), theme.px(32))

    def paint(self, painter: QPainter, option: QStyleOptionViewItem, index: _Index) -> None:
        model = index.model()
        assert isinstance(model, ChoiceModel)
        row = model.rows[index.row()]
        rect: QRect = option.rect
        state: QStyle.StateFlag = option.state
        painter.save()
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        if state & QStyle.StateFlag.State_Selected:
            painter.setPen(Qt.PenStyle.NoPen)
            painter.setBrush(theme.token("accent_soft"))
            painter.drawRoundedRect(rect, theme.corner(), theme.corner())
        pad = theme.space(1.25)
        left = rect.left() + pad
        if row.kind:
            painter.translate(left + theme.px(5), rect.center().y() + 1)
            painter.fillPath(shape_path(row.kind, theme.px(5)), colour_of(row.kind))
            painter.resetTransform()
            painter.translate(0, 0)
        left += theme.px(18)
        painter.restore()
        painter.save()
        painter.setFont(theme.font(0))
        metrics = painter.fontMetrics()
        note = metrics.elidedText(row.note, Qt.TextElideMode.ElideRight, rect.width() // 2)
        wide = metrics.horizontalAdvance(note)
        room = rect.right() - pad - wide - theme.space(1) - left
        painter.setPen(QPen(theme.token("text_strong")))
        title = metrics.elidedText(row.title, Qt.TextElideMode.ElideMiddle, room)
        painter.drawText(QRect(left, rect.top(), room, rect.height()), Qt.AlignmentFlag.AlignVCenter, title)
        painter.setPen(QPen(theme.token("text_muted")))
        place = QRect(rect.right() - pad - wide, rect.top(), wide + 2, rect.height())
        painter.drawText(place, Qt.AlignmentFlag.AlignVCenter, note)
        painter.restore()


class ChoicePopup(QFrame):
    """Hidden until `open_at`. The help of the chosen row stands below the list."""

    def __init__(self, host: QWidget) -> None:
        super().__init__(host)
        self._host = host
        self._find: Callable[[str], Sequence[Choice]] = lambda text: ()
        self._take: Callable[[Choice], object] = lambda choice: None
        self._before: QWidget | None = None
        self._at = QPoint()
        self.setProperty("surface", "float")
        self.setAttribute(Qt.WidgetAttribute.WA_StyledBackground)
        column = Column(self, spacing=0.75, margins=1)
        self.query = QLineEdit()
        self.query.setAccessibleName("Find")  # until it is opened for something
        column.addWidget(self.query)
        self.list = QListView()
        self.list.setUniformItemSizes(True)
        self.list.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self.list.setFocusPolicy(Qt.FocusPolicy.NoFocus)
        self.list.setMouseTracking(True)
        self.model = ChoiceModel(self)
        self.list.setModel(self.model)
        self.list.setItemDelegate(_Delegate(self))
        column.addWidget(self.list)
        self.nothing = Label("", "muted", wrap=True)
        column.addWidget(self.nothing)
        self.help = Label("", "small", wrap=True)
        column.addWidget(self.help)
        self.query.textChanged.connect(self._filter)
        self.query.installEventFilter(self)
        self.list.clicked.connect(self._choose)
        self.list.entered.connect(self.list.setCurrentIndex)
        self.list.selectionModel().currentChanged.connect(self._explain)
        self.hide()

    def open_at(
        self,
        place: QPoint,
        title: str,
        placeholder: str,
        find: Callable[[str], Sequence[Choice]],
        take: Callable[[Choice], object],
        nothing: str = "Nothing has these letters. Try fewer.",
    ) -> None:
        """Show what `find("")` gives at `place` of the host; `take(choice)` when one is chosen."""
        self._find, self._take, self._at = find, take, place
        self.setAccessibleName(title)
        describe(self.query, title, placeholder)
        describe(self.list, f"{title}: results")
        self.query.setPlaceholderText(placeholder)
        self.nothing.setText(nothing)
        if not self.isVisible():
            self._before = self._host.window().focusWidget()
        self.query.clear()
        self._filter("")
        self.show()
        self.raise_()
        self._explain(self.list.currentIndex())
        self.query.setFocus(Qt.FocusReason.PopupFocusReason)

    def close_popup(self) -> None:
        if self.isVisible():
            self.hide()
            if self._before is not None and isValid(self._before):
                self._before.setFocus(Qt.FocusReason.PopupFocusReason)

    @Slot(str)
    def _filter(self, text: str) -> None:
        self.model.show(self._find(text))
        some = bool(self.model.rows)
        self.list.setVisible(some)
        self.nothing.setVisible(not some)
        self.help.setVisible(some)
        if some:
            self.list.setCurrentIndex(self.model.index(0))
            self.list.scrollToTop()
        self._place()

    def _place(self) -> None:
        width = min(theme.px(420), self._host.width() - theme.space(2))
        rows = min(ROWS, max(1, len(self.model.rows)))
        self.list.setFixedHeight(rows * theme.px(32) + theme.px(4))
        lines = self.help.fontMetrics().lineSpacing()
        self.help.setFixedHeight(2 * lines)
        self.setFixedWidth(width)
        height = self.sizeHint().height()
        over = height - (self._host.height() - theme.space(2))
        if over > 0:  # a large scale in a small window: fewer rows, at least two
            self.list.setFixedHeight(max(2 * theme.px(32), self.list.height() - over))
            height = self.sizeHint().height()
        x = max(theme.space(1), min(self._at.x(), self._host.width() - width - theme.space(1)))
        y = max(theme.space(1), min(self._at.y(), self._host.height() - height - theme.space(1)))
        self.setGeometry(x, y, width, height)

    @Slot(QModelIndex)
    def _explain(self, index: QModelIndex) -> None:
        text = self.model.rows[index.row()].help if index.isValid() and index.row() < len(self.model.rows) else ""
        width = 2 * (self.width() - theme.space(3)) - theme.px(24)
        self.help.setText(self.help.fontMetrics().elidedText(text, Qt.TextElideMode.ElideRight, max(80, width)))

    @Slot(QModelIndex)
    def _choose(self, index: QModelIndex) -> None:
        if index.isValid():
            choice = self.model.rows[index.row()]
            self.close_popup()
            self._take(choice)

    def eventFilter(self, watched: QObject, event: QEvent) -> bool:
        if watched is not self.query:
            return False
        if event.type() == QEvent.Type.FocusOut and not self.list.hasFocus():
            self.hide()
        if not isinstance(event, QKeyEvent):
            return False
        if event.type() == QEvent.Type.ShortcutOverride:
            if event.key() in {Qt.Key.Key_Escape, Qt.Key.Key_Return, Qt.Key.Key_Enter, Qt.Key.Key_Tab}:
                event.accept()  # these belong to the popup while it is open, not to the window's commands
                return True
            return False
        return event.type() == QEvent.Type.KeyPress and self._key(event)

    def _key(self, event: QKeyEvent) -> bool:
        key, count = event.key(), len(self.model.rows)
        steps = {
            Qt.Key.Key_Down: 1, Qt.Key.Key_Up: -1, Qt.Key.Key_Tab: 1, Qt.Key.Key_Backtab: -1,
            Qt.Key.Key_PageDown: ROWS, Qt.Key.Key_PageUp: -ROWS,
        }  # fmt: skip
        if key in steps:
            if count:
                step = steps[Qt.Key(key)]
                row = self.list.currentIndex().row() + step
                row = row % count if abs(step) == 1 else min(count - 1, max(0, row))
                self.list.setCurrentIndex(self.model.index(row))
            return True
        if key in {Qt.Key.Key_Return, Qt.Key.Key_Enter}:
            self._choose(self.list.currentIndex())
            return True
        if key == Qt.Key.Key_Escape:
            self.close_popup()
            return True
        return False
