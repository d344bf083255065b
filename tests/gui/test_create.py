"""Create as a person meets it, without making a picture: what is typed, pressed, dropped and said."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PySide6.QtCore import QMimeData, QPointF, Qt, QUrl
from PySide6.QtGui import QDropEvent, QImage, QTextCharFormat
from PySide6.QtWidgets import QListView, QMenu, QScrollArea, QScrollBar, QWidget
from pytestqt.qtbot import QtBot

from engine.contracts.references import BlobRef, ModelRef
from engine.recipes.request import ImageRequest
from engine.recipes.shapes import SHAPES
from tests.gui.create_room import click, create_workspace, picture_file, press, until, write
from ui.create.start_picture import alpha_mask, png_bytes
from ui.create.workspace import CreateWorkspace


@pytest.fixture
def page(tmp_path: Path, qtbot: QtBot) -> Iterator[CreateWorkspace]:
    with create_workspace(tmp_path / "data", qtbot) as workspace:
        yield workspace


@pytest.fixture
def open_page(tmp_path: Path, qtbot: QtBot) -> Iterator[CreateWorkspace]:
    with create_workspace(tmp_path / "data", qtbot, started=True) as workspace:
        yield workspace


def type_prompt(page: CreateWorkspace, qtbot: QtBot, text: str) -> None:
    page.form.prompt.setFocus()
    write(page.form.prompt, text)


def test_generate_with_nothing_to_draw_says_so_at_the_prompt_and_stays_ready(
    page: CreateWorkspace, qtbot: QtBot
) -> None:
    generate = page.form.bar.generate
    assert page.form.prompt_hint.text == ""
    click(generate)
    assert page.form.prompt_hint.text == "Say what the picture should show."
    assert page.form.prompt.hasFocus()
    assert generate.isEnabled()
    type_prompt(page, qtbot, "a star")
    assert page.form.prompt_hint.text == ""


def test_words_the_starter_can_not_draw_are_underlined_and_named(page: CreateWorkspace, qtbot: QtBot) -> None:
    type_prompt(page, qtbot, "a red castle")
    assert page.form.words_hint.text == ("This model was never shown “castle”: what it draws for it is luck.")
    marks = page.form.prompt.document().firstBlock().layout().formats()
    wave = QTextCharFormat.UnderlineStyle.WaveUnderline
    assert [(m.start, m.length) for m in marks if m.format.underlineStyle() == wave] == [(6, 6)]


def test_a_suggestion_is_completed_by_tab(page: CreateWorkspace, qtbot: QtBot) -> None:
    page.activateWindow()
    type_prompt(page, qtbot, "a red circ")
    offered = page.form.prompt.suggestions()
    assert "a red circle" in offered
    page.form.prompt.complete("a red circle")
    assert page.session.request.prompt == "a red circle"


@pytest.mark.parametrize("shape", SHAPES, ids=lambda shape: shape.id)
def test_a_shape_button_sets_its_size_and_the_size_is_shown(page: CreateWorkspace, qtbot: QtBot, shape: object) -> None:
    wanted = next(item for item in SHAPES if item is shape)
    click(page.form.shapes.button(wanted.id))
    width, height = page.session.size
    assert (page.session.request.width, page.session.request.height) == (width, height)
    assert (width > height) == (wanted.width > wanted.height)
    assert page.form.shape_size.text() == f"{wanted.name}, {width} × {height} px"
    assert page.form.shapes.button(wanted.id).isChecked()


def test_a_size_can_be_computed_in_its_field(page: CreateWorkspace, qtbot: QtBot) -> None:
    page.form.advanced_fold.set_open(True)
    field = page.form.advanced.width_field
    field.setFocus()
    field.selectAll()
    write(field, "96*2")
    press(field, Qt.Key.Key_Return)
    assert page.session.size[0] == 192
    assert field.text() == "192"


def test_a_size_the_model_can_not_make_is_said_at_its_field_and_generate_stays_ready(page: CreateWorkspace) -> None:
    page.form.advanced_fold.set_open(True)
    page.session.update(prompt="a star", width=130, height=128)
    assert "not divisible by 8. Use 128 or 136" in page.form.advanced.fields["width"].hint.text
    page.generate()
    assert page.model_of_results.rowCount() == 0
    assert page.form.bar.generate.isEnabled()
    page.session.update(width=136)
    assert page.form.advanced.fields["width"].hint.text == ""


def test_the_advanced_controls_and_the_session_say_the_same(page: CreateWorkspace) -> None:
    advanced, session = page.form.advanced, page.session
    advanced.steps.setValue(31)
    advanced.cfg.setValue(6.5)
    session.update(sampler="heun", scheduler="karras", file_format="webp", clip_skip=1)
    assert (session.request.steps, session.request.cfg) == (31, 6.5)
    assert (advanced.sampler.currentText(), advanced.scheduler.currentText()) == ("Heun", "Karras")
    assert (advanced.file_format.currentData(), advanced.clip_skip.value()) == ("webp", 1)
    advanced.reset.click()
    assert (session.request.steps, session.request.sampler, session.request.clip_skip) == (None, None, 0)
    assert advanced.steps.value() == session.facts.recommended.steps


def test_dice_draw_and_a_typed_seed_is_kept(page: CreateWorkspace, qtbot: QtBot) -> None:
    before = page.session.request.seed
    click(page.form.quantity.dice)
    assert page.session.request.seed != before
    seed = page.form.quantity.seed
    seed.selectAll()
    write(seed, str(2**62 + 1))
    press(seed, Qt.Key.Key_Return)
    assert page.session.request.seed == 2**62 + 1
    assert page.form.quantity.lock.isChecked()


def test_a_seed_that_is_no_number_leaves_the_old_one(page: CreateWorkspace, qtbot: QtBot) -> None:
    page.session.update(seed=11)
    seed = page.form.quantity.seed
    seed.selectAll()
    write(seed, "red")
    press(seed, Qt.Key.Key_Return)
    assert (seed.text(), page.session.request.seed) == ("11", 11)


def test_several_prompts_are_counted(page: CreateWorkspace, qtbot: QtBot) -> None:
    page.form.several_button.click()
    page.session.update(prompt="a star\n\na moon\n")
    assert page.session.prompts() == ["a star", "a moon"]
    assert page.form.prompt_count.text() == "2 of 10 prompts"


def test_a_style_the_model_does_not_honour_says_so_on_its_card_and_below(page: CreateWorkspace) -> None:
    card = page.form.styles.card("realistic")
    assert card.accessibleName() == "Realistic, not honoured by this model"
    assert page.form.styles.card("none").accessibleName() == "No style"
    card.click()
    assert page.session.request.style == "realistic"
    assert "never been shown the style “Realistic”" in page.form.style_hint.text
    page.form.styles.card("none").click()
    assert (page.session.request.style, page.form.style_hint.text) == ("", "")


def test_an_insertion_goes_to_the_prompt_or_the_negative_prompt(page: CreateWorkspace) -> None:
    page.session.update(prompt="a star", model=ModelRef(name="starter"))
    menu = page.form.insertion_menu()
    groups = [group for group in menu.children() if isinstance(group, QMenu)]
    actions = [action for group in groups for action in group.actions()]
    assert len(actions) == len(page._app.prompts.insertions())
    negative = next(action for action in actions if action.data())
    positive = next(action for action in actions if not action.data())
    for action in (positive, negative):
        menu.triggered.emit(action)
    assert page.session.request.prompt == f"a star, {positive.text()}"
    assert page.session.request.negative == negative.text()
    menu.deleteLater()


def test_recent_prompts_come_back_by_a_click(page: CreateWorkspace) -> None:
    page._app.prompts.remember("a blue triangle")
    menu = page.form.recent_menu()
    menu.triggered.emit(menu.actions()[0])
    assert page.form.prompt.toPlainText() == "a blue triangle"
    menu.deleteLater()


def test_a_model_that_is_not_here_is_one_sentence_above_generate(page: CreateWorkspace) -> None:
    page.session.update(prompt="a star", model=ModelRef(name="dreamlike"))
    page.generate()
    assert "the model “dreamlike” is not on this machine" in page.form.bar.hint.text.replace("The model", "the model")
    assert page.form.bar.generate.isEnabled()
    assert page.model_of_results.rowCount() == 0


def test_everything_comes_back_after_closing(tmp_path: Path, qtbot: QtBot) -> None:
    with create_workspace(tmp_path / "data", qtbot) as first:
        first.session.update(prompt="a red circle", negative="blurry", steps=31, count=3, seed=99)
        first.session.set_seed_locked(True)
        first.session.set_shape(SHAPES[1])
        first.form.advanced_fold.set_open(True)
        request, state = first.session.request, first.save_state()
    with create_workspace(tmp_path / "data", qtbot) as second:
        second.restore_state(state)
        assert second.session.request == request
        assert second.form.prompt.toPlainText() == "a red circle"
        assert second.form.shapes.button("16:9").isChecked()
        assert second.form.quantity.count.button(3).isChecked()
        assert second.form.quantity.lock.isChecked()
        assert second.form.advanced_fold.is_open()


def test_every_control_is_named_and_explained(page: CreateWorkspace) -> None:
    page.form.advanced_fold.set_open(True)
    unnamed = [
        widget
        for widget in page.findChildren(QWidget)
        if widget.focusPolicy() & Qt.FocusPolicy.TabFocus
        and not isinstance(widget, (QScrollArea, QScrollBar))
        and not widget.objectName().startswith("qt_")
        and widget.focusProxy() is None
        and not isinstance(widget, QListView)  # the lists of drop-downs, which their boxes name
        and not widget.accessibleName()
    ]
    assert [(type(widget).__name__, widget.parent()) for widget in unnamed] == []


def test_tab_goes_down_the_column(page: CreateWorkspace) -> None:
    order = [page.form.prompt, page.form.negative, page.form.shapes.button("1:1"), page.form.quantity.seed]
    order.append(page.form.bar.generate)
    chain: list[QWidget] = []
    widget: QWidget | None = page.form
    for _ in range(400):
        widget = widget.nextInFocusChain() if widget is not None else None
        chain += [widget] if widget is not None else []
    places = [chain.index(item) for item in order]
    assert places == sorted(places)


def test_a_job_that_fails_is_a_sentence_on_its_tile_and_above_generate(
    open_page: CreateWorkspace, qtbot: QtBot
) -> None:
    page = open_page
    gone = BlobRef(sha256="0" * 64, media_type="image/png", size=1, name="gone.png")
    page.watch.submit([ImageRequest(prompt="a star", init=gone)])
    until(qtbot, lambda: page.form.bar.hint.text)
    entry = page.model_of_results.jobs[0]
    assert entry.failed
    assert entry.status_text() == page.form.bar.hint.text
    assert "Traceback" not in entry.status_text()
    assert page.form.bar.cancel.isHidden()
    assert page.form.bar.generate.isEnabled()
    page.results.grid.setCurrentIndex(page.model_of_results.index(0))
    press(page.results.grid, Qt.Key.Key_Delete)
    assert page.model_of_results.rowCount() == 0


# ---- starting from a picture


def drop(page: CreateWorkspace, path: Path) -> None:
    mime = QMimeData()
    mime.setUrls([QUrl.fromLocalFile(str(path))])
    event = QDropEvent(
        QPointF(10, 10), Qt.DropAction.CopyAction, mime, Qt.MouseButton.LeftButton, Qt.KeyboardModifier.NoModifier
    )
    page.dropEvent(event)


def test_a_dropped_picture_is_started_from_at_its_own_shape(
    open_page: CreateWorkspace, qtbot: QtBot, tmp_path: Path
) -> None:
    page = open_page
    drop(page, picture_file(tmp_path, "wide.png", np.full((90, 160, 3), 200)))
    until(qtbot, lambda: page.form.start.zone.has_picture)
    assert page.session.request.init is not None
    assert page.session.request.init.name == "wide.png"
    assert page.session.shape is not None
    assert page.session.shape.id == "16:9"
    assert not page.form.start.strength_field.isHidden()
    assert page.form.start.mask_alpha.isHidden()  # it has no transparency to make a mask of
    page.form.start.remove.click()
    assert "init" not in page.session.request.to_json()
    assert page.form.start.strength_field.isHidden()


def test_a_picture_is_extended_side_by_side(open_page: CreateWorkspace, qtbot: QtBot, tmp_path: Path) -> None:
    page = open_page
    drop(page, picture_file(tmp_path, "wide.png", np.full((128, 128, 3), 200)))
    until(qtbot, lambda: page.form.start.zone.has_picture)
    extend = page.form.start.extend
    assert extend.clear.isHidden()
    assert "Adds 32 pixels on the left" in extend.sides["left"].toolTip()
    for side in ("left", "left", "bottom"):
        extend.sides[side].click()
    margins = page.session.request.margins
    assert (margins.left, margins.top, margins.right, margins.bottom) == (64, 0, 0, 32)
    assert extend.words.text() == "Becomes 192 × 160 px: 64 on the left, 32 below."
    assert page.form.start.strength_field.isHidden()  # all that is there is kept
    assert page.form.start.mask_row.isHidden()
    extend.clear.click()
    assert not page.session.request.margins
    assert not page.form.start.strength_field.isHidden()
    extend.sides["top"].click()
    page.form.start.remove.click()  # the margins go with their picture
    assert not page.session.request.margins
    assert extend.isHidden()


def test_a_broken_picture_is_one_sentence_at_the_drop_zone(
    open_page: CreateWorkspace, qtbot: QtBot, tmp_path: Path
) -> None:
    path = tmp_path / "broken.png"
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + b"nonsense" * 20)
    drop(open_page, path)
    until(qtbot, lambda: open_page.form.start.hint.text)
    assert "broken.png" in open_page.form.start.hint.text
    assert open_page.session.request.init is None


def test_a_mask_can_come_from_the_transparency_of_the_picture(
    open_page: CreateWorkspace, qtbot: QtBot, tmp_path: Path
) -> None:
    pixels = np.full((64, 64, 4), 255)
    pixels[:, 32:, 3] = 0
    drop(open_page, picture_file(tmp_path, "half.png", pixels))
    until(qtbot, lambda: open_page.form.start.zone.has_picture and not open_page.form.start.mask_alpha.isHidden())
    open_page.form.start.mask_alpha.click()
    until(qtbot, lambda: open_page.session.request.mask)
    mask = QImage.fromData(open_page._app.library.read(open_page.session.request.mask))  # type: ignore[arg-type]
    assert (mask.pixelColor(10, 32).red(), mask.pixelColor(50, 32).red()) == (0, 255)


def test_alpha_becomes_a_mask_white_where_the_picture_is_transparent() -> None:
    image = QImage(4, 1, QImage.Format.Format_ARGB32)
    for x, alpha in enumerate((0, 64, 128, 255)):
        image.setPixel(x, 0, alpha << 24 | 0x123456)
    mask = QImage.fromData(alpha_mask(png_bytes(image)))
    assert [mask.pixelColor(x, 0).red() for x in range(4)] == [255, 191, 127, 0]


def test_the_mask_painter_paints_erases_fills_and_takes_back(open_page: CreateWorkspace, qtbot: QtBot) -> None:
    page = open_page
    image = QImage(200, 100, QImage.Format.Format_RGB32)
    image.fill(Qt.GlobalColor.gray)
    page.session.update(init=page._app.library.import_picture(png_bytes(image), "grey.png"))
    dialog = page.form.start.open_painter(image)
    view = dialog.view
    view.brush = 20
    centre = view.picture_rect().center().toPoint()
    click(view, Qt.MouseButton.LeftButton, centre)
    assert view.painted_mask.pixelColor(100, 50).red() == 255
    assert view.painted_mask.pixelColor(100, 65).red() == 0
    click(view, Qt.MouseButton.RightButton, centre)
    assert view.painted_mask.pixelColor(100, 50).red() == 0
    view.undo()
    assert view.painted_mask.pixelColor(100, 50).red() == 255
    dialog.accept()
    until(qtbot, lambda: page.session.request.mask)
    mask = QImage.fromData(page._app.library.read(page.session.request.mask))  # type: ignore[arg-type]
    assert (mask.width(), mask.height(), mask.pixelColor(100, 50).red()) == (200, 100, 255)
