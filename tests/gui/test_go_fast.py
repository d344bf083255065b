"""“Go fast” as a person meets it: the switch, the details, and the difference laid over the exact picture."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from PySide6.QtCore import QPoint, Qt
from PySide6.QtGui import QImage
from PySide6.QtTest import QTest
from pytestqt.qtbot import QtBot

from tests.gui.create_room import click, create_workspace, press, until
from ui.create.difference import Pair, words
from ui.create.workspace import CreateWorkspace


@pytest.fixture
def page(tmp_path: Path, qtbot: QtBot) -> Iterator[CreateWorkspace]:
    with create_workspace(tmp_path / "data", qtbot, started=True) as found:
        yield found


def test_the_difference_is_one_click_away(page: CreateWorkspace, qtbot: QtBot) -> None:
    page.form.advanced_fold.set_open(True)
    page.session.update(prompt="a red circle on a blue background", steps=4, width=64, height=64, seed=5)
    fast = page.form.advanced.fast
    click(fast, place=QPoint(8, fast.height() // 2))
    assert page.session.request.fast
    page.generate()
    until(qtbot, lambda: page.results.chosen(), 60)
    made = page.results.chosen()[0]
    assert page.results.details.values["Weights"] == "8 bits (made fast)"
    assert not page.results.details.difference.isHidden()
    page.results.details.difference.click()
    until(qtbot, lambda: page.comparisons.dialog is not None, 60)
    dialog = page.comparisons.dialog
    assert dialog is not None
    assert dialog.isVisible()
    assert "dB PSNR" in dialog.words.text()
    exact = next(record for record in page.model_of_results.pictures if record.job != made.job)
    assert exact.numerics.quantisation == "none"
    assert (exact.seed, exact.width) == (made.seed, made.width)
    # The line: dragged with the mouse, moved with the keys, and what is left of it is the fast picture.
    view, place = dialog.view, dialog.view.picture_rect()
    middle = place.center().y()
    QTest.mousePress(view, Qt.MouseButton.LeftButton, pos=QPoint(place.left() + place.width() // 4, middle))
    assert view.line == pytest.approx(0.25, abs=0.01)
    QTest.mouseRelease(view, Qt.MouseButton.LeftButton)
    press(view, Qt.Key.Key_Right)
    assert view.line == pytest.approx(0.30, abs=0.01)
    shown = view.grab().toImage()
    view.set_line(0.9)
    assert view.grab().toImage() != shown
    dialog.close()
    # Asked again, both are there already: nothing is made anew.
    count = len(page.model_of_results.pictures)
    page.comparisons.ask(made)
    until(qtbot, lambda: page.comparisons.dialog is not dialog)
    again = page.comparisons.dialog
    assert again is not None
    assert "dB PSNR" in again.words.text()
    assert len(page.model_of_results.pictures) == count
    assert not page.model_of_results.jobs
    again.close()
    page.results.choose(exact.id)
    assert page.results.details.difference.isHidden()
    page.comparisons.ask(exact)
    assert page.results.message.label.text().startswith("Only a picture that was made with")


def test_a_picture_that_was_kept_says_nothing_of_speed() -> None:
    pair = Pair(QImage(), QImage(), 58.9, (4.0, 5.0))
    assert words(pair).endswith("Going fast took 4.0 s, the exact picture 5.0 s.")
    assert words(replace(pair, seconds=(0.02, 5.0))) == "The difference is hardly to be seen: 58.9 dB PSNR."
