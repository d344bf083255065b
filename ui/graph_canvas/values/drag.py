"""Dragging a number sideways on its node."""

from __future__ import annotations

from PySide6.QtCore import QPointF, Qt

from engine.contracts.node_schema import InputSchema
from studio_app.documents.edits import set_input
from ui.graph_canvas.geometry import label_of
from ui.graph_canvas.tools.base import Gesture
from ui.graph_canvas.values.kinds import drag_step, is_whole, limits_of, value_in
from ui.graph_canvas.view import GraphView

PIXELS = 4.0  # of the screen for one step


class DragNumber(Gesture):
    """Four pixels are a step, ten steps with Shift. One entry of the history; Escape leaves the number as it was."""

    cursor = Qt.CursorShape.SizeHorCursor

    def __init__(self, view: GraphView, start: QPointF, node: str, name: str, item: InputSchema, session: int) -> None:
        super().__init__(view, start)
        self._node, self._name, self._item = node, name, item
        self._merge = f"drag {node}.{name} {session}"
        found = value_in(item, self.scene.document.nodes[node].inputs, name)
        self._before = found if isinstance(found, (int, float)) else 0
        self._shown: float = self._before
        self._from: QPointF | None = None

    def move(self, place: QPointF, pixels: QPointF, modifiers: Qt.KeyboardModifier) -> None:
        self._from = pixels if self._from is None else self._from
        large = 10 if modifiers & Qt.KeyboardModifier.ShiftModifier else 1
        steps = int((pixels.x() - self._from.x()) / PIXELS)
        low, high, _ = limits_of(self._item)
        value = min(high, max(low, self._before + steps * drag_step(self._item) * large))
        value = round(value) if is_whole(self._item) else round(value, 6)
        if value != self._shown:
            self._shown = value
            edit = set_input(self._node, self._name, value)
            self.scene.document.edit(f"Set {label_of(self._name, self._item)}", edit, merge=self._merge)

    def release(self, place: QPointF, modifiers: Qt.KeyboardModifier) -> None:
        self.scene.document.seal()

    def cancel(self) -> None:
        if self._shown != self._before:
            self.scene.document.undo()
