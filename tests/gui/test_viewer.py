"""The large view: where pictures lie, that they are sharp, and that zooming keeps what is under the cursor."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PySide6.QtCore import QPoint, QPointF, Qt
from PySide6.QtGui import QColor, QImage, QWheelEvent
from PySide6.QtWidgets import QApplication
from pytestqt.qtbot import QtBot

from tests.gui.create_room import press
from ui.viewer.image_view import ImageView
from ui.viewer.pyramid import build_levels, image_from_rgb, level_for, pixels_of
from ui.viewer.view_transform import ViewTransform, fit

SIZES = st.tuples(st.integers(1, 9000), st.integers(1, 9000))
VIEWPORT = (800.0, 600.0)


@given(SIZES)
def test_fit_shows_all_of_a_picture_of_any_size_centred(size: tuple[int, int]) -> None:
    x, y, width, height = fit(size, VIEWPORT, margin=10).picture_rect(size, VIEWPORT)
    assert x + width / 2 == pytest.approx(400)
    assert y + height / 2 == pytest.approx(300)
    assert width <= 780 + 1e-6 or size[0] / 64 > 780
    assert height <= 580 + 1e-6 or size[1] / 64 > 580


@given(st.floats(1.05, 4), st.floats(100, 700), st.floats(100, 500))
def test_zooming_in_keeps_the_point_under_the_cursor(factor: float, x: float, y: float) -> None:
    size = (4000, 3000)
    start = ViewTransform(scale=1.0)
    before = start.to_picture(x, y, size, VIEWPORT)
    after = start.zoomed(factor, x, y, size, VIEWPORT).to_picture(x, y, size, VIEWPORT)
    assert after == pytest.approx(before, abs=1e-6)


def test_panning_stops_at_the_edge_and_a_small_picture_stays_centred() -> None:
    large, small = (4000, 3000), (100, 100)
    x, y, _, _ = ViewTransform(1.0).panned(1e6, 1e6, large, VIEWPORT).picture_rect(large, VIEWPORT)
    assert (x, y) == pytest.approx((0, 0))
    assert ViewTransform(1.0).panned(50, 50, small, VIEWPORT) == ViewTransform(1.0)


def test_a_level_is_never_enlarged() -> None:
    assert [level_for(scale, 5) for scale in (2.0, 1.0, 0.51, 0.5, 0.25, 0.01)] == [0, 0, 0, 1, 2, 4]


def test_the_pyramid_is_the_area_average() -> None:
    random = np.random.default_rng(1)
    pixels = random.integers(0, 256, (1024, 2048, 3), dtype=np.uint8)
    levels = build_levels(image_from_rgb(pixels))
    assert [(level.width(), level.height()) for level in levels] == [(2048, 1024), (1024, 512), (512, 256)]
    average = pixels.reshape(256, 4, 512, 4, 3).mean(axis=(1, 3))
    shown = pixels_of(levels[2])[:, :, 2::-1].astype(float)
    assert np.abs(shown - average).max() <= 1.5


@pytest.fixture
def view(qtbot: QtBot) -> ImageView:
    widget = ImageView()
    qtbot.addWidget(widget)
    widget.resize(432, 332)
    widget.show()
    return widget


def quarters() -> QImage:
    """Red, green over blue, white; 200 × 150 each."""
    pixels = np.zeros((300, 400, 3), np.uint8)
    pixels[:150, :200] = (255, 0, 0)
    pixels[:150, 200:] = (0, 255, 0)
    pixels[150:, :200] = (0, 0, 255)
    pixels[150:, 200:] = (255, 255, 255)
    return image_from_rgb(pixels)


def colour(view: ImageView, x: int, y: int) -> tuple[int, int, int]:
    found = view.grab().toImage().pixelColor(x, y)
    return found.red(), found.green(), found.blue()


def test_a_fitted_picture_fills_the_view_but_for_its_margin(view: ImageView) -> None:
    view.set_image(quarters())
    view.wait_for_levels()
    assert view.zoom_percent == pytest.approx(100)
    assert colour(view, 20, 20) == (255, 0, 0)
    assert colour(view, 410, 20) == (0, 255, 0)
    assert colour(view, 20, 310) == (0, 0, 255)
    assert colour(view, 410, 310) == (255, 255, 255)
    assert colour(view, 5, 5) not in [(255, 0, 0)]


def test_the_wheel_zooms_about_the_cursor(view: ImageView) -> None:
    view.set_image(quarters())
    place = QPointF(120, 100)
    before = view.picture_point(place)
    event = QWheelEvent(
        place, QPointF(view.mapToGlobal(place)), QPoint(), QPoint(0, 240), Qt.MouseButton.NoButton,
        Qt.KeyboardModifier.NoModifier, Qt.ScrollPhase.NoScrollPhase, False,
    )  # fmt: skip
    QApplication.sendEvent(view, event)
    assert view.zoom_percent == pytest.approx(156.25)
    after = view.picture_point(place)
    assert (after.x(), after.y()) == pytest.approx((before.x(), before.y()))


def test_arrows_change_the_picture_while_all_is_seen_and_move_it_when_not(view: ImageView, qtbot: QtBot) -> None:
    view.set_image(quarters())
    with qtbot.waitSignal(view.next_wanted, timeout=1000):
        press(view, Qt.Key.Key_Right)
    view.zoom_to(400)
    with qtbot.assertNotEmitted(view.next_wanted):
        before = view.picture_rect().x()
        press(view, Qt.Key.Key_Right)
    assert view.picture_rect().x() < before
    press(view, Qt.Key.Key_F)
    assert view.zoom_percent == pytest.approx(100)


def test_transparency_shows_a_checkerboard_of_two_greys(view: ImageView) -> None:
    image = QImage(400, 300, QImage.Format.Format_ARGB32)
    image.fill(QColor(0, 0, 0, 0))
    view.set_image(image)
    grabbed = view.grab().toImage()
    seen = {grabbed.pixelColor(x, 166).red() for x in range(100, 140)}
    assert seen == {105, 150}
