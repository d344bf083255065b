"""The results grid: tiles of running jobs with their picture forming, and of finished pictures."""

from __future__ import annotations

from collections.abc import Callable

from PySide6.QtCore import QAbstractItemModel, QEvent, QPointF, QRect, QRectF, QSize, Qt, Signal, Slot
from PySide6.QtGui import (
    QFontMetricsF,
    QKeyEvent,
    QKeySequence,
    QMouseEvent,
    QPainter,
    QPainterPath,
    QPen,
    QPixmap,
    QTextOption,
)
from PySide6.QtWidgets import QFrame, QListView, QStyle, QStyledItemDelegate, QStyleOptionViewItem, QWidget

from engine.contracts.results import ResultRecord
from ui import theme
from ui.create.results_model import ENTRY, Index, JobEntry, PictureEntry, ResultsModel
from ui.widgets.basics import describe

SMALLEST_TILE, LARGEST_TILE, USUAL_TILE = 96, 480, 216
GAP = 8
_CENTRED = Qt.AlignmentFlag.AlignCenter | Qt.TextFlag.TextWordWrap
FOOT = 44  # the two lines below a picture that is forming

PixmapSource = Callable[[ResultRecord, int], QPixmap | None]


class TileDelegate(QStyledItemDelegate):
    """Paints one tile. `pixmap(record, edge)` gives the small picture, or None while it loads."""

    cancel_wanted = Signal(str)
    remedy_wanted = Signal(str)

    def __init__(self, pixmap: PixmapSource, parent: QWidget) -> None:
        super().__init__(parent)
        self._pixmap = pixmap
        self.edge = USUAL_TILE

    def sizeHint(self, option: QStyleOptionViewItem, index: Index) -> QSize:
        return QSize(self.edge, self.edge)

    def paint(self, painter: QPainter, option: QStyleOptionViewItem, index: Index) -> None:
        entry = index.data(ENTRY)
        state: QStyle.StateFlag = option.state
        rect = QRectF(option.rect)
        frame = rect.adjusted(GAP / 2, GAP / 2, -GAP / 2, -GAP / 2)
        painter.save()
        painter.setRenderHints(QPainter.RenderHint.Antialiasing | QPainter.RenderHint.SmoothPixmapTransform)
        shape = QPainterPath()
        shape.addRoundedRect(frame, theme.corner(), theme.corner())
        painter.fillPath(shape, theme.token("surface2"))
        painter.setClipPath(shape)
        if isinstance(entry, PictureEntry):
            self._paint_picture(painter, frame, entry)
        elif isinstance(entry, JobEntry):
            self._paint_job(painter, frame, entry)
        painter.setClipping(False)
        if state & QStyle.StateFlag.State_Selected:
            painter.setBrush(Qt.BrushStyle.NoBrush)
            painter.setPen(QPen(theme.token("surface1"), 2))  # tells the ring apart from a picture of its colour
            painter.drawRoundedRect(frame.adjusted(2, 2, -2, -2), theme.corner(), theme.corner())
            painter.setPen(QPen(theme.token("accent"), 3))
            painter.drawRoundedRect(frame, theme.corner(), theme.corner())
        elif state & QStyle.StateFlag.State_MouseOver:
            painter.setPen(QPen(theme.token("control_line"), 1))
            painter.setBrush(Qt.BrushStyle.NoBrush)
            painter.drawRoundedRect(frame, theme.corner(), theme.corner())
        painter.restore()

    def _paint_picture(self, painter: QPainter, frame: QRectF, entry: PictureEntry) -> None:
        edge = round(self.edge * painter.device().devicePixelRatioF())
        pixmap = self._pixmap(entry.record, edge)
        if pixmap is None:
            return
        if pixmap.isNull():
            self._paint_words(painter, frame, "image", "This picture can't be read.", "text_muted")
            return
        painter.drawPixmap(fitted(pixmap.size(), frame), pixmap, QRectF(pixmap.rect()))

    def _paint_job(self, painter: QPainter, frame: QRectF, entry: JobEntry) -> None:
        if entry.failed:
            below = self.remedy_rect(frame, entry)
            room = frame if below is None else frame.adjusted(0, 0, 0, below.top() - frame.bottom())
            self._paint_words(painter, room, "circle-alert", entry.status_text(), "danger")
            if below is not None:
                self._paint_remedy(painter, below, entry.remedy)
            self._paint_cross(painter, frame)
            return
        if entry.preview is not None:
            painter.drawImage(fitted(entry.preview.size(), frame.adjusted(0, 0, 0, -theme.px(FOOT))), entry.preview)
        else:
            edge = theme.px(24)
            place = QRectF(frame.center() - QPointF(edge / 2, edge), QPointF(0, 0))
            place.setSize(QSize(edge, edge))
            theme.paint_icon(painter, "sparkles", place.toRect(), "text_muted")
        bar = theme.px(4)
        lines = theme.px(FOOT)
        foot = QRectF(frame.x(), frame.bottom() - lines, frame.width(), lines)
        veil = theme.token("surface1")
        veil.setAlphaF(0.88)
        painter.fillRect(foot, veil)
        painter.fillRect(QRectF(foot.x(), foot.y(), foot.width(), bar), theme.token("surface4"))
        painter.fillRect(QRectF(foot.x(), foot.y(), foot.width() * entry.row.fraction, bar), theme.token("accent"))
        metrics = painter.fontMetrics()
        for line, (text, token) in enumerate(((entry.row.title, "text_muted"), (entry.status_text(), "text_strong"))):
            painter.setFont(theme.font(-1))
            metrics = painter.fontMetrics()
            painter.setPen(theme.token(token))
            room = QRectF(
                foot.x() + 8,
                foot.y() + bar + 2 + line * (lines - bar - 4) / 2,
                foot.width() - 16,
                (lines - bar - 4) / 2,
            )
            shown = metrics.elidedText(text, Qt.TextElideMode.ElideMiddle, int(room.width()))
            painter.drawText(room, int(Qt.AlignmentFlag.AlignVCenter), shown)
        if entry.pictures > 1:
            self._paint_badge(painter, frame, f"{entry.pictures} pictures")
        self._paint_cross(painter, frame)

    def _paint_badge(self, painter: QPainter, frame: QRectF, text: str) -> None:
        """What the tile stands for, at its upper left; left out where the cancel button needs the room."""
        painter.setFont(theme.font(-1))
        width = painter.fontMetrics().horizontalAdvance(text) + 2 * theme.px(8)
        cross = self.cross_rect(frame)
        place = QRectF(frame.x() + theme.px(6), cross.y(), width, cross.height())
        if place.right() + theme.px(4) > cross.left():
            return
        painter.setPen(QPen(theme.token("control_line"), 1))
        painter.setBrush(theme.token("surface1"))
        painter.drawRoundedRect(place, 4, 4)
        painter.setPen(theme.token("text_strong"))
        painter.drawText(place, int(Qt.AlignmentFlag.AlignCenter), text)

    def _paint_words(self, painter: QPainter, frame: QRectF, icon: str, text: str, token: str) -> None:
        edge = theme.px(20)
        place = QRect(int(frame.center().x() - edge / 2), int(frame.y() + theme.px(20)), edge, edge)
        theme.paint_icon(painter, icon, place, token)
        painter.setFont(theme.font(-1))
        painter.setPen(theme.token("text"))
        room = frame.adjusted(theme.px(10), theme.px(48), -theme.px(10), -theme.px(8))
        option = QTextOption(Qt.AlignmentFlag.AlignHCenter | Qt.AlignmentFlag.AlignTop)
        option.setWrapMode(QTextOption.WrapMode.WrapAtWordBoundaryOrAnywhere)
        painter.drawText(room, text, option)

    def remedy_rect(self, frame: QRectF, entry: JobEntry) -> QRectF | None:
        """Where the button is that lets a failed job run; None where there is none."""
        if not entry.remedy:
            return None
        margin = theme.px(8)
        room = QRectF(0, 0, frame.width() - 4 * margin, frame.height() / 2)
        metrics = QFontMetricsF(theme.font(-1))
        words = metrics.boundingRect(room, int(_CENTRED), entry.remedy)
        height = max(theme.px(28.0), words.height() + margin)
        return QRectF(frame.x() + margin, frame.bottom() - margin - height, frame.width() - 2 * margin, height)

    def _paint_remedy(self, painter: QPainter, box: QRectF, words: str) -> None:
        painter.setPen(QPen(theme.token("control_line"), 1))
        painter.setBrush(theme.token("surface3"))
        painter.drawRoundedRect(box, 4, 4)
        painter.setFont(theme.font(-1))
        painter.setPen(theme.token("text_strong"))
        margin = theme.px(8)
        painter.drawText(box.adjusted(margin, 0, -margin, 0), int(_CENTRED), words)

    def cross_rect(self, frame: QRectF) -> QRect:
        """Where the tile's own cancel (or dismiss) button is."""
        edge = theme.px(24)
        return QRect(int(frame.right()) - edge - theme.px(6), int(frame.y()) + theme.px(6), edge, edge)

    def _paint_cross(self, painter: QPainter, frame: QRectF) -> None:
        cross = self.cross_rect(frame)
        painter.setPen(QPen(theme.token("control_line"), 1))
        painter.setBrush(theme.token("surface1"))
        painter.drawRoundedRect(cross, 4, 4)
        theme.paint_icon(painter, "x", cross.adjusted(4, 4, -4, -4), "text_strong")

    def editorEvent(self, event: QEvent, model: QAbstractItemModel, option: QStyleOptionViewItem, index: Index) -> bool:
        if event.type() == QEvent.Type.MouseButtonRelease and isinstance(event, QMouseEvent):
            entry = index.data(ENTRY)
            frame = QRectF(option.rect).adjusted(GAP / 2, GAP / 2, -GAP / 2, -GAP / 2)
            if isinstance(entry, JobEntry) and self.cross_rect(frame).contains(event.position().toPoint()):
                self.cancel_wanted.emit(entry.key)
                return True
            button = self.remedy_rect(frame, entry) if isinstance(entry, JobEntry) else None
            if button is not None and button.contains(event.position()):
                self.remedy_wanted.emit(entry.key)
                return True
        return super().editorEvent(event, model, option, index)


