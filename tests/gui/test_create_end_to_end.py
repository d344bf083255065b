"""The first picture, from typing to the file on disk, with the real starter model in the real workspace."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PySide6.QtCore import Qt
from PySide6.QtGui import QGuiApplication, QImage
from PySide6.QtTest import QSignalSpy
from pytestqt.qtbot import QtBot

from engine.recipes.build import request_of
from studio_app.documents.create_session import work_of
from tests.gui.create_room import click, create_workspace, picture_file, press, until, write
from ui.create.details import facts_of
from ui.create.results_model import JobEntry
from ui.create.workspace import CreateWorkspace

PATIENCE = 240
PROMPT = "a red circle on a blue background"


def pixels(page: CreateWorkspace, row: int) -> np.ndarray:
    """The result's bytes as [H, W, 3]."""
    record = page.model_of_results.pictures[row]
    image = QImage.fromData(page._app.library.read(record)).convertToFormat(QImage.Format.Format_RGB888)
    raw = np.frombuffer(image.constBits(), np.uint8).reshape(image.height(), image.bytesPerLine())
    return raw[:, : image.width() * 3].reshape(image.height(), image.width(), 3).astype(int).copy()


def wait_for_pictures(page: CreateWorkspace, qtbot: QtBot, count: int) -> None:
    until(qtbot, lambda: len(page.model_of_results.pictures) == count and not page.model_of_results.jobs, PATIENCE)


