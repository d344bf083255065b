"""Painting a frame: three bands of detail, each in one pass over what is visible.

near   (scale ≥ .45)     every node from its own picture, wires smooth, frames with titles
middle (.18 to .45)      every node from the picture its layout shares, titles where they can be read
far    (< .18)           rectangles and lines in batches
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from PySide6.QtCore import QPointF, QRectF, Qt
from PySide6.QtGui import QFont, QPainter, QPen, QPixmap, QTransform

from ui import theme
from ui.graph_canvas.far import FarBand
from ui.graph_canvas.frames import paint_frames
from ui.graph_canvas.geometry import HEADER, MARGIN, PAD
from ui.graph_canvas.node_item import NodeItem
from ui.graph_canvas.node_painter import NodePainter, mixed
from ui.graph_canvas.overlays import paint_preview, paint_result, paint_state
from ui.graph_canvas.pixmaps import PixmapCache, Stamp, whole_pixel
from ui.graph_canvas.scene import GraphScene
from ui.graph_canvas.under import NEAR, UnderNodes

FAR = 0.18
READABLE = 0.3  # below it a title would be smaller than 5 pixels
SMALLEST_TITLE = 9  # pixels of a title from afar, where few enough nodes are seen
MOST_TITLES = 150  # nodes seen beyond which titles from afar are as small as the nodes are
FRESH_PICTURES = 4  # new node pictures in one frame while zooming; the others come when it rests
FRESH_PIXELS = 600_000  # and no more than these many pixels of them
MOST_PREVIEWS = 120  # nodes seen in the middle band beyond which their pictures are left out
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
        self.under, self.far = UnderNodes(self), FarBand(self)
        self.refresh()

    def refresh(self) -> None:
        """After a change of theme."""
        self.under.forget()
        self.far.forget()
        self.nodes.refresh()
        self.pictures.clear()
        self._sprites.clear()
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
            self.under.forget()
            paint_frames(painter, self.scene.document.groups, area, scale, self.nodes)
        elif moving or not self.under.from_layer(painter, transform, area, ratio):
            self.under.paint(painter, transform, area)
        if band == "far":
            self.far.paint(painter, area, scale)
            return False
        if band == "middle":
            self.under.wires(painter, area, scale)
        items = self.scene.nodes_in(area)
        if band == "middle":
            self._paint_middle(painter, items, transform, scale, ratio)
            return False
        return self._paint_near(painter, items, transform, scale, ratio, moving)

    def rest(self, scale: float, ratio: float) -> None:
        """A zoom has ended: pictures of other scales will not be seen again."""
        self.pictures.keep_only(scale, ratio)

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
                painter.drawPixmap(QPointF(whole_pixel(place.x(), ratio), whole_pixel(place.y(), ratio)), picture)
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
