"""What the tests of Create share: an application and its workspace on a folder of their own, and little helpers."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from PIL import Image
from PySide6.QtCore import QPoint, Qt
from PySide6.QtTest import QTest
from PySide6.QtWidgets import QWidget
from pytestqt.qtbot import QtBot

from tests.gui.page_room import SECONDS, application, ended, start
from ui.create.workspace import CreateWorkspace


@contextmanager
def create_workspace(data: Path, qtbot: QtBot, *, started: bool = False) -> Iterator[CreateWorkspace]:
    """The real workspace on the real application; `started` opens the store and the engine lane."""
    app, bridge = application(data)
    app.settings.set("generation.output_folder", str(data / "pictures"))
    page = CreateWorkspace(app, bridge)
    page.resize(1300, 800)
    page.show()
    if started:
        start(app, bridge, qtbot)
    with ended(page, app, bridge, qtbot):
        yield page


def until(qtbot: QtBot, condition: Callable[[], object], seconds: float = 30) -> None:
    qtbot.waitUntil(lambda: bool(condition()), timeout=round(seconds * SECONDS))


def picture_file(folder: Path, name: str, pixels: np.ndarray) -> Path:
    """A PNG of [H, W, 3 or 4] bytes."""
    path = folder / name
    Image.fromarray(pixels.astype(np.uint8)).save(path)
    return path


def write(widget: QWidget, text: str) -> None:
    """Type `text`, key by key."""
    QTest.keyClicks(widget, text)


def press(widget: QWidget, key: Qt.Key) -> None:
    """Press and let go of a key."""
    QTest.keyClick(widget, key)


def click(widget: QWidget, button: Qt.MouseButton = Qt.MouseButton.LeftButton, place: QPoint | None = None) -> None:
    """Click in the middle of a widget, or at `place`."""
    where = widget.rect().center() if place is None else place
    QTest.mouseClick(widget, button, Qt.KeyboardModifier.NoModifier, where)
