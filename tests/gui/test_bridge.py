"""The bridge: what threads say arrives on the GUI thread, in order, and costs the window little."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import numpy as np
import pytest
from PySide6.QtCore import QObject, QThread, Slot
from PySide6.QtWidgets import QApplication
from pytestqt.qtbot import QtBot

from engine.contracts.job_events import EventKind, JobEvent
from studio_app.application import Application
from ui.bridge.bridge import Bridge


class Listener(QObject):
    def __init__(self) -> None:
        super().__init__()
        self.events: list[JobEvent] = []
        self.threads: set[bool] = set()

    @Slot(object)
    def hear(self, event: JobEvent) -> None:
        self.events.append(event)
        self.threads.add(QThread.currentThread() is QApplication.instance().thread())  # type: ignore[union-attr]


@pytest.fixture
def bridge(qapp: QApplication) -> Iterator[tuple[Bridge, Application, Listener]]:
    app = Application()
    bridge, listener = Bridge(), Listener()
    bridge.job_event.connect(listener.hear)
    bridge.start(app)
    yield bridge, app, listener
    bridge.close()


def _event(sequence: int, kind: EventKind, **data: object) -> JobEvent:
    return JobEvent(job="j", sequence=sequence, time=0.0, kind=kind, node="n", data=data)


def test_events_of_threads_arrive_in_order_on_the_gui_thread(
    qtbot: QtBot, bridge: tuple[Bridge, Application, Listener]
) -> None:
    _, app, listener = bridge

    def work() -> None:
        for number in range(200):
            app.events.emit(_event(number, "log", text="x"))

    thread = threading.Thread(target=work)
    thread.start()
    qtbot.waitUntil(lambda: len(listener.events) == 200)
    thread.join()
    assert [event.sequence for event in listener.events] == list(range(200))
    assert listener.threads == {True}


def test_of_the_progress_in_one_drain_only_the_newest_is_delivered(
    qtbot: QtBot, bridge: tuple[Bridge, Application, Listener]
) -> None:
    _, app, listener = bridge
    app.events.emit(_event(0, "accepted"))
    for step in range(1, 1001):
        app.events.emit(_event(step, "node_progress", done=step, total=1000))
    app.events.emit(_event(1001, "finished", outcome="succeeded"))
    qtbot.waitUntil(lambda: bool(listener.events) and listener.events[-1].kind == "finished")
    progress = [event.data["done"] for event in listener.events if event.kind == "node_progress"]
    assert progress == [1000]
    assert [event.kind for event in listener.events] == ["accepted", "node_progress", "finished"]


def test_what_was_posted_before_the_window_opened_is_still_shown(qtbot: QtBot) -> None:
    app = Application()
    app.notifications.post("warning", "Something to know.")
    bridge = Bridge()
    with qtbot.waitSignal(bridge.notification) as caught:
        bridge.start(app)
    assert caught.args[0].text == "Something to know."
    bridge.close()


def test_nothing_arrives_after_close(qtbot: QtBot, bridge: tuple[Bridge, Application, Listener]) -> None:
    which, app, listener = bridge
    app.events.emit(_event(0, "accepted"))
    which.close()
    app.events.emit(_event(1, "finished"))
    qtbot.wait(40)
    assert listener.events == []


def test_a_preview_is_a_picture_with_the_pixels_of_the_frame(
    bridge: tuple[Bridge, Application, Listener], monkeypatch: pytest.MonkeyPatch
) -> None:
    which, app, _ = bridge
    frame = np.zeros((3, 5, 3), np.uint8)  # an odd width: rows are not padded to four bytes
    frame[1, 4] = (10, 20, 30)
    monkeypatch.setattr(app.jobs, "preview", lambda job_id: frame if job_id == "j" else None)
    image = which.preview("j")
    assert image is not None
    assert (image.width(), image.height()) == (5, 3)
    assert image.pixelColor(4, 1).getRgb() == (10, 20, 30, 255)
    assert image.pixelColor(0, 0).getRgb() == (0, 0, 0, 255)
    assert which.preview("other") is None
