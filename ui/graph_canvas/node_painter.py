"""Paints one node in its own coordinates: whole, as text and sockets near, and as a plain shape from afar."""

from __future__ import annotations

from collections.abc import Callable, Collection

from PySide6.QtCore import QPointF, QRectF, Qt
from PySide6.QtGui import QColor, QFont, QFontMetricsF, QPainter, QPainterPath, QPen

from engine.contracts.node_schema import NodeSchema
from engine.contracts.workflow import Node
from studio_app.documents.seeds import SHORT
from ui import theme
from ui.graph_canvas.geometry import HEADER, PAD, RADIUS, ROW, NodeLayout, Row, label_of
from ui.graph_canvas.sockets import colour_of, name_words, shape_path
from ui.graph_canvas.values_text import value_of, value_text

CORNER = 7.0
_LEFT = int(Qt.AlignmentFlag.AlignVCenter | Qt.AlignmentFlag.AlignLeft)
_RIGHT = int(Qt.AlignmentFlag.AlignVCenter | Qt.AlignmentFlag.AlignRight)
_TOP = int(Qt.AlignmentFlag.AlignTop | Qt.AlignmentFlag.AlignLeft)
_WRAP = {True: _TOP | int(Qt.TextFlag.TextWordWrap), False: _TOP | int(Qt.TextFlag.TextWrapAnywhere)}
LONGEST_WORD = 24  # letters of a word that fits a node; a longer one is broken where the line ends


