"""A list that floats over the canvas: type to narrow it, arrows to choose, Enter to take, Esc to leave."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from PySide6.QtCore import QModelIndex, QPoint, QRect, QSize, Qt, Slot
from PySide6.QtGui import QPainter, QPen
from PySide6.QtWidgets import QStyledItemDelegate, QStyleOptionViewItem, QWidget

from ui import theme
from ui.graph_canvas.sockets import colour_of, shape_path
from ui.widgets.basics import Label, describe
from ui.widgets.choosing import PAGE, FloatingSearch, Index, RowsModel, paint_ground


@dataclass(frozen=True)
class Choice:
    """One row: its title, a muted note at the right, the socket type whose mark stands before it, a longer help."""

    title: str
    note: str = ""
    kind: str = ""
    help: str = ""
    value: Any = None


class ChoiceModel(RowsModel[Choice]):
    """The choices shown now."""

    def data(self, index: Index, role: int = Qt.ItemDataRole.DisplayRole) -> Any:
        row = self.rows[index.row()]
        if role == Qt.ItemDataRole.DisplayRole:
            return row.title
        if role == Qt.ItemDataRole.AccessibleTextRole:
            return f"{row.title}, {row.note}" if row.note else row.title
        if role == Qt.ItemDataRole.AccessibleDescriptionRole:
            return row.help
        return None


class _Delegate(QStyledItemDelegate):
    def sizeHint(self, option: QStyleOptionViewItem, index: Index) -> QSize:
        return QSize(theme.px(160), theme.px(32))

    def paint(self, painter: QPainter, option: QStyleOptionViewItem, index: Index) -> None:
        model = index.model()
        assert isinstance(model, ChoiceModel)
        row = model.rows[index.row()]
        rect: QRect = option.rect
        painter.save()
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        paint_ground(painter, option)
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


class ChoicePopup(FloatingSearch):
    """Hidden until `open_at`. The help of the chosen row stands below the list."""

    _tab_steps = True

    def __init__(self, host: QWidget) -> None:
        super().__init__(host, 0.75)
        self._find: Callable[[str], Sequence[Choice]] = lambda text: ()
        self._take: Callable[[Choice], object] = lambda choice: None
        self._at = QPoint()
        self.query.setAccessibleName("Find")  # until it is opened for something
        self.model = ChoiceModel(self)
        self.list.setModel(self.model)
        self.list.setItemDelegate(_Delegate(self))
        self.help = Label("", "small", wrap=True)
        self.column.addWidget(self.help)
        self.list.selectionModel().currentChanged.connect(self._explain)

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
        self.open_empty()
        self._explain(self.list.currentIndex())

    @Slot(str)
    def _filter(self, text: str) -> None:
        self.model.show(self._find(text))
        self.help.setVisible(bool(self.model.rows))
        self._show_rows(len(self.model.rows))
        self._place()

    def _place(self) -> None:
        width = min(theme.px(420), self._host.width() - theme.space(2))
        rows = min(PAGE, max(1, len(self.model.rows)))
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
