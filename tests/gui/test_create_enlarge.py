"""Making a picture larger from Create: the row, what an expert sets, the finished pictures and coming back."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PySide6.QtCore import Qt
from PySide6.QtGui import QImage
from pytestqt.qtbot import QtBot

from engine.contracts.references import ModelRef
from engine.recipes.build import request_of
from engine.recipes.enlarge import Enlarge
from studio_app.models.index import ModelEntry
from tests.gui.create_room import click, create_workspace, picture_file, press, until, write
from ui.create.details import facts_of
from ui.create.enlarge_row import FACTORS
from ui.create.results_panel import ACTIONS
from ui.create.workspace import CreateWorkspace

PATIENCE = 240


@pytest.fixture
def page(tmp_path: Path, qtbot: QtBot) -> Iterator[CreateWorkspace]:
    with create_workspace(tmp_path / "data", qtbot) as workspace:
        yield workspace


def pixels(page: CreateWorkspace, row: int) -> np.ndarray:
    image = QImage.fromData(page._app.library.read(page.model_of_results.pictures[row]))
    image = image.convertToFormat(QImage.Format.Format_RGB888)
    raw = np.frombuffer(image.constBits(), np.uint8).reshape(image.height(), image.bytesPerLine())
    return raw[:, : image.width() * 3].reshape(image.height(), image.width(), 3).astype(float).copy()


def likeness(large: np.ndarray, small: np.ndarray) -> float:
    """PSNR of the large picture's small copy."""
    rows, columns = small.shape[:2]
    down = large.reshape(rows, large.shape[0] // rows, columns, large.shape[1] // columns, 3).mean((1, 3))
    return float(10 * np.log10(255**2 / ((down - small) ** 2).mean()))


def test_a_factor_shows_what_size_comes_of_it(page: CreateWorkspace) -> None:
    row = page.form.enlarge
    assert row.factors.button(1.0).isChecked()
    assert row.sizes.text() == ""
    assert page.form.advanced.enlarge.isHidden()
    width, height = page.session.size
    for factor in FACTORS[1:]:
        click(row.factors.button(factor))
        assert page.session.request.enlarge.factor == factor
        assert row.factors.button(factor).isChecked()
        larger = round(width * factor), round(height * factor)
        assert row.sizes.text() == f"{width} × {height} → {larger[0]} × {larger[1]} px"
        assert page.session.made_size == larger
    assert row.factors.button(2.0).accessibleName() == "Enlarge 2×"
    assert row.sizes.accessibleName() == f"Size: {row.sizes.text()}"
    page.session.update(width=width * 2)
    assert row.sizes.text().startswith(f"{width * 2} × {height} → ")
    row.factors.button(4.0).setFocus()
    press(row.factors.button(4.0), Qt.Key.Key_Left)
    assert row.factors.button(3.0).hasFocus()
    press(row.factors.button(3.0), Qt.Key.Key_Space)
    assert page.session.request.enlarge.factor == 3.0


def test_an_expert_sets_how_and_a_factor_of_their_own(page: CreateWorkspace) -> None:
    details = page.form.advanced.enlarge
    click(page.form.enlarge.factors.button(2.0))
    page.form.advanced_fold.set_open(True)
    assert not details.isHidden()
    # What the model recommends is shown, and left open until somebody sets it.
    assert details.strength.value() == page.session.facts.recommended.redraw_strength
    assert not details.prompt.isChecked()
    assert page.session.request.enlarge == Enlarge(factor=2.0)
    details.factor.setValue(2.75)
    assert page.session.request.enlarge.factor == 2.75
    assert not any(page.form.enlarge.factors.button(factor).isChecked() for factor in FACTORS)
    details.how.setCurrentIndex(details.how.findData("tiles"))
    details.how.activated.emit(details.how.currentIndex())
    details.strength.setValue(0.3)
    details.prompt.click()
    assert page.session.request.enlarge == Enlarge(factor=2.75, how="tiles", strength=0.3, prompt=True)
    assert page.session.problems().get("enlarge") is None
    page.session.update(width=4096, height=4096)
    page.session.set_enlarge(factor=8.0)
    assert "megapixels" in page.form.enlarge.hint.text


def test_an_upscaler_is_offered_once_one_is_installed(page: CreateWorkspace) -> None:
    details = page.form.advanced.enlarge
    click(page.form.enlarge.factors.button(2.0))
    assert details.upscaler_field.isHidden()
    assert details.how.findData("network") == -1
    ref = ModelRef(kind="upscaler", name="sharp 4x", fingerprint="f" * 16)
    starter = page._app.models.list("checkpoint")[0]
    details.set_upscalers([ModelEntry(ref=ref, path=Path("x"), info=starter.info, defaults=starter.defaults)])
    assert not details.upscaler_field.isHidden()
    details.how.activated.emit(details.how.findData("network"))
    assert page.session.request.enlarge == Enlarge(factor=2.0, how="network", upscaler=ref)
    assert details.strength_field.isHidden()
    details.upscaler.activated.emit(0)
    assert page.session.request.enlarge == Enlarge(factor=2.0)


def test_a_picture_one_starts_from_is_enlarged_as_it_is_or_drawn_anew_first(tmp_path: Path, qtbot: QtBot) -> None:
    with create_workspace(tmp_path / "data", qtbot, started=True) as page:
        click(page.form.enlarge.factors.button(2.0))
        page.take_picture(picture_file(tmp_path, "small.png", np.full((40, 60, 3), 90)))
        until(qtbot, lambda: page.session.request.init is not None)
        row, start = page.form.enlarge, page.form.start
        assert row.sizes.text() == "60 × 40 → 120 × 80 px"
        assert not row.redraw_first.isHidden()
        assert start.strength_field.isHidden()
        assert page.session.problems() == {}
        row.redraw_first.click()
        assert not page.session.request.enlarge.as_is
        assert not start.strength_field.isHidden()
        assert page.session.size == page.session.fitted(60, 40)
        click(start.remove)
        assert row.redraw_first.isHidden()


def test_the_large_picture_is_the_small_one_and_its_settings_come_back(tmp_path: Path, qtbot: QtBot) -> None:
    with create_workspace(tmp_path / "data", qtbot, started=True) as page:
        page.session.update(seed=7, width=64, height=64, steps=6)
        page.session.set_seed_locked(True)
        write(page.form.prompt, "a red circle on a blue background")

        def made(count: int) -> None:
            until(qtbot, lambda: len(page.model_of_results.pictures) == count and not page.model_of_results.jobs,
                  PATIENCE)  # fmt: skip

        click(page.form.bar.generate)
        made(1)
        click(page.form.enlarge.factors.button(2.0))
        click(page.form.bar.generate)
        made(2)
        large, small = pixels(page, 0), pixels(page, 1)
        assert large.shape == (128, 128, 3)
        assert likeness(large, small) > 26

        # It says what was done, and its settings make the same picture again.
        record = page.model_of_results.pictures[0]
        assert facts_of(record)["Enlarged"] == "2×, by a second pass, strength 0.04, 100 steps"
        page.session.set_enlarge(factor=1.0)
        page.session.update(prompt="something else", seed=1)
        page.reuse_settings(record)
        assert page.form.enlarge.factors.button(2.0).isChecked()
        assert page.session.request == request_of(record.spec)
        click(page.form.bar.generate)
        made(3)
        assert np.array_equal(pixels(page, 0), large)

        # A finished picture is enlarged from its own prompt, whatever the form says by then.
        page.session.set_enlarge(factor=1.0)
        page.session.update(prompt="a green star")
        page.results.choose(record.id)
        assert "picture.enlarge" in [command for command, *_ in ACTIONS]
        click(page.results.action_buttons["picture.enlarge"])
        assert page.results.message.label.text() == "Asked for: the same picture, twice as wide and as high."
        made(4)
        huge = page.model_of_results.pictures[0]
        request = request_of(huge.spec)
        assert request is not None
        assert (request.prompt, request.init, request.seed) == (
            "a red circle on a blue background", record.artifact, 7,
        )  # fmt: skip
        assert (huge.width, huge.height) == (256, 256)
        assert likeness(pixels(page, 0), large) > 26
        assert facts_of(huge)["Started from"].endswith("as it is")
        assert page.session.request.prompt == "a green star"
