"""The basic widgets: numbers that compute, lists that search, texts that are never cut without saying so."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PySide6.QtCore import QPoint, QPointF, Qt
from PySide6.QtGui import QWheelEvent
from PySide6.QtTest import QTest
from PySide6.QtWidgets import QApplication, QLabel, QWidget
from pytestqt.qtbot import QtBot

from studio_app.notifications import Action, Notification
from ui import theme
from ui.widgets.arithmetic import evaluate
from ui.widgets.basics import Button, ElidedLabel
from ui.widgets.containers import Fold
from ui.widgets.fuzzy import ranked, score
from ui.widgets.inputs import Choice, NumberField, SliderField, Toggle
from ui.widgets.layouts import Flow
from ui.widgets.toasts import MOST, ToastStack


@pytest.mark.parametrize(
    ("text", "value"),
    [("512", 512), ("1024/2", 512), ("16*9 + 4", 148), ("0,5", 0.5), ("2×(3+1)", 8), ("-3", -3), (" 7 ", 7)],
)
def test_sums_are_computed(text: str, value: float) -> None:
    assert evaluate(text) == value


@pytest.mark.parametrize(
    "text", ["", "abc", "1/0", "2**9999", "__import__('os')", "(1).real", "1e999", "[1]", "1" * 999]
)
def test_anything_but_finite_arithmetic_is_refused(text: str) -> None:
    assert evaluate(text) is None


@given(st.text(max_size=80))
def test_no_text_breaks_the_reader(text: str) -> None:
    value = evaluate(text)
    assert value is None or value == value


def test_a_typed_sum_becomes_its_value_within_the_range(qtbot: QtBot) -> None:
    field = NumberField("Width", minimum=64, maximum=2048, value=512, step=8)
    qtbot.addWidget(field)
    seen: list[float] = []
    field.value_changed.connect(seen.append)
    field.setText("2*300")
    QTest.keyClick(field, Qt.Key.Key_Return)
    assert (field.value(), field.text(), seen) == (600, "600", [600])
    field.setText("99999")
    QTest.keyClick(field, Qt.Key.Key_Return)
    assert field.value() == 2048
    field.setText("nonsense")
    QTest.keyClick(field, Qt.Key.Key_Return)
    assert (field.value(), field.text()) == (2048, "2048")


def test_arrow_keys_step_and_shift_steps_ten_times(qtbot: QtBot) -> None:
    field = NumberField("Steps", minimum=1, maximum=150, value=25)
    qtbot.addWidget(field)
    QTest.keyClick(field, Qt.Key.Key_Up)
    QTest.keyClick(field, Qt.Key.Key_Up, Qt.KeyboardModifier.ShiftModifier)
    QTest.keyClick(field, Qt.Key.Key_Down)
    assert field.value() == 35


def test_dragging_sideways_changes_the_number(qtbot: QtBot) -> None:
    field = NumberField("Guidance", minimum=1, maximum=30, value=4, step=0.5, decimals=1)
    qtbot.addWidget(field)
    field.show()
    QTest.mousePress(field, Qt.MouseButton.LeftButton, pos=QPoint(10, 10))
    QTest.mouseMove(field, QPoint(26, 10))
    QTest.mouseRelease(field, Qt.MouseButton.LeftButton, pos=QPoint(26, 10))
    assert field.value() == 6.0


def test_the_wheel_changes_nothing_that_has_not_the_focus(qtbot: QtBot) -> None:
    choice = Choice("Sampler")
    choice.addItems(["euler", "heun"])
    field = NumberField("Steps", minimum=1, maximum=150, value=25)
    for widget in (choice, field):
        qtbot.addWidget(widget)
        QApplication.sendEvent(widget, _wheel())
    assert (choice.currentText(), field.value()) == ("euler", 25)


def test_slider_and_field_show_one_value(qtbot: QtBot) -> None:
    both = SliderField("Strength", minimum=0, maximum=1, value=0.75, step=0.05, decimals=2)
    qtbot.addWidget(both)
    both.slider.setValue(10)
    assert both.value() == 0.5
    both.field.setText("0.25")
    QTest.keyClick(both.field, Qt.Key.Key_Return)
    assert both.slider.value() == 5


def test_a_toggle_answers_space_and_says_what_it_is(qtbot: QtBot) -> None:
    toggle = Toggle("Keep the seed", "Uses the same seed again.")
    qtbot.addWidget(toggle)
    QTest.keyClick(toggle, Qt.Key.Key_Space)
    assert toggle.isChecked()
    assert (toggle.accessibleName(), toggle.accessibleDescription()) == ("Keep the seed", "Uses the same seed again.")


def test_a_fold_shows_its_body_only_when_open(qtbot: QtBot) -> None:
    body = QLabel("inside")
    fold = Fold("Advanced", body)
    qtbot.addWidget(fold)
    fold.show()
    assert not body.isVisible()
    QTest.keyClick(fold.header, Qt.Key.Key_Space)
    assert body.isVisible()
    assert fold.is_open()


def test_a_long_name_is_whole_in_its_tooltip_when_it_is_cut(qtbot: QtBot) -> None:
    label = ElidedLabel("a very long model name that no bar has room for.safetensors")
    qtbot.addWidget(label)
    label.resize(60, 20)
    label.show()
    assert label.toolTip() == label.text()
    label.resize(900, 20)
    assert label.toolTip() == ""


def test_a_flow_wraps_to_the_width_it_has(qtbot: QtBot) -> None:
    host = QWidget()
    qtbot.addWidget(host)
    flow = Flow(host, spacing=1)
    for _ in range(6):
        item = QLabel()
        item.setFixedSize(100, 20)
        flow.addWidget(item)
    assert flow.heightForWidth(1000) == 20
    assert flow.heightForWidth(324) == 20 + 8 + 20
    assert flow.heightForWidth(100) == 6 * 20 + 5 * 8


def test_fuzzy_search_puts_beginnings_of_words_first() -> None:
    names = ["Transparency", "New seed", "Go to the prompt", "Generate", "Cancel all"]
    assert names[ranked("ns", names)[0]] == "New seed"
    assert names[ranked("gen", names)[0]] == "Generate"
    assert ranked("xyz", names) == []
    assert ranked("", names) == [0, 1, 2, 3, 4]


@given(st.text(min_size=1, max_size=12), st.text(max_size=40))
def test_fuzzy_search_finds_exactly_the_texts_with_the_letters_in_order(query: str, text: str) -> None:
    letters = iter(text.casefold())
    wanted = query.casefold().replace(" ", "")
    assert (score(query, text) is not None) == all(letter in letters for letter in wanted)


def test_a_toast_offers_its_action_and_goes(qtbot: QtBot) -> None:
    host = QWidget()
    qtbot.addWidget(host)
    host.resize(800, 600)
    host.show()
    stack = ToastStack(host)
    stack.show_message(Notification("error", "The disk is full.", Action("library.save_unsaved", "Save elsewhere…")))
    toast = stack.toasts[0]
    QApplication.processEvents()
    assert toast.geometry().right() <= 800 - 16
    with qtbot.waitSignal(stack.action) as caught:
        QTest.mouseClick(toast.button, Qt.MouseButton.LeftButton)
    assert caught.args == ["library.save_unsaved"]
    assert stack.toasts == []


def test_toasts_never_pile_up(qtbot: QtBot) -> None:
    host = QWidget()
    qtbot.addWidget(host)
    host.resize(800, 900)
    stack = ToastStack(host)
    for number in range(9):
        stack.show_message(Notification("error", f"message {number}"))
    stack.show_message(Notification("error", "message 8"))
    assert [toast.message.text for toast in stack.toasts] == [f"message {n}" for n in range(9 - MOST, 9)]
    edges = [(toast.geometry().top(), toast.geometry().bottom()) for toast in stack.toasts]
    assert all(above[1] < below[0] for above, below in pairwise(edges))


def _wheel() -> QWheelEvent:
    return QWheelEvent(
        QPointF(5, 5), QPointF(5, 5), QPoint(0, 0), QPoint(0, -120), Qt.MouseButton.NoButton,
        Qt.KeyboardModifier.NoModifier, Qt.ScrollPhase.NoScrollPhase, False,
    )  # fmt: skip


def test_a_number_out_of_its_range_says_what_is_used(qtbot: QtBot) -> None:
    field = NumberField("Steps", minimum=1, maximum=150, value=25)
    qtbot.addWidget(field)
    said: list[str] = []
    field.corrected.connect(said.append)
    for typed in ("151", "0", "many", "30"):
        field.setText(typed)
        QTest.keyClick(field, Qt.Key.Key_Return)
    assert said == [
        "Steps go from 1 to 150; 150 is used.",
        "Steps go from 1 to 150; 1 is used.",
        "“many” is no number; 1 is kept.",
    ]
    assert field.value() == 30


@pytest.mark.parametrize("scale", [1.0, 1.25, 2.0, 3.0])
def test_icon_and_words_of_a_button_stand_eight_pixels_apart(qtbot: QtBot, scale: float) -> None:
    app = QApplication.instance()
    assert isinstance(app, QApplication)
    theme.apply(app, "dark", scale)
    button = Button("Hide", "square", kind="primary")  # a full box: its lines reach 3 of 24 from the icon's edge
    qtbot.addWidget(button)
    button.resize(button.sizeHint())
    image = button.grab().toImage()
    ground = image.pixel(round(8 * scale), image.height() // 2)
    middle = range(image.height() // 2 - 1, image.height() // 2 + 1)
    inked = [x for x in range(image.width()) if any(image.pixel(x, y) != ground for y in middle)]
    inside = [x for x in inked if 6 * scale < x < image.width() - 6 * scale]
    gaps = [right - left - 1 for left, right in pairwise(inside)]
    widest = sorted(gaps)[-2:]  # inside the box, and between the box and the words
    assert round(8 * scale) <= min(widest) <= round(12 * scale)
    theme.apply(app, "dark", 1.0)
