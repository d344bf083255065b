"""The plan under Generate: what a picture takes, known before it is made; how it runs; a refusal with its remedy."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from PySide6.QtCore import QObject, QPoint, Qt, QTimer
from PySide6.QtTest import QTest
from PySide6.QtWidgets import QApplication, QLabel
from pytestqt.qtbot import QtBot

from engine.contracts.errors import NodeFailed, OutOfMemory
from engine.memory.footprint import GIB
from engine.memory.machine import PRESETS, Machine
from engine.nodes.sample import k_sampler
from studio_app.machine_memory import MemoryUse
from studio_app.offers import ran_out
from tests.gui.create_room import click, create_workspace, press, until
from ui import theme
from ui.create.workspace import CreateWorkspace

PROMPT = "a red circle on a blue background"


@pytest.fixture
def page(tmp_path: Path, qtbot: QtBot) -> Iterator[CreateWorkspace]:
    with create_workspace(tmp_path / "data", qtbot, started=True) as found:
        found._app.engine.warm()
        until(qtbot, lambda: found._app.engine.state == "ready", 60)
        yield found


def small_card(room: int, *, flops: float = 0.0) -> Machine:
    """A card with `room` bytes for plans and main memory enough."""
    card = PRESETS[4]
    return replace(card, vram=GIB // 2, guard=GIB // 2 - room, ram=8 * GIB, flops=flops or card.flops)


def test_the_plan_is_shown_before_the_run(page: CreateWorkspace, qtbot: QtBot, monkeypatch: pytest.MonkeyPatch) -> None:
    plan = page.plan
    until(qtbot, lambda: plan.text.startswith("On the processor: "), 60)
    assert plan.planned is not None
    assert plan.planned.room == pytest.approx(plan.planned.room)
    assert 0 < plan.button.share < 0.2
    assert not plan.tells_time
    assert page.form.bar.estimate.isVisible()
    # The same line on a machine with a card: the driver's answer is all that differs.
    card = MemoryUse("A card", 0, 8 * GIB, card=True)
    monkeypatch.setattr("studio_app.planning.card_memory", lambda: card)
    page.session.update(width=128, height=128)
    until(qtbot, lambda: plan.text.startswith("Fits the card: "))
    assert " of 8.0 GiB" in plan.text
    assert "about" in plan.text
    assert not page.form.bar.estimate.isVisible()  # one time is enough
    assert plan.button.share == pytest.approx(plan.planned.need / (8 * GIB))
    assert plan.text in plan.button.accessibleName()
    empty = plan.button.grab().toImage()
    plan.button.share = 0.9
    plan.button.update()
    assert plan.button.grab().toImage() != empty


def test_how_it_runs_is_read_and_changed_by_keys(
    page: CreateWorkspace, qtbot: QtBot, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = page.plan
    monkeypatch.setattr("studio_app.planning.machine_here", lambda settings: small_card(300 << 20, flops=2e9))
    page.session.update(width=512, height=512, steps=20)
    until(qtbot, lambda: plan.text.startswith("Fits the card: "), 60)
    plan.button.setFocus()
    press(plan.button, Qt.Key.Key_Space)
    popover = plan.popover
    assert popover is not None
    assert popover.isVisible()
    assert page.rect().contains(popover.geometry())
    until(qtbot, lambda: plan.page.offers)
    said = [label.text() for label in plan.page.findChildren(QLabel) if label.isVisibleTo(plan.page)]
    for words in ("Reading the prompt", "Taking the noise away", "Making pixels"):
        assert words in said
    assert any("MiB" in text for text in said)
    smaller = next(button for button in plan.page.offers if button.text().startswith("Make it"))
    assert smaller.accessibleName() == smaller.text()
    for _ in range(10):  # by Tab to the button, by Enter into the form
        focus = QApplication.focusWidget()
        assert focus is not None
        QTest.keyClick(focus, Qt.Key.Key_Tab)
        if smaller.hasFocus():
            break
    assert smaller.hasFocus()
    wide, high = (int(word) for word in smaller.text().removeprefix("Make it ").split(" × "))
    press(smaller, Qt.Key.Key_Space)
    assert (page.session.request.width, page.session.request.height) == (wide, high)
    assert wide < 512
    until(qtbot, lambda: any(f"{wide} × {high}" in label.text() for label in plan.page.findChildren(QLabel)))
    press(popover, Qt.Key.Key_Escape)
    assert not popover.isVisible()
    assert plan.button.hasFocus()
    assert not plan.button.isChecked()
    plan.button.click()
    assert popover.isVisible()
    QTest.mouseClick(page.results, Qt.MouseButton.LeftButton, pos=QPoint(20, 20))
    assert not popover.isVisible()


def test_a_refusal_brings_its_remedy(page: CreateWorkspace, qtbot: QtBot, monkeypatch: pytest.MonkeyPatch) -> None:
    plan = page.plan
    monkeypatch.setattr("studio_app.planning.machine_here", lambda settings: small_card(290 << 20))
    page.session.update(prompt=PROMPT, width=2048, height=1024, steps=2)
    until(qtbot, lambda: plan.text.startswith("Does not fit"), 60)
    assert plan.button.warns
    until(qtbot, plan.remedy.isVisible, 60)
    # Pressed all the same: once it says what would fit, and nothing is started.
    page.generate()
    assert not page.model_of_results.jobs
    assert f"“{plan.remedy.text()}” does" in page.form.bar.hint.text
    click(plan.remedy)
    size = page.session.size
    assert plan.remedy.text() == f"Make it {size[0]} × {size[1]}"
    assert size[0] < 2048
    assert size[0] / size[1] == pytest.approx(2, rel=0.02)  # the shape stays
    until(qtbot, lambda: plan.text.startswith("Fits the card: "), 60)
    assert not plan.remedy.isVisible()
    page.session.update(width=64, height=64)
    until(qtbot, lambda: _width(page) == 64)
    page.generate()
    until(qtbot, page.results.chosen, 60)


def test_pressed_twice_it_is_tried_all_the_same(
    page: CreateWorkspace, qtbot: QtBot, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("studio_app.planning.machine_here", lambda settings: small_card(1 << 20))
    page.session.update(prompt=PROMPT, width=64, height=64, steps=1)
    until(qtbot, lambda: page.plan.text.startswith("Does not fit"), 60)
    page.generate()
    assert not page.model_of_results.jobs
    page.generate()
    until(qtbot, page.results.chosen, 60)


def test_a_job_that_memory_ran_out_for_is_tried_again_with_less(
    page: CreateWorkspace, qtbot: QtBot, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = k_sampler.run_plan

    def fails_where_large(ctx: Any, model: Any, latent: Any, *rest: Any) -> Any:
        if latent.samples.shape[-1] * 8 >= 128:  # pixels
            raise OutOfMemory("it needs more than the card has", where="memory", fix="Make it smaller")
        return found(ctx, model, latent, *rest)

    monkeypatch.setattr(k_sampler, "run_plan", fails_where_large)
    page.session.update(prompt=PROMPT, width=128, height=128, steps=2, seed=5, count=1)
    page.generate()
    until(qtbot, lambda: any(job.remedy for job in page.model_of_results.jobs), 60)
    job = page.model_of_results.jobs[0]
    assert job.failed
    assert job.remedy == "Make it 96 × 96 and try again"
    index = page.model_of_results.index(0)
    assert job.remedy in str(index.data(Qt.ItemDataRole.AccessibleTextRole))
    place = page.results.grid.visualRect(index)
    click(page.results.grid.viewport(), place=QPoint(place.center().x(), place.bottom() - theme.px(24)))
    assert page.session.size == (96, 96)
    until(qtbot, lambda: page.results.chosen() and not page.model_of_results.jobs, 60)
    made = page.results.chosen()[0]
    assert (made.width, made.height, made.seed) == (96, 96, 5)


def test_what_counts_as_memory_that_ran_out() -> None:
    failed = NodeFailed("sampler", "sample.k_sampler", {}, "it broke")
    assert not ran_out(failed)
    failed.__cause__ = MemoryError()
    assert ran_out(failed)
    assert ran_out(NodeFailed("a", "b", {}, "memory: it needs more than the card has", "Make it 512 × 512"))
    assert not ran_out(None)


def _width(page: CreateWorkspace) -> int:
    """Pixels of what was planned last."""
    planned = page.plan.planned
    return planned.request.width if planned is not None and planned.request is not None else 0


class _Gaps(QObject):
    """The longest time between two turns of the event loop, in milliseconds."""

    def __init__(self, parent: QObject) -> None:
        super().__init__(parent)
        self.longest, self._last = 0.0, time.perf_counter()
        self._timer = QTimer(self)
        self._timer.setTimerType(Qt.TimerType.PreciseTimer)
        self._timer.timeout.connect(self._beat)
        self._timer.start(2)

    def _beat(self) -> None:
        now = time.perf_counter()
        self.longest, self._last = max(self.longest, (now - self._last) * 1000), now


def test_planning_does_not_hold_the_window_up(
    page: CreateWorkspace, qtbot: QtBot, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("studio_app.planning.machine_here", lambda settings: small_card(300 << 20))
    page.session.update(width=256, height=256)
    until(qtbot, lambda: page.plan.text.startswith("Fits"), 60)
    gaps = _Gaps(page)
    for edge in (320, 384, 448):  # sizes that were never walked
        page.session.update(width=edge, height=edge)
        until(qtbot, lambda edge=edge: _width(page) == edge, 60)  # type: ignore[misc]
    assert gaps.longest < 100  # milliseconds; 31 with ten programs at work on two cores
