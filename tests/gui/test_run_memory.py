"""The memory meter while a picture is made: the mark of the plan, the phase, what is freed, what recovery says."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from PySide6.QtCore import Qt
from PySide6.QtTest import QTest
from pytestqt.qtbot import QtBot

from engine.contracts.job_events import JobEvent
from engine.memory.footprint import GIB
from studio_app.application import Application
from studio_app.machine_memory import MemoryUse
from tests.gui.create_room import until
from ui import appearance
from ui.create.workspace import CreateWorkspace
from ui.main_window import MainWindow, open_window


@pytest.fixture
def window(tmp_path: Path, qtbot: QtBot) -> Iterator[MainWindow]:
    app = Application(tmp_path)
    app.settings.set("ui.welcomed", True)
    app.settings.set("generation.output_folder", str(tmp_path / "pictures"))
    appearance.apply(app)
    made = open_window(app)
    qtbot.addWidget(made)
    made.show()
    yield made
    made.close()
    app.close()


def test_the_meter_shows_a_run_and_frees_memory_after_it(window: MainWindow, qtbot: QtBot) -> None:
    page, meter, app = window.page, window.topbar.meter, window.app
    until(qtbot, lambda: app.wait_ready(0), 60)
    window.memory.close()  # what the machine uses is not the test's affair
    app.engine.warm()
    until(qtbot, lambda: app.engine.state == "ready", 60)
    assert isinstance(page, CreateWorkspace)
    meter.set_use(MemoryUse("Memory", 1 * GIB, 4 * GIB))
    assert meter.mark is None
    before = meter.grab().toImage()
    marks: list[float] = []
    tips: list[str] = []

    def look(run: object) -> None:
        tips.append(meter.toolTip())
        if meter.mark is not None:
            marks.append(meter.mark)
            if len(marks) == 1:
                assert meter.grab().toImage() != before

    window.run_memory.changed.connect(look)
    page.session.update(steps=30, width=128, height=128)
    page.start_with("a red circle on a blue background")
    until(qtbot, lambda: page.results.chosen() and not page.model_of_results.jobs, 60)
    assert any("Now: taking the noise away" in tip for tip in tips)
    assert any("Now: making pixels" in tip for tip in tips)
    until(qtbot, lambda: marks, 30)
    assert 0.25 < marks[0] < 0.5  # a quarter was in use before
    assert "This run takes at most " in " ".join(tips)
    until(qtbot, lambda: meter.mark is None)
    assert "This run" not in meter.toolTip()

    session = app.engine.lane._services.get_session()
    assert session.resident_bytes > 0
    QTest.mouseClick(meter, Qt.MouseButton.LeftButton)
    assert meter.menu.isVisible()
    free = meter.menu.actions()[0]
    assert free.text().replace("&", "") == "Free memory now"
    free.trigger()
    meter.menu.close()
    until(qtbot, lambda: session.resident_bytes == 0)


def test_a_run_that_memory_failed_is_told_of_in_one_line(window: MainWindow) -> None:
    line = "Memory ran out; the run goes on after step 3 with nothing else on the card."
    event = JobEvent(job="1", sequence=1, time=1.0, kind="log", node="sampler", data={"level": "warning", "text": line})
    window.bridge.job_event.emit(event)
    assert window.app.notifications.recent()[-1].text == line
