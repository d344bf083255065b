"""How the studio looks: tokens, fonts, icons, palette and stylesheet.

theme.apply(app, "dark", 1.0)         put a theme on the application; again at any time
theme.token("accent")                 QColor of a token
theme.space(1)                        8 px at scale 1; theme.space(.5) inside controls
theme.font(1)                         type scale −1..3: 11, 13, 15, 20, 28 px, figures of equal width
theme.icon("sparkles", 20)            QIcon that follows the theme by itself
theme.notifier.changed                fires after a change: take sizes and painted colours again
"""

from __future__ import annotations

from PySide6.QtWidgets import QApplication

from ui.theme import fonts
from ui.theme.icons import beside_words, icon, paint_icon
from ui.theme.palette import palette
from ui.theme.state import (
    corner,
    current_name,
    current_scale,
    font,
    font_pixels,
    motion,
    notifier,
    px,
    set_current,
    socket_colour,
    space,
    token,
)
from ui.theme.stylesheet import stylesheet
from ui.theme.tokens import socket_shape, themes

__all__ = [
    "apply", "beside_words", "corner", "current_name", "current_scale", "font", "font_pixels", "icon", "motion",
    "notifier", "paint_icon", "px", "socket_colour", "socket_shape", "space", "themes", "token",
]  # fmt: skip


def apply(app: QApplication, name: str = "dark", scale: float = 1.0, *, reduced_motion: bool = False) -> None:
    """Put theme `name` ("dark", "light" or "contrast") on the application at `scale` (0.75..3)."""
    if name not in themes():
        name = "dark"
    fonts.load()
    set_current(name, scale, reduced_motion)
    if app.style().name().lower() != "fusion":
        app.setStyle("Fusion")
    app.setFont(font(0))
    app.setPalette(palette(themes()[name]))
    app.setStyleSheet(stylesheet())
    notifier.changed.emit()
