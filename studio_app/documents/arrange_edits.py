"""Arranging: align, distribute, snap and lay out nodes; groups that carry what lies in them.

The canvas knows how large nodes are drawn and gives `sizes`, (width, height) in canvas pixels by node id.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import ClassVar, Literal

from engine.contracts.errors import InvalidRequest
from engine.contracts.workflow import Group, Node
from studio_app.documents import steps
from studio_app.documents.edits import Edit, MoveNodes
from studio_app.documents.graph_document import GraphDocument
from studio_app.documents.layered_layout import Point, layered_layout
from studio_app.documents.steps import Step

Edge = Literal["left", "right", "top", "bottom", "centre", "middle"]
Axis = Literal["across", "down"]
Rectangle = tuple[float, float, float, float]

DEFAULT_SIZE = (240.0, 120.0)
MARGIN = 24.0  # around what a group encloses
TITLE = 36.0  # a group's title stands above its contents


def _sized(document: GraphDocument, names: Iterable[str], sizes: Mapping[str, Point]) -> dict[str, Rectangle]:
    """(x, y, width, height) of nodes that may be moved."""
    found = {}
    for name in names:
        node = document.node(name)
        if not node.pinned:
            found[name] = (*node.position, *(sizes.get(name) or node.size or DEFAULT_SIZE))
    return found


def align(document: GraphDocument, names: Iterable[str], edge: Edge, sizes: Mapping[str, Point]) -> MoveNodes:
    """Bring an edge of all to where the outermost has it, or their centres (across), middles (down) to that of all."""
    boxes = _sized(document, names, sizes)
    if not boxes:
        return MoveNodes({})
    values = boxes.values()
    left, top = min(b[0] for b in values), min(b[1] for b in values)
    right, bottom = max(b[0] + b[2] for b in values), max(b[1] + b[3] for b in values)
    across = {"left": (left, 0.0), "centre": ((left + right) / 2, 0.5), "right": (right, 1.0)}
    down = {"top": (top, 0.0), "middle": ((top + bottom) / 2, 0.5), "bottom": (bottom, 1.0)}
    positions = {}
    for name, (x, y, width, height) in boxes.items():
        if edge in across:
            line, part = across[edge]
            positions[name] = (line - part * width, y)
        else:
            line, part = down[edge]
            positions[name] = (x, line - part * height)
    return MoveNodes(positions)


def distribute(document: GraphDocument, names: Iterable[str], axis: Axis, sizes: Mapping[str, Point]) -> MoveNodes:
    """Make the gaps between nodes equal, the outermost two staying where they are."""
    at = 0 if axis == "across" else 1
    boxes = sorted(_sized(document, names, sizes).items(), key=lambda item: (item[1][at], item[0]))
    if len(boxes) < 3:
        return MoveNodes({})
    first, last = boxes[0][1], boxes[-1][1]
    room = last[at] + last[at + 2] - first[at] - sum(box[at + 2] for _, box in boxes)
    gap, edge = room / (len(boxes) - 1), first[at]
    positions = {}
    for name, box in boxes:
        positions[name] = (edge, box[1]) if at == 0 else (box[0], edge)
        edge += box[at + 2] + gap
    return MoveNodes(positions)


def snap(document: GraphDocument, names: Iterable[str], grid: float) -> MoveNodes:
    """Bring nodes to the nearest points of a grid of `grid` canvas pixels."""
    if not (grid > 0 and math.isfinite(grid)):
        raise InvalidRequest("the grid must be wider than nothing")
    free = (document.node(name) for name in names)
    return MoveNodes(
        {n.id: (round(n.position[0] / grid) * grid, round(n.position[1] / grid) * grid) for n in free if not n.pinned}
    )


@dataclass(frozen=True)
class LayOut(Edit):
    """Lay nodes out in layers, left to right; all of the level where none are named. Groups follow their contents."""

    kind: ClassVar[str] = "lay_out"

    nodes: tuple[str, ...] = ()
    sizes: Mapping[str, tuple[float, float]] = field(default_factory=dict)

    def steps(self, document: GraphDocument) -> Iterator[Step]:
        boxes = _sized(document, self.nodes or document.nodes, self.sizes)
        if not boxes:
            return
        graph = document.graph
        names = [n.id for n in graph.frozen() if n.id in boxes]
        wires = ((w.source, w.target) for name in names for w in graph.wires_into(name))
        places = layered_layout(names, wires, {name: box[2:] for name, box in boxes.items()})
        left, top = min(b[0] for b in boxes.values()), min(b[1] for b in boxes.values())
        positions = {name: (left + x, top + y) for name, (x, y) in places.items()}
        held = [contents(document, group, self.sizes) for group in graph.groups]
        yield steps.MoveNodes(document.graph_id, positions)
        if any(held):
            groups = zip(graph.groups, held, strict=True)
            fitted = tuple(
                _fitted(document, group, inside, self.sizes) if inside else group for group, inside in groups
            )
            yield steps.SetGroups(document.graph_id, fitted)


def contents(document: GraphDocument, group: Group, sizes: Mapping[str, Point]) -> tuple[str, ...]:
    """The nodes whose middle lies in a group."""
    x, y, width, height = group.rectangle
    found = []
    for node in document.graph.nodes.values():
        w, h = sizes.get(node.id) or node.size or DEFAULT_SIZE
        if x <= node.position[0] + w / 2 <= x + width and y <= node.position[1] + h / 2 <= y + height:
            found.append(node.id)
    return tuple(found)


def _fitted(document: GraphDocument, group: Group, names: Iterable[str], sizes: Mapping[str, Point]) -> Group:
    nodes: list[Node] = [document.node(name) for name in names]
    boxes = [(*n.position, *(sizes.get(n.id) or n.size or DEFAULT_SIZE)) for n in nodes]
    left, top = min(b[0] for b in boxes) - MARGIN, min(b[1] for b in boxes) - MARGIN - TITLE
    right, bottom = max(b[0] + b[2] for b in boxes) + MARGIN, max(b[1] + b[3] for b in boxes) + MARGIN
    return replace(group, rectangle=(left, top, right - left, bottom - top))


# ---- groups


@dataclass(frozen=True)
class SetGroups(Edit):
    """The groups of the open level, all of them."""

    kind: ClassVar[str] = "set_groups"

    groups: tuple[Group, ...]

    def steps(self, document: GraphDocument) -> Iterator[Step]:
        if self.groups != document.groups:
            yield steps.SetGroups(document.graph_id, self.groups)


@dataclass(frozen=True)
class GroupNodes(Edit):
    """Put a titled frame around nodes."""

    kind: ClassVar[str] = "group_nodes"

    nodes: tuple[str, ...]
    title: str = ""
    colour: str = ""
    sizes: Mapping[str, tuple[float, float]] = field(default_factory=dict)

    def steps(self, document: GraphDocument) -> Iterator[Step]:
        if not self.nodes:
            raise InvalidRequest("choose the nodes that the frame shall hold")
        group = _fitted(document, Group(title=self.title, colour=self.colour), self.nodes, self.sizes)
        yield steps.SetGroups(document.graph_id, (*document.groups, group))


@dataclass(frozen=True)
class MoveGroup(Edit):
    """Move a group, by its index, with the nodes and groups in it; `nodes` are those it carries (`contents`)."""

    kind: ClassVar[str] = "move_group"

    group: int
    by: tuple[float, float]
    nodes: tuple[str, ...] = ()

    def steps(self, document: GraphDocument) -> Iterator[Step]:
        groups = document.groups
        if not 0 <= self.group < len(groups):
            raise InvalidRequest("there is no such frame")
        frame = groups[self.group].rectangle
        moved = tuple(
            _shifted(group, self.by) if index == self.group or _within(group.rectangle, frame) else group
            for index, group in enumerate(groups)
        )
        yield steps.SetGroups(document.graph_id, moved)
        places = {name: document.node(name).position for name in self.nodes}
        yield from MoveNodes({n: (x + self.by[0], y + self.by[1]) for n, (x, y) in places.items()}).steps(document)


def _shifted(group: Group, by: Point) -> Group:
    x, y, width, height = group.rectangle
    return replace(group, rectangle=(x + by[0], y + by[1], width, height))


def _within(inner: Rectangle, outer: Rectangle) -> bool:
    return (
        inner != outer
        and outer[0] <= inner[0]
        and outer[1] <= inner[1]
        and inner[0] + inner[2] <= outer[0] + outer[2]
        and inner[1] + inner[3] <= outer[1] + outer[3]
    )
