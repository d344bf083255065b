"""The first-run page: a card over the work, not a lock on it. Two questions less than anyone expects."""

from __future__ import annotations

from typing import Literal

from PySide6.QtCore import QEvent, QObject, Qt, Signal, Slot
from PySide6.QtGui import QKeyEvent
from PySide6.QtWidgets import QButtonGroup, QFrame, QPushButton, QSizePolicy, QWidget

from ui import theme
from ui.widgets.basics import Button, IconButton, Label, describe
from ui.widgets.layouts import Column, Row

FIRST_PROMPT = "a red circle on a blue background"


class LevelCard(QPushButton):
    """One experience level: a title and what it changes."""

    def __init__(self, title: str, detail: str) -> None:
        super().__init__()
        self.setCheckable(True)
        self.setAutoDefault(False)
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.MinimumExpanding)
        describe(self, title, detail)
        self.setToolTip("")
        column = Column(self, spacing=0.5, margins=1.5)
        for text, role in ((title, "strong"), (detail, "muted")):
            label = Label(text, role, wrap=True)  # type: ignore[arg-type]
            label.setAttribute(Qt.WidgetAttribute.WA_TransparentForMouseEvents)
            label.setAlignment(Qt.AlignmentFlag.AlignTop | Qt.AlignmentFlag.AlignLeft)
            column.addWidget(label)
        column.addStretch(1)


class Welcome(QFrame):
    """`level_chosen` fires with "simple" or "advanced", `first_picture` with a prompt, `closed` when it goes."""

    level_chosen = Signal(str)
    first_picture = Signal(str)
    closed = Signal()

    def __init__(self, host: QWidget, mode: Literal["simple", "advanced"] = "simple") -> None:
        super().__init__(host)
        self._host = host
        self.setProperty("surface", "float")
        self.setAttribute(Qt.WidgetAttribute.WA_StyledBackground)
        self.setAccessibleName("Welcome")
        column = Column(self, spacing=2, margins=(3, 2.5, 3, 3))
        top = Row()
        title = Label("Welcome to Tessera Studio", "title")
        top.addWidget(title, 1)
        self.cross = IconButton("x", "Close the welcome page", "Closes this page; Help brings it back.", shortcut="Esc")
        self.cross.clicked.connect(self.finish)
        top.addWidget(self.cross, 0, Qt.AlignmentFlag.AlignTop)
        column.addLayout(top)
        column.addWidget(
            Label("Describe a picture and it is made here, on this machine. Nothing is sent anywhere.", wrap=True)
        )
        column.addWidget(Label("How much do you want to see?", "strong"))
        levels = Row(spacing=1.5)
        self._group = QButtonGroup(self)
        self.simple = LevelCard("Simple", "Prompt, style and shape. The rest is chosen for you.")
        self.advanced = LevelCard("Advanced", "Model, sampler, schedule, steps, guidance and size in view.")
        for card in (self.simple, self.advanced):
            self._group.addButton(card)
            levels.addWidget(card, 1)
        (self.advanced if mode == "advanced" else self.simple).setChecked(True)
        column.addLayout(levels)
        self.start = Button(
            f"Make a first picture: “{FIRST_PROMPT}”", "sparkles", kind="primary",
            tip="Fills in this prompt and makes the picture.",
        )  # fmt: skip
        self.start.setProperty("tall", True)
        column.addWidget(self.start)
        self._group.buttonClicked.connect(self._choose)
        self.start.clicked.connect(self._start)
        host.installEventFilter(self)
        theme.notifier.changed.connect(self.place)
        self.place()

    @Slot()
    def place(self) -> None:
        """In the middle of the work, never larger than it."""
        width = min(theme.px(560), self._host.width() - theme.space(4))
        layout = self.layout()
        wanted = layout.totalHeightForWidth(width) if layout is not None else self.sizeHint().height()
        height = min(max(wanted, self.minimumSizeHint().height()), self._host.height() - theme.space(2))
        self.setGeometry((self._host.width() - width) // 2, max(0, (self._host.height() - height) // 2), width, height)

    @Slot()
    def _choose(self) -> None:
        self.level_chosen.emit("advanced" if self.advanced.isChecked() else "simple")

    @Slot()
    def _start(self) -> None:
        self.finish()
        self.first_picture.emit(FIRST_PROMPT)

    @Slot()
    def finish(self) -> None:
        """Go away for good; `closed` tells it once."""
        if not self.isHidden():
            self.hide()
            self.closed.emit()

    def event(self, event: QEvent) -> bool:
        # Esc belongs to this card while it has the focus, not to the window's Cancel.
        if event.type() == QEvent.Type.ShortcutOverride and _is_escape(event):
            event.accept()
            return True
        return super().event(event)

    def keyPressEvent(self, event: QKeyEvent) -> None:
        if event.key() == Qt.Key.Key_Escape:
            self.finish()
            return
        super().keyPressEvent(event)

    def eventFilter(self, watched: QObject, event: QEvent) -> bool:
        if event.type() == QEvent.Type.Resize and self.isVisible():
            self.place()
        return False


def _is_escape(event: QEvent) -> bool:
    return isinstance(event, QKeyEvent) and event.key() == Qt.Key.Key_Escape
