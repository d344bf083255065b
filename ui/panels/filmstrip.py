"""The strip at the bottom: running jobs with their picture forming, then the newest results."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import partial
from time import perf_counter
from typing import TYPE_CHECKING, Any

from PySide6.QtCore import (
    QAbstractListModel,
    QModelIndex,
    QPersistentModelIndex,
    QRect,
    QSize,
    Qt,
    QTimer,
    Signal,
    Slot,
)
from PySide6.QtGui import QImage, QKeyEvent, QPainter, QPainterPath, QPen, QPixmap, QResizeEvent
from PySide6.QtWidgets import (
    QAbstractItemView,
    QFrame,
    QListView,
    QStyle,
    QStyledItemDelegate,
    QStyleOptionViewItem,
)

from engine.contracts.job_events import JobEvent
from engine.contracts.results import ResultRecord
from ui import theme
from ui.bridge.background import Background
from ui.bridge.bridge import Bridge
from ui.panels.drag_out import DragOut
from ui.panels.thumbnails import Thumbnails
from ui.widgets.basics import Panel, describe
from ui.widgets.layouts import Row

if TYPE_CHECKING:
    from studio_app.application import Application

_MOST = 200
_PREVIEW_MS = 100
_Index = QModelIndex | QPersistentModelIndex
RECORD_ROLE = Qt.ItemDataRole.UserRole + 1


@dataclass
class RunningJob:
    """A job that has been accepted and not finished: what its tile shows."""

    id: str
    started: float = field(default_factory=perf_counter)
    done: float = 0.0
    total: float = 0.0
    preview: QImage | None = None

    @property
    def fraction(self) -> float:
        return min(1.0, self.done / self.total) if self.total else 0.0


class FilmModel(QAbstractListModel):
    """Running jobs first, then records, newest first."""

    def __init__(self, app: Application, thumbnails: Thumbnails) -> None:
        super().__init__()
        self._app, self._thumbnails = app, thumbnails
        self.jobs: list[RunningJob] = []
        self.records: list[ResultRecord] = []
        thumbnails.ready.connect(self._on_thumbnail)

    def rowCount(self, parent: _Index = QModelIndex()) -> int:  # noqa: B008  (Qt's own signature)
        return 0 if parent.isValid() else len(self.jobs) + len(self.records)

    def job_at(self, row: int) -> RunningJob | None:
        return self.jobs[row] if 0 <= row < len(self.jobs) else None

    def record_at(self, row: int) -> ResultRecord | None:
        index = row - len(self.jobs)
        return self.records[index] if 0 <= index < len(self.records) else None

    def data(self, index: _Index, role: int = Qt.ItemDataRole.DisplayRole) -> Any:
        job, record = self.job_at(index.row()), self.record_at(index.row())
        if role in {Qt.ItemDataRole.AccessibleTextRole, Qt.ItemDataRole.ToolTipRole}:
            if job is not None:
                return f"Being made: {job.fraction:.0%} done."
            if record is not None:
                title = record.spec.title or record.artifact.name or "Picture"
                return f"{title}\n{record.width} × {record.height} px"
        if role == RECORD_ROLE and record is not None:
            return record.id
        return None

    def flags(self, index: _Index) -> Qt.ItemFlag:
        flags = Qt.ItemFlag.ItemIsEnabled | Qt.ItemFlag.ItemIsSelectable
        return flags | Qt.ItemFlag.ItemIsDragEnabled if self.record_at(index.row()) is not None else flags

    def set_records(self, records: list[ResultRecord]) -> None:
        """Show these; a picture that was finished while they were looked up stays in front."""
        known = {record.id for record in records}
        self.beginResetModel()
        self.records = [*(record for record in self.records if record.id not in known), *records]
        self.endResetModel()

    def add_record(self, record: ResultRecord) -> None:
        if any(record.id == known.id for known in self.records[:32]):
            return
        row = len(self.jobs)
        self.beginInsertRows(QModelIndex(), row, row)
        self.records.insert(0, record)
        self.endInsertRows()

    def add_job(self, job_id: str) -> None:
        if self.job(job_id) is None:
            self.beginInsertRows(QModelIndex(), 0, 0)
            self.jobs.insert(0, RunningJob(job_id))
            self.endInsertRows()

    def remove_job(self, job_id: str) -> None:
        for row, job in enumerate(self.jobs):
            if job.id == job_id:
                self.beginRemoveRows(QModelIndex(), row, row)
                del self.jobs[row]
                self.endRemoveRows()
                return

    def job(self, job_id: str) -> RunningJob | None:
        return next((job for job in self.jobs if job.id == job_id), None)

    def touch(self, job: RunningJob) -> None:
        index = self.index(self.jobs.index(job))
        self.dataChanged.emit(index, index)

    def thumbnail(self, record: ResultRecord, edge: int) -> QPixmap | None:
        """The picture within `edge` device pixels, or None while it is being read."""
        return self._thumbnails.get(record.id, partial(self._app.library.read, record), edge)

    @Slot(str)
    def _on_thumbnail(self, record_id: str) -> None:
        for row, record in enumerate(self.records):
            if record.id == record_id:
                index = self.index(row + len(self.jobs))
                self.dataChanged.emit(index, index)
                return


class _TileDelegate(QStyledItemDelegate):
    """A rounded picture; a bar of progress on those being made; a ring when chosen."""

    def sizeHint(self, option: QStyleOptionViewItem, index: _Index) -> QSize:
        view = self.parent()
        assert isinstance(view, FilmView)
        edge = view.tile_edge()
        return QSize(edge, edge)

    def paint(self, painter: QPainter, option: QStyleOptionViewItem, index: _Index) -> None:
        model = index.model()
        assert isinstance(model, FilmModel)
        rect = QRect(option.rect).adjusted(*(theme.px(3) * s for s in (1, 1, -1, -1)))
        state: QStyle.StateFlag = option.state
        painter.save()
        painter.setRenderHints(QPainter.RenderHint.Antialiasing | QPainter.RenderHint.SmoothPixmapTransform)
        shape = QPainterPath()
        shape.addRoundedRect(rect, theme.corner(), theme.corner())
        painter.fillPath(shape, theme.token("surface2"))
        painter.setClipPath(shape)
        ratio = painter.device().devicePixelRatioF()
        job, record = model.job_at(index.row()), model.record_at(index.row())
        if job is not None:
            self._paint_job(painter, rect, job)
        elif record is not None:
            pixmap = model.thumbnail(record, round(max(rect.width(), rect.height()) * ratio * 1.5))
            if pixmap is None:
                pass  # still loading: the surface shows
            elif pixmap.isNull():
                edge = theme.px(20)
                theme.paint_icon(painter, "circle-alert", _centred(rect, edge, edge), "text_muted")
            else:
                painter.drawPixmap(_covering(rect, pixmap.width(), pixmap.height()), pixmap)
        painter.setClipping(False)
        if state & QStyle.StateFlag.State_Selected:
            self._ring(painter, rect, "accent")
        if state & QStyle.StateFlag.State_HasFocus:
            self._ring(painter, rect.adjusted(-2, -2, 2, 2), "focus")
        painter.restore()

    def _paint_job(self, painter: QPainter, rect: QRect, job: RunningJob) -> None:
        if job.preview is not None:
            painter.drawImage(_covering(rect, job.preview.width(), job.preview.height()), job.preview)
        else:
            edge = theme.px(20)
            theme.paint_icon(painter, "sparkles", _centred(rect, edge, edge), "text_muted")
        bar = QRect(rect.left(), rect.bottom() - theme.px(4) + 1, rect.width(), theme.px(4))
        painter.fillRect(bar, theme.token("surface4"))
        bar.setWidth(round(bar.width() * job.fraction))
        painter.fillRect(bar, theme.token("accent"))

    def _ring(self, painter: QPainter, rect: QRect, token: str) -> None:
        painter.setPen(QPen(theme.token(token), 2))
        painter.setBrush(Qt.BrushStyle.NoBrush)
        painter.drawRoundedRect(rect.adjusted(1, 1, -1, -1), theme.corner(), theme.corner())


class FilmView(QListView):
    """One row that scrolls sideways; tiles are as tall as the strip allows."""

    picked = Signal(int)
    drag_wanted = Signal(int)

    def __init__(self) -> None:
        super().__init__()
        self.setFlow(QListView.Flow.LeftToRight)
        self.setWrapping(False)
        self.setUniformItemSizes(True)
        self.setSelectionMode(QAbstractItemView.SelectionMode.SingleSelection)
        self.setHorizontalScrollMode(QAbstractItemView.ScrollMode.ScrollPerPixel)
        self.setVerticalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self.setDragDropMode(QAbstractItemView.DragDropMode.DragOnly)
        self.setFrameShape(QFrame.Shape.NoFrame)
        self.setItemDelegate(_TileDelegate(self))
        self.setMouseTracking(True)
        describe(self, "Newest pictures", "The newest pictures; Enter shows one large, and they can be dragged out.")
        self.clicked.connect(self._pick)

    def tile_edge(self) -> int:
        return max(theme.px(48), self.viewport().height())

    def resizeEvent(self, event: QResizeEvent) -> None:
        super().resizeEvent(event)
        self.scheduleDelayedItemsLayout()

    def keyPressEvent(self, event: QKeyEvent) -> None:
        if event.key() in {Qt.Key.Key_Return, Qt.Key.Key_Enter, Qt.Key.Key_Space}:
            self._pick(self.currentIndex())
            return
        super().keyPressEvent(event)

    def startDrag(self, actions: Qt.DropAction) -> None:
        """The strip drags the picture's file, which has to be looked up first."""
        self.drag_wanted.emit(self.currentIndex().row())

    @Slot(QModelIndex)
    def _pick(self, index: QModelIndex) -> None:
        if index.isValid():
            self.picked.emit(index.row())


