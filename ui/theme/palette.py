"""The QPalette of a theme. Needed besides the stylesheet: Qt paints some things (text selection, menus, placeholder
text, item views) from the palette, and `setColorScheme` alone does nothing on some platforms."""

from __future__ import annotations

from PySide6.QtGui import QColor, QPalette

from ui.theme.tokens import ThemeTokens

_ROLES = {
    QPalette.ColorRole.Window: "surface1",
    QPalette.ColorRole.WindowText: "text",
    QPalette.ColorRole.Base: "surface2",
    QPalette.ColorRole.AlternateBase: "surface1",
    QPalette.ColorRole.Text: "text",
    QPalette.ColorRole.PlaceholderText: "text_muted",
    QPalette.ColorRole.Button: "surface2",
    QPalette.ColorRole.ButtonText: "text",
    QPalette.ColorRole.BrightText: "danger",
    QPalette.ColorRole.ToolTipBase: "surface4",
    QPalette.ColorRole.ToolTipText: "text_strong",
    QPalette.ColorRole.Highlight: "accent",
    QPalette.ColorRole.HighlightedText: "on_accent",
    QPalette.ColorRole.Link: "accent",
    QPalette.ColorRole.LinkVisited: "accent",
    QPalette.ColorRole.Accent: "accent",
    QPalette.ColorRole.Light: "surface4",
    QPalette.ColorRole.Midlight: "surface3",
    QPalette.ColorRole.Mid: "line",
    QPalette.ColorRole.Dark: "control_line",
    QPalette.ColorRole.Shadow: "surface0",
}
_DISABLED = (
    QPalette.ColorRole.WindowText,
    QPalette.ColorRole.Text,
    QPalette.ColorRole.ButtonText,
    QPalette.ColorRole.PlaceholderText,
)


def palette(tokens: ThemeTokens) -> QPalette:
    result = QPalette()
    for role, name in _ROLES.items():
        result.setColor(role, QColor(tokens.colours[name]))
    for role in _DISABLED:
        result.setColor(QPalette.ColorGroup.Disabled, role, QColor(tokens.colours["text_disabled"]))
    result.setColor(QPalette.ColorGroup.Disabled, QPalette.ColorRole.Highlight, QColor(tokens.colours["surface4"]))
    return result
