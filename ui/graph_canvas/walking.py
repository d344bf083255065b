"""Going through the graph by keys: along the wires, and to what lies beside."""

from __future__ import annotations

from typing import Literal

from ui.graph_canvas.node_item import NodeItem
from ui.graph_canvas.scene import GraphScene

Way = Literal["right", "left", "up", "down", "next", "previous"]


def step(scene: GraphScene, name: str, way: Way) -> str:
    """The node that lies `way` from `name`: right and left along wires (else the nearest that side), up and down the
    nearest above or below, next and previous in reading order. `name` itself when there is none; the first node of
    all when `name` is "". "" for an empty canvas."""
    items = scene.items_by_id
    if not items:
        return ""
    order = sorted(items.values(), key=lambda item: (item.corner[0], item.corner[1], item.node.id))
    if name not in items:
        return order[0].node.id
    here = items[name]
    if way in {"next", "previous"}:
        place = order.index(here) + (1 if way == "next" else -1)
        return order[place % len(order)].node.id
    if way in {"right", "left"}:
        if way == "right":
            linked = {wire.target for wire in scene.document.wires_from(name)}
        else:
            linked = {wire.source for wire in scene.document.wires_into(name)}
        near = [items[other] for other in linked if other in items]
        if near:
            return min(near, key=lambda item: _apart(here, item)).node.id
    return _beside(order, here, way)


def _beside(order: list[NodeItem], here: NodeItem, way: Way) -> str:
    """The nearest node within the quarter that `way` points to."""
    x, y = _middle(here)
    best: tuple[float, str] | None = None
    for item in order:
        dx, dy = _middle(item)[0] - x, _middle(item)[1] - y
        if way in {"left", "up"}:
            dx, dy = -dx, -dy
        ahead, aside = (dx, abs(dy)) if way in {"left", "right"} else (dy, abs(dx))
        if item is not here and ahead > 0:
            value = ahead + 2 * aside
            if best is None or value < best[0]:
                best = (value, item.node.id)
    return best[1] if best is not None else here.node.id


def _middle(item: NodeItem) -> tuple[float, float]:
    return item.corner[0] + item.layout.width / 2, item.corner[1] + item.layout.height / 2


def _apart(a: NodeItem, b: NodeItem) -> tuple[float, str]:
    (ax, ay), (bx, by) = _middle(a), _middle(b)
    return (abs(ax - bx) + 2 * abs(ay - by), b.node.id)
