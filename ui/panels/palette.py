"""The command palette (Ctrl+K): every command by a few letters of its name. It floats; nothing behind it is locked."""

from __future__ import annotations

from collections.abc import Sequence

from PySide6.QtCore import QEvent, QModelIndex, QObject, QPersistentModelIndex, QRect, QSize, QStringListModel, Qt, Slot
from PySide6.QtGui import QAction, QKeyEvent, QPainter
from PySide6.QtWidgets import (
    QFrame,
    QLineEdit,
    QListView,
    QStyle,
    QStyledItemDelegate,
    QStyleOptionViewItem,
    QWidget,
)

from ui import theme
from ui.widgets.basics import Label, describe
from ui.widgets.fuzzy import ranked
from ui.widgets.layouts import Column

_ROWS = 9
_Index = QModelIndex | QPersistentModelIndex


class _ActionDelegate(QStyledItemDelegate):
    """Icon, text and group at the left, the shortcut at the right."""

    def __init__(self, palette: CommandPalette) -> None:
        super().__init__(palette)
        self._palette = palette

    def sizeHint(self, option: QStyleOptionViewItem, index: _Index) -> QSize:
        return QSize(theme.px(200), theme.px(36))

    def paint(self, painter: QPainter, option: QStyleOptionViewItem, index: _Index) -> None:
        action = self._palette.shown[index.row()]
        rect: QRect = option.rect
        state: QStyle.StateFlag = option.state
        painter.save()
        if state & QStyle.StateFlag.State_Selected:
            painter.setRenderHint(QPainter.RenderHint.Antialiasing)
            painter.setPen(Qt.PenStyle.NoPen)
            painter.setBrush(theme.token("accent_soft"))
            painter.drawRoundedRect(rect, theme.corner(), theme.corner())
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


class CommandPalette(QFrame):
    """Hidden until `open_over` the window; Up and Down choose, Enter runs, Esc or a click elsewhere closes."""

    def __init__(self, host: QWidget) -> None:
        super().__init__(host)
        self._host = host
        self._actions: Sequence[QAction] = ()
        self.shown: list[QAction] = []
        self.setProperty("surface", "float")
        self.setAttribute(Qt.WidgetAttribute.WA_StyledBackground)
        self.setAccessibleName("Command palette")
        column = Column(self, spacing=1, margins=1)
        self.query = QLineEdit()
        self.query.setPlaceholderText("Type a few letters of what you want to do")
        self.query.setClearButtonEnabled(False)
        describe(self.query, "Search commands", "Finds a command by a few letters of its name.")
        column.addWidget(self.query)
        self.list = QListView()
        self.list.setUniformItemSizes(True)
        self.list.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self.list.setFocusPolicy(Qt.FocusPolicy.NoFocus)
        self.list.setMouseTracking(True)
        describe(self.list, "Commands found")
        self._model = QStringListModel(self)
        self.list.setModel(self._model)
        self.list.setItemDelegate(_ActionDelegate(self))
        column.addWidget(self.list)
        self.nothing = Label("No command has these letters. Try fewer.", "muted", wrap=True)
        self.nothing.setAlignment(Qt.AlignmentFlag.AlignCenter)
        column.addWidget(self.nothing)
        self.query.textChanged.connect(self._filter)
        self.query.installEventFilter(self)
        self.list.clicked.connect(self._run)
        self.list.entered.connect(self.list.setCurrentIndex)
        host.installEventFilter(self)
        self.hide()

    def open_over(self, actions: Sequence[QAction]) -> None:
        """Show all `actions`, nothing typed yet."""
        self._actions = actions
        self._before = self._host.window().focusWidget()
        self.query.clear()
        self._filter("")
        self._place()
        self.show()
        self.raise_()
        self.query.setFocus(Qt.FocusReason.PopupFocusReason)

    def close_palette(self) -> None:
        if self.isVisible():
            self.hide()
            if self._before is not None:
                self._before.setFocus(Qt.FocusReason.PopupFocusReason)

    @Slot(str)
    def _filter(self, text: str) -> None:
        # The group is searched too, so that "theme light" finds "Light" under "Theme".
        names = [f"{action.text()} {action.data() or ''}" for action in self._actions]
        self.shown = [self._actions[index] for index in ranked(text, names)]
        self._model.setStringList([action.text() for action in self.shown])
        self.list.setVisible(bool(self.shown))
        self.nothing.setVisible(not self.shown)
        if self.shown:
            self.list.setCurrentIndex(self._model.index(0))
        self._place()

    def _place(self) -> None:
        width = min(theme.px(560), self._host.width() - theme.space(4))
        rows = min(_ROWS, max(1, len(self.shown)))
        self.list.setFixedHeight(rows * theme.px(36) + theme.px(4))
        self.setGeometry((self._host.width() - width) // 2, theme.px(56), width, self.sizeHint().height())

    @Slot(QModelIndex)
    def _run(self, index: QModelIndex) -> None:
        if not index.isValid():
            return
        action = self.shown[index.row()]
        if not action.isEnabled():
            return
        self.close_palette()
        action.trigger()

    def eventFilter(self, watched: QObject, event: QEvent) -> bool:
        if watched is self._host and event.type() == QEvent.Type.Resize and self.isVisible():
            self._place()
        if watched is not self.query:
            return False
        if event.type() == QEvent.Type.FocusOut and not self.list.hasFocus():
            self.hide()
        if event.type() == QEvent.Type.ShortcutOverride and isinstance(event, QKeyEvent):
            if event.key() in {Qt.Key.Key_Escape, Qt.Key.Key_Return, Qt.Key.Key_Enter}:
                event.accept()  # these belong to the palette while it is open, not to the window's commands
                return True
            return False
        if event.type() == QEvent.Type.KeyPress and isinstance(event, QKeyEvent):
            return self._key(event)
        return False

    def _key(self, event: QKeyEvent) -> bool:
        steps = {Qt.Key.Key_Down: 1, Qt.Key.Key_Up: -1, Qt.Key.Key_PageDown: _ROWS, Qt.Key.Key_PageUp: -_ROWS}
        key = event.key()
        if key in steps and self.shown:
            row = self.list.currentIndex().row() + steps[Qt.Key(key)]
            row = row % len(self.shown) if abs(steps[Qt.Key(key)]) == 1 else min(len(self.shown) - 1, max(0, row))
            self.list.setCurrentIndex(self._model.index(row))
            return True
        if key in {Qt.Key.Key_Return, Qt.Key.Key_Enter}:
            self._run(self.list.currentIndex())
            return True
        if key == Qt.Key.Key_Escape:
            self.close_palette()
            return True
        return False
