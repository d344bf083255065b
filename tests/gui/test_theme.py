"""The look: every theme complete and legible, icons and fonts there, sizes following the scale."""

from __future__ import annotations

import re
from itertools import product
from pathlib import Path

import pytest
from PySide6.QtCore import QSize
from PySide6.QtGui import QColor, QFontInfo, QIcon, QPalette
from PySide6.QtWidgets import QApplication
from pytestqt.qtbot import QtBot

from ui import theme
from ui.theme.stylesheet import _TEMPLATE, fill
from ui.theme.tokens import RESOURCES, contrast, themes

SURFACES = ("surface1", "surface2", "surface3")
TEXTS = ("text_strong", "text", "text_muted", "danger", "warning", "success")


@pytest.mark.parametrize(("name", "surface", "text"), list(product(themes(), SURFACES, TEXTS)))
def test_text_has_contrast_of_at_least_4_5_on_every_surface_it_stands_on(name: str, surface: str, text: str) -> None:
    colours = themes()[name].colours
    assert contrast(colours[text], colours[surface]) >= 4.5


@pytest.mark.parametrize("name", list(themes()))
def test_text_on_the_accent_and_on_what_is_selected_is_legible(name: str) -> None:
    colours = themes()[name].colours
    for ground in ("accent", "accent_hover", "accent_pressed"):
        assert contrast(colours["on_accent"], colours[ground]) >= 4.5, ground
    assert contrast(colours["text_strong"], colours["accent_soft"]) >= 4.5
    assert contrast(colours["text_strong"], colours["surface4"]) >= 4.5
    assert contrast(colours["text"], colours["surface0"]) >= 4.5


@pytest.mark.parametrize(("name", "surface"), list(product(themes(), ("surface0", "surface1", "surface2"))))
def test_borders_of_controls_focus_and_accent_have_contrast_of_at_least_3(name: str, surface: str) -> None:
    colours = themes()[name].colours
    for token in ("control_line", "focus", "accent"):
        assert contrast(colours[token], colours[surface]) >= 3.0, token


@pytest.mark.parametrize("name", list(themes()))
def test_sockets_are_told_apart_from_the_canvas(name: str) -> None:
    tokens = themes()[name]
    for kind, colour in tokens.sockets.items():
        assert contrast(colour, tokens.colours["surface0"]) >= 3.0, kind


def test_sockets_have_a_shape_of_their_own() -> None:
    shapes = [theme.socket_shape(kind) for kind in themes()["dark"].sockets]
    assert len(set(shapes)) == len(shapes)


def test_chrome_is_grey_without_hue() -> None:
    for tokens in themes().values():
        for surface in ("surface0", "surface1", "surface2", "surface3", "surface4", "line", "control_line"):
            value = tokens.colours[surface]
            assert value[1:3] == value[3:5] == value[5:7], (tokens.name, surface)


def test_the_themes_are_complete_siblings() -> None:
    names = [set(tokens.colours) for tokens in themes().values()]
    assert names[0] == names[1] == names[2]
    assert all(tokens.colours["text"] for tokens in themes().values())


def test_the_stylesheet_has_no_token_and_no_length_left_in_it() -> None:
    for tokens, scale in product(themes().values(), (0.75, 1.0, 3.0)):
        text = fill(_TEMPLATE, tokens.colours, scale)
        assert "$" not in text
        assert not re.search(r"\d+u\b", text)
    assert "min-height: 72px" in fill("QPushButton { min-height: 24u; }", {}, 3.0)


def test_applying_a_theme_changes_palette_tokens_and_says_so(qtbot: QtBot, qapp: QApplication) -> None:
    theme.apply(qapp, "dark")
    with qtbot.waitSignal(theme.notifier.changed):
        theme.apply(qapp, "light", 2.0)
    assert qapp.palette().color(QPalette.ColorRole.Window).name() == themes()["light"].colours["surface1"]
    assert theme.space(1) == 16
    assert [theme.font_pixels(step) for step in range(-1, 4)] == [22, 26, 30, 40, 56]
    theme.apply(qapp, "dark", 1.0)
    assert [theme.font_pixels(step) for step in range(-1, 4)] == [11, 13, 15, 20, 28]


def test_the_bundled_font_is_used_with_figures_of_equal_width(qapp: QApplication) -> None:
    from PySide6.QtGui import QFontMetricsF

    theme.apply(qapp, "dark")
    assert QFontInfo(theme.font()).family() == "Inter"
    metrics = QFontMetricsF(theme.font(2))
    assert len({round(metrics.horizontalAdvance(figure * 8), 2) for figure in "0123456789"}) == 1


def test_an_icon_on_screen_is_tinted_again_when_the_theme_changes(qapp: QApplication) -> None:
    icon = theme.icon("sparkles")
    darkest = {}
    for name in ("dark", "light"):
        theme.apply(qapp, name)
        image = icon.pixmap(QSize(20, 20)).toImage()
        solid = [image.pixelColor(x, y) for x in range(20) for y in range(20) if image.pixelColor(x, y).alpha() > 250]
        assert solid
        darkest[name] = solid[0].name()
        assert all(_near(colour, theme.token("text")) for colour in solid)
    assert darkest["dark"] != darkest["light"]
    theme.apply(qapp, "dark")


def test_icons_are_sharp_at_two_device_pixels(qapp: QApplication) -> None:
    theme.apply(qapp, "dark")
    pixmap = theme.icon("settings").pixmap(QSize(20, 20), 2.0, QIcon.Mode.Normal)
    assert pixmap.size() == QSize(40, 40)
    assert pixmap.devicePixelRatio() == 2.0


def test_every_icon_named_in_the_code_is_shipped_and_every_licence_kept() -> None:
    root = Path(__file__).resolve().parents[2]
    shipped = {path.stem for path in (RESOURCES / "icons").glob("*.svg")}
    named = set()
    for path in (root / "ui").rglob("*.py"):
        text = path.read_text(encoding="utf-8")
        named |= set(re.findall(r'(?:theme\.icon|paint_icon|IconButton|IconLabel|set_icon)\(\s*"([a-z0-9-]+)"', text))
    assert named
    assert named <= shipped
    assert "ISC License" in (RESOURCES / "icons" / "LICENSE").read_text(encoding="utf-8")
    assert "SIL Open Font License" in (RESOURCES / "fonts" / "OFL.txt").read_text(encoding="utf-8")


def test_no_motion_when_less_is_asked_for(qapp: QApplication) -> None:
    theme.apply(qapp, "dark", reduced_motion=True)
    assert theme.motion(120) == 0
    theme.apply(qapp, "dark")
    assert theme.motion(1000) == 150


def _near(a: QColor, b: QColor) -> bool:
    return max(abs(a.red() - b.red()), abs(a.green() - b.green()), abs(a.blue() - b.blue())) <= 4
