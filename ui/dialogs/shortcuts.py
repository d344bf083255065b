"""Every command with its key, from the command table: find one, give it another key, see what shares it, reset."""

from __future__ import annotations

from PySide6.QtCore import QEvent, Qt, Signal, Slot
from PySide6.QtGui import QFocusEvent, QKeyEvent, QKeySequence
from PySide6.QtWidgets import QGridLayout, QLineEdit, QWidget

from engine.contracts.errors import StorageError
from studio_app.application import Application
from studio_app.commands import MENUS, Command
from ui import theme
from ui.dialogs.page import PageDialog, scrolling
from ui.widgets.basics import Button, IconButton, Label, describe, set_property
from ui.widgets.layouts import Column, Row

SETTING = "ui.shortcuts"
_MODIFIERS = {Qt.Key.Key_Control, Qt.Key.Key_Shift, Qt.Key.Key_Alt, Qt.Key.Key_Meta, Qt.Key.Key_AltGr}
_UNSHIFTED = {Qt.Key.Key_Plus, Qt.Key.Key_Equal, Qt.Key.Key_Minus}  # Shift is how some keyboards write them


class KeyButton(Button):
    """Shows a key. Pressed, it waits for another: the next key is given, Esc gives up, Backspace takes the key away.

    `given` fires with the key as the table writes it, "" for none.
    """

    given = Signal(str)
    waiting = False  # on the class: events come while the button is still being made

    def __init__(self, title: str) -> None:
        super().__init__("", tip=f"Change the key of “{title}”. Backspace takes it away, Esc leaves it as it is.")
        self._title, self._key = title, ""
        self.clicked.connect(self.wait)

    def show_key(self, key: str) -> None:
        self._key, self.waiting = key, False
        shown = QKeySequence(key).toString(QKeySequence.SequenceFormat.NativeText)
        self.setText(shown or "none")
        self.setAccessibleName(f"Key of {self._title}: {shown or 'none'}")

    @Slot()
    def wait(self) -> None:
        """Take the next key."""
        self.waiting = True
        self.setText("Press a key…")
        self.setAccessibleName(f"Press the new key of {self._title}")

    def event(self, event: QEvent) -> bool:
        """While it waits every key is its own, also those of the window and of Tab."""
        if not self.waiting or not isinstance(event, QKeyEvent):
            return super().event(event)
        if event.type() == QEvent.Type.ShortcutOverride:
            event.accept()
            return True
        if event.type() == QEvent.Type.KeyPress:
            self._take(event)
            return True
        return super().event(event)

    def _take(self, event: QKeyEvent) -> None:
        key, modifiers = event.key(), event.modifiers() & ~Qt.KeyboardModifier.KeypadModifier
        if key in _MODIFIERS:
            return
        plain = modifiers == Qt.KeyboardModifier.NoModifier
        if key == Qt.Key.Key_Escape and plain:
            self.show_key(self._key)
        elif key == Qt.Key.Key_Backspace and plain:
            self.given.emit("")
        else:
            if key in _UNSHIFTED:
                modifiers &= ~Qt.KeyboardModifier.ShiftModifier
            key = Qt.Key.Key_Tab if key == Qt.Key.Key_Backtab else key
            self.given.emit(QKeySequence(modifiers.value | key).toString())

    def focusOutEvent(self, event: QFocusEvent) -> None:
        if self.waiting:
            self.show_key(self._key)
        super().focusOutEvent(event)


class ShortcutRow:
    """One command: its name with what shares its key below, its key, and back to the key it came with."""

    def __init__(self, command: Command) -> None:
        self.id = command.id
        self.text = f"{command.title} {command.help}"
        self.name = Label(command.title.rstrip("…"), wrap=True)
        self.name.setToolTip(command.help)
        self.conflict = Label("", "warning", wrap=True)
        self.words = QWidget()
        column = Column(self.words, spacing=0)
        column.addWidget(self.name)
        column.addWidget(self.conflict)
        self.key = KeyButton(command.title.rstrip("…"))
        self.reset = IconButton("undo", f"Reset the key of {command.title.rstrip('…')}", size=16)
        self.widgets: tuple[QWidget, ...] = (self.words, self.key, self.reset)


