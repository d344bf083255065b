"""The command table as Qt actions: one QAction for each command, shared by shortcuts, menus, palette and buttons."""

from __future__ import annotations

from PySide6.QtCore import QObject, Qt, Slot
from PySide6.QtGui import QAction, QKeySequence
from PySide6.QtWidgets import QWidget

from studio_app.commands import Command, Commands
from studio_app.events import Unsubscribe
from ui import theme

# The table speaks of things; these are the files of resources/icons that draw them.
_ICONS = {
    "cancel": "circle-stop", "dice": "dices", "folder": "folder-open", "generate": "sparkles", "input": "image-plus",
    "trash": "trash-2", "variations": "shuffle",
}  # fmt: skip

# Keys that mean something only where a picture has the focus: the page that shows pictures answers them itself.
LOCAL_KEYS = frozenset({"picture.open", "picture.delete", "picture.copy"})
LOCAL_PAGES = ("graph.",)  # pages whose keys are all their own: the canvas uses single letters

# A second key for a command, where one is customary.
_ALSO = {
    "view.create": "1", "view.graph": "2", "view.models": "5", "create.generate": "Ctrl+Enter",
    "view.scale_up": "Ctrl+=",
}  # fmt: skip


class Actions(QObject):
    """A QAction of the window for each command; it is enabled while somebody can do the command.

    `text` is the command's title, `data` the menu it stands in, `statusTip` its one sentence.
    """

    def __init__(self, window: QWidget, commands: Commands) -> None:
        super().__init__(window)
        self._commands = commands
        self._actions: dict[str, QAction] = {}
        for command in commands.all():
            self._actions[command.id] = self._make(window, command)
        self._undo: Unsubscribe = commands.on_change(self._on_change)

    def action(self, command_id: str) -> QAction:
        """The action of a command. Raises UnknownChoice for an id that is not in the table."""
        self._commands.get(command_id)
        return self._actions[command_id]

    def offered(self) -> list[QAction]:
        """What can be done now, in the order of the table."""
        return [action for action in self._actions.values() if action.isEnabled()]

    def in_menu(self, menu: str) -> list[QAction]:
        """The actions that stand in one menu (studio_app.commands.MENUS)."""
        return [action for action in self._actions.values() if action.data() == menu]

    def shortcuts(self) -> dict[str, list[QAction]]:
        """The actions that have a key, by menu, whether or not they can be done now."""
        grouped: dict[str, list[QAction]] = {}
        for action in self._actions.values():
            if not action.shortcut().isEmpty():
                grouped.setdefault(str(action.data()), []).append(action)
        return grouped

    def close(self) -> None:
        self._undo()

    def _make(self, window: QWidget, command: Command) -> QAction:
        action = QAction(command.title, window)
        action.setObjectName(command.id)
        action.setData(command.menu)
        action.setStatusTip(command.help)
        action.setToolTip(command.help)
        action.setCheckable(command.checkable)
        if command.icon:
            action.setIcon(theme.icon(_ICONS.get(command.icon, command.icon), 16))
        action.setShortcutContext(Qt.ShortcutContext.WindowShortcut)
        action.setShortcuts(self._keys(command))
        action.setEnabled(self._commands.is_bound(command.id))
        action.triggered.connect(self._run)
        if command.id not in LOCAL_KEYS and not command.id.startswith(LOCAL_PAGES):
            window.addAction(action)
        return action

    def _keys(self, command: Command) -> list[QKeySequence]:
        """Its key, and the customary second one while it has the key it came with."""
        keys = [command.shortcut] if command.shortcut else []
        if command.id in _ALSO and command == self._commands.shipped(command.id):
            keys.append(_ALSO[command.id])
        return [QKeySequence(key) for key in keys]

    @Slot()
    def _run(self) -> None:
        action = self.sender()
        if isinstance(action, QAction):
            self._commands.run(action.objectName())

    def _on_change(self, command_id: str) -> None:
        # Handlers are bound by widgets, so this is the GUI thread already.
        action = self._actions.get(command_id)
        if action is not None:
            action.setEnabled(self._commands.is_bound(command_id))
            keys = self._keys(self._commands.get(command_id))
            if action.shortcuts() != keys:
                action.setShortcuts(keys)
