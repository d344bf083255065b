"""Painting a frame: three bands of detail, each in one pass over what is visible.

near   (scale ≥ .45)     every node from its own picture, wires smooth, frames with titles
middle (.18 to .45)      every node from the picture its layout shares, titles where they can be read
far    (< .18)           rectangles and lines in batches
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from PySide6.QtCore import QLineF, QPointF, QRectF, Qt
from PySide6.QtGui import QColor, QFont, QPainter, QPen, QPixmap, QPolygonF, QTransform

from ui import theme
from ui.graph_canvas.frames import paint_frames
from ui.graph_canvas.geometry import HEADER, MARGIN, PAD
from ui.graph_canvas.node_item import NodeItem
from ui.graph_canvas.node_painter import NodePainter, mixed
from ui.graph_canvas.overlays import paint_preview, paint_result, paint_state
from ui.graph_canvas.pixmaps import PixmapCache, Stamp
from ui.graph_canvas.scene import GraphScene
from ui.graph_canvas.sockets import colour_of

NEAR, FAR = 0.45, 0.18
READABLE = 0.3  # below it a title would be smaller than 5 pixels
SMALLEST_TITLE = 9  # pixels of a title from afar, where few enough nodes are seen
MOST_TITLES = 150  # nodes seen beyond which titles from afar are as small as the nodes are
FRESH_PICTURES = 4  # new node pictures in one frame while zooming; the others come when it rests
FRESH_PIXELS = 600_000  # and no more than these many pixels of them
STRIP = 64  # pixels: of an area thinner than this only parts of wires are painted
MOST_PREVIEWS = 120  # nodes seen in the middle band beyond which their pictures are left out
LAYER_MARGIN = 96  # pixels around the window that the picture under the nodes has more, for pans
DOTS = 40.0  # scene pixels between the dots of the ground
Band = Literal["near", "middle", "far"]


def band_of(scale: float) -> Band:
    return "near" if scale >= NEAR else "middle" if scale >= FAR else "far"


class FramePainter:
    """Paints the visible part of a scene. Keeps pictures of nodes, and the batches of the far band."""

    def __init__(self, scene: GraphScene) -> None:
        self.scene = scene
        self.nodes = NodePainter()
        self.pictures = PixmapCache()
        self.hovered = ""
        self.faded = False  # a wire is being drawn: what it can't reach steps back
        self.reachable: frozenset[str] = frozenset()
        self.hidden_wire: object = None  # the one that hangs at the pointer
        self.lit_wire: object = None
        self._sprites: dict[tuple[object, ...], QPixmap] = {}
        self._sprite_scale = (0.0, 0.0)
        self._far: tuple[object, dict[str, list[QRectF]], dict[str, list[QRectF]], dict[str, list[QLineF]]] | None = (
            None
        )
        self._dots: tuple[float, QPolygonF] = (0.0, QPolygonF())
        self._small_font = QFont()
        self._under_key: tuple[object, ...] = ()
        self._under: tuple[QPointF, QPixmap] | None = None
        self.refresh()

    def refresh(self) -> None:
        """After a change of theme."""
        self._under_key, self._under = (), None
        self.nodes.refresh()
        self.pictures.clear()
        self._sprites.clear()
        self._far = None
        self.ground = theme.token("surface0")
        self.grain = mixed(self.ground, theme.token("text_muted"), 0.22)
        self.accent = theme.token("accent")
        self.focus = theme.token("focus")

    def paint(self, painter: QPainter, transform: QTransform, area: QRectF, ratio: float, *, moving: bool) -> bool:
        """Paint `area` (scene pixels). `moving`: a zoom is under way, so that nodes may be shown from pictures of
        another scale; returns whether any was, and a frame at rest is due."""
        scale = transform.m11()
        band = band_of(scale)
        painter.setWorldTransform(transform)
        if band != "near":
            self._under_key, self._under = (), None
            paint_frames(painter, self.scene.document.groups, area, scale, self.nodes)
        elif moving or not self._from_layer(painter, transform, area, ratio):
            self._below_nodes(painter, transform, area)
        if band == "far":
            self._paint_far(painter, area, scale)
            return False
        if band == "middle":
            self._wires(painter, area, scale)
        items = self.scene.nodes_in(area)
        if band == "middle":
            self._paint_middle(painter, items, transform, scale, ratio)
            return False
        return self._paint_near(painter, items, transform, scale, ratio, moving)

    def rest(self, scale: float, ratio: float) -> None:
        """A zoom has ended: pictures of other scales will not be seen again."""
        self.pictures.keep_only(scale, ratio)

    # ---- what lies under the nodes: ground, frames and wires

    def _below_nodes(self, painter: QPainter, transform: QTransform, area: QRectF) -> None:
        scale = transform.m11()
        self._ground(painter, transform, area, scale)
        paint_frames(painter, self.scene.document.groups, area, scale, self.nodes)
        self._wires(painter, area, scale)

    def _from_layer(self, painter: QPainter, transform: QTransform, area: QRectF, ratio: float) -> bool:
        """Paint what lies under the nodes from a picture of it, a little larger than the window, that is kept while
        nothing of it changes: smooth wires cost more than all else in a frame. False when something did change since
        the last frame; a drag would make the picture anew each time and is faster without."""
        scene, scale, dx, dy = self.scene, transform.m11(), transform.dx(), transform.dy()
        key = (
            scene.table.revision, scene.revision, scene.document.groups, scale, ratio, self.faded, self.hidden_wire,
            self.lit_wire, frozenset(scene.selected), round(dx % 1.0, 3), round(dy % 1.0, 3),
        )  # fmt: skip
        if key != self._under_key:
            self._under_key, self._under = key, None
            return False
        seen = transform.mapRect(area)
        if self._under is None or not self._layer_box(transform, ratio).contains(seen):
            self._under = self._layer(painter, transform, ratio)
        corner, picture = self._under
        painter.setWorldTransform(_PLAIN)
        painter.drawPixmap(QPointF(_whole(corner.x() + dx, ratio), _whole(corner.y() + dy, ratio)), picture)
        painter.setWorldTransform(transform)
        return True

    def _layer_box(self, transform: QTransform, ratio: float) -> QRectF:
        """Where the kept picture lies in the window now."""
        assert self._under is not None
        corner, picture = self._under
        return QRectF(
            corner.x() + transform.dx(), corner.y() + transform.dy(),
            picture.width() / ratio, picture.height() / ratio,
        )  # fmt: skip

    def _layer(self, painter: QPainter, transform: QTransform, ratio: float) -> tuple[QPointF, QPixmap]:
        """(its corner in pixels of the scene, the picture) for the window as it stands and a margin around it."""
        window = painter.device()
        width, height = window.width() + 2 * LAYER_MARGIN, window.height() + 2 * LAYER_MARGIN
        picture = QPixmap(round(width * ratio), round(height * ratio))
        picture.setDevicePixelRatio(ratio)
        picture.fill(self.ground)
        moved = transform * QTransform.fromTranslate(LAYER_MARGIN, LAYER_MARGIN)
        inner = QPainter(picture)
        inner.setWorldTransform(moved)
        self._below_nodes(inner, moved, moved.inverted()[0].mapRect(QRectF(0, 0, width, height)))
        inner.end()
        return QPointF(-LAYER_MARGIN - transform.dx(), -LAYER_MARGIN - transform.dy()), picture

    def _ground(self, painter: QPainter, transform: QTransform, area: QRectF, scale: float) -> None:
        """Dots, a row at a time from one polygon."""
        first_x, first_y = _down(area.left()), _down(area.top())
        across = int(area.width() / DOTS) + 2
        if self._dots[0] < across:
            self._dots = (across + 16, QPolygonF([QPointF(i * DOTS, 0) for i in range(across + 16)]))
        painter.setRenderHint(QPainter.RenderHint.Antialiasing, False)
        painter.setPen(QPen(self.grain, 1.5 if scale > 0.8 else 1.0))
        pen = painter.pen()
        pen.setCosmetic(True)
        painter.setPen(pen)
        y = first_y
        while y <= area.bottom():
            painter.setWorldTransform(QTransform.fromTranslate(first_x, y) * transform)
            painter.drawPoints(self._dots[1])
            y += DOTS
        painter.setWorldTransform(transform)

    def _wires(self, painter: QPainter, area: QRectF, scale: float) -> None:
        table = self.scene.table
        rows, spans = table.crossing(area, 3.0 + 2.0 / scale)
        if not len(rows):
            return
        thin = min(area.width(), area.height()) * scale < STRIP
        kinds = table.kind_of_rows(rows)
        near = scale >= NEAR
        painter.setRenderHint(QPainter.RenderHint.Antialiasing, near)
        painter.setBrush(Qt.BrushStyle.NoBrush)
        if self.faded:
            painter.setOpacity(0.25)
        selected = self.scene.selected
        lit: list[int] = []
        last = -1
        for index in kinds.argsort(kind="stable").tolist():
            row, number = int(rows[index]), int(kinds[index])
            wire = table.wires[row]
            if wire == self.hidden_wire:
                continue
            if wire.source in selected or wire.target in selected or wire == self.lit_wire:
                lit.append(row)
                continue
            if number != last:
                painter.setPen(self._wire_pen(table.kinds[number], scale, 2.2))
                last = number
            painter.drawPath(table.part(row, *spans[index].tolist()) if thin else table.path(row))
        for row in lit:
            wire = table.wires[row]
            strong = wire == self.lit_wire
            painter.setPen(self._wire_pen(table.kind(row), scale, 5.0 if strong else 3.4))
            painter.drawPath(table.path(row))
        painter.setOpacity(1.0)

    def _wire_pen(self, kind: str, scale: float, width: float) -> QPen:
        pen = QPen(colour_of(kind))
        pen.setCapStyle(Qt.PenCapStyle.FlatCap)
        if scale >= NEAR:
            pen.setWidthF(max(width, 1.5 / scale))
        else:
            pen.setWidthF(1.0 if width < 3 else 2.0)
            pen.setCosmetic(True)
        return pen

    # ---- near

    def _paint_near(
        self,
        painter: QPainter,
        items: Sequence[NodeItem],
        transform: QTransform,
        scale: float,
        ratio: float,
        moving: bool,
    ) -> bool:
        fresh, pixels, stale = 0, 0.0, False
        states, selected = self.scene.states, self.scene.selected
        painter.setRenderHint(QPainter.RenderHint.SmoothPixmapTransform, not moving)
        for item in items:
            name = item.node.id
            stamp: Stamp = (scale, ratio, item.version)
            picture = self.pictures.get(name, stamp)
            x, y = item.corner
            fade = self.faded and name not in self.reachable
            if fade:
                painter.setOpacity(0.35)
            if name in selected or name == self.hovered:  # below the picture, so that sockets lie on the ring
                painter.setWorldTransform(transform)
                self._ring(painter, item, name in selected)
            size = item.layout.width * item.layout.height * (scale * ratio) ** 2
            if picture is None and moving and (fresh >= FRESH_PICTURES or pixels + size > FRESH_PIXELS):
                stale = True
                old = self.pictures.any_of(name, item.version) or self._sprite(item, scale, ratio)
                box = QRectF(x - MARGIN, y - MARGIN, item.layout.width + 2 * MARGIN, item.layout.height + 2 * MARGIN)
                painter.setWorldTransform(transform)
                painter.drawPixmap(box, old, QRectF(old.rect()))
            else:
                if picture is None:
                    fresh, pixels = fresh + 1, pixels + size
                    picture = self.pictures.make(name, stamp, lambda i=item: self._picture(i, scale, ratio))  # type: ignore[misc]
                place = transform.map(QPointF(x - MARGIN, y - MARGIN))
                painter.setWorldTransform(_PLAIN)
                painter.drawPixmap(QPointF(_whole(place.x(), ratio), _whole(place.y(), ratio)), picture)
            state = states.get(name)
            if state is not None and state.kind == "running":
                painter.setWorldTransform(transform)
                painter.translate(x, y)
                paint_state(painter, item, state, self.nodes)
            if fade:
                painter.setOpacity(1.0)
        painter.setWorldTransform(transform)
        return stale

    def _picture(self, item: NodeItem, scale: float, ratio: float) -> QPixmap:
        pixmap, painter = _canvas(item, scale, ratio)
        links = item.links()
        vanished = item.schema.origin == "placeholder"
        self.nodes.paint(painter, item.node, item.schema, item.layout, links, item.title, vanished)
        preview, state = self.scene.previews.get(item.node.id), self.scene.states.get(item.node.id)
        if preview is not None:
            painter.setRenderHint(QPainter.RenderHint.SmoothPixmapTransform)
            paint_preview(painter, item, preview, scale * ratio)
        text = self.scene.texts.get(item.node.id)
        if text is not None:
            paint_result(painter, item, text, self.nodes)
        if state is not None and state.kind != "running":  # what does not change at each step is part of the picture
            paint_state(painter, item, state, self.nodes)
        painter.end()
        return pixmap

    def _ring(self, painter: QPainter, item: NodeItem, selected: bool) -> None:
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        painter.setBrush(Qt.BrushStyle.NoBrush)
        painter.setPen(QPen(self.accent if selected else self.nodes.border, 4.5 if selected else 2.5))
        painter.drawRoundedRect(item.rect(), 7, 7)

    # ---- middle

    def _paint_middle(
        self, painter: QPainter, items: Sequence[NodeItem], transform: QTransform, scale: float, ratio: float
    ) -> None:
        painter.setWorldTransform(_PLAIN)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing, False)
        dx, dy = transform.dx(), transform.dy()
        for item in items:
            x, y = item.corner
            place = QPointF(round((x - MARGIN) * scale + dx), round((y - MARGIN) * scale + dy))
            painter.drawPixmap(place, self._sprite(item, scale, ratio))
        if scale >= READABLE or len(items) <= MOST_TITLES:
            self._titles(painter, items, scale, dx, dy)
        painter.setWorldTransform(transform)
        painter.setBrush(Qt.BrushStyle.NoBrush)
        states, selected = self.scene.states, self.scene.selected
        previews = self.scene.previews if len(items) <= MOST_PREVIEWS else {}
        for item in items if states or selected or previews else ():
            name = item.node.id
            if name in previews:
                painter.translate(*item.corner)
                paint_preview(painter, item, previews[name], scale * ratio)
                painter.translate(-item.corner[0], -item.corner[1])
            if name in selected:
                painter.setPen(QPen(self.accent, 2.0 / scale))
                painter.drawRect(item.rect())
            state = states.get(name)
            if state is not None and state.kind in {"running", "failed"}:
                painter.translate(*item.corner)
                paint_state(painter, item, state, self.nodes, words=False)
                painter.translate(-item.corner[0], -item.corner[1])

    def _titles(self, painter: QPainter, items: Sequence[NodeItem], scale: float, dx: float, dy: float) -> None:
        font = QFont(self.nodes.title_font)
        pixels = max(SMALLEST_TITLE if len(items) <= MOST_TITLES else 5, round(13 * scale))
        font.setPixelSize(pixels)
        share = 13 * scale / pixels  # of the title that has room, drawn larger than the node is
        painter.setFont(font)
        painter.setPen(self.nodes.strong)
        for item in items:
            if item.layout.shape == "box":
                x, y = item.corner
                pad = PAD * min(1.0, share)
                room = (item.layout.width - 2 * pad) * min(1.0, share) // 4 * 4
                place = QPointF((x + pad) * scale + dx, y * scale + max(HEADER * 0.68 * scale, pixels) + dy)
                painter.drawText(place, self.nodes.fitted_title(item.title, room))

    def _sprite(self, item: NodeItem, scale: float, ratio: float) -> QPixmap:
        """The shape shared by every node of one layout and colour, at this scale."""
        if self._sprite_scale != (scale, ratio):
            self._sprites.clear()
            self._sprite_scale = (scale, ratio)
        node = item.node
        stripe = item.schema.outputs[0].type if item.schema.outputs else ""
        key = (id(item.layout), stripe, node.colour, node.mode)
        found = self._sprites.get(key)
        if found is None:
            found, painter = _canvas(item, scale, ratio)
            self.nodes.paint_plain(painter, node, item.schema, item.layout)
            painter.end()
            self._sprites[key] = found
        return found

    # ---- far

    def _paint_far(self, painter: QPainter, area: QRectF, scale: float) -> None:
        painter.setRenderHint(QPainter.RenderHint.Antialiasing, False)
        bodies, stripes, lines = self._batches(area)
        for kind, found in lines.items():
            colour = colour_of(kind)
            colour.setAlphaF(0.55)
            pen = QPen(colour, 1)
            pen.setCosmetic(True)
            painter.setPen(pen)
            painter.drawLines(found)
        painter.setPen(Qt.PenStyle.NoPen)
        for group in (bodies, stripes):
            for colour_name, boxes in group.items():
                painter.setBrush(QColor(colour_name))
                painter.drawRects(boxes)
        self._far_marks(painter, area, scale)

    def _batches(
        self, area: QRectF
    ) -> tuple[dict[str, list[QRectF]], dict[str, list[QRectF]], dict[str, list[QLineF]]]:
        """Rectangles by colour and lines by socket type: of everything when most is seen, kept until it changes; else
        only of what is."""
        scene = self.scene
        rows = scene.table.visible(area)
        whole = len(rows) * 2 >= len(scene.table)
        key = scene.revision
        if whole and self._far is not None and self._far[0] == key:
            return self._far[1:]
        items = list(scene.items_by_id.values()) if whole else scene.nodes_in(area)
        bodies: dict[str, list[QRectF]] = {}
        stripes: dict[str, list[QRectF]] = {}
        paint = self.nodes
        base = self.nodes.head.name()
        for item in items:
            node, layout = item.node, item.layout
            x, y = item.corner
            name = paint.tinted(paint.head, node, 0.5).name() if node.colour else base
            bodies.setdefault(name, []).append(QRectF(x, y, layout.width, layout.height))
            stripes.setdefault(paint.stripe_name(node, item.schema), []).append(
                QRectF(x, y, layout.width, HEADER * 0.7)
            )
        if whole:
            rows = scene.table.all_rows()
        lines = {
            kind: [QLineF(*end) for end in ends.tolist()] for kind, ends in scene.table.lines(rows).items() if len(ends)
        }
        if whole:
            self._far = (key, bodies, stripes, lines)
        return bodies, stripes, lines

    def _far_marks(self, painter: QPainter, area: QRectF, scale: float) -> None:
        scene = self.scene
        items = scene.items_by_id
        boxes = [items[name].rect() for name in scene.selected if name in items]
        if boxes:
            painter.setBrush(Qt.BrushStyle.NoBrush)
            painter.setPen(QPen(self.accent, 2 / scale))
            painter.drawRects(boxes)
        painter.setPen(Qt.PenStyle.NoPen)
        for name, state in scene.states.items():
            if name in items and state.kind in {"running", "failed"}:
                painter.setBrush(self.nodes.danger if state.kind == "failed" else self.accent)
                painter.drawRect(items[name].rect())


_PLAIN = QTransform()


def _canvas(item: NodeItem, scale: float, ratio: float) -> tuple[QPixmap, QPainter]:
    """An empty picture of the node's size with its margin, and a painter in the node's own coordinates."""
    width, height = item.layout.width + 2 * MARGIN, item.layout.height + 2 * MARGIN
    pixel = scale * ratio
    pixmap = QPixmap(max(1, round(width * pixel)), max(1, round(height * pixel)))
    pixmap.fill(Qt.GlobalColor.transparent)
    pixmap.setDevicePixelRatio(ratio)
    painter = QPainter(pixmap)
    painter.scale(scale, scale)
    painter.translate(MARGIN, MARGIN)
    return pixmap, painter


def _down(value: float) -> float:
    return value // DOTS * DOTS


def _whole(value: float, ratio: float) -> float:
    return round(value * ratio) / ratio
