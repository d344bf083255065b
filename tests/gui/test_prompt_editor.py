"""The prompt editor by real keys: colours, completions, weights, tokens, earlier prompts, menus."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from PySide6.QtCore import Qt
from PySide6.QtGui import QAccessible, QTextCharFormat
from PySide6.QtTest import QTest
from PySide6.QtWidgets import QMenu
from pytestqt.qtbot import QtBot

from engine.contracts.references import ModelRef
from studio_app.application import Application
from studio_app.prompts.catalogue import Named
from studio_app.prompts.ranking import NameIndex
from tests.gui.create_room import create_workspace, press, until, write
from ui import appearance, theme
from ui.bridge.bridge import Bridge
from ui.prompt_editor import PromptEditor
from ui.prompt_editor.highlighter import tint

CONTROL, ALT = Qt.KeyboardModifier.ControlModifier, Qt.KeyboardModifier.AltModifier


@dataclass
class Room:
    """An editor on an application of its own, and what it has said."""

    app: Application
    editor: PromptEditor
    heard: list[str]


@pytest.fixture
def room(tmp_path: Path, qtbot: QtBot) -> Iterator[Room]:
    app = Application(tmp_path / "data")
    (app.paths.wildcards).mkdir(parents=True)
    (app.paths.wildcards / "colours.txt").write_text("red\nblue\n", encoding="utf-8")
    appearance.apply(app)
    bridge = Bridge()
    bridge.start(app)
    picture = tmp_path / "ink_wash.png"
    Image.new("RGB", (40, 20), (200, 10, 10)).save(picture)
    found = app.completions.prepare()
    ink = Named("ink_wash", tmp_path / "ink_wash.safetensors", ("sd15",), ("brush",), 0.8)
    lines = Named("ink_lines", tmp_path / "ink_lines.safetensors", ("sdxl",))
    indices = {**found.indices, "lora": NameIndex(["ink_wash", "ink_lines"])}
    app.completions._catalogue = replace(found, loras=(ink, lines), indices=indices)
    editor = PromptEditor(app, bridge)
    editor.set_model(ModelRef(name="starter"))
    editor.resize(700, 500)
    heard: list[str] = []
    editor.text_changed.connect(heard.append)
    editor.show()
    editor.activateWindow()
    editor.focus()
    yield Room(app, editor, heard)
    bridge.close()
    editor.hide()
    editor.deleteLater()
    app.close()
    qtbot.wait(1)


def hold(room: Room, key: Qt.Key, held: Qt.KeyboardModifier) -> None:
    QTest.keyClick(room.editor.field, key, held)


def formats(room: Room, line: int = 0) -> dict[str, QTextCharFormat]:
    """The format of each marked stretch of a line, by its text."""
    block = room.editor.field.document().findBlockByNumber(line)
    return {block.text()[f.start : f.start + f.length]: QTextCharFormat(f.format) for f in block.layout().formats()}


# ---- writing


def test_what_is_typed_is_told_and_what_is_set_is_not(room: Room) -> None:
    room.editor.set_text("a red")
    assert (room.editor.text(), room.heard) == ("a red", [])
    press(room.editor.field, Qt.Key.Key_End)
    write(room.editor.field, " c")
    assert room.heard == ["a red ", "a red c"]
    hold(room, Qt.Key.Key_Z, CONTROL)
    assert room.editor.text() != "a red c"


def test_ctrl_enter_submits_and_leaves_the_text(room: Room, qtbot: QtBot) -> None:
    write(room.editor.field, "a star")
    with qtbot.waitSignal(room.editor.submitted, timeout=1000):
        hold(room, Qt.Key.Key_Return, CONTROL)
    assert room.editor.text() == "a star"


def test_read_only_is_read_only(room: Room) -> None:
    room.editor.set_text("a star")
    room.editor.set_read_only(True)
    write(room.editor.field, "x")
    hold(room, Qt.Key.Key_Up, CONTROL)
    assert (room.editor.text(), room.heard, room.editor.insert_button.isEnabled()) == ("a star", [], False)


# ---- colours


def test_constructs_have_their_colours_and_weights_their_tint(room: Room) -> None:
    room.editor.set_text("a (red:1.5) star [dull] <lora:ink_wash:1> __colours__ BREAK")
    found = formats(room)
    assert found["<lora:ink_wash:1>"].foreground().color() == theme.token("accent")
    assert found["__colours__"].foreground().color() == theme.socket_colour("FLOAT")
    assert found["red"].background().color() == tint(1.5)
    assert found["dull"].background().color() == tint(1 / 1.1)
    assert tint(1.5).alpha() > tint(1.1).alpha()
    assert tint(1.1).rgb() != tint(0.9).rgb()


def test_a_bracket_without_a_partner_is_marked_until_it_has_one(room: Room) -> None:
    write(room.editor.field, "a (red")
    assert formats(room)["("].underlineColor() == theme.token("danger")
    write(room.editor.field, ")")
    assert formats(room)["("].underlineColor() != theme.token("danger")


def test_a_pair_over_lines_is_tinted_once_typing_rests(room: Room) -> None:
    room.editor.set_text("a (red\nround:1.4) star")
    room.editor.field.highlighter.settle()
    assert formats(room, 0)["(red"].background().color() == tint(1.4)
    assert any(each.background().color() == tint(1.4) for each in formats(room, 1).values())


def test_the_theme_recolours(room: Room) -> None:
    room.editor.set_text("<lora:ink_wash:1>")
    room.app.settings.set("ui.theme", "light")
    appearance.apply(room.app)
    try:
        assert formats(room)["<lora:ink_wash:1>"].foreground().color() == theme.token("accent")
    finally:
        room.app.settings.set("ui.theme", "dark")
        appearance.apply(room.app)


def test_a_long_line_is_coloured_near_the_cursor_at_once_and_whole_later(room: Room) -> None:
    room.editor.set_text("(red:1.3) " * 600)
    field = room.editor.field
    field.highlighter.settle()
    assert len(field.document().firstBlock().layout().formats()) > 1200
    press(field, Qt.Key.Key_Home)
    write(field, "x")
    assert 0 < len(field.document().firstBlock().layout().formats()) < 700
    field.highlighter.settle()
    assert len(field.document().firstBlock().layout().formats()) > 1200


# ---- completions


def test_a_lora_is_found_shown_and_inserted_by_keys_alone(room: Room, qtbot: QtBot) -> None:
    field, popup = room.editor.field, room.editor.field.popup
    write(field, "a star <lora:ik")
    assert [row.label for row in popup.model.rows] == ["ink_wash", "ink_lines"]
    assert popup.current() is popup.model.rows[0]
    press(field, Qt.Key.Key_Down)
    assert popup.side.facts.text() == "Base model: SDXL\nWeight: 1"
    press(field, Qt.Key.Key_Up)
    until(qtbot, popup.side.picture.isVisible, 5)
    shown = popup.side.picture.pixmap().toImage()
    assert (shown.pixelColor(5, 5).red(), shown.width()) == (200, 2 * shown.height())
    press(field, Qt.Key.Key_Return)
    assert room.editor.text() == "a star <lora:ink_wash:0.8> brush"
    assert room.heard[-1] == room.editor.text()
    assert not popup.isVisible()


def test_enter_is_a_new_line_while_no_word_was_chosen(room: Room) -> None:
    write(room.editor.field, "a red circ")
    assert room.editor.field.popup.isVisible()
    press(room.editor.field, Qt.Key.Key_Return)
    assert room.editor.text() == "a red circ\n"


def test_tab_takes_the_first_word_and_esc_closes(room: Room) -> None:
    field = room.editor.field
    write(field, "a red circ")
    press(field, Qt.Key.Key_Escape)
    assert not field.popup.isVisible()
    hold(room, Qt.Key.Key_Space, CONTROL)
    assert field.suggestions()[0] == "a red circle"
    press(field, Qt.Key.Key_Tab)
    assert room.editor.text() == "a red circle"
    press(field, Qt.Key.Key_Left)
    assert not field.popup.isVisible()


def test_the_list_names_itself_to_screen_readers(room: Room) -> None:
    write(room.editor.field, "<lora:ink")
    popup = room.editor.field.popup
    index = popup.model.index(0)
    assert index.data(Qt.ItemDataRole.AccessibleTextRole) == "ink_wash, LoRA, SD 1.5"
    assert "Trigger words: brush" in index.data(Qt.ItemDataRole.AccessibleDescriptionRole)
    assert QAccessible.queryAccessibleInterface(popup.list).text(QAccessible.Text.Name) == "Completions"
    assert not popup.list.focusPolicy() & Qt.FocusPolicy.TabFocus


def test_a_click_takes_and_leaving_closes(room: Room) -> None:
    field = room.editor.field
    write(field, "__col")
    popup = field.popup
    where = popup.list.visualRect(popup.model.index(0)).center()
    QTest.mouseClick(popup.list.viewport(), Qt.MouseButton.LeftButton, Qt.KeyboardModifier.NoModifier, where)
    assert room.editor.text() == "__colours__"
    write(field, " <lora:ink")
    assert popup.isVisible()
    field.clearFocus()
    assert not popup.isVisible()


# ---- weights


def test_ctrl_up_and_down_weigh_the_selection_and_keep_it(room: Room) -> None:
    room.editor.set_text("a red star")
    cursor = room.editor.field.textCursor()
    cursor.setPosition(2)
    cursor.setPosition(5, cursor.MoveMode.KeepAnchor)
    room.editor.field.setTextCursor(cursor)
    hold(room, Qt.Key.Key_Up, CONTROL)
    hold(room, Qt.Key.Key_Up, CONTROL)
    assert room.editor.text() == "a (red:1.1) star"
    assert room.editor.field.textCursor().selectedText() == "red"
    for _ in range(3):
        hold(room, Qt.Key.Key_Down, CONTROL)
    assert room.editor.text() == "a (red:0.95) star"
    assert room.heard[-1] == "a (red:0.95) star"


def test_ctrl_up_on_a_tag_changes_its_weight(room: Room) -> None:
    write(room.editor.field, "<lora:ink")
    press(room.editor.field, Qt.Key.Key_Tab)
    press(room.editor.field, Qt.Key.Key_Home)
    hold(room, Qt.Key.Key_Up, CONTROL)
    assert room.editor.text() == "<lora:ink_wash:0.85> brush"


# ---- what the model makes of it


def test_tokens_are_counted_and_what_is_wrong_is_said(room: Room, qtbot: QtBot) -> None:
    with qtbot.waitSignal(room.editor.looked_at, timeout=10_000):
        write(room.editor.field, "a red circle (")
    assert room.editor.tokens.text() == "CLIP 3/38"
    assert room.editor.tokens.accessibleName() == "Tokens: CLIP 3/38"
    assert room.editor.warnings.text() == "The “(” is not closed: its weight holds to the end of the prompt."
    assert room.editor.warnings.isVisible()
    with qtbot.waitSignal(room.editor.looked_at, timeout=10_000):
        room.editor.set_text("a red circle <lora:ink_wahs:1>")
    assert "There is no LoRA “ink_wahs” on this machine. Did you mean “ink_wash”" in room.editor.warnings.text()
    room.editor.set_compact(True)
    assert not room.editor.warnings.isVisible()
    assert "ink_wahs" in room.editor.field.toolTip()


# ---- earlier prompts


def test_alt_up_goes_back_through_prompts_and_alt_down_returns_to_the_draft(room: Room) -> None:
    for text in ("a first", "a second"):
        room.app.prompts.remember(text)
    write(room.editor.field, "draft, ")
    seen = []
    for key in (Qt.Key.Key_Up, Qt.Key.Key_Up, Qt.Key.Key_Up, Qt.Key.Key_Down, Qt.Key.Key_Down):
        hold(room, key, ALT)
        seen.append(room.editor.text())
    assert seen == ["a second", "a first", "a first", "a second", "draft, "]
    assert room.heard[-1] == "draft, "


def test_the_search_over_earlier_prompts_is_used_by_keys(room: Room) -> None:
    for text in ("a red star", "a blue moon", "a red moon"):
        room.app.prompts.remember(text)
    room.app.prompts.set_favourite("a blue moon", True)
    room.editor.search_history()
    popup = room.editor.question.popup
    assert popup is not None
    assert (popup.model.rows[0].title, popup.model.rows[0].note) == ("a blue moon", "★")
    write(popup.query, "red moon")
    press(popup.query, Qt.Key.Key_Return)
    assert room.editor.text() == "a red moon"
    assert room.editor.field.hasFocus()


def test_a_prompt_is_marked_kept_as_style_and_as_wildcard_from_the_menu(room: Room) -> None:
    room.editor.set_text("fog, rain")
    menu = room.editor.recent_menu()
    acts = {action.text(): action for action in menu.actions()}
    acts["Mark as favourite"].trigger()
    assert room.app.prompts.favourites() == ["fog, rain"]
    acts["Save as style …"].trigger()
    popup = room.editor.question.popup
    assert popup is not None
    write(popup.query, "Wet")
    press(popup.query, Qt.Key.Key_Return)
    assert room.app.styles.get("wet").prompt == "fog, rain"
    room.editor.field.selectAll()
    acts["Save as wildcard …"].trigger()
    write(popup.query, "weather")
    press(popup.query, Qt.Key.Key_Return)
    assert (room.app.paths.wildcards / "weather.txt").read_text(encoding="utf-8") == "fog\nrain\n"
    assert room.editor.text() == "__weather__"
    menu.deleteLater()


def test_the_insertion_menu_opens_lists_at_the_cursor(room: Room) -> None:
    room.editor.set_text("a star ")
    press(room.editor.field, Qt.Key.Key_End)
    menu = room.editor.insertion_menu()
    acts = {action.text(): action for action in menu.actions()}
    acts["LoRA …"].trigger()
    assert room.editor.text() == "a star <lora:"
    assert [row.kind for row in room.editor.field.popup.model.rows] == ["lora", "lora"]
    press(room.editor.field, Qt.Key.Key_Tab)
    assert room.editor.text().startswith("a star <lora:ink_")
    groups = [each for each in menu.children() if isinstance(each, QMenu)]
    assert not any(action.data() for group in groups for action in group.actions())  # negative words go elsewhere
    menu.deleteLater()


# ---- in Create


def test_in_create_both_prompts_are_editors_with_counts_and_insertions_find_their_side(
    tmp_path: Path, qtbot: QtBot
) -> None:
    with create_workspace(tmp_path / "data", qtbot) as page:
        form = page.form
        with qtbot.waitSignal(form.prompt_editor.looked_at, timeout=10_000):
            page.session.update(prompt="a red circle")
        assert form.prompt_editor.tokens.text() == "CLIP 3/38"
        form.negative.setFocus()
        write(form.negative, "blue")
        assert page.session.request.negative == "blue"
        assert form.negative.accessibleName() == "Negative prompt"
        menu = form.insertion_menu()
        groups = [each for each in menu.children() if isinstance(each, QMenu)]
        negative = next(action for group in groups for action in group.actions() if action.data() is True)
        menu.triggered.emit(negative)
        assert page.session.request.negative == f"blue, {negative.text()}"
        menu.deleteLater()


def test_a_lora_tag_written_in_create_changes_the_picture_and_a_missing_one_is_one_sentence(
    tmp_path: Path, qtbot: QtBot
) -> None:
    with create_workspace(tmp_path / "data", qtbot, started=True) as page:
        page.session.update(steps=2, seed=5)
        page.session.set_seed_locked(True)
        pictures: dict[str, np.ndarray] = {}
        for text in ("a red circle", "a red circle <lora:starter-stripes:1>"):
            page.session.update(prompt="")
            page.form.prompt.setFocus()
            write(page.form.prompt, text)
            page.form.prompt.popup.hide()
            page.generate()
            until(qtbot, lambda: len(page.model_of_results.pictures) > len(pictures), 60)
            for record in page.model_of_results.pictures:
                made = Image.open(BytesIO(page._app.library.read(record))).convert("RGB")
                pictures.setdefault(record.id, np.asarray(made).astype(int))
        plain, striped = pictures.values()
        assert np.abs(plain - striped).mean() > 1
        page.session.update(prompt="a red circle <lora:starter-stripe:1>")
        page.generate()
        until(qtbot, lambda: page.form.bar.hint.text, 60)
        said = page.form.bar.hint.text
        assert "the LoRA “starter-stripe”, which is not on this machine" in said
        assert "Did you mean “starter-stripes”?" in said
        assert "\n" not in said
