"""Who sees, hears or moves differently: names for all that takes the keyboard, nodes and wires that can be read (here
and by a real screen reader's way), an outline in step, contrast, scale, and keys that a person chooses."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from PySide6.QtCore import Qt
from PySide6.QtGui import QAccessible
from PySide6.QtTest import QTest
from PySide6.QtWidgets import QAbstractButton, QApplication, QSplitterHandle, QWidget
from pytestqt.qtbot import QtBot

from engine.contracts.workflow import Link, Node
from studio_app.application import Application
from tests.gui.canvas_room import CTRL, graph_workspace, key, opened
from ui import appearance, theme
from ui.dialogs.shortcuts import Shortcuts
from ui.graph_canvas import access
from ui.graph_canvas.canvas import Canvas
from ui.graph_canvas.states import NodeState
from ui.graph_canvas.workspace import GraphWorkspace
from ui.main_window import MainWindow, open_window
from ui.theme.tokens import contrast, themes

ROOT = Path(__file__).parents[2]
NAME = QAccessible.Text.Name


@pytest.fixture
def page(tmp_path: Path, qtbot: QtBot) -> Iterator[GraphWorkspace]:
    with graph_workspace(tmp_path, qtbot) as found:
        yield found


@pytest.fixture
def graph(page: GraphWorkspace) -> Canvas:
    return opened(
        page,
        Node(id="invert", type="image.invert", position=(80, 100)),
        Node(id="blur", type="image.blur", position=(700, 100),
             inputs={"image": Link("invert", "image"), "radius": 4.0}),
    )  # fmt: skip


@pytest.fixture
def window(tmp_path: Path, qtbot: QtBot) -> Iterator[MainWindow]:
    app = Application(tmp_path / "data")
    for name, value in (("ui.welcomed", True), ("engine.warm_up", False), ("ui.mode", "advanced"),
                        ("generation.output_folder", str(tmp_path / "pictures"))):  # fmt: skip
        app.settings.set(name, value)
    appearance.apply(app)
    found = open_window(app)
    qtbot.addWidget(found)
    with qtbot.waitSignal(found.bridge.ready, timeout=30_000):
        pass
    yield found
    found.close()
    app.close()


def readable(widget: QWidget) -> str:
    interface = QAccessible.queryAccessibleInterface(widget)
    return interface.text(NAME) if interface is not None else ""


def nameless(root: QWidget) -> list[str]:
    """The widgets below `root` that take the keyboard and have no name."""
    found = []
    for widget in (root, *root.findChildren(QWidget)):
        takes = widget.focusPolicy() & Qt.FocusPolicy.TabFocus and not isinstance(widget, QSplitterHandle)
        inner = widget.parent() is not None and widget.focusProxy() is not None
        inner = inner or widget.objectName().startswith("qt_")  # a part of a widget of Qt's own, which has the name
        if takes and not inner and not readable(widget):
            owners: list[str] = []
            owner = widget
            while (above := owner.parentWidget()) is not None and len(owners) < 4:
                owners.append(type(above).__name__)
                owner = above
            found.append(f"{type(widget).__name__} in {' in '.join(owners)}")
    return found


def test_nothing_takes_the_keyboard_without_a_name(window: MainWindow) -> None:
    found = []
    for index, entry in enumerate(window._entries):
        window.show_workspace(index)
        QApplication.processEvents()
        page = window.page
        if isinstance(page, GraphWorkspace):
            page.files.open_workflow(window.app.workflows.library.template("text_to_picture"))
            page.beside.show_outline(True)
            page.beside.open_gallery()
            page.beside.open_versions()
            page.beside.open_report()
        QApplication.processEvents()
        assert window.page is not None, entry.title
    for command in ("app.preferences", "app.custom_nodes", "help.shortcuts", "help.about", "help.system", "help.models",
                    "help.welcome"):  # fmt: skip
        window.app.commands.run(command)
        QApplication.processEvents()
    found = nameless(window)
    assert not found, "; ".join(found)


def test_icon_buttons_have_words(window: MainWindow) -> None:
    window.show_workspace(1)
    buttons = [b for b in window.findChildren(QAbstractButton) if not b.objectName().startswith("qt_")]
    assert [type(b).__name__ for b in buttons if not readable(b) and b.isVisible()] == []


# ---- nodes and wires


def test_nodes_and_wires_are_read_in_words(graph: Canvas) -> None:
    interface = QAccessible.queryAccessibleInterface(graph.view)
    assert isinstance(interface, access.GraphInterface)
    parts = [part for i in range(interface.childCount()) if (part := interface.child(i)) is not None]
    names = [part.text(NAME) for part in parts]
    titles = {n: graph.scene.items_by_id[n].title for n in ("invert", "blur")}
    assert names == [
        titles["invert"],
        f"{titles['blur']}, radius 4, input image from {titles['invert']}",
        f"Wire, IMAGE, from image of {titles['invert']} to image of {titles['blur']}",
    ]
    graph.scene.set_state("blur", NodeState("running", progress=0.4))
    assert parts[1].text(NAME).endswith("running 40 %")
    assert parts[1].state().busy
    key(graph, Qt.Key.Key_Home)
    box = parts[1].rect()
    assert interface.childAt(box.center().x(), box.center().y()) is parts[1]
    assert parts[1].parent() is interface


def test_the_readable_focus_follows_the_keys_and_what_is_gone_is_no_child(graph: Canvas) -> None:
    interface = QAccessible.queryAccessibleInterface(graph.view)
    assert interface.focusChild() is None
    key(graph, Qt.Key.Key_Right)
    key(graph, Qt.Key.Key_Right)
    part = interface.focusChild()
    assert part.text(NAME).startswith(graph.scene.items_by_id["blur"].title)
    assert part.state().focused
    key(graph, Qt.Key.Key_Delete)
    assert interface.childCount() == 1
    assert not part.isValid()
    assert part.text(NAME) == ""


def test_a_screen_reader_reads_the_canvas_through_at_spi(tmp_path: Path) -> None:
    missing = [name for name in ("Xvfb", "dbus-run-session") if shutil.which(name) is None]
    if not Path("/usr/libexec/at-spi-bus-launcher").exists():
        missing.append("at-spi2-core")
    if not missing and subprocess.run(["/usr/bin/python3", "-c", "import dbus"], capture_output=True).returncode:
        missing.append("python3-dbus")
    if missing:
        pytest.skip(f"not installed: {', '.join(missing)}")
    display = subprocess.Popen(
        ["Xvfb", "-displayfd", "1", "-screen", "0", "1280x800x24", "-nolisten", "tcp"],
        stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
    )  # fmt: skip
    try:
        assert display.stdout is not None
        number = display.stdout.readline().strip()
        environment = {
            **os.environ, "DISPLAY": f":{number}", "QT_QPA_PLATFORM": "xcb", "QT_LINUX_ACCESSIBILITY_ALWAYS_ON": "1",
            "XDG_RUNTIME_DIR": str(tmp_path),
        }  # fmt: skip
        command = ["dbus-run-session", "--", sys.executable, "-m", "tests.gui.atspi_window", str(tmp_path / "data")]
        run = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=60)
    finally:
        display.terminate()
        display.wait()
        if display.stdout is not None:
            display.stdout.close()
    read = [tuple(line.split("\t", 1)) for line in run.stdout.splitlines() if "\t" in line]
    assert ("list", "Graph canvas") in read, run.stderr
    items = [name for role, name in read if role == "list item"]
    assert any(name.startswith("Sampler, seed 7, 20 steps") and "input model from Checkpoint" in name for name in items)
    assert "Wire, IMAGE, from image of Decode to image of Save" in items
    assert ("push button", "Run") in read


# ---- the outline


def test_the_outline_is_in_step_with_the_canvas(page: GraphWorkspace, graph: Canvas, qtbot: QtBot) -> None:
    page._app.commands.run("graph.outline")
    outline = page.beside.outline
    assert outline.isVisible()
    assert outline.model.names == ["invert", "blur"]
    graph.scene.select(["blur"])
    assert [index.row() for index in outline.list.selectedIndexes()] == [1]
    QTest.keyClick(outline.list, Qt.Key.Key_Up)
    assert graph.scene.selected == {"invert"}
    assert "input image from" in str(outline.model.index(1).data(Qt.ItemDataRole.AccessibleTextRole))
    graph.view.setFocus()
    key(graph, Qt.Key.Key_D, CTRL)
    qtbot.waitUntil(lambda: len(outline.model.names) == 3)
    outline.query.setText("blur")
    assert outline.model.names == ["blur"]


# ---- looks


def test_words_on_nodes_are_legible_in_every_theme() -> None:
    for name, tokens in themes().items():
        colours = tokens.colours
        words: tuple[str, ...] = ("text", "text_strong", "text_muted")
        used = dict.fromkeys(("surface0", "surface1", "surface2", "surface3"), words)
        used["surface1"] += ("danger", "success", "warning", "accent")  # badges lie on it
        for ground, inks in used.items():
            for ink in inks:
                ratio = contrast("#" + colours[ink][-6:], "#" + colours[ground][-6:])
                assert ratio >= 4.5, f"{ink} on {ground} of {name}: {ratio:.2f}"


@pytest.mark.parametrize("scale", [1.0, 2.0, 3.0])
def test_the_page_keeps_all_its_parts_at_every_scale(page: GraphWorkspace, graph: Canvas, scale: float) -> None:
    page._app.settings.set("ui.scale", scale)
    appearance.apply(page._app)
    page.resize(round(1300 * min(scale, 1.5)), 850)
    QApplication.processEvents()
    assert graph.width() >= page.bar.width()
    assert graph.rect().contains(page.bar.geometry())
    assert graph.popup is not None
    key(graph, Qt.Key.Key_Space)
    assert graph.rect().contains(graph.popup.geometry())
    key(graph, Qt.Key.Key_Escape)
    page._app.settings.set("ui.scale", 1.0)
    appearance.apply(page._app)


def test_less_motion_means_none(page: GraphWorkspace) -> None:
    page._app.settings.set("ui.reduced_motion", True)
    appearance.apply(page._app)
    assert theme.motion(120) == 0
    page._app.settings.set("ui.reduced_motion", False)
    appearance.apply(page._app)


# ---- keys of one's own


def test_a_key_is_changed_shows_its_conflict_works_at_once_and_is_kept(page: GraphWorkspace, graph: Canvas) -> None:
    app = page._app
    dialog = Shortcuts(app, page)
    dialog.show()
    row = dialog.rows["graph.mute"]
    QTest.mouseClick(row.key, Qt.MouseButton.LeftButton)
    assert row.key.waiting
    QTest.keyClick(row.key, Qt.Key.Key_B)
    assert app.commands.get("graph.mute").shortcut == "B"
    assert "“Bypass”" in row.conflict.text()
    assert dialog.summary.text() == "2 commands share a key: only one of them can have it."
    QTest.mouseClick(row.key, Qt.MouseButton.LeftButton)
    QTest.keyClick(row.key, Qt.Key.Key_F7)
    assert not dialog.summary.isVisible()
    graph.scene.select(["blur"])
    modes = []
    for pressed in (Qt.Key.Key_M, Qt.Key.Key_F7):
        key(graph, pressed)
        modes.append(graph.document.nodes["blur"].mode)
    assert modes == ["active", "mute"]
    kept = json.loads(app.paths.settings_file.read_text(encoding="utf-8"))
    assert '"graph.mute": "F7"' in json.dumps(kept)
    QTest.mouseClick(dialog.reset_all, Qt.MouseButton.LeftButton)
    assert app.commands.get("graph.mute").shortcut == "M"
    assert app.settings.get("ui.shortcuts") == {}
    dialog.close()


def test_a_key_of_the_window_is_changed_too(window: MainWindow, qtbot: QtBot) -> None:
    window.app.settings.set("ui.shortcuts", {"help.about": "Ctrl+F1", "no.such": "X", "app.palette": 7})
    about = window.actions_.action("help.about")
    qtbot.waitUntil(lambda: about.shortcut().toString() == "Ctrl+F1")
    assert window.actions_.action("app.palette").shortcut().toString() == "Ctrl+K"
    window.app.settings.set("ui.shortcuts", {})
    qtbot.waitUntil(lambda: window.actions_.action("help.about").shortcut().isEmpty())
