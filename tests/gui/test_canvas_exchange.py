"""What comes in and goes out of the canvas: the gallery, dropped files, foreign and hostile text, versions, the file
that another program changed, and the session after a crash."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from PySide6.QtCore import QMimeData, QPoint, QPointF, Qt, QUrl
from PySide6.QtGui import QDragEnterEvent, QDropEvent, QGuiApplication
from PySide6.QtTest import QTest
from PySide6.QtWidgets import QApplication, QPushButton
from pytestqt.qtbot import QtBot

from engine.contracts.codec import dump_json
from engine.contracts.references import ModelRef
from engine.contracts.workflow import Link, Node, Workflow
from studio_app.application import Application
from studio_app.documents.edits import set_input
from tests.gui.canvas_room import CTRL, graph_workspace, key, opened
from ui.graph_canvas.gallery import Gallery
from ui.graph_canvas.import_report import ReportDialog
from ui.graph_canvas.versions import VersionsDialog
from ui.graph_canvas.workspace import GraphWorkspace

COMFY = (
    '{"1": {"class_type": "CheckpointLoaderSimple", "inputs": {"ckpt_name": "not_here.safetensors"}},'
    ' "2": {"class_type": "CLIPTextEncode", "inputs": {"text": "a cat", "clip": ["1", 1]}},'
    ' "3": {"class_type": "NodeOfNoOne", "inputs": {"text": ["2", 0]}}}'
)


@pytest.fixture
def page(tmp_path: Path, qtbot: QtBot) -> Iterator[GraphWorkspace]:
    with graph_workspace(tmp_path / "data", qtbot) as found:
        yield found


def drop(page: GraphWorkspace, *paths: Path) -> None:
    canvas = page.current
    assert canvas is not None
    mime = QMimeData()
    mime.setUrls([QUrl.fromLocalFile(str(path)) for path in paths])
    copy, button, none = Qt.DropAction.CopyAction, Qt.MouseButton.LeftButton, Qt.KeyboardModifier.NoModifier
    port = canvas.view.viewport()
    QApplication.sendEvent(port, QDragEnterEvent(QPoint(50, 50), copy, mime, button, none))
    QApplication.sendEvent(port, QDropEvent(QPointF(50, 50), copy, mime, button, none))


def test_the_gallery_finds_a_template_and_opens_it_in_a_tab(page: GraphWorkspace) -> None:
    QTest.mouseClick(page.templates, Qt.MouseButton.LeftButton)
    gallery = page.beside.dialog
    assert isinstance(gallery, Gallery)
    assert len(gallery.model.cards) >= 20
    assert all(card.explanation and card.picture for card in gallery.model.cards)
    gallery.grab()
    QTest.keyClicks(gallery.search, "outpaint")
    assert gallery.chosen is not None
    assert "utpaint" in gallery.chosen.title
    QTest.keyClick(gallery.view, Qt.Key.Key_Return)
    assert page.current is not None
    assert page.current.tab.title == "Outpaint" or "utpaint" in page.current.tab.title
    assert page.current.scene.items_by_id


def test_own_workflows_are_renamed_and_put_into_the_trash(
    page: GraphWorkspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "home").mkdir()
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "home"))
    opened(page, Node(id="invert", type="image.invert"))
    page.files.save()
    canvas = page.current
    assert canvas is not None
    path = canvas.tab.path
    assert path is not None
    page.beside.open_gallery()
    gallery = page.beside.dialog
    assert isinstance(gallery, Gallery)
    gallery.own.setChecked(True)
    (card,) = gallery.model.cards
    assert card.file is not None
    gallery.give_name(card.file, "Negative")
    assert canvas.tab.title == "Negative"
    page.files.save()
    page.files.close_current()
    gallery.reload()
    assert [c.title for c in gallery.model.cards] == ["Negative"]
    QTest.mouseClick(gallery.delete_button, Qt.MouseButton.LeftButton)
    assert not path.exists(), gallery.note.text()
    assert gallery.model.cards == []


def test_a_foreign_file_opens_with_a_report_and_what_is_missing_stands_on_its_node(
    page: GraphWorkspace, tmp_path: Path, qtbot: QtBot
) -> None:
    file = tmp_path / "cat.json"
    file.write_text(COMFY)
    opened(page, Node(id="invert", type="image.invert"))
    drop(page, file)
    qtbot.waitUntil(lambda: isinstance(page.beside.dialog, ReportDialog), timeout=10_000)
    canvas, report = page.current, page.beside.dialog
    assert canvas is not None
    assert isinstance(report, ReportDialog)
    assert page.tabs.bar.count() == 2
    assert any("not_here" in line and "not here" in line for line in report.lines)
    assert any("NodeOfNoOne" in line and "Press S" in line for line in report.lines)
    QApplication.processEvents()
    marked = {name for name, state in canvas.scene.states.items() if state.kind == "missing"}
    assert len(marked) == 2
    words = {button.text() for button in report.findChildren(QPushButton)}
    assert {"Show", "Choose another…", "Import…", "Swap…"} <= words
    missing = page.beside.missing[canvas.tab.id]
    lack = next(lack for lack in missing.lacks() if lack.ref is not None)
    assert lack.ref is not None
    missing.replace_model(lack.ref, ModelRef(name="starter"))
    assert canvas.scene.states[lack.node].kind == "idle"
    assert "not_here" not in str(canvas.document.nodes[lack.node].inputs)


def test_files_that_are_no_workflows_are_refused_in_a_sentence(
    page: GraphWorkspace, tmp_path: Path, qtbot: QtBot
) -> None:
    canvas = opened(page, Node(id="invert", type="image.invert"))
    for name, data in (("deep.json", b"[" * 200_000), ("noise.png", b"\x89PNG\r\n\x1a\n" + b"\0" * 900),
                       ("empty.json", b""), ("words.txt", b"hello")):  # fmt: skip
        canvas.note.label.setText("")
        (tmp_path / name).write_bytes(data)
        drop(page, tmp_path / name)
        qtbot.waitUntil(lambda: bool(canvas.note.label.text()), timeout=10_000)
        assert canvas.note.label.text().startswith(name)
        assert "Traceback" not in canvas.note.label.text()
    assert page.tabs.bar.count() == 1


def test_text_goes_between_windows_and_hostile_text_does_nothing(page: GraphWorkspace, qtbot: QtBot) -> None:
    first = opened(page, Node(id="a", type="image.invert"),
                   Node(id="b", type="image.blur", inputs={"image": Link("a", "image")}))  # fmt: skip
    first.scene.select(["a", "b"])
    key(first, Qt.Key.Key_C, CTRL)
    second = opened(page)
    key(second, Qt.Key.Key_V, CTRL)
    assert {n.type for n in second.document.nodes.values()} == {"image.invert", "image.blur"}
    assert len(list(second.document.wires())) == 1
    for text in ("x" * 9_000_000, '{"format": "tessera.fragment", "nodes": 7}', "nothing"):
        second.note.label.setText("")
        QGuiApplication.clipboard().setText(text)
        key(second, Qt.Key.Key_V, CTRL)
        qtbot.waitUntil(lambda: bool(second.note.label.text()), timeout=10_000)
    assert len(second.document.nodes) == 2
    QGuiApplication.clipboard().setText(COMFY)
    key(second, Qt.Key.Key_V, CTRL)
    qtbot.waitUntil(lambda: page.tabs.bar.count() == 3, timeout=10_000)


def test_versions_show_what_changed_and_one_is_restored(page: GraphWorkspace) -> None:
    canvas = opened(page, Node(id="blur", type="image.blur", inputs={"radius": 4.0}))
    page.files.save()
    canvas.document.edit("radius", set_input("blur", "radius", 9.0))
    key(canvas, Qt.Key.Key_Space)
    QTest.keyClicks(canvas.popup.query, "invert image")
    QTest.keyClick(canvas.popup.query, Qt.Key.Key_Return)
    page.beside.open_versions()
    dialog = page.beside.dialog
    assert isinstance(dialog, VersionsDialog)
    titles = {n: item.title for n, item in canvas.scene.items_by_id.items()}
    assert ("added", titles["invert"]) in dialog.sentences
    assert ("changed", f"{titles['blur']}: radius 4.0 → 9.0") in dialog.sentences
    assert dialog.map.kinds == {"invert": "added", "blur": "changed"}
    dialog.grab()
    QTest.mouseClick(dialog.restore, Qt.MouseButton.LeftButton)
    assert set(canvas.document.nodes) == {"blur"}
    assert canvas.document.nodes["blur"].inputs["radius"] == 4.0
    key(canvas, Qt.Key.Key_Z, CTRL)
    assert set(canvas.document.nodes) == {"blur", "invert"}


def test_a_file_that_another_window_edits_opens_as_a_copy_that_says_so(page: GraphWorkspace, tmp_path: Path) -> None:
    other = Application(tmp_path / "data")
    path = tmp_path / "both.tessera.json"
    path.write_text(dump_json(Workflow(id="w", nodes=(Node(id="a", type="image.invert"),)).to_json()))
    other.workflows.open(path)
    page.files.open_file(path)
    canvas = page.current
    assert canvas is not None
    assert canvas.tab.path is None
    assert "open in another window" in canvas.note.label.text()
    other.close()


def test_after_a_crash_the_tabs_are_back_and_it_is_said(tmp_path: Path, qtbot: QtBot) -> None:
    with graph_workspace(tmp_path / "data", qtbot) as page:
        opened(page, Node(id="invert", type="image.invert"))
        page.app.workflows.flush()
        page.app.workflows._writer.close()
        page.app.workflows._session.release()  # dies here: nothing says that it was closed
        page.app.workflows.close = lambda: None  # type: ignore[method-assign]
    with graph_workspace(tmp_path / "data", qtbot) as page:
        assert page.app.workflows.recovered
        assert page.current is not None
        assert set(page.current.document.nodes) == {"invert"}
    with graph_workspace(tmp_path / "data", qtbot) as page:
        assert not page.app.workflows.recovered
        assert page.current is not None
