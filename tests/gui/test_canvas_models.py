"""Model cards dropped on the canvas, and the model that reads a prompt there."""

from __future__ import annotations

from pathlib import Path

from PySide6.QtCore import QMimeData, QPointF, Qt
from PySide6.QtGui import QDropEvent
from pytestqt.qtbot import QtBot

from engine.contracts.references import ModelRef
from engine.contracts.workflow import Link, Node
from tests.gui.canvas_room import graph_workspace, item, opened
from ui.graph_canvas.canvas import Canvas
from ui.graph_canvas.values.reader import reader_of
from ui.models.mime import MODELS, model_paths, put_paths


def drop(canvas: Canvas, place: QPointF, *paths: Path) -> None:
    data = QMimeData()
    data.setText("words for prompts")
    put_paths(data, paths)
    port = canvas.view.viewportTransform().map(place)
    event = QDropEvent(port, Qt.DropAction.CopyAction, data, Qt.MouseButton.LeftButton, Qt.KeyboardModifier.NoModifier)
    canvas.view.dropEvent(event)


def test_a_card_dropped_on_the_canvas_makes_its_loader(tmp_path: Path, qtbot: QtBot) -> None:
    with graph_workspace(tmp_path, qtbot) as page:
        canvas = opened(page, Node(id="a", type="latent.empty"))
        starter = next(entry for entry in page.app.models.list("checkpoint") if entry.starter)
        drop(canvas, QPointF(700, 500), starter.path)
        name = next(name for name in canvas.document.nodes if name != "a")
        made = canvas.document.nodes[name]
        assert (made.type, made.position, made.inputs) == ("load.checkpoint", (700, 500), {"checkpoint": starter.ref})
        assert canvas.scene.selected == {name}
        canvas.document.undo()
        assert list(canvas.document.nodes) == ["a"]
        drop(canvas, QPointF(700, 500), tmp_path / "unknown.safetensors")
        assert list(canvas.document.nodes) == ["a"]
        assert "“unknown.safetensors”" in canvas.note.label.text()


def test_a_card_dropped_on_a_loader_gives_it_the_model(tmp_path: Path, qtbot: QtBot) -> None:
    with graph_workspace(tmp_path, qtbot) as page:
        missing = ModelRef(kind="checkpoint", name="gone", sha256="0" * 64)
        canvas = opened(page, Node(id="load", type="load.checkpoint", inputs={"checkpoint": missing}))
        starter = next(entry for entry in page.app.models.list("checkpoint") if entry.starter)
        drop(canvas, item(canvas, "load").rect().center(), starter.path)
        assert canvas.document.nodes["load"].inputs == {"checkpoint": starter.ref}
        assert len(canvas.document.nodes) == 1


def test_a_prompt_is_read_by_the_model_its_encoder_comes_from(tmp_path: Path, qtbot: QtBot) -> None:
    with graph_workspace(tmp_path, qtbot) as page:
        mine = ModelRef(kind="checkpoint", name="mine")
        canvas = opened(
            page,
            Node(id="load", type="load.checkpoint", inputs={"checkpoint": mine}),
            Node(id="other", type="load.checkpoint"),
            Node(id="lora", type="load.lora", inputs={"model": Link("other", "model"), "clip": Link("load", "clip")}),
            Node(
                id="text", type="condition.encode_text", inputs={"clip": Link("lora", "clip"), "text": "a red circle"}
            ),
            Node(id="loose", type="condition.encode_text"),
        )
        assert reader_of(canvas.document, "text") == mine
        assert reader_of(canvas.document, "loose") is None


def test_another_programs_drag_holds_no_cards() -> None:
    data = QMimeData()
    assert model_paths(data) == []
    for text in (b"\xff", b"{}", b"[1]"):
        data.setData(MODELS, text)
        assert model_paths(data) == []
