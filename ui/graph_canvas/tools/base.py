"""What a drag on the canvas is: it begins with a press, follows the pointer, ends with the release or is given up."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from PySide6.QtCore import QPointF, Qt
from PySide6.QtGui import QPainter

from studio_app.documents.graph_document import Wire

if TYPE_CHECKING:
    from ui.graph_canvas.view import GraphView


@dataclass(frozen=True)
class LooseEnd:
    """A socket that a wire hangs at: `kind` its type, `former` the wire that was taken off the other end."""

    node: str
    socket: str
    is_output: bool
    kind: str
    former: Wire | None = None


class Gesture:
    """One drag. `start` and the places given are scene pixels; `pixels` the place in the viewport."""

    cursor = Qt.CursorShape.ArrowCursor

    def __init__(self, view: GraphView, start: QPointF) -> None:
        self.view, self.scene, self.start = view, view.graph, start

    def move(self, place: QPointF, pixels: QPointF, modifiers: Qt.KeyboardModifier) -> None:
        """The pointer is at `place` now."""

    def release(self, place: QPointF, modifiers: Qt.KeyboardModifier) -> None:
        """Do it."""

    def cancel(self) -> None:
        """Escape: leave everything as it was."""

    def paint(self, painter: QPainter) -> None:
        """What hangs at the pointer, in scene coordinates."""