def test_a_typed_prompt_becomes_the_picture_it_says(tmp_path: Path, qtbot: QtBot) -> None:
    data = tmp_path / "data"
    with create_workspace(data, qtbot, started=True) as page:
        if page.form.model_entry() is None:
            pytest.skip("the starter model is not in this checkout")
        page.session.update(seed=7)
        page.session.set_seed_locked(True)
        seen = QSignalSpy(page.model_of_results.dataChanged)
        states: list[JobEntry] = []
        page.model_of_results.dataChanged.connect(lambda *_: states.extend(page.model_of_results.jobs))

        write(page.form.prompt, PROMPT)
        click(page.form.bar.generate)
        assert page.form.bar.generate.isEnabled()
        assert not page.form.bar.cancel.isHidden()
        wait_for_pictures(page, qtbot, 1)

        # The picture is what the prompt says.
        made = pixels(page, 0)
        height, width = made.shape[:2]
        red, _, blue = made[height // 2, width // 2]
        assert red > blue + 60
        for y, x in ((4, 4), (4, -5), (-5, 4), (-5, -5)):
            red, _, blue = made[y, x]
            assert blue > red + 60

        # While it was made its steps and the picture forming were shown, and everything recovered.
        assert seen.count() > 5
        assert any(entry.preview is not None and entry.row.step >= 1 for entry in states)
        assert any(entry.status_text().startswith("Step ") for entry in states)
        assert page.form.bar.cancel.isHidden()
        # What it says of the next one leaves out the loading of the model, which the first one waited for.
        assert page.form.bar.estimate.text().startswith("1 picture, about ")
        assert "loading" not in page.form.bar.estimate.text()
        (pace,) = [pace for _, pace in page.watch._paces.values()]
        drawing = pace.step * work_of(page.session.request, (width, height), page.session.facts.recommended.steps)
        assert 0 < drawing < page.model_of_results.pictures[0].seconds

        # It says what made it, comes back as it was made, and lies in the person's folder.
        record = page.model_of_results.pictures[0]
        assert facts_of(record)["Prompt"] == PROMPT
        assert facts_of(record)["Seed"] == "7"
        assert len(list((data / "pictures").glob("*.png"))) == 1
        page.session.update(prompt="something else", seed=1)
        page.results.choose(record.id)
        page.reuse_settings(record)
        assert (page.session.request.prompt, page.session.request.seed) == (PROMPT, 7)
        assert page._app.prompts.recent(1) == [PROMPT]

        # Large, and back.
        press(page.results.grid, Qt.Key.Key_Return)
        until(qtbot, lambda: page.results.view.image_size == (width, height))
        assert not page.results.back.isHidden()
        press(page.results.view, Qt.Key.Key_Escape)
        assert not page.results.viewing

        # Copied as a picture and as a file.
        page.actions_on_pictures.copy(record)
        until(qtbot, lambda: page.results.message.label.text() == "The picture is on the clipboard.")
        assert QGuiApplication.clipboard().mimeData().hasUrls()
        assert QGuiApplication.clipboard().image().size().width() == width

        # Dragged out as its own file; a picture without one gets a copy with a name people recognise.
        dragged: list[str] = []
        page.actions_on_pictures.out.ready.connect(lambda mime: dragged.append(mime.urls()[0].toLocalFile()))
        page.results.grid.startDrag(Qt.DropAction.CopyAction)
        until(qtbot, lambda: len(dragged) == 1)
        assert Path(dragged[0]).parent == data / "pictures"
        assert Path(dragged[0]).read_bytes() == page._app.library.read(record)
        Path(dragged[0]).unlink()
        page.results.grid.startDrag(Qt.DropAction.CopyAction)
        until(qtbot, lambda: len(dragged) == 2)
        assert Path(dragged[1]).name == f"{PROMPT} 7.png"
        assert Path(dragged[1]).read_bytes() == page._app.library.read(record)
        QGuiApplication.clipboard().clear()

        # Saved elsewhere, in another format.
        page.actions_on_pictures.save_to(record, tmp_path / "mine.webp")
        until(qtbot, lambda: "mine.webp" in page.results.message.label.text())
        assert (tmp_path / "mine.webp").read_bytes()[8:12] == b"WEBP"

        # Deleted, taken back, deleted for good.
        press(page.results.grid, Qt.Key.Key_Delete)
        assert page.model_of_results.pictures == []
        page.results.message.action.click()
        assert [item.id for item in page.model_of_results.pictures] == [record.id]

        # Close variations are the same request, started from the picture, with new seeds.
        page.make_variations(record, close=True)
        queued = request_of(page.model_of_results.jobs[0].row.spec)
        assert queued is not None
        assert (queued.init, queued.strength, queued.count) == (record.artifact, 0.35, 4)
        assert queued.seed != 7
        page.watch.cancel_all()
        until(qtbot, lambda: not page.model_of_results.jobs, PATIENCE)

        # The next one starts from it.
        page.use_as_input(record)
        assert page.session.request.init == record.artifact
        assert page.session.size == (width, height)

    with create_workspace(data, qtbot, started=True) as again:
        until(qtbot, lambda: len(again.model_of_results.pictures) == 1)
        assert again.model_of_results.pictures[0].id == record.id
        assert again.session.request.init == record.artifact
        again.results.choose(record.id)
        again.delete_chosen()
    with create_workspace(data, qtbot, started=True) as last:
        until(qtbot, lambda: last._app.wait_ready(0))
        qtbot.wait(50)
        assert last.model_of_results.pictures == []


def test_several_prompts_make_a_picture_each_and_escape_stops_what_is_left(tmp_path: Path, qtbot: QtBot) -> None:
    with create_workspace(tmp_path / "data", qtbot, started=True) as page:
        if page.form.model_entry() is None:
            pytest.skip("the starter model is not in this checkout")
        page.session.set_several(True)
        page.session.update(prompt="a red circle\na green square\na yellow star", steps=4)
        page.generate()
        assert [entry.row.title for entry in page.model_of_results.jobs] == [
            "a red circle", "a green square", "a yellow star",
        ]  # fmt: skip
        assert page.form.bar.cancel.text() == "Cancel 3"
        until(qtbot, lambda: len(page.model_of_results.pictures) >= 1, PATIENCE)
        first = request_of(page.model_of_results.pictures[-1].spec)
        assert first is not None
        assert first.prompt == "a red circle"
        page.session.set_several(False)
        page.session.update(prompt="a blue moon", steps=150)
        page.generate()
        page.cancel()
        until(qtbot, lambda: not page.model_of_results.jobs, PATIENCE)
        assert page.form.bar.cancel.isHidden()
        prompts = [request_of(record.spec) for record in page.model_of_results.pictures]
        assert "a blue moon" not in [request.prompt for request in prompts if request]


def test_a_feathered_mask_leaves_every_pixel_outside_it_alone(tmp_path: Path, qtbot: QtBot) -> None:
    with create_workspace(tmp_path / "data", qtbot, started=True) as page:
        if page.form.model_entry() is None:
            pytest.skip("the starter model is not in this checkout")
        noise = np.random.default_rng(5).integers(0, 256, (128, 128, 3), dtype=np.uint8)
        mask = np.zeros((128, 128, 3), np.uint8)
        mask[32:96, 40:104] = 255
        page.take_picture(picture_file(tmp_path, "start.png", noise))
        until(qtbot, lambda: page.session.request.init is not None)
        assert page.form.start.feather_field.isHidden()  # there is nothing to feather yet
        page.form.start.load_mask(picture_file(tmp_path, "mask.png", mask))
        until(qtbot, lambda: page.session.request.mask is not None)
        assert not page.form.start.feather_field.isHidden()
        page.form.start.feather.field.setText("12")
        press(page.form.start.feather.field, Qt.Key.Key_Return)
        assert page.session.request.mask_feather == 12
        page.session.update(prompt="a red circle", steps=4, strength=1.0)
        page.generate()
        wait_for_pictures(page, qtbot, 1)
        made, outside = pixels(page, 0), mask[:, :, 0] == 0
        assert np.array_equal(made[outside], noise[outside])
        change = np.abs(made - noise).mean(axis=2)
        assert change[60:68, 68:76].mean() > 20  # well inside it is another picture
        assert change[32:34, 60:80].mean() < change[60:68, 68:76].mean() / 2  # at its edge it fades in
