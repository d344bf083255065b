"""The window against stored pictures of it: what a change of style or layout moves, a person has to look at.

At most 0.5 % of the pixels may differ by more than 8 of 255, with the bundled font, Fusion, pixel ratio 1 and no
animations. Once you have looked at a wanted change, take the pictures again and commit them:

    TESSERA_RENEW_REFERENCES=1 python -m pytest tests/gui/test_references.py
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PySide6.QtGui import QImage
from PySide6.QtTest import QTest
from PySide6.QtWidgets import QApplication, QWidget
from pytestqt.qtbot import QtBot

from engine.contracts.results import ResultRecord
from engine.media.images import encode
from engine.recipes.build import build
from engine.recipes.request import ImageRequest
from studio_app.application import Application
from studio_app.jobs.rows import JobRow
from studio_app.machine_memory import MemoryUse
from tests.gui.create_room import until
from ui import appearance
from ui.create.start_picture import png_bytes
from ui.create.workspace import CreateWorkspace
from ui.dialogs.preferences import Preferences
from ui.main_window import MainWindow, open_window
from ui.viewer.pyramid import image_from_rgb

REFERENCES = Path(__file__).parent / "references"
RENEW = bool(os.environ.get("TESSERA_RENEW_REFERENCES"))
TOLERANCE, MOST_DIFFERENT = 8, 0.005
SIZE = (1200, 760)


class Stage:
    """The real window, with everything that changes from run to run held still."""

    def __init__(self, window: MainWindow, qtbot: QtBot) -> None:
        page = window.page
        assert isinstance(page, CreateWorkspace)
        self.window, self.page, self.qtbot = window, page, qtbot
        self.shown: QWidget = window

    def add_picture(self, prompt: str, colours: tuple[tuple[int, int, int], tuple[int, int, int]]) -> None:
        """A finished picture: a disc on a ground."""
        data = encode(disc(*colours).astype(np.float32) / 255, "png")
        library = self.page._app.library
        request = ImageRequest(prompt=prompt, seed=7)
        self.page.model_of_results.add_picture(
            ResultRecord(
                id=prompt,
                job="job",
                node="save",
                index=0,
                artifact=library.import_picture(data, f"{prompt}.png"),
                spec=build(request, self.page.session.facts.recommended),
                created=0.0,
                seconds=2.0,
                width=128,
                height=128,
                seed=7,
            )
        )

    def add_job(self, job: str, **facts: object) -> None:
        request = ImageRequest(prompt="a yellow star on a purple background", seed=7, count=4)
        spec = build(request, self.page.session.facts.recommended)
        row = JobRow(id=job, number=1, title=request.prompt, spec=spec)
        self.page.model_of_results.show_job(dataclasses.replace(row, **facts))  # type: ignore[arg-type]


def disc(ink: tuple[int, int, int], ground: tuple[int, int, int]) -> NDArray[np.uint8]:
    """[128, 128, 3] bytes."""
    y, x = np.mgrid[:128, :128]
    inside = ((x - 64) ** 2 + (y - 64) ** 2 < 36**2)[:, :, None]
    return np.where(inside, np.array(ink, np.uint8), np.array(ground, np.uint8))


RED_ON_BLUE = ((220, 40, 40), (40, 80, 210))
GREEN_ON_WHITE = ((40, 160, 70), (240, 240, 240))


def welcome(stage: Stage) -> None:
    stage.window.commands.show_welcome()


def empty(stage: Stage) -> None:
    pass


def prompt(stage: Stage) -> None:
    stage.page.session.update(prompt="a red castle on a blue background", style="watercolour", count=4)
    until(stage.qtbot, lambda: stage.page.form.prompt_editor.look.counts)


def scrolled_to(stage: Stage, section: QWidget) -> None:
    """Scroll once the column has its final height: a fold that opens grows it over several rounds of events."""
    seen: list[tuple[int, int, int]] = []

    def at_rest() -> bool:
        bar = stage.page.form._scroll.verticalScrollBar()
        stage.page.form.scroll_to(section)
        seen.append((bar.maximum(), bar.value(), section.height()))
        return len(seen) >= 10 and len(set(seen[-10:])) == 1

    until(stage.qtbot, at_rest)


def advanced(stage: Stage) -> None:
    stage.page.form.advanced_fold.set_open(True)
    scrolled_to(stage, stage.page.form.advanced)


def problems(stage: Stage) -> None:
    stage.page.session.update(prompt="", width=130)
    stage.page.form.ask()
    stage.add_job("failed", status="failed", error="The picture could not be made: the disk is full.")


def results(stage: Stage) -> None:
    stage.add_picture("a green circle on a white background", GREEN_ON_WHITE)
    stage.add_picture("a red circle on a blue background", RED_ON_BLUE)
    stage.page.results.choose("a red circle on a blue background")
    stage.window.show_inspector(True)
    view = stage.page.results
    records = stage.page.model_of_results.pictures
    until(stage.qtbot, lambda: all(view._pixmap(record, 208) is not None for record in records))
    until(stage.qtbot, lambda: all(view._pixmap(record, 216) is not None for record in records))


def running(stage: Stage) -> None:
    stage.add_job("first", status="running", step=10.0, steps=25.0, fraction=0.4, seconds_left=12.0)
    stage.page.model_of_results.show_preview("first", image_from_rgb(disc((250, 210, 40), (110, 50, 140))))
    stage.add_job("second")
    stage.page.form.bar.show_running(2)


def start_picture(stage: Stage) -> None:
    library = stage.page._app.library
    mask = disc((255, 255, 255), (0, 0, 0))
    init = library.import_picture(encode(disc(*RED_ON_BLUE).astype(np.float32) / 255, "png"), "circle.png")
    stage.page.session.update(init=init, mask=library.import_picture(png_bytes(image_from_rgb(mask)), "mask.png"))
    stage.page.session.update(mask_feather=12)
    zone = stage.page.form.start.zone
    until(stage.qtbot, lambda: zone.has_picture and zone._mask is not None)
    scrolled_to(stage, stage.page.form.start)


def preferences(stage: Stage) -> None:
    stage.window.app.commands.run("app.preferences")
    dialog = stage.window.findChild(Preferences)
    assert dialog is not None
    dialog.resize(720, 640)
    stage.shown = dialog


def palette(stage: Stage) -> None:
    stage.window.app.commands.run("app.palette")
    QTest.keyClicks(stage.window.palette_.query, "theme")


SCENES: dict[str, tuple[str, Callable[[Stage], None]]] = {
    "welcome": ("dark", welcome),
    "empty": ("light", empty),
    "prompt": ("dark", prompt),
    "advanced": ("light", advanced),
    "problems": ("contrast", problems),
    "results": ("dark", results),
    "running": ("light", running),
    "start_picture": ("dark", start_picture),
    "preferences": ("light", preferences),
    "palette": ("dark", palette),
}


@pytest.fixture
def make_stage(tmp_path: Path, qtbot: QtBot) -> Iterator[Callable[[str], Stage]]:
    made: list[tuple[Application, MainWindow]] = []
    flashing = QApplication.cursorFlashTime()

    def make(theme_name: str) -> Stage:
        app = Application(tmp_path / "data")
        for key, value in (
            ("ui.theme", theme_name), ("ui.reduced_motion", True), ("ui.welcomed", True), ("engine.warm_up", False),
            ("generation.output_folder", "/pictures"),
        ):  # fmt: skip
            app.settings.set(key, value)
        QApplication.setCursorFlashTime(0)
        appearance.apply(app)
        window = open_window(app)
        made.append((app, window))
        qtbot.addWidget(window)
        window.resize(*SIZE)
        with qtbot.waitSignal(window.bridge.ready, timeout=30_000):
            pass
        window.memory.close()
        stage = Stage(window, qtbot)
        stage.page.session.update(seed=1234567890)
        until(qtbot, lambda: not stage.page.watch._records._pool.activeThreadCount())  # the library was looked at
        for _ in range(3):
            QApplication.processEvents()
        window.topbar.meter.set_use(MemoryUse("Memory", 4 * 2**30, 16 * 2**30))
        return stage

    yield make
    QApplication.setCursorFlashTime(flashing)
    for app, window in made:
        window.close()
        app.close()


def pixels(image: QImage) -> NDArray[np.int16]:
    rgb = image.convertToFormat(QImage.Format.Format_RGB888)
    rows = np.frombuffer(rgb.constBits(), np.uint8).reshape(rgb.height(), rgb.bytesPerLine())
    return rows[:, : rgb.width() * 3].reshape(rgb.height(), rgb.width(), 3).astype(np.int16)


@pytest.mark.parametrize("scene", SCENES)
def test_the_window_looks_as_it_did(scene: str, make_stage: Callable[[str], Stage], tmp_path: Path) -> None:
    theme_name, play = SCENES[scene]
    stage = make_stage(theme_name)
    play(stage)
    for _ in range(5):
        QApplication.processEvents()
    image = stage.shown.grab().toImage()
    path = REFERENCES / f"{scene}_{theme_name}.png"
    if RENEW:
        path.parent.mkdir(exist_ok=True)
        image.convertToFormat(QImage.Format.Format_RGB888).save(str(path))
        return
    assert path.exists(), f"there is no {path.name}; {__doc__}"
    now, then = pixels(image), pixels(QImage(str(path)))
    assert now.shape == then.shape
    different = (np.abs(now - then) > TOLERANCE).any(axis=2)
    if different.mean() > MOST_DIFFERENT:
        kept = tmp_path / path.name
        image.save(str(kept))
        ys, xs = np.nonzero(different)
        raise AssertionError(
            f"{different.mean():.2%} of {path.name} differ, between ({xs.min()}, {ys.min()}) and ({xs.max()}, "
            f"{ys.max()}). It looks like this now: {kept}"
        )
