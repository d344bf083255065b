"""The left rail: one button for each workspace, and below them help and settings. Built from tables."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from PySide6.QtCore import QSize, Qt, QTimer, Signal, Slot
from PySide6.QtGui import QDragEnterEvent, QDragLeaveEvent, QDropEvent, QFont
from PySide6.QtWidgets import QButtonGroup, QMenu, QSizePolicy, QToolButton, QWidget

from ui import theme
from ui.actions import Actions
from ui.widgets.basics import Panel, describe
from ui.widgets.layouts import Column

REST_MS = 500  # under a drag, before a page opens


@dataclass(frozen=True)
class RailEntry:
    """One workspace on the rail: its title and icon, one sentence about it, and its key."""

    title: str
    icon: str
    tip: str
    shortcut: str


class RailButton(QToolButton):
    """An icon with its word below."""

    def __init__(self, text: str, icon: str, tip: str, shortcut: str = "", *, checkable: bool = False) -> None:
        super().__init__()
        self.setText(text)
        self.setIcon(theme.icon(icon, 20, token="text_muted", checked_token="accent"))
        self.setProperty("kind", "rail")
        self.setToolButtonStyle(Qt.ToolButtonStyle.ToolButtonTextUnderIcon)
        self.setFocusPolicy(Qt.FocusPolicy.StrongFocus)
        self.setCheckable(checkable)
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
        describe(self, text, tip, shortcut)
        self._rescale()
        theme.notifier.changed.connect(self._rescale)

    @Slot()
    def _rescale(self) -> None:
        self.setIconSize(QSize(theme.px(20), theme.px(20)))
        self.setFont(theme.font(-1, weight=QFont.Weight.Medium))
        self.setMinimumHeight(theme.px(48))


class PageButton(RailButton):
    """Opens its page also under a drag that rests on it, so that things can be carried from page to page."""

    def __init__(self, entry: RailEntry) -> None:
        super().__init__(entry.title, entry.icon, entry.tip, entry.shortcut, checkable=True)
        self.setAcceptDrops(True)
        self._rest = QTimer(self)
        self._rest.setSingleShot(True)
        self._rest.setInterval(REST_MS)
        self._rest.timeout.connect(self.click)

    def dragEnterEvent(self, event: QDragEnterEvent) -> None:
        event.acceptProposedAction()
        self._rest.start()

    def dragLeaveEvent(self, event: QDragLeaveEvent) -> None:
        self._rest.stop()

    def dropEvent(self, event: QDropEvent) -> None:
        self._rest.stop()
        event.ignore()  # nothing is left on a button


class Rail(Panel):
    """`chosen` fires with the index of the workspace picked; the buttons below run commands."""

    chosen = Signal(int)

    def __init__(self, entries: Sequence[RailEntry], actions: Actions) -> None:
        super().__init__(0)
        self.setAccessibleName("Workspaces")
        column = Column(self, spacing=0.5, margins=(0.5, 1))
        self._group = QButtonGroup(self)
        self._group.setExclusive(True)
        for index, entry in enumerate(entries):
            button = PageButton(entry)
            self._group.addButton(button, index)
            column.addWidget(button)
        column.addStretch(1)
        self.help = RailButton("Help", "circle-help", "Shortcuts, the welcome page and what the studio is made of.")
        self.help.clicked.connect(self._open_help)
        self._menu = QMenu(self)
        for command in ("help.welcome", "help.shortcuts", "help.models", "help.system", "help.about"):
            self._menu.addAction(actions.action(command))
        column.addWidget(self.help)
        action = actions.action("app.preferences")
        self.settings = RailButton("Settings", "settings", action.statusTip(), action.shortcut().toString())
        self.settings.clicked.connect(action.trigger)
        column.addWidget(self.settings)
        self._group.idClicked.connect(self.chosen)
        self._rescale()
        theme.notifier.changed.connect(self._rescale)

    def select(self, index: int) -> None:
        button = self._group.button(index)
        if button is not None:
            button.setChecked(True)

    @Slot()
    def _open_help(self) -> None:
        self._menu.popup(self.help.mapToGlobal(self.help.rect().topRight()))

    @Slot()
    def _rescale(self) -> None:
        buttons: list[QWidget] = [*self._group.buttons(), self.help, self.settings]
        self.setFixedWidth(max(theme.px(72), *(b.sizeHint().width() + theme.space(1) for b in buttons)))
