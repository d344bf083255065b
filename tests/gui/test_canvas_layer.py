"""The kept picture under the nodes: what is seen with it is what is painted without it, also while panning."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PySide6.QtGui import QImage
from PySide6.QtWidgets import QApplication
from pytestqt.qtbot import QtBot

from engine.contracts.workflow import Group, Link, Node
from studio_app.documents.arrange_edits import SetGroups
from tests.gui.canvas_room import graph_workspace, opened
from ui.graph_canvas.canvas import Canvas
from ui.graph_canvas.workspace import GraphWorkspace


@pytest.fixture
def page(tmp_path: Path, qtbot: QtBot) -> Iterator[GraphWorkspace]:
    with graph_workspace(tmp_path, qtbot) as found:
        yield found


@pytest.fixture
def chain(page: GraphWorkspace) -> Canvas:
    nodes = [Node(id="n0", type="image.invert", position=(0, 0))]
    for index in range(1, 24):
        before = Link(f"n{index - 1}", "image")
        place = (index % 6 * 320.0, index // 6 * 260.0 + index % 2 * 40)
        nodes.append(Node(id=f"n{index}", type="image.blur", position=place, inputs={"image": before}))
    return opened(page, *nodes)


def seen(canvas: Canvas) -> NDArray[np.uint8]:
    image = canvas.view.viewport().grab().toImage().convertToFormat(QImage.Format.Format_RGB32)
    found = np.frombuffer(image.constBits(), np.uint8).reshape(image.height(), image.width(), 4)[..., :3]
    return found.copy()


def _is_kept(canvas: Canvas) -> bool:
    return canvas.view.frames.under._under is not None


def test_frames_with_the_picture_are_frames_without_it(chain: Canvas) -> None:
    frames = chain.view.frames
    chain.view.zoom(1.0 / chain.view.scale_factor)
    chain.view.wait_for_pictures()
    QApplication.processEvents()
    for step in ((0, 0), (7, 5), (40, -13), (-130, 90)):
        chain.view.pan(*step)
        QApplication.processEvents()
        seen(chain)
        kept = seen(chain)
        assert _is_kept(chain)
        frames.under._under_key = ()
        direct = seen(chain)  # the first frame after a change is painted directly
        assert not _is_kept(chain)
        # Smooth edges fall on other fractions of pixels only by rounding.
        assert np.abs(kept.astype(int) - direct).max() <= 2, step


def test_what_changes_is_seen_at_once(chain: Canvas) -> None:
    chain.view.zoom(1.0 / chain.view.scale_factor)
    chain.view.wait_for_pictures()
    seen(chain)
    before = seen(chain)
    chain.document.edit("Frame", SetGroups((Group(title="A frame", rectangle=(-40, -60, 700, 400)),)))
    QApplication.processEvents()
    assert not np.array_equal(seen(chain), before)
    chain.document.undo()
    QApplication.processEvents()
    assert np.array_equal(seen(chain), before)
