"""The application stylesheet, filled from tokens. Widgets choose among its variants by dynamic properties:

kind      on QPushButton and QToolButton: "primary", "quiet", "danger", "rail"; unset is the ordinary button
tall      on QPushButton: true for the few that a page is about
surface   on QFrame and QWidget: "0".."4", "float" for what hovers above the work
invalid   on editors: true draws the border in the danger colour
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from ui.theme import state
from ui.theme.tokens import themes

_PIXELS = re.compile(r"(\d+(?:\.\d+)?)u\b")
_TOKEN = re.compile(r"\$([a-z_0-9]+)")

# Lengths ending in "u" are pixels at scale 1 and are multiplied by the scale; those in "px" stay (hairlines).
_TEMPLATE = """
QWidget { color: $text; }
QMainWindow, QDialog { background: $surface1; }
QWidget[surface="0"] { background: $surface0; }
QWidget[surface="1"] { background: $surface1; }
QWidget[surface="2"] { background: $surface2; border-radius: 6u; }
QFrame[surface="float"] { background: $surface2; border: 1px solid $line; border-radius: 6u; }
QToolTip { background: $surface4; color: $text_strong; border: 1px solid $control_line; padding: 4u 8u; }

QPushButton, QToolButton {
  background: $surface3; color: $text; border: 1px solid $control_line; border-radius: 6u;
  padding: 3u 11u; min-height: 24u;
}
QToolButton { padding: 3u; min-width: 24u; }
QPushButton:hover, QToolButton:hover { background: $surface4; color: $text_strong; }
QPushButton:pressed, QToolButton:pressed { background: $surface2; }
QPushButton:checked, QToolButton:checked { background: $accent_soft; color: $text_strong; border-color: $accent; }
QPushButton:focus, QToolButton:focus { border: 2px solid $focus; padding: 2u 10u; }
QToolButton:focus { padding: 2u; }
QPushButton:disabled, QToolButton:disabled { background: $surface2; color: $text_disabled; border-color: $line; }
QPushButton[tall="true"] { min-height: 32u; }
QPushButton[kind="primary"] {
  background: $accent; color: $on_accent; border-color: $accent; font-weight: 600;
}
QPushButton[kind="primary"]:hover { background: $accent_hover; border-color: $accent_hover; color: $on_accent; }
QPushButton[kind="primary"]:pressed { background: $accent_pressed; }
QPushButton[kind="primary"]:focus { border: 2px solid $text_strong; }
QPushButton[kind="primary"]:disabled { background: $surface3; color: $text_disabled; border-color: $line; }
QPushButton[kind="danger"] { color: $danger; border-color: $danger; }
QPushButton[kind="quiet"], QToolButton[kind="quiet"] { background: transparent; border-color: transparent; }
QPushButton[kind="quiet"]:hover, QToolButton[kind="quiet"]:hover { background: $surface3; color: $text_strong; }
QPushButton[kind="quiet"]:checked, QToolButton[kind="quiet"]:checked {
  background: $accent_soft; border-color: transparent;
}
QPushButton[kind="quiet"]:focus, QToolButton[kind="quiet"]:focus { border: 2px solid $focus; }
QToolButton[kind="quiet"]::menu-indicator, QPushButton[kind="quiet"]::menu-indicator { image: none; width: 0; }
QToolButton[kind="rail"] { background: transparent; border: none; border-radius: 6u; padding: 4u 0; }
QToolButton[kind="rail"]:hover { background: $surface3; }
QToolButton[kind="rail"]:checked { background: $accent_soft; color: $text_strong; }
QToolButton[kind="rail"]:focus { border: 2px solid $focus; }

QScrollArea, QAbstractScrollArea { border: none; background: transparent; }
QScrollArea > QWidget > QWidget { background: transparent; }

