"""docs/settings.md from the table: `python -m studio_app.settings.page > docs/settings.md`."""

from __future__ import annotations

import sys

from studio_app.settings.table import GROUPS, TABLE, Setting


def settings_page() -> str:
    """The page as Markdown; a test compares it with the file."""
    lines = [
        "# Settings",
        "",
        "Kept in `settings.json` in the studio's data folder; values that differ from their default are written.",
        "This page is made from `studio_app/settings/table.py`.",
    ]
    for group, title in GROUPS:
        entries = [entry for entry in TABLE if entry.group == group and not entry.hidden]
        if not entries:
            continue
        lines += ["", f"## {title}", "", "| setting | default | values | what it does |", "| --- | --- | --- | --- |"]
        lines += [_row(entry) for entry in entries]
    return "\n".join(lines) + "\n"


def _row(entry: Setting) -> str:
    restart = " Takes effect at the next start." if entry.restart else ""
    return f"| `{entry.key}`<br>{entry.label} | {_default(entry)} | {_values(entry)} | {entry.help}{restart} |"


def _default(entry: Setting) -> str:
    if entry.kind == "bool":
        return "on" if entry.default else "off"
    return f"`{entry.default}`" if entry.default not in ("", [], {}) else "empty"


def _values(entry: Setting) -> str:
    if entry.kind == "choice":
        return ", ".join(f"`{value}` ({label})" for value, label in entry.choices)
    if entry.minimum is not None and entry.maximum is not None:
        return f"{entry.minimum:g} to {entry.maximum:g}"
    return {"bool": "on or off", "path": "a folder", "text": "text", "json": "a list"}.get(entry.kind, entry.kind)


if __name__ == "__main__":
    sys.stdout.write(settings_page())
