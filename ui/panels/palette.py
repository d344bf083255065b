"""The command palette (Ctrl+K): every command by a few letters of its name. It floats; nothing behind it is locked."""

from __future__ import annotations

from collections.abc import Sequence

from PySide6.QtCore import QEvent, QModelIndex, QObject, QRect, QSize, QStringListModel, Qt, Slot
from PySide6.QtGui import QAction, QPainter
from PySide6.QtWidgets import QStyledItemDelegate, QStyleOptionViewItem, QWidget

from ui import theme
from ui.widgets.basics import describe
from ui.widgets.choosing import PAGE, FloatingSearch, Index, paint_ground
from ui.widgets.fuzzy import ranked


class _ActionDelegate(QStyledItemDelegate):
    """Icon, text and group at the left, the shortcut at the right."""

    def __init__(self, palette: CommandPalette) -> None:
        super().__init__(palette)
        self._palette = palette

    def sizeHint(self, option: QStyleOptionViewItem, index: Index) -> QSize:
        return QSize(theme.px(200), theme.px(36))

    def paint(self, painter: QPainter, option: QStyleOptionViewItem, index: Index) -> None:
        action = self._palette.shown[index.row()]
        rect: QRect = option.rect
        painter.save()
        paint_ground(painter, option)
        enabled = action.isEnabled()
        edge, pad = theme.px(16), theme.space(1.5)
        action.icon().paint(painter, QRect(rect.left() + pad, rect.center().y() - edge // 2, edge, edge))
        painter.setFont(theme.font(0))
        painter.setPen(theme.token("text_strong" if enabled else "text_disabled"))
        left = rect.left() + pad + edge + theme.space(1)
        keys = action.shortcut().toString()
        keys_width = painter.fontMetrics().horizontalAdvance(keys) + theme.space(1) if keys else 0
        room = rect.right() - pad - keys_width - left
        text = action.text()
        painter.drawText(QRect(left, rect.top(), room, rect.height()), Qt.AlignmentFlag.AlignVCenter,
                         painter.fontMetrics().elidedText(text, Qt.TextElideMode.ElideMiddle, room))  # fmt: skip
        used = painter.fontMetrics().horizontalAdvance(text) + theme.space(1.5)
        painter.setPen(theme.token("text_muted" if enabled else "text_disabled"))
        if used < room:
            note = str(action.data() or "") if enabled else "not available now"
            note = painter.fontMetrics().elidedText(note, Qt.TextElideMode.ElideRight, room - used)
            place = QRect(left + used, rect.top(), room - used, rect.height())
            painter.drawText(place, Qt.AlignmentFlag.AlignVCenter, note)
        painter.drawText(QRect(rect.left(), rect.top(), rect.width() - pad, rect.height()),
                         Qt.AlignmentFlag.AlignVCenter | Qt.AlignmentFlag.AlignRight, keys)  # fmt: skip
        painter.restore()


class CommandPalette(FloatingSearch):
    """Hidden until `open_over` the window; Up and Down choose, Enter runs, Esc or a click elsewhere closes."""

    def __init__(self, host: QWidget) -> None:
        super().__init__(host, 1)
        self._actions: Sequence[QAction] = ()
        self.shown: list[QAction] = []
        self.setAccessibleName("Command palette")
        self.query.setPlaceholderText("Type a few letters of what you want to do")
        self.query.setClearButtonEnabled(False)
        describe(self.query, "Search commands", "Finds a command by a few letters of its name.")
        describe(self.list, "Commands found")
        self._model = QStringListModel(self)
        self.list.setModel(self._model)
        self.list.setItemDelegate(_ActionDelegate(self))
        self.nothing.setText("No command has these letters. Try fewer.")
        self.nothing.setAlignment(Qt.AlignmentFlag.AlignCenter)
        host.installEventFilter(self)

    def open_over(self, actions: Sequence[QAction]) -> None:
        """Show all `actions`, nothing typed yet."""
        self._actions = actions
        self.open_empty()

    @Slot(str)
    def _filter(self, text: str) -> None:
        # The group is searched too, so that "theme light" finds "Light" under "Theme".
        names = [f"{action.text()} {action.data() or ''}" for action in self._actions]
        self.shown = [self._actions[index] for index in ranked(text, names)]
        self._model.setStringList([action.text() for action in self.shown])
        self._show_rows(len(self.shown))
        self._place()

    def _place(self) -> None:
        width = min(theme.px(560), self._host.width() - theme.space(4))
        rows = min(PAGE, max(1, len(self.shown)))
        self.list.setFixedHeight(rows * theme.px(36) + theme.px(4))
        self.setGeometry((self._host.width() - width) // 2, theme.px(56), width, self.sizeHint().height())

    @Slot(QModelIndex)
    def _choose(self, index: QModelIndex) -> None:
        if not index.isValid():
            return
        action = self.shown[index.row()]
        if not action.isEnabled():
            return
        self.close_popup()
        action.trigger()

    def eventFilter(self, watched: QObject, event: QEvent) -> bool:
        if watched is self._host and event.type() == QEvent.Type.Resize and self.isVisible():
            self._place()
        return super().eventFilter(watched, event)
