"""Everything a person can do, once: menus, shortcuts, the palette and the command line's help come from this table.

A command names what it does; who can do it binds a handler. A command without a handler is disabled, never dead.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass

from engine.contracts.errors import UnknownChoice
from studio_app.events import Signal, Unsubscribe


@dataclass(frozen=True)
class Command:
    """`shortcut` is portable ("Ctrl+Return"; Ctrl is the command key on a Mac). `menu` is where it stands."""

    id: str
    title: str
    help: str
    menu: str
    shortcut: str = ""
    icon: str = ""
    checkable: bool = False


MENUS = ("File", "Edit", "Create", "Picture", "View", "Help")

TABLE: tuple[Command, ...] = (
    Command("file.open_picture", "Start from a picture…", "Choose a picture to start from.", "File", "Ctrl+O", "image"),
    Command("picture.save_as", "Save picture as…", "Save the chosen picture under a name of your own.", "File",
            "Ctrl+S", "save"),
    Command("library.save_unsaved", "Save unsaved pictures…",
            "Save the pictures that could not be written to a folder of your choice.", "File"),
    Command("file.open_output_folder", "Show pictures folder", "Open the folder that finished pictures are saved in.",
            "File", icon="folder"),
    Command("app.preferences", "Preferences…", "Change the studio's settings.", "File", "Ctrl+,", "settings"),
    Command("app.quit", "Quit", "Close the studio; everything is kept.", "File", "Ctrl+Q"),
    Command("picture.copy", "Copy picture", "Copy the chosen picture to the clipboard.", "Edit", "Ctrl+C", "copy"),
    Command("picture.copy_parameters", "Copy parameters", "Copy the prompt and settings of the chosen picture as text.",
            "Edit", "Ctrl+Shift+C"),
    Command("edit.paste_picture", "Paste as input", "Start from the picture on the clipboard.", "Edit", "Ctrl+Shift+V"),
    Command("picture.delete", "Delete picture", "Take the chosen picture out of the library.", "Edit",
            "Delete", "trash"),
    Command("create.generate", "Generate", "Make pictures from the prompt.", "Create", "Ctrl+Return", "generate"),
    Command("create.cancel", "Cancel", "Stop the picture that is being made at the next step.", "Create", "Escape",
            "cancel"),
    Command("create.cancel_all", "Cancel all", "Stop everything that is running or waiting.", "Create", "Shift+Escape"),
    Command("create.roll_seed", "New seed", "Draw another seed.", "Create", "Ctrl+R", "dice"),
    Command("create.lock_seed", "Keep the seed", "Use the same seed for the next pictures.", "Create", "Ctrl+L", "lock",
            checkable=True),
    Command("create.swap_size", "Swap width and height", "Turn the shape by 90 degrees.", "Create", "Ctrl+T"),
    Command("create.several_prompts", "Several prompts at once", "One prompt on each line, one picture job for each.",
            "Create", "Ctrl+Shift+P", checkable=True),
    Command("create.toggle_advanced", "Advanced settings", "Show or hide model, sampler, steps, guidance and size.",
            "Create", "Ctrl+D", checkable=True),
    Command("create.focus_prompt", "Go to the prompt", "Put the cursor into the prompt.", "Create", "Ctrl+E"),
    Command("create.clear_input", "Remove input picture", "Start from noise again.", "Create"),
    Command("picture.use_as_input", "Use as input", "Start the next picture from the chosen one.", "Picture", "Ctrl+I",
            "input"),
    Command("picture.variations", "Make variations", "Make more like the chosen picture.", "Picture", "Ctrl+M",
            "variations"),
    Command("picture.reuse_settings", "Use its settings", "Bring the chosen picture's prompt and settings back.",
            "Picture", "Ctrl+U"),
    Command("picture.open", "Open large", "See the chosen picture large.", "Picture", "Return"),
    Command("picture.show_file", "Show in folder", "Show the chosen picture's file.", "Picture"),
    Command("view.theme_system", "Theme: as the system", "Follow the desktop's colours.", "View"),
    Command("view.theme_dark", "Theme: dark", "Use the dark theme.", "View"),
    Command("view.theme_light", "Theme: light", "Use the light theme.", "View"),
    Command("view.theme_contrast", "Theme: high contrast", "Use the high-contrast theme.", "View"),
    Command("view.scale_up", "Larger", "Make text and controls larger.", "View", "Ctrl++"),
    Command("view.scale_down", "Smaller", "Make text and controls smaller.", "View", "Ctrl+-"),
    Command("view.scale_reset", "Normal size", "Text and controls in their normal size.", "View", "Ctrl+0"),
    Command("view.full_screen", "Full screen", "Use the whole screen.", "View", "F11", checkable=True),
    Command("view.create", "Create", "Go to the page where pictures are made.", "View", "Ctrl+1", "sparkles"),
    Command("view.filmstrip", "Filmstrip", "Show or hide the strip of running jobs and newest pictures.", "View",
            "Ctrl+J", checkable=True),
    Command("view.inspector", "Inspector", "Show or hide the settings of what is selected.", "View", "Ctrl+Shift+J",
            checkable=True),
    Command("app.palette", "Find a command…", "Search every command by name.", "Help", "Ctrl+K", "search"),
    Command("help.shortcuts", "Keyboard shortcuts", "List every shortcut.", "Help", "F1"),
    Command("help.welcome", "Welcome", "Show the first-run page again.", "Help"),
    Command("help.system", "System report", "What the studio found on this machine.", "Help"),
    Command("help.models", "Where to get models", "How to add a large model.", "Help"),
    Command("help.about", "About Tessera Studio", "Version and licences.", "Help"),
)  # fmt: skip

Handler = Callable[[], object]


class Commands:
    """Handlers of the table's commands, bound and unbound by whoever can do them; run by id from anywhere."""

    def __init__(self, table: tuple[Command, ...] = TABLE) -> None:
        self._table = {command.id: command for command in table}
        self._handlers: dict[str, Handler] = {}
        self._lock = threading.Lock()
        self._changed: Signal[str] = Signal()

    def all(self) -> list[Command]:
        return list(self._table.values())

    def get(self, command_id: str) -> Command:
        """The table's entry. Raises UnknownChoice."""
        found = self._table.get(command_id)
        if found is None:
            raise UnknownChoice("command", command_id, tuple(self._table))
        return found

    def bind(self, command_id: str, handler: Handler) -> Unsubscribe:
        """`handler()` does the command until the returned callable is called. A later binding takes precedence."""
        self.get(command_id)
        with self._lock:
            before = self._handlers.get(command_id)
            self._handlers[command_id] = handler
        self._changed.emit(command_id)

        def unbind() -> None:
            with self._lock:
                if self._handlers.get(command_id) is handler:
                    del self._handlers[command_id]
                    if before is not None:
                        self._handlers[command_id] = before
            self._changed.emit(command_id)

        return unbind

    def is_bound(self, command_id: str) -> bool:
        return command_id in self._handlers

    def run(self, command_id: str) -> bool:
        """Do a command; False when nobody can at the moment. Raises UnknownChoice."""
        self.get(command_id)
        handler = self._handlers.get(command_id)
        if handler is None:
            return False
        handler()
        return True

    def search(self, text: str) -> list[Command]:
        """Commands whose title or help has every word of `text`, title matches first."""
        words = text.lower().split()
        found = [c for c in self._table.values() if all(w in f"{c.title} {c.help}".lower() for w in words)]
        return sorted(found, key=lambda c: sum(w not in c.title.lower() for w in words))

    def on_change(self, subscriber: Callable[[str], object]) -> Unsubscribe:
        """`subscriber(command_id)` is called when a command gets or loses its handler."""
        return self._changed.subscribe(subscriber)
