"""Pictures that come in with settings, from the clipboard, and pictures too large to decode while one watches."""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PySide6.QtCore import QMimeData, QPoint, Qt, QUrl
from PySide6.QtGui import QDragEnterEvent, QDropEvent, QGuiApplication, QImage
from pytestqt.qtbot import QtBot

from engine.contracts.references import BlobRef, ModelRef
from engine.contracts.results import ResultRecord
from engine.interchange.image_metadata import metadata_for
from engine.media.images import encode
from engine.recipes.build import build
from engine.recipes.request import ImageRequest
from tests.gui.create_room import create_workspace, press, until
from ui.create.workspace import CreateWorkspace
from ui.main_window import DECODE_MIB, prepare_process
from ui.viewer import image_view, pyramid

MADE = ImageRequest(
    prompt="a red circle on a blue background", negative="grey", seed=77, steps=9, cfg=3.5, sampler="heun",
    scheduler="karras", width=128, height=96, model=ModelRef(kind="checkpoint", name="starter"),
)  # fmt: skip


@pytest.fixture
def page(tmp_path: Path, qtbot: QtBot) -> Iterator[CreateWorkspace]:
    with create_workspace(tmp_path / "data", qtbot, started=True) as workspace:
        yield workspace


def noise(width: int, height: int) -> np.ndarray:
    return np.random.default_rng(3).random((height, width, 3), dtype=np.float32)


def drop(page: CreateWorkspace, path: Path) -> None:
    data = QMimeData()
    data.setUrls([QUrl.fromLocalFile(str(path))])
    button, none = Qt.MouseButton.LeftButton, Qt.KeyboardModifier.NoModifier
    enter = QDragEnterEvent(QPoint(50, 50), Qt.DropAction.CopyAction, data, button, none)
    page.dragEnterEvent(enter)
    assert enter.isAccepted()
    page.dropEvent(QDropEvent(QPoint(50, 50).toPointF(), Qt.DropAction.CopyAction, data, button, none))


@pytest.mark.parametrize("kind", ["png", "webp", "jpeg"])
def test_a_dropped_picture_brings_back_the_settings_it_holds(
    page: CreateWorkspace, qtbot: QtBot, tmp_path: Path, kind: str
) -> None:
    entry = page.form.model_entry()
    if entry is None:
        pytest.skip("the starter model is not in this checkout")
    spec = build(MADE, entry.defaults)
    path = tmp_path / f"made.{kind}"
    path.write_bytes(encode(noise(128, 96), kind, 90, metadata_for(spec, "")))
    drop(page, path)
    until(qtbot, lambda: not page.results.message.isHidden())
    assert page.results.message.label.text() == "This picture holds the settings it was made with."
    assert page.session.request.init is not None  # it is also what the next picture would start from
    page.results.message.action.click()
    asked = page.session.request
    assert (asked.prompt, asked.negative, asked.seed, asked.steps) == (MADE.prompt, "grey", 77, 9)
    assert (asked.cfg, asked.sampler, asked.scheduler, asked.init) == (3.5, "heun", "karras", None)
    assert page.session.size == (128, 96)
    assert page.session.seed_locked
    assert page.form.prompt.toPlainText() == MADE.prompt


def test_a_dropped_picture_without_settings_offers_none(page: CreateWorkspace, qtbot: QtBot, tmp_path: Path) -> None:
    path = tmp_path / "bare.png"
    path.write_bytes(encode(noise(64, 64), "png"))
    drop(page, path)
    until(qtbot, lambda: page.session.request.init is not None)
    assert page.results.message.isHidden()


def test_a_picture_on_the_clipboard_is_started_from(page: CreateWorkspace, qtbot: QtBot) -> None:
    picture = QImage(80, 40, QImage.Format.Format_RGB32)
    picture.fill(Qt.GlobalColor.darkGreen)
    QGuiApplication.clipboard().setImage(picture)
    page.paste_picture()
    until(qtbot, lambda: page.form.start.zone.has_picture)
    ref = page.session.request.init
    assert ref is not None
    back = QImage.fromData(page._app.library.read(ref))
    assert (back.width(), back.height(), back.pixelColor(40, 20)) == (80, 40, picture.pixelColor(40, 20))
    QGuiApplication.clipboard().clear()