class ResultsView(QListView):
    """Arrows move, Enter opens; pictures can be dragged out. Delete and Ctrl+C are left to the panel.

    `opened(row)`, `job_cancel_wanted(job id)`, `second_try_wanted(job id)`, `drag_wanted`.
    """

    opened = Signal(int)
    drag_wanted = Signal()
    job_cancel_wanted = Signal(str)
    second_try_wanted = Signal(str)

    def __init__(self, model: ResultsModel, pixmap: PixmapSource, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setModel(model)
        self.tiles = TileDelegate(pixmap, self)
        self.setItemDelegate(self.tiles)
        self.setViewMode(QListView.ViewMode.IconMode)
        self.setResizeMode(QListView.ResizeMode.Adjust)
        self.setMovement(QListView.Movement.Static)
        self.setUniformItemSizes(True)
        self.setDragEnabled(True)
        self.setDragDropMode(QListView.DragDropMode.DragOnly)
        self.setSelectionMode(QListView.SelectionMode.ExtendedSelection)
        self.setVerticalScrollMode(QListView.ScrollMode.ScrollPerPixel)
        self.setMouseTracking(True)
        self.setFrameShape(QFrame.Shape.NoFrame)
        self.setTabKeyNavigation(False)
        self.setStyleSheet("QListView { border: 2px solid transparent; }")  # room for the frame that shows the focus
        describe(self, "Results", "")
        self.setToolTip("")
        self.tiles.cancel_wanted.connect(self.job_cancel_wanted)
        self.tiles.remedy_wanted.connect(self.second_try_wanted)
        self.doubleClicked.connect(self._double_clicked)
        self._tile = USUAL_TILE
        theme.notifier.changed.connect(self._rescale)
        self._rescale()

    def set_tile(self, edge: int) -> None:
        """The edge of a tile in pixels at scale 1."""
        self._tile = edge
        self._rescale()

    @Slot()
    def _rescale(self) -> None:
        self.tiles.edge = theme.px(self._tile)
        self.setGridSize(QSize(self.tiles.edge, self.tiles.edge))
        self.viewport().update()

    def startDrag(self, actions: Qt.DropAction) -> None:
        """The panel drags the picture's file, which has to be looked up first."""
        self.drag_wanted.emit()

    @Slot("QModelIndex")
    def _double_clicked(self, index: Index) -> None:
        self.opened.emit(index.row())

    def keyPressEvent(self, event: QKeyEvent) -> None:
        if event.key() in (Qt.Key.Key_Return, Qt.Key.Key_Enter) and self.currentIndex().isValid():
            self.opened.emit(self.currentIndex().row())
        elif event.matches(QKeySequence.StandardKey.Copy):
            event.ignore()  # QListView would copy the tile's text; the panel copies the picture
        else:
            super().keyPressEvent(event)


def fitted(size: QSize, frame: QRectF) -> QRectF:
    """A rectangle of `size`'s shape, as large as fits into `frame`, centred."""
    scale = min(frame.width() / max(1, size.width()), frame.height() / max(1, size.height()))
    result = QRectF(0, 0, size.width() * scale, size.height() * scale)
    result.moveCenter(frame.center())
    return result
