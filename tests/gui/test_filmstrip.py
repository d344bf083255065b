"""The strip of newest pictures: what it shows, what it hands over, and that it asks nothing on the window's thread."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sized
from functools import partial
from pathlib import Path

import pytest
from PySide6.QtCore import QMimeData, Qt
from pytestqt.qtbot import QtBot

from studio_app.application import Application
from studio_app.jobs.rows import ExportTarget
from tests.gui.create_room import press, until
from tests.unit.studio_nodes import GATES, Gate, drawing, studio
from ui import appearance
from ui.bridge.bridge import Bridge
from ui.panels.filmstrip import Filmstrip

TIMEOUT = 60


@pytest.fixture
def app(tmp_path: Path) -> Iterator[Application]:
    made = studio(tmp_path / "data")
    yield made
    made.close()


@pytest.fixture
def strip(app: Application, qtbot: QtBot) -> Iterator[Filmstrip]:
    appearance.apply(app)
    bridge = Bridge()
    bridge.start(app)
    made = Filmstrip(app, bridge)
    bridge.setParent(made)
    qtbot.addWidget(made)
    made.resize(900, 90)
    made.show()
    yield made
    made.close_down()
    bridge.close()


def make(app: Application, seed: int, export: ExportTarget | None = None) -> str:
    return app.jobs.wait(app.jobs.submit(drawing(seed), export=export), TIMEOUT).results[0]


def test_it_says_when_there_is_something_to_show(app: Application, strip: Filmstrip, qtbot: QtBot) -> None:
    told: list[bool] = []
    strip.filled.connect(told.append)
    assert strip.is_empty
    make(app, 1)
    until(qtbot, lambda: len(strip.model.records) == 1 and not strip.model.jobs)
    assert told[0] is True
    assert not strip.is_empty


def test_a_running_job_stands_in_front_and_becomes_its_picture(
    app: Application, strip: Filmstrip, qtbot: QtBot
) -> None:
    old = make(app, 1)
    GATES["held"] = gate = Gate()
    job = app.jobs.submit(drawing(2, gate="held"))
    until(qtbot, lambda: [item.id for item in strip.model.jobs] == [job] and len(strip.model.records) == 1)
    until(qtbot, lambda: strip.model.jobs[0].fraction == 0.25)
    text = strip.model.data(strip.model.index(0), Qt.ItemDataRole.AccessibleTextRole)
    assert text == "Being made: 25% done."
    gate.opened.set()
    made = app.jobs.wait(job, TIMEOUT).results[0]
    until(qtbot, lambda: not strip.model.jobs)
    assert [record.id for record in strip.model.records] == [made, old]


def test_the_library_is_never_asked_on_the_thread_of_the_window(
    app: Application, strip: Filmstrip, qtbot: QtBot, monkeypatch: pytest.MonkeyPatch
) -> None:
    make(app, 1)
    until(qtbot, lambda: len(strip.model.records) == 1)
    threads: dict[str, set[int]] = {}
    for name in ("recent", "get", "read", "exported_to"):
        asked = getattr(app.library, name)

        def watched(*arguments: object, name: str = name, asked: object = asked) -> object:
            threads.setdefault(name, set()).add(threading.get_ident())
            assert callable(asked)
            return asked(*arguments)

        monkeypatch.setattr(app.library, name, watched)
    dragged: list[QMimeData] = []
    strip.out.ready.connect(dragged.append)
    strip.reload()
    make(app, 2)
    until(qtbot, lambda: len(strip.model.records) == 2)
    strip.view.setCurrentIndex(strip.model.index(1))
    strip.view.startDrag(Qt.DropAction.CopyAction)
    until(qtbot, lambda: dragged)
    until(qtbot, lambda: strip.model.thumbnail(strip.model.records[1], 48) is not None)
    assert set(threads) == {"recent", "get", "exported_to", "read"}
    assert all(threading.get_ident() not in idents for idents in threads.values())


def test_a_picture_is_dragged_as_its_own_file_or_as_a_named_copy(
    app: Application, strip: Filmstrip, qtbot: QtBot, tmp_path: Path
) -> None:
    dragged: list[Path] = []
    strip.out.ready.connect(lambda mime: dragged.append(Path(mime.urls()[0].toLocalFile())))
    filed, bare = make(app, 1, ExportTarget(tmp_path / "pictures", "mine")), make(app, 2)
    until(qtbot, lambda: [record.id for record in strip.model.records] == [bare, filed])
    for row in (1, 0):
        strip.view.setCurrentIndex(strip.model.index(row))
        before = len(dragged)
        strip.view.startDrag(Qt.DropAction.CopyAction)
        until(qtbot, partial(_more_than, dragged, before))
    assert dragged[0] == tmp_path / "pictures" / "mine.png"
    assert dragged[1].name == "drawing 2 2.png"  # the title, and the seed
    assert dragged[1].read_bytes() == app.library.read(app.library.get(bare))
    strip.close_down()
    assert not dragged[1].exists()


def test_finished_pictures_are_shown_small(app: Application, strip: Filmstrip, qtbot: QtBot) -> None:
    make(app, 1)
    until(qtbot, lambda: len(strip.model.records) == 1)
    record = strip.model.records[0]
    until(qtbot, lambda: strip.model.thumbnail(record, 24) is not None)
    small = strip.model.thumbnail(record, 24)
    assert small is not None
    assert (small.width(), small.height()) == (24, 24)


def test_enter_on_a_picture_asks_for_it_large(app: Application, strip: Filmstrip, qtbot: QtBot) -> None:
    record = make(app, 1)
    until(qtbot, lambda: len(strip.model.records) == 1)
    strip.view.setCurrentIndex(strip.model.index(0))
    with qtbot.waitSignal(strip.picked) as picked:
        press(strip.view, Qt.Key.Key_Return)
    assert picked.args == [record]


def _more_than(items: Sized, count: int) -> bool:
    return len(items) > count
