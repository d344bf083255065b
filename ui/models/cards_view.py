"""The grid of cards: preview, name, base model, size, precision, licence, and a star that a click sets."""

from __future__ import annotations

import math
from collections.abc import Callable

from PySide6.QtCore import QAbstractItemModel, QEvent, QPointF, QRect, QRectF, QSize, Qt, Signal, Slot
from PySide6.QtGui import (
    QFont,
    QFontMetrics,
    QKeyEvent,
    QMouseEvent,
    QPainter,
    QPainterPath,
    QPen,
    QPixmap,
    QPolygonF,
    QResizeEvent,
)
from PySide6.QtWidgets import QFrame, QListView, QStyle, QStyledItemDelegate, QStyleOptionViewItem, QWidget

from studio_app.models.library import Listed
from ui import theme
from ui.create.results_model import ENTRY, Index
from ui.models.cards_model import CardsModel
from ui.models.words import REFUSED, SHELVES, card_lines, kind_of
from ui.widgets.basics import describe

WIDTH, PICTURE = 208, 156  # of a card and its picture, pixels at scale 1
GAP = 8

PixmapSource = Callable[[Listed, int], QPixmap | None]


class CardDelegate(QStyledItemDelegate):
    """Paints one card. `pixmap(item, edge)` gives the small picture, None while it loads or when there is none."""

    star_clicked = Signal(object)

    def __init__(self, pixmap: PixmapSource, parent: QWidget) -> None:
        super().__init__(parent)
        self._pixmap = pixmap
        self.width = theme.px(WIDTH)

    def size(self) -> QSize:
        line = QFontMetrics(theme.font(-1)).height()
        name = QFontMetrics(theme.font(0, weight=QFont.Weight.DemiBold)).height()
        return QSize(self.width, theme.px(PICTURE + GAP) + name + 2 * line + theme.px(20))

    def sizeHint(self, option: QStyleOptionViewItem, index: Index) -> QSize:
        return self.size()

    def paint(self, painter: QPainter, option: QStyleOptionViewItem, index: Index) -> None:
        item = index.data(ENTRY)
        if not isinstance(item, Listed):
            return
        state: QStyle.StateFlag = option.state
        frame = _frame(option.rect)
        painter.save()
        painter.setRenderHints(QPainter.RenderHint.Antialiasing | QPainter.RenderHint.SmoothPixmapTransform)
        shape = QPainterPath()
        shape.addRoundedRect(frame, theme.corner(), theme.corner())
        painter.fillPath(shape, theme.token("surface2"))
        picture = QRectF(frame.x(), frame.y(), frame.width(), theme.px(PICTURE))
        painter.setClipPath(shape)
        self._paint_picture(painter, picture, item)
        painter.setClipping(False)
        self._paint_words(painter, frame, picture, item)
        hovered = bool(state & QStyle.StateFlag.State_MouseOver)
        if kind_of(item) != REFUSED and (item.note.favourite or hovered or state & QStyle.StateFlag.State_Selected):
            self._paint_star(painter, self.star_rect(frame), filled=item.note.favourite)
        painter.setBrush(Qt.BrushStyle.NoBrush)
        if state & QStyle.StateFlag.State_Selected:
            painter.setPen(QPen(theme.token("accent"), 3))
            painter.drawRoundedRect(frame, theme.corner(), theme.corner())
        elif hovered:
            painter.setPen(QPen(theme.token("control_line"), 1))
            painter.drawRoundedRect(frame, theme.corner(), theme.corner())
        painter.restore()

    def _paint_picture(self, painter: QPainter, place: QRectF, item: Listed) -> None:
        painter.fillRect(place, theme.token("surface3"))
        edge = round(theme.px(WIDTH) * 1.25 * painter.device().devicePixelRatioF())
        pixmap = self._pixmap(item, edge)
        if pixmap is None or pixmap.isNull():
            icon = "circle-alert" if item.file is None else SHELVES[item.file.kind][1]
            size = theme.px(40)
            box = QRect(0, 0, size, size)
            box.moveCenter(place.center().toPoint())
            theme.paint_icon(painter, icon, box, "danger" if item.file is None else "text_muted")
            return
        painter.save()
        painter.setClipRect(place, Qt.ClipOperation.IntersectClip)
        scale = max(place.width() / pixmap.width(), place.height() / pixmap.height())
        shown = QRectF(0, 0, pixmap.width() * scale, pixmap.height() * scale)
        shown.moveCenter(place.center())
        shown.moveTop(max(shown.top(), place.top() - (shown.height() - place.height()) / 3))  # faces are up there
        painter.drawPixmap(shown, pixmap, QRectF(pixmap.rect()))
        painter.restore()

    def _paint_words(self, painter: QPainter, frame: QRectF, picture: QRectF, item: Listed) -> None:
        left, width = frame.x() + theme.px(10), int(frame.width() - theme.px(20))
        y = picture.bottom() + theme.px(6)
        lines = [(item.name, theme.font(0, weight=QFont.Weight.DemiBold), "text_strong")]
        token = "danger" if item.file is None else "text_muted"
        lines += [(line, theme.font(-1), token) for line in card_lines(item)]
        for text, font, colour in lines:
            painter.setFont(font)
            painter.setPen(theme.token(colour))
            metrics = painter.fontMetrics()
            shown = metrics.elidedText(text, Qt.TextElideMode.ElideMiddle, width)
            painter.drawText(QPointF(left, y + metrics.ascent()), shown)
            y += metrics.height() + theme.px(1)

    def star_rect(self, frame: QRectF) -> QRect:
        edge = theme.px(28)
        return QRect(int(frame.right()) - edge - theme.px(6), int(frame.y()) + theme.px(6), edge, edge)

    @staticmethod
    def _paint_star(painter: QPainter, place: QRect, *, filled: bool) -> None:
        """Filled and outlined tell it without colour; the plate behind keeps it legible on any picture."""
        painter.setPen(QPen(theme.token("control_line"), 1))
        painter.setBrush(theme.token("surface1"))
        painter.drawRoundedRect(place, 4, 4)
        centre, radius = QRectF(place).center(), place.width() * 0.34
        points = []
        for corner in range(10):
            reach = radius if corner % 2 == 0 else radius * 0.44
            angle = math.pi * (corner / 5 - 0.5)
            points.append(QPointF(centre.x() + reach * math.cos(angle), centre.y() + reach * math.sin(angle)))
        painter.setPen(QPen(theme.token("accent" if filled else "text"), 1.5))
        painter.setBrush(theme.token("accent") if filled else Qt.BrushStyle.NoBrush)
        painter.drawPolygon(QPolygonF(points))

    def editorEvent(self, event: QEvent, model: QAbstractItemModel, option: QStyleOptionViewItem, index: Index) -> bool:
        if event.type() == QEvent.Type.MouseButtonRelease and isinstance(event, QMouseEvent):
            item = index.data(ENTRY)
            inside = self.star_rect(_frame(option.rect)).contains(event.position().toPoint())
            if isinstance(item, Listed) and item.file is not None and inside:
                self.star_clicked.emit(item)
                return True
        return super().editorEvent(event, model, option, index)


