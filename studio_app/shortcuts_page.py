"""docs/shortcuts.md from the table of commands: `python -m studio_app.shortcuts_page > docs/shortcuts.md`."""

from __future__ import annotations

import sys

from studio_app.commands import MENUS, TABLE, Command


def shortcuts_page() -> str:
    """The page as Markdown; a test compares it with the file."""
    lines = [
        "# Commands and their keys",
        "",
        "Any key can be changed in the window: F1 lists all commands, shows which share a key, and resets. On a Mac,",
        "Ctrl is the command key. Ctrl+K finds any command by name. Keys of the graph work while the canvas has the",
        "keyboard. This page is made from `studio_app/commands.py`.",
    ]
    for menu in MENUS:
        commands = [command for command in TABLE if command.menu == menu]
        if commands:
            lines += ["", f"## {menu}", "", "| keys | command | what it does |", "| --- | --- | --- |"]
            lines += [_row(command) for command in commands]
    return "\n".join(lines) + "\n"


def _row(command: Command) -> str:
    return f"| {command.shortcut} | {command.title.rstrip('…')} | {command.help} |"


if __name__ == "__main__":
    sys.stdout.write(shortcuts_page())
