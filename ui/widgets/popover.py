"""A small page that floats over the window beside what opened it: Esc, a click or a step outside closes it."""

from __future__ import annotations

from PySide6.QtCore import QEvent, QObject, QPoint, QRect, Qt, Signal, Slot
from PySide6.QtGui import QKeyEvent, QMouseEvent
from PySide6.QtWidgets import QApplication, QFrame, QScrollArea, QWidget
from shiboken6 import isValid

from ui import theme
from ui.widgets.basics import ElidedLabel, IconButton
from ui.widgets.layouts import Column, Row


class Popover(QFrame):
    """Shows `body` below a title, scrolled where the window is lower. `closed` fires when it goes; the keyboard then
    goes back to the anchor."""

    closed = Signal()

    def __init__(self, title: str, anchor: QWidget, body: QWidget, width: int = 384) -> None:
        super().__init__(anchor.window())
        self._anchor, self._width = anchor, width
        self.setProperty("surface", "float")
        self.setAttribute(Qt.WidgetAttribute.WA_StyledBackground)
        self.setFocusPolicy(Qt.FocusPolicy.StrongFocus)
        self.setAccessibleName(title)
        self._body = body
        self._column = Column(self, spacing=0.5, margins=(0.25, 1, 0.25, 1))
        head = Row(spacing=1, margins=(1.75, 0, 0.75, 0))
        self.title = ElidedLabel(title, "heading")
        head.addWidget(self.title, 1)
        self.cross = IconButton("x", "Close", "Closes this.", shortcut="Esc", size=16)
        self.cross.clicked.connect(self.close_popover)
        head.addWidget(self.cross)
        self._column.addLayout(head)
        self._area = QScrollArea()
        self._area.setWidgetResizable(True)
        self._area.setFrameShape(QFrame.Shape.NoFrame)
        self._area.setFocusPolicy(Qt.FocusPolicy.NoFocus)
        self._area.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self._area.setWidget(body)
        self._area.viewport().setAutoFillBackground(False)
        body.setAutoFillBackground(False)
        self._column.addWidget(self._area, 1)
        self.hide()
        theme.notifier.changed.connect(self.place)

    def open_popover(self) -> None:
        """Show it, and give it the keyboard."""
        application = QApplication.instance()
        if self.isVisible() or not isinstance(application, QApplication):
            return
        self.place()
        self.show()
        self.raise_()
        self.setFocus(Qt.FocusReason.PopupFocusReason)
        application.installEventFilter(self)
        application.focusChanged.connect(self._focus_moved)

    @Slot()
    def close_popover(self) -> None:
        application = QApplication.instance()
        if self.isHidden() or not isinstance(application, QApplication):
            return
        application.removeEventFilter(self)
        application.focusChanged.disconnect(self._focus_moved)
        focused = self.window().focusWidget()
        had_focus = focused is self or (focused is not None and self.isAncestorOf(focused))
        self.hide()
        if had_focus and isValid(self._anchor):
            self._anchor.setFocus(Qt.FocusReason.PopupFocusReason)
        self.closed.emit()

    @Slot()
    def place(self) -> None:
        """Above the anchor where there is room, else below; always whole inside the window."""
        window = self.parentWidget()
        if window is None or not isValid(self._anchor):
            return
        gap = theme.space(1)
        room = window.rect().adjusted(gap, gap, -gap, -gap)
        width = min(theme.px(self._width), room.width())
        self.setFixedWidth(width)
        inside = width - 2 * theme.space(0.25) - 2
        layout = self._body.layout()
        wanted = layout.totalHeightForWidth(inside) if layout is not None else self._body.sizeHint().height()
        head = self.cross.sizeHint().height() + theme.space(0.5) + 2 * theme.space(1) + 2
        height = min(wanted + head, room.height())
        box = QRect(self._anchor.mapTo(window, QPoint(0, 0)), self._anchor.size())
        above = box.top() - gap - height
        y = above if above >= room.top() else min(box.bottom() + gap, room.bottom() - height)
        x = max(room.left(), min(box.left(), room.right() - width))
        self.setGeometry(x, max(y, room.top()), width, height)

    # ---- leaving

    def event(self, event: QEvent) -> bool:
        own = isinstance(event, QKeyEvent) and event.key() == Qt.Key.Key_Escape
        if own and event.type() == QEvent.Type.ShortcutOverride:  # this page's while it is open, not “Cancel”
            event.accept()
            return True
        return super().event(event)

    def keyPressEvent(self, event: QKeyEvent) -> None:
        if event.key() == Qt.Key.Key_Escape:
            self.close_popover()
        else:
            super().keyPressEvent(event)

    def mousePressEvent(self, event: QMouseEvent) -> None:
        event.accept()

    def eventFilter(self, watched: QObject, event: QEvent) -> bool:
        if event.type() == QEvent.Type.MouseButtonPress and isinstance(watched, QWidget):
            inside = watched is self or self.isAncestorOf(watched) or watched is self._anchor
            if not inside and watched.window() is self.window():
                self.close_popover()
        elif (event.type() == QEvent.Type.Resize and watched is self.parentWidget()) or (
            event.type() == QEvent.Type.LayoutRequest and watched is self._body
        ):
            self.place()
        return False

    @Slot(QWidget, QWidget)
    def _focus_moved(self, old: QWidget | None, new: QWidget | None) -> None:
        """A step out by Tab closes it; a program or menu that takes the keyboard for a moment does not."""
        if new is None or not isValid(new) or new is self or self.isAncestorOf(new) or new is self._anchor:
            return
        if new.window() is self.window():
            self.close_popover()