class CardsView(QListView):
    """Arrows move, Enter uses the model, Delete moves it to the trash, F marks a favourite.

    `opened`, `remove_wanted`, `star_wanted` carry the file's Listed.
    """

    opened = Signal(object)
    remove_wanted = Signal(object)
    star_wanted = Signal(object)

    def __init__(self, model: CardsModel, pixmap: PixmapSource, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._cards = model
        self.setModel(model)
        self.cards = CardDelegate(pixmap, self)
        self.setItemDelegate(self.cards)
        self.setViewMode(QListView.ViewMode.IconMode)
        self.setResizeMode(QListView.ResizeMode.Adjust)
        self.setMovement(QListView.Movement.Static)
        self.setUniformItemSizes(True)
        self.setLayoutMode(QListView.LayoutMode.Batched)
        self.setBatchSize(400)
        self.setDragEnabled(True)
        self.setDragDropMode(QListView.DragDropMode.DragOnly)
        self.setVerticalScrollMode(QListView.ScrollMode.ScrollPerPixel)
        self.setMouseTracking(True)
        self.setFrameShape(QFrame.Shape.NoFrame)
        self.setTabKeyNavigation(False)
        self.setStyleSheet("QListView { border: 2px solid transparent; }")  # room for the frame that shows the focus
        describe(self, "Models", "")
        self.setToolTip("")
        self.cards.star_clicked.connect(self.star_wanted)
        self.doubleClicked.connect(self._double_clicked)
        theme.notifier.changed.connect(self._rescale)
        self._rescale()

    def chosen(self) -> Listed | None:
        index = self.currentIndex()
        return self._cards.item(index.row()) if index.isValid() else None

    @Slot()
    def _rescale(self) -> None:
        """Cards grow a little, so that their rows fill the width."""
        bar = self.verticalScrollBar().sizeHint().width()
        room = self.width() - bar - 2 * self.frameWidth() - 6
        self.cards.width = room // max(1, room // theme.px(WIDTH)) if room > theme.px(WIDTH) else theme.px(WIDTH)
        self.setGridSize(self.cards.size())
        self.viewport().update()

    def resizeEvent(self, event: QResizeEvent) -> None:
        self._rescale()
        super().resizeEvent(event)

    @Slot("QModelIndex")
    def _double_clicked(self, index: Index) -> None:
        item = self._cards.item(index.row())
        if item is not None:
            self.opened.emit(item)

    def keyPressEvent(self, event: QKeyEvent) -> None:
        item = self.chosen()
        keys = {
            Qt.Key.Key_Return: self.opened, Qt.Key.Key_Enter: self.opened, Qt.Key.Key_Delete: self.remove_wanted,
            Qt.Key.Key_F: self.star_wanted,
        }  # fmt: skip
        wanted = keys.get(Qt.Key(event.key())) if not event.modifiers() else None
        if wanted is not None and item is not None:
            wanted.emit(item)
        else:
            super().keyPressEvent(event)


def _frame(rect: QRect) -> QRectF:
    return QRectF(rect).adjusted(GAP / 2, GAP / 2, -GAP / 2, -GAP / 2)