def test_a_file_on_the_clipboard_is_started_from(page: CreateWorkspace, qtbot: QtBot, tmp_path: Path) -> None:
    path = tmp_path / "copied.png"
    path.write_bytes(encode(noise(64, 32), "png"))
    data = QMimeData()
    data.setUrls([QUrl.fromLocalFile(str(path))])
    QGuiApplication.clipboard().setMimeData(data)
    page.paste_picture()
    until(qtbot, lambda: page.session.request.init is not None)
    assert page.session.request.init is not None
    assert page._app.library.read(page.session.request.init) == path.read_bytes()
    QGuiApplication.clipboard().clear()


def test_a_clipboard_without_a_picture_is_said(page: CreateWorkspace) -> None:
    QGuiApplication.clipboard().setText("only words")
    page.paste_picture()
    assert page.form.start.hint.text == "There is no picture on the clipboard."
    QGuiApplication.clipboard().clear()


def test_an_8k_picture_opens_without_work_on_the_thread_of_the_window(
    page: CreateWorkspace, qtbot: QtBot, monkeypatch: pytest.MonkeyPatch
) -> None:
    interval = sys.getswitchinterval()
    prepare_process()
    sys.setswitchinterval(interval)
    assert DECODE_MIB >= 120 * 4  # the largest picture the engine opens, 120 megapixels of 4 bytes
    spec = build(MADE, page.session.facts.recommended)
    ref = page._app.library.import_picture(large_png(8192, 8704), "large.png")  # 285 MB: above Qt's own limit
    record = ResultRecord(
        id="8k", job="j", node="n", index=0, artifact=ref, spec=spec, created=0.0, width=8192, height=8704
    )
    worked: dict[str, set[int]] = {"display": set(), "levels": set()}
    display, levels = pyramid.display_image, pyramid.build_levels

    def watched_display(image: QImage) -> QImage:
        worked["display"].add(threading.get_ident())
        return display(image)

    def watched_levels(image: QImage) -> tuple[QImage, ...]:
        worked["levels"].add(threading.get_ident())
        return levels(image)

    monkeypatch.setattr("ui.create.results_panel.display_image", watched_display)
    monkeypatch.setattr(image_view, "build_levels", watched_levels)
    page.model_of_results.add_picture(record)
    page.results.open("8k")
    view = page.results.view
    until(qtbot, lambda: view.image_size == (8192, 8704), 120)
    until(qtbot, lambda: len(view._levels) == 6, 120)
    assert threading.get_ident() not in worked["display"] | worked["levels"]
    # What the window itself is given needs no conversion there.
    assert display(view._levels[0]).cacheKey() == view._levels[0].cacheKey()
    centre = view.grab().toImage().pixelColor(view.width() // 2, view.height() // 2)
    assert centre.green() > 120 > centre.red()
    press(view, Qt.Key.Key_Escape)


def test_a_picture_that_can_not_be_read_is_said(
    page: CreateWorkspace, qtbot: QtBot, monkeypatch: pytest.MonkeyPatch
) -> None:
    ref = BlobRef(sha256="0" * 64, media_type="image/png", size=4, name="broken.png")
    record = ResultRecord(
        id="broken", job="j", node="n", index=0, artifact=ref, spec=build(MADE, page.session.facts.recommended),
        created=0.0, width=8, height=8,
    )  # fmt: skip
    monkeypatch.setattr(page._app.library, "read", lambda what: b"\x89PNG broken")
    page.model_of_results.add_picture(record)
    page.results.open("broken")
    until(qtbot, lambda: page.results.message.label.text().startswith("This picture can't be read"))


def large_png(width: int, height: int) -> bytes:
    """A PNG of one green, small on disk."""
    from ui.create.start_picture import png_bytes

    image = QImage(width, height, QImage.Format.Format_RGB32)
    image.fill(0xFF20A040)
    return png_bytes(image)