class Shortcuts(PageDialog):
    """A change holds at once, here and on the canvas, and is kept in the settings. `rows` by command."""

    def __init__(self, app: Application, parent: QWidget) -> None:
        super().__init__("Keyboard shortcuts", parent, 620, 680)
        self._app = app
        self.rows: dict[str, ShortcutRow] = {}
        self._headings: list[tuple[QWidget, list[ShortcutRow]]] = []
        top = Row(spacing=1, margins=2)
        self.search = QLineEdit()
        self.search.setPlaceholderText("Find a command or a key")
        describe(self.search, "Find a command or a key", "Shows only the commands that have these letters.")
        top.addWidget(self.search, 1)
        self.reset_all = Button("Reset all", "undo", tip="Give every command the key it came with.")
        self.reset_all.clicked.connect(self._reset_all)
        top.addWidget(self.reset_all)
        self.column.addLayout(top)
        self.summary = Label("", "warning", wrap=True)
        self.summary.setContentsMargins(theme.space(2), 0, theme.space(2), theme.space(1))
        self.column.addWidget(self.summary)
        body = QWidget()
        self._grid = QGridLayout(body)
        self._grid.setColumnStretch(0, 1)
        self._grid.setContentsMargins(theme.space(2), 0, theme.space(2), theme.space(2))
        self._grid.setVerticalSpacing(theme.space(0.5))
        self._grid.setHorizontalSpacing(theme.space(1))
        for menu in MENUS:
            self._add_group(menu, [command for command in app.commands.all() if command.menu == menu])
        self._grid.setRowStretch(self._grid.rowCount(), 1)
        self.column.addWidget(scrolling(body), 1)
        self.search.textChanged.connect(self._filter)
        self._unsubscribe = app.commands.on_change(self._on_change)
        self.destroyed.connect(self._unsubscribe)
        self._show()

    def _add_group(self, title: str, commands: list[Command]) -> None:
        if not commands:
            return
        heading = Label(title, "heading")
        heading.setContentsMargins(0, theme.space(1.5), 0, theme.space(0.5))
        self._grid.addWidget(heading, self._grid.rowCount(), 0, 1, 3)
        rows = []
        for command in commands:
            row = ShortcutRow(command)
            row.key.setProperty("command", command.id)
            row.reset.setProperty("command", command.id)
            row.key.given.connect(self._given)
            row.reset.clicked.connect(self._reset)
            place = self._grid.rowCount()
            for column, widget in enumerate(row.widgets):
                self._grid.addWidget(widget, place, column)
            self.rows[command.id] = row
            rows.append(row)
        self._headings.append((heading, rows))

    # ---- changing

    @Slot(str)
    def _given(self, key: str) -> None:
        self.give(str(self.sender().property("command")), key)

    @Slot()
    def _reset(self) -> None:
        command = str(self.sender().property("command"))
        self.give(command, self._app.commands.shipped(command).shortcut)

    def give(self, command_id: str, key: str) -> None:
        """Give a command a key ("" for none), at once and for good."""
        kept = self._kept()
        if key == self._app.commands.shipped(command_id).shortcut:
            kept.pop(command_id, None)
        else:
            kept[command_id] = key
        self._keep(kept)

    @Slot()
    def _reset_all(self) -> None:
        self._keep({})

    def _kept(self) -> dict[str, str]:
        kept: dict[str, str] = self._app.settings.get(SETTING)
        return kept

    def _keep(self, keys: dict[str, str]) -> None:
        try:
            self._app.settings.set(SETTING, keys)
        except StorageError as error:
            self._app.notifications.post("warning", str(error))
        self._app.commands.remap(keys)
        self._show()

    # ---- showing

    def _on_change(self, command_id: str) -> None:
        row = self.rows.get(command_id)
        if row is not None and not row.key.waiting:
            row.key.show_key(self._app.commands.get(command_id).shortcut)

    def _show(self) -> None:
        commands = self._app.commands
        shared = 0
        for name, row in self.rows.items():
            command = commands.get(name)
            row.key.show_key(command.shortcut)
            others = [other.title.rstrip("…") for other in commands.sharing(name, command.shortcut)]
            shared += bool(others)
            row.conflict.setText(f"The same key as {' and '.join(f'“{title}”' for title in others)}." if others else "")
            row.conflict.setVisible(bool(others))
            set_property(row.key, "kind", "danger" if others else "normal")
            changed = command != commands.shipped(name)
            row.reset.setEnabled(changed)
            was = QKeySequence(commands.shipped(name).shortcut).toString(QKeySequence.SequenceFormat.NativeText)
            row.reset.setToolTip(f"Give back its own key: {was or 'none'}." if changed else "It has its own key.")
        self.summary.setText(f"{shared} commands share a key: only one of them can have it." if shared else "")
        self.summary.setVisible(bool(shared))
        self.reset_all.setEnabled(any(c != commands.shipped(c.id) for c in commands.all()))

    @Slot(str)
    def _filter(self, text: str) -> None:
        wanted = text.casefold().split()
        for heading, rows in self._headings:
            some = False
            for row in rows:
                fits = all(word in f"{row.text} {row.key.text()}".casefold() for word in wanted)
                some |= fits
                for widget in row.widgets:
                    widget.setVisible(fits)
            heading.setVisible(some)