QLineEdit, QPlainTextEdit, QTextEdit, QComboBox, QAbstractSpinBox {
  background: $surface2; color: $text_strong; border: 1px solid $control_line; border-radius: 6u;
  selection-background-color: $accent; selection-color: $on_accent;
}
QLineEdit, QPlainTextEdit, QTextEdit { placeholder-text-color: $text_muted; }
QLineEdit, QComboBox, QAbstractSpinBox { padding: 2u 7u; min-height: 24u; }
QPlainTextEdit, QTextEdit { padding: 5u; }
QLineEdit:hover, QPlainTextEdit:hover, QTextEdit:hover, QComboBox:hover { background: $surface3; }
QLineEdit:focus, QComboBox:focus, QAbstractSpinBox:focus { border: 2px solid $focus; padding: 1u 6u; }
QPlainTextEdit:focus, QTextEdit:focus { border: 2px solid $focus; padding: 4u; }
QLineEdit:disabled, QPlainTextEdit:disabled, QTextEdit:disabled, QComboBox:disabled {
  background: $surface1; color: $text_disabled; border-color: $line;
}
*[invalid="true"] { border: 2px solid $danger; }
QComboBox { padding-right: 26u; combobox-popup: 0; }
QComboBox:focus { padding-right: 25u; }
QComboBox::drop-down { border: none; width: 0; }
QComboBox::down-arrow { image: none; width: 0; height: 0; }
QComboBox QAbstractItemView {
  background: $surface2; border: 1px solid $control_line; padding: 4u; outline: none;
  selection-background-color: $accent_soft; selection-color: $text_strong;
}
QComboBox QAbstractItemView::item { min-height: 24u; padding: 2u 4u; border-radius: 4u; }

QMenu { background: $surface2; border: 1px solid $control_line; padding: 4u; }
QMenu::item { padding: 5u 24u 5u 12u; border-radius: 4u; color: $text; background: transparent; }
QMenu::item:selected { background: $accent_soft; color: $text_strong; }
QMenu::item:disabled { color: $text_disabled; }
QMenu::icon { padding-left: 8u; }
QMenu::separator { height: 1px; background: $line; margin: 4u 8u; }

QScrollBar { background: transparent; border: none; }
QScrollBar:vertical { width: 10u; margin: 0; }
QScrollBar:horizontal { height: 10u; margin: 0; }
QScrollBar::handle { background: $control_line; border-radius: 3u; margin: 2u; }
QScrollBar::handle:hover { background: $text_muted; }
QScrollBar::handle:vertical { min-height: 32u; }
QScrollBar::handle:horizontal { min-width: 32u; }
QScrollBar::add-line, QScrollBar::sub-line, QScrollBar::add-page, QScrollBar::sub-page {
  background: transparent; border: none; width: 0; height: 0;
}

QSlider { min-height: 24u; background: transparent; }
QSlider::groove:horizontal { height: 4u; background: $surface4; border-radius: 2u; }
QSlider::sub-page:horizontal { background: $accent; border-radius: 2u; }
QSlider::handle:horizontal {
  background: $text_strong; width: 14u; height: 14u; margin: -5u 0; border-radius: 7u; border: none;
}
QSlider:focus { border: 2px solid $focus; border-radius: 6u; }
QSlider::sub-page:horizontal:disabled, QSlider::handle:horizontal:disabled { background: $text_disabled; }

QProgressBar {
  background: $surface4; border: none; border-radius: 2u; min-height: 4u; max-height: 4u;
}
QProgressBar::chunk { background: $accent; border-radius: 2u; }

QListView, QTreeView, QTableView { background: transparent; outline: none; }
QListView::item { border-radius: 4u; padding: 4u 8u; }
QListView::item:hover { background: $surface3; }
QListView::item:selected { background: $accent_soft; color: $text_strong; }
QTableView { selection-background-color: $accent_soft; selection-color: $text_strong; }
QTableView::item { padding: 0 6u; }
QTableView::item:selected { background: $accent_soft; color: $text_strong; }
QListView:focus, QTreeView:focus, QTableView:focus { border: 2px solid $focus; border-radius: 6u; }
QHeaderView::section { background: $surface1; color: $text_muted; border: none; padding: 4u 8u; }

QSplitter::handle { background: $line; }
QSplitter::handle:hover { background: $accent; }
QSplitter::handle:horizontal { width: 1px; }
QSplitter::handle:vertical { height: 1px; }
QCheckBox { spacing: 8u; }
QLabel { background: transparent; }
"""


def fill(template: str, colours: Mapping[str, str], scale: float) -> str:
    """`template` with $tokens and lengths in u replaced. Raises KeyError for an unknown token."""
    sized = _PIXELS.sub(lambda m: f"{max(1, round(float(m[1]) * scale)) if float(m[1]) else 0}px", template)
    return _TOKEN.sub(lambda m: _css_colour(colours[m[1]]), sized)


def stylesheet() -> str:
    """The stylesheet of the theme in force."""
    return fill(_TEMPLATE, themes()[state.current_name()].colours, state.current_scale())


def _css_colour(value: str) -> str:
    if len(value) == 9:  # "#aarrggbb"; stylesheets want rgba()
        alpha, red, green, blue = (int(value[i : i + 2], 16) for i in (1, 3, 5, 7))
        return f"rgba({red}, {green}, {blue}, {alpha})"
    return value