class Filmstrip(Panel):
    """`picked` fires with a record id, `job_picked` with a job id, `filled` when there is something to show or no more.

    Call `reload` when the library is open. The library is asked on a worker thread, one question after the other, so
    that pictures come in the order they were made and a job's tile goes only when its pictures are there.
    """

    picked = Signal(str)
    job_picked = Signal(str)
    filled = Signal(bool)

    def __init__(self, app: Application, bridge: Bridge) -> None:
        super().__init__(0)
        self._app, self._bridge = app, bridge
        self.thumbnails = Thumbnails(self)
        self.model = FilmModel(app, self.thumbnails)
        self.model.setParent(self)
        self.view = FilmView()
        self.view.setModel(self.model)
        self.setAccessibleName("Filmstrip")
        Row(self, margins=(1, 0.5)).addWidget(self.view)
        self._library = Background(self)
        self.out = DragOut(app, self.view, lambda sentence: app.notifications.post("warning", sentence))
        self._preview_timer = QTimer(self)
        self._preview_timer.setInterval(_PREVIEW_MS)
        self._preview_timer.timeout.connect(self._pull_previews)
        self.view.picked.connect(self._on_picked)
        self.view.drag_wanted.connect(self._on_drag)
        for changed in (self.model.rowsInserted, self.model.rowsRemoved, self.model.modelReset):
            changed.connect(self._tell)
        bridge.job_event.connect(self.on_event)
        theme.notifier.changed.connect(self._rescale)
        self._rescale()

    def reload(self) -> None:
        """Show what the library holds."""
        self._library.run(lambda: self._app.library.recent(_MOST), self.model.set_records, self._complain)

    @property
    def is_empty(self) -> bool:
        return self.model.rowCount() == 0

    def close_down(self) -> None:
        self._preview_timer.stop()
        self._library.close()
        self.out.close()
        self.thumbnails.close()

    @Slot(object)
    def on_event(self, event: JobEvent) -> None:
        if event.kind == "accepted":
            self.model.add_job(event.job)
            self._preview_timer.start()
        elif event.kind == "node_progress":
            job = self.model.job(event.job)
            if job is not None:
                job.done, job.total = float(event.data.get("done", 0)), float(event.data.get("total", 0))
                self.model.touch(job)
        elif event.kind == "artifact":
            record_id = str(event.data.get("record", ""))
            self._library.run(lambda: self._app.library.get(record_id), self.model.add_record, self._complain)
        elif event.kind == "finished":
            self._library.run(lambda: event.job, self._job_done)

    def _job_done(self, job_id: str) -> None:
        self.model.remove_job(job_id)
        if not self.model.jobs:
            self._preview_timer.stop()

    def _complain(self, sentence: str) -> None:
        self._app.notifications.post("warning", sentence)

    @Slot()
    def _pull_previews(self) -> None:
        if not self.isVisible():
            return
        for job in self.model.jobs:
            frame = self._bridge.preview(job.id)
            if frame is not None:
                job.preview = frame
                self.model.touch(job)

    @Slot(int)
    def _on_picked(self, row: int) -> None:
        job, record = self.model.job_at(row), self.model.record_at(row)
        if job is not None:
            self.job_picked.emit(job.id)
        elif record is not None:
            self.picked.emit(record.id)

    @Slot(int)
    def _on_drag(self, row: int) -> None:
        record = self.model.record_at(row)
        if record is not None:
            self.out.start(record)

    @Slot()
    def _tell(self) -> None:
        self.filled.emit(not self.is_empty)

    @Slot()
    def _rescale(self) -> None:
        self.setMinimumHeight(theme.px(72))
        self.view.scheduleDelayedItemsLayout()


def _centred(rect: QRect, width: int, height: int) -> QRect:
    return QRect(rect.center().x() - width // 2, rect.center().y() - height // 2, width, height)


def _covering(rect: QRect, width: int, height: int) -> QRect:
    """Where a picture of that shape lies so that it covers `rect` about its centre."""
    scale = max(rect.width() / max(1, width), rect.height() / max(1, height))
    return _centred(rect, round(width * scale), round(height * scale))
