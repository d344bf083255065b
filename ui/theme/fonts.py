"""Loads the bundled font once, so that every machine shows the same letters."""

from __future__ import annotations

from functools import cache

from PySide6.QtGui import QFontDatabase

from ui.theme.tokens import RESOURCES


@cache
def load() -> tuple[str, ...]:
    """Register resources/fonts with Qt and return the families found. Needs a QGuiApplication."""
    families: list[str] = []
    for path in sorted((RESOURCES / "fonts").glob("*.otf")):
        families += QFontDatabase.applicationFontFamilies(QFontDatabase.addApplicationFont(str(path)))
    return tuple(dict.fromkeys(families))
