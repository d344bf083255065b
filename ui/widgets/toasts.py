"""Messages to the person: small cards at the lower right, never in the way, gone by themselves when not urgent."""

from __future__ import annotations

from PySide6.QtCore import QEvent, QObject, Qt, QTimer, Signal, Slot
from PySide6.QtGui import QAccessible, QAccessibleAnnouncementEvent, QEnterEvent, QKeyEvent
from PySide6.QtWidgets import QFrame, QSizePolicy, QWidget

from studio_app.notifications import Notification
from ui import theme
from ui.widgets.basics import Button, IconButton, IconLabel, Label
from ui.widgets.layouts import Column, Row

_LOOKS = {  # level → icon, token, seconds until it goes (0: stays until closed)
    "info": ("info", "accent", 6),
    "success": ("circle-check", "success", 5),
    "warning": ("triangle-alert", "warning", 12),
    "error": ("circle-alert", "danger", 0),
}
MOST = 4


class Toast(QFrame):
    """One message with its action. Hovering keeps it; Esc inside it, or its cross, closes it."""

    closed = Signal(object)
    action = Signal(str)

    def __init__(self, message: Notification, parent: QWidget) -> None:
        super().__init__(parent)
        self.message = message
        icon, token, seconds = _LOOKS[message.level]
        self.setProperty("surface", "float")
        self.setAttribute(Qt.WidgetAttribute.WA_StyledBackground)
        self.setAccessibleName(message.text)
        row = Row(self, spacing=1, margins=(1.5, 1.5, 1, 1.5))
        row.addWidget(IconLabel(icon, 20, token), 0, Qt.AlignmentFlag.AlignTop)
        column = Column(spacing=1)
        self.text = Label(message.text, "normal", wrap=True)
        self.text.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
        self.text.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.MinimumExpanding)
        column.addWidget(self.text)
        if message.action is not None:
            self.button = Button(message.action.text)
            self.button.clicked.connect(self._act)
            column.addWidget(self.button, 0, Qt.AlignmentFlag.AlignLeft)
        row.addLayout(column, 1)
        self.cross = IconButton("x", "Dismiss message", "Closes this message.", shortcut="Esc", size=16)
        self.cross.clicked.connect(self._close)
        row.addWidget(self.cross, 0, Qt.AlignmentFlag.AlignTop)
        self._timer = QTimer(self)
        self._timer.setSingleShot(True)
        self._timer.setInterval(seconds * 1000)
        self._timer.timeout.connect(self._close)
        if seconds and message.action is None:
            self._timer.start()

    def wanted_height(self, width: int) -> int:
        layout = self.layout()
        return self.sizeHint().height() if layout is None else layout.totalHeightForWidth(width)

    @Slot()
    def _act(self) -> None:
        if self.message.action is not None:
            self.action.emit(self.message.action.command)
        self._close()

    @Slot()
    def _close(self) -> None:
        self._timer.stop()
        self.closed.emit(self)

    def enterEvent(self, event: QEnterEvent) -> None:
        self._timer.stop()
        super().enterEvent(event)

    def leaveEvent(self, event: QEvent) -> None:
        if self._timer.interval() and self.message.action is None:
            self._timer.start()
        super().leaveEvent(event)

    def event(self, event: QEvent) -> bool:
        # Esc closes the message that has the focus; it is not the window's Cancel then.
        if event.type() == QEvent.Type.ShortcutOverride and isinstance(event, QKeyEvent):
            event.setAccepted(event.key() == Qt.Key.Key_Escape)
            return event.isAccepted()
        return super().event(event)

    def keyPressEvent(self, event: QKeyEvent) -> None:
        if event.key() == Qt.Key.Key_Escape:
            self._close()
            return
        super().keyPressEvent(event)


class ToastStack(QObject):
    """Lays toasts out over the lower right of `host`, newest at the bottom, at most four; `action` is a command id."""

    action = Signal(str)

    def __init__(self, host: QWidget) -> None:
        super().__init__(host)
        self._host = host
        self.toasts: list[Toast] = []
        self.bottom_margin = 0
        host.installEventFilter(self)
        theme.notifier.changed.connect(self.arrange)

    @Slot(object)
    def show_message(self, message: Notification) -> None:
        """Show a message; the same text twice is one toast, moved to the front."""
        for toast in list(self.toasts):
            if toast.message.text == message.text:
                self._remove(toast)
        toast = Toast(message, self._host)
        toast.closed.connect(self._remove)
        toast.action.connect(self.action)
        self.toasts.append(toast)
        while len(self.toasts) > MOST:
            self._remove(self.toasts[0])
        toast.show()
        toast.raise_()
        self.arrange()
        QAccessible.updateAccessibility(QAccessibleAnnouncementEvent(toast, message.text))

    @Slot(object)
    def _remove(self, toast: Toast) -> None:
        if toast in self.toasts:
            self.toasts.remove(toast)
            toast.hide()
            toast.deleteLater()
            self.arrange()

    @Slot()
    def arrange(self) -> None:
        margin = theme.space(2)
        width = min(theme.px(400), self._host.width() - 2 * margin)
        bottom = self._host.height() - margin - self.bottom_margin
        for toast in reversed(self.toasts):
            height = toast.wanted_height(width)
            toast.setGeometry(self._host.width() - margin - width, bottom - height, width, height)
            bottom -= height + theme.space(1)

    def eventFilter(self, watched: QObject, event: QEvent) -> bool:
        if event.type() == QEvent.Type.Resize:
            self.arrange()
        return False