class NodePainter:
    """Holds the theme's pens, fonts and measures; `refresh` after a change of theme."""

    def __init__(self) -> None:
        self._words: dict[tuple[str, int], str] = {}
        self._names: dict[str, str] = {}
        self.refresh()

    def refresh(self) -> None:
        """Take colours and fonts again. Canvas pixels know no scale of the interface: the view's zoom has it."""
        token = theme.token
        self.body, self.head, self.field = token("surface2"), token("surface3"), token("surface1")
        self.line, self.strong, self.text, self.muted = (
            token("line"), token("text_strong"), token("text"), token("text_muted"),
        )  # fmt: skip
        self.accent, self.danger = token("accent"), token("danger")
        self.border = token("control_line")
        self.paper = token("surface0")
        self.title_font = _font(13, QFont.Weight.DemiBold)
        self.row_font = _font(12)
        self.title_metrics = QFontMetricsF(self.title_font)
        self.row_metrics = QFontMetricsF(self.row_font)
        self._words.clear()
        self._names.clear()
        shape_path.cache_clear()

    # ---- near

    def paint(
        self,
        painter: QPainter,
        node: Node,
        schema: NodeSchema,
        layout: NodeLayout,
        linked: Collection[str],
        title: str,
        vanished: bool = False,
    ) -> None:
        """The whole node but what changes while it runs. `linked`: the inputs and outputs that have a wire."""
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        if node.mode == "mute":
            painter.setOpacity(0.45)
        elif node.mode == "bypass":
            painter.setOpacity(0.7)
        if layout.shape == "reroute":
            self._pill(painter, layout)
        elif layout.shape == "note":
            self._note(painter, node, layout, title)
        else:
            self._box(painter, node, schema, layout, linked, title, vanished)
        self._sockets(painter, layout, linked)
        painter.setOpacity(1.0)

    def _box(self, painter: QPainter, node: Node, schema: NodeSchema, layout: NodeLayout, linked: Collection[str],
             title: str, vanished: bool) -> None:  # fmt: skip
        box = QRectF(0.5, 0.5, layout.width - 1, layout.height - 1)
        outline = QPainterPath()
        outline.addRoundedRect(box, CORNER, CORNER)
        painter.fillPath(outline, self.tinted(self.body, node, 0.16))
        painter.save()
        painter.setClipPath(outline)
        painter.fillRect(QRectF(0, 0, layout.width, HEADER), self.tinted(self.head, node, 0.5))
        painter.fillRect(QRectF(0, 0, layout.width, 3), self.stripe(node, schema))
        painter.restore()
        pen = QPen(self.danger if vanished else self.line, 1.5 if vanished else 1)
        if vanished or node.mode == "bypass":
            pen.setStyle(Qt.PenStyle.DashLine)
        painter.strokePath(outline, pen)
        painter.setFont(self.title_font)
        painter.setPen(self.strong)
        room = layout.width - 2 * PAD - 16
        place = QRectF(PAD + 16, 2, room, HEADER - 2)
        painter.drawText(place, _LEFT, self._fit(title, room - 56, self.title_metrics, 0))
        self._fold(painter, layout.collapsed)
        if node.mode != "active" or vanished:
            painter.setFont(self.row_font)
            painter.setPen(self.danger if vanished else self.muted)
            note = "missing" if vanished else ("muted" if node.mode == "mute" else "bypassed")
            painter.drawText(QRectF(PAD, 2, layout.width - 2 * PAD, HEADER - 2), _RIGHT, note)
        painter.setFont(self.row_font)
        for row in layout.rows:
            if row.kind == "slot":
                self._slot(painter, schema, layout, row)
            else:
                self._value(painter, node, layout, row, row.input in linked)
        if layout.preview is not None:
            self._no_picture_yet(painter, QRectF(*layout.preview))
        if layout.result is not None:
            self._result_area(painter, QRectF(*layout.result))

    def _result_area(self, painter: QPainter, area: QRectF) -> None:
        """The room for what the node gives: paper with the edge of an output, so that it is no field to write in."""
        painter.fillRect(area, self.paper)
        painter.fillRect(QRectF(area.left(), area.top(), 2, area.height()), self.line)

    def _no_picture_yet(self, painter: QPainter, area: QRectF) -> None:
        """The room for a picture, with hills and a sun in the faintest line."""
        painter.fillRect(area, self.paper)
        if min(area.width(), area.height()) < 40:
            return
        x, y = area.center().x(), area.center().y()
        path = QPainterPath(QPointF(x - 16, y + 10))
        for dx, dy in ((-6, -2), (0, 5), (6, -6), (16, 10), (-16, 10)):
            path.lineTo(x + dx, y + dy)
        path.addEllipse(QPointF(x - 9, y - 9), 3, 3)
        painter.strokePath(path, QPen(self.line, 1.6))

    def _fold(self, painter: QPainter, collapsed: bool) -> None:
        """The triangle that collapses the node."""
        path = QPainterPath()
        x, y = PAD + 4, HEADER / 2 + 1
        if collapsed:
            path.moveTo(x - 2, y - 4)
            path.lineTo(x + 3, y)
            path.lineTo(x - 2, y + 4)
        else:
            path.moveTo(x - 4, y - 2)
            path.lineTo(x, y + 3)
            path.lineTo(x + 4, y - 2)
        painter.strokePath(path, QPen(self.muted, 1.6))

    def _slot(self, painter: QPainter, schema: NodeSchema, layout: NodeLayout, row: Row) -> None:
        painter.setPen(self.text)
        half = layout.width / 2 - PAD
        both = bool(row.input) and bool(row.output)
        room = half - 8 if both else layout.width - 2 * PAD - 8
        if row.input and row.schema is not None:
            words = self._fit(label_of(row.input, row.schema), room, self.row_metrics, 1)
            painter.drawText(QRectF(PAD + 4, row.y, room, row.height), _LEFT, words)
        if row.output:
            words = self._fit(name_words(row.output), room, self.row_metrics, 1)
            painter.drawText(QRectF(layout.width - PAD - 4 - room, row.y, room, row.height), _RIGHT, words)

    def _value(self, painter: QPainter, node: Node, layout: NodeLayout, row: Row, linked: bool) -> None:
        item = row.schema
        assert item is not None
        label = label_of(row.input, item)
        field = QRectF(PAD, row.y + 2, layout.width - 2 * PAD, row.height - 4)
        painter.setPen(Qt.PenStyle.NoPen)
        if not linked:
            painter.setBrush(self.field)
            painter.drawRoundedRect(field, 4, 4)
        inner = field.adjusted(8, 0, -8, 0)
        if linked:
            painter.setPen(self.text)
            painter.drawText(inner, _LEFT, self._fit(label, inner.width(), self.row_metrics, 1))
            return
        value = value_of(item, node.inputs, row.input)
        if row.kind == "text":
            text = value_text(item, value)
            painter.setPen(self.strong if text else self.muted)
            lines = self._lines(text or label, inner.width(), row.height)
            by_word = all(len(word) <= LONGEST_WORD for word in lines.split())
            painter.drawText(inner.adjusted(0, 5, 0, -4), _WRAP[by_word], lines)
            return
        painter.setPen(self.muted)
        after = node.seeds.get(row.input, "fixed") if node.seeds else "fixed"
        label = label if after == "fixed" else f"{label} · {SHORT[after]}"
        words = self._fit(label, inner.width() * 0.62, self.row_metrics, 1)
        painter.drawText(inner, _LEFT, words)
        room = inner.width() - self.row_metrics.horizontalAdvance(words) - 10
        if item.type == "BOOLEAN":
            self._switch(painter, inner, bool(value))
            return
        if item.type == "COLOUR" and isinstance(value, str) and QColor.isValidColorName(value):
            painter.setPen(QPen(self.border, 1))
            painter.setBrush(QColor(value))
            painter.drawRoundedRect(QRectF(inner.right() - 34, inner.center().y() - 7, 34, 14), 3, 3)
            return
        if item.type == "COMBO":
            self._caret(painter, inner)
            room -= 14
            inner = inner.adjusted(0, 0, -14, 0)
        painter.setPen(self.strong)
        painter.drawText(inner, _RIGHT, self._fit(value_text(item, value), room, self.row_metrics, 1))

    def _switch(self, painter: QPainter, inner: QRectF, on: bool) -> None:
        track = QRectF(inner.right() - 26, inner.center().y() - 7, 26, 14)
        painter.setPen(QPen(self.border, 1))
        painter.setBrush(self.accent if on else self.head)
        painter.drawRoundedRect(track, 7, 7)
        painter.setPen(Qt.PenStyle.NoPen)
        painter.setBrush(self.body if on else self.muted)
        painter.drawEllipse(QPointF(track.right() - 7 if on else track.left() + 7, track.center().y()), 4.5, 4.5)

    def _caret(self, painter: QPainter, inner: QRectF) -> None:
        x, y = inner.right() - 4, inner.center().y()
        path = QPainterPath(QPointF(x - 4, y - 2))
        path.lineTo(x, y + 2)
        path.lineTo(x + 4, y - 2)
        painter.strokePath(path, QPen(self.muted, 1.4))

    def _pill(self, painter: QPainter, layout: NodeLayout) -> None:
        painter.setPen(QPen(self.border, 1))
        painter.setBrush(self.body)
        painter.drawRoundedRect(QRectF(0.5, 4.5, layout.width - 1, layout.height - 9), 7.5, 7.5)

    def _note(self, painter: QPainter, node: Node, layout: NodeLayout, title: str) -> None:
        from ui.graph_canvas.notes import paint_note

        paper = self.tinted(self.field, node, 0.25)
        painter.setPen(QPen(self.line, 1))
        painter.setBrush(paper)
        painter.drawRoundedRect(QRectF(0.5, 0.5, layout.width - 1, layout.height - 1), CORNER, CORNER)
        text = str(node.inputs.get("text", "") or "")
        paint_note(painter, node.title, text, QRectF(PAD, 6, layout.width - 2 * PAD, layout.height - 12), self.text)

    def _sockets(self, painter: QPainter, layout: NodeLayout, linked: Collection[str]) -> None:
        if layout.collapsed:
            return
        ring = QPen(self.body, 1.5)
        for name, (x, y, kind) in layout.inputs.items():
            self.socket(painter, x, y, kind, ring, hollow=name not in linked)
        for x, y, kind in layout.outputs.values():
            self.socket(painter, x, y, kind, ring)

    def socket(self, painter: QPainter, x: float, y: float, kind: str, ring: QPen | None = None, *,
               hollow: bool = False, radius: float = RADIUS) -> None:  # fmt: skip
        """A socket at (x, y): filled with its colour; hollow where an input has no wire."""
        path, colour = shape_path(kind, radius), colour_of(kind)
        painter.translate(x, y)
        if hollow:
            painter.fillPath(path, self.body)
            painter.strokePath(path, QPen(colour, 1.8))
        else:
            painter.fillPath(path, colour)
            if ring is not None:
                painter.strokePath(path, ring)
        painter.translate(-x, -y)

    # ---- from afar

    def paint_plain(self, painter: QPainter, node: Node, schema: NodeSchema, layout: NodeLayout) -> None:
        """Without words: the box, its head, a bar for each value, sockets as dots. The same for nodes of one layout."""
        if node.mode == "mute":
            painter.setOpacity(0.45)
        width, height = layout.width, layout.height
        painter.fillRect(QRectF(0, 0, width, height), self.tinted(self.body, node, 0.16))
        painter.fillRect(QRectF(0, 0, width, min(HEADER, height)), self.tinted(self.head, node, 0.5))
        painter.fillRect(QRectF(0, 0, width, 4), self.stripe(node, schema))
        for row in layout.rows:
            if row.kind != "slot":
                painter.fillRect(QRectF(PAD, row.y + 3, width - 2 * PAD, row.height - 6), self.field)
        for area in (layout.preview, layout.result):
            if area is not None:
                painter.fillRect(QRectF(*area), self.paper)
        if not layout.collapsed:
            for x, y, kind in (*layout.inputs.values(), *layout.outputs.values()):
                painter.fillRect(QRectF(x - 5, y - 5, 10, 10), colour_of(kind))
        painter.setOpacity(1.0)

    def stripe(self, node: Node, schema: NodeSchema) -> QColor:
        """What a node is, at a glance: the colour of the first thing it makes, else of what it takes."""
        if schema.outputs:
            return colour_of(schema.outputs[0].type)
        return colour_of(schema.inputs[0].type) if schema.inputs else self.muted

    def tinted(self, base: QColor, node: Node, share: float) -> QColor:
        """`base` mixed with the node's own colour."""
        if not node.colour or not QColor.isValidColorName(node.colour):
            return base
        return mixed(base, QColor(node.colour), share)

    def stripe_name(self, node: Node, schema: NodeSchema) -> str:
        """`stripe` as "#rrggbb"."""
        kind = schema.outputs[0].type if schema.outputs else schema.inputs[0].type if schema.inputs else ""
        found = self._names.get(kind)
        if found is None:
            found = self._names[kind] = self.stripe(node, schema).name()
        return found

    # ---- words

    def fitted_title(self, text: str, room: float) -> str:
        return self._fit(text, room, self.title_metrics, 0)

    def _fit(self, text: str, room: float, metrics: QFontMetricsF, which: int) -> str:
        """`text`, elided in the middle where it needs more than `room`. Remembered, since measuring is dear."""
        key = (text, int(room) * 2 + which)
        found = self._words.get(key)
        if found is None:
            if len(self._words) > 8192:
                self._words.clear()
            line = text.replace("\n", " ")[:200]
            found = metrics.elidedText(line, Qt.TextElideMode.ElideMiddle, max(8.0, room))
            self._words[key] = found
        return found

    def wrapped(self, text: str, width: float, lines: int) -> list[str]:
        """`text` in at most `lines` lines of `width`, broken between words where it can be; "…" where more follows."""
        found: list[str] = []
        rest = text[: int(lines * width)].replace("\t", " ")  # no letter is narrower than a pixel
        more = len(rest) < len(text)
        while len(found) < lines and (rest or not found):
            line, newline, after = rest.partition("\n")
            kept = self._fitting(line, width)
            if kept < len(line):
                space = line.rfind(" ", 0, kept + 1)
                kept = space + 1 if space > 0 else max(1, kept)
                newline, after = "", line[kept:].lstrip(" ") + newline + after
            found.append(line[:kept].rstrip())
            rest = after
        if (rest or more) and found:
            last = found[-1]
            while last and self.row_metrics.horizontalAdvance(f"{last}…") > width:
                last = last[:-1]
            found[-1] = f"{last}…"
        return found

    def _fitting(self, line: str, width: float) -> int:
        """How many letters of a line fit."""
        low, high = 0, len(line)
        while low < high:
            middle = (low + high + 1) // 2
            if self.row_metrics.horizontalAdvance(line[:middle]) <= width:
                low = middle
            else:
                high = middle - 1
        return low

    def _lines(self, text: str, width: float, height: float) -> str:
        """As much of a prompt as its row can show."""
        lines = max(1, int((height - 8) / ROW * 1.6))
        most = int(width / 5.2) * lines
        return text if len(text) <= most else text[: most - 1] + "…"


def mixed(base: QColor, other: QColor, share: float) -> QColor:
    """`base` with `share` (0..1) of `other`."""
    keep = 1 - share
    blend: Callable[[int, int], int] = lambda a, b: round(a * keep + b * share)  # noqa: E731
    return QColor(
        blend(base.red(), other.red()), blend(base.green(), other.green()), blend(base.blue(), other.blue())
    )  # fmt: skip


def _font(pixels: int, weight: QFont.Weight = QFont.Weight.Normal) -> QFont:
    font = theme.font(0, weight=weight)
    font.setPixelSize(pixels)
    return font
