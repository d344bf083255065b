"""A node's place on the scene: thin, so that five thousand are cheap. It keeps what was looked up, and no truth."""

from __future__ import annotations

from PySide6.QtCore import QPointF, QRectF
from PySide6.QtGui import QPainter
from PySide6.QtWidgets import QGraphicsItem, QStyleOptionGraphicsItem, QWidget

from engine.contracts.node_schema import NodeSchema
from engine.contracts.workflow import Link, Node
from ui.graph_canvas.geometry import MARGIN, NodeLayout

FURTHEST = 400_000.0  # scene pixels: a hostile position is shown at the edge instead of breaking the arithmetic
_NOTHING = QGraphicsItem.GraphicsItemFlag.ItemHasNoContents


class NodeItem(QGraphicsItem):
    """`node`, `schema` and `layout` are those last shown; `version` rises when its picture is out of date."""

    __slots__ = ("corner", "layout", "node", "schema", "version")

    def __init__(self, node: Node, schema: NodeSchema, layout: NodeLayout) -> None:
        super().__init__()
        self.node, self.schema, self.layout = node, schema, layout
        self.version = 0
        self.corner = place_of(node)
        self.setFlag(_NOTHING)  # the view paints all nodes in one pass; the scene only finds them
        self.setPos(*self.corner)

    def take_over(self, node: Node, schema: NodeSchema, layout: NodeLayout) -> None:
        """Take over a changed node."""
        if layout is not self.layout:
            self.prepareGeometryChange()
        self.node, self.schema, self.layout = node, schema, layout
        self.version += 1
        self.move_to(*place_of(node))

    def move_to(self, x: float, y: float) -> None:
        if (x, y) != self.corner:
            self.corner = (x, y)
            self.setPos(x, y)

    def rect(self) -> QRectF:
        """Its box in scene pixels, sockets not counted."""
        return QRectF(*self.corner, self.layout.width, self.layout.height)

    def input_place(self, name: str) -> QPointF:
        """Where a wire into input `name` ends; the middle of the left edge for one that is not shown."""
        found = self.layout.inputs.get(name)
        x, y = found[:2] if found is not None else (0.0, min(self.layout.height, 32.0) / 2)
        return QPointF(self.corner[0] + x, self.corner[1] + y)

    def output_place(self, name: str) -> QPointF:
        found = self.layout.outputs.get(name)
        x, y = found[:2] if found is not None else (self.layout.width, min(self.layout.height, 32.0) / 2)
        return QPointF(self.corner[0] + x, self.corner[1] + y)

    @property
    def title(self) -> str:
        return self.node.title or self.schema.title

    def links(self) -> set[str]:
        """The inputs that have a wire."""
        return {name for name, value in self.node.inputs.items() if value.__class__ is Link}

    def boundingRect(self) -> QRectF:
        return QRectF(-MARGIN, -MARGIN, self.layout.width + 2 * MARGIN, self.layout.height + 2 * MARGIN)

    def paint(self, painter: QPainter, option: QStyleOptionGraphicsItem, widget: QWidget | None = None) -> None:
        """Nothing: see `passes.py`."""


def place_of(node: Node) -> tuple[float, float]:
    """The node's position, within what the canvas can show; not-a-number counts as 0."""
    x, y = node.position
    return _bounded(x), _bounded(y)


def _bounded(value: float) -> float:
    return min(FURTHEST, max(-FURTHEST, value)) if value == value else 0.0
