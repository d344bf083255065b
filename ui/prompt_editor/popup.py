"""The list of completions over the field, and beside it what the chosen one is: picture, base model, trigger words."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from PySide6.QtCore import QModelIndex, QPoint, QRect, QSize, Qt, Signal, Slot
from PySide6.QtGui import QImage, QPainter, QPen, QPixmap
from PySide6.QtWidgets import QFrame, QLabel, QStyledItemDelegate, QStyleOptionViewItem, QWidget

from studio_app.prompts.catalogue import Named
from studio_app.prompts.completions import KIND_WORDS, Completion
from ui import theme
from ui.widgets.basics import Label, describe
from ui.widgets.choosing import Index, RowsModel, floating_list, paint_ground
from ui.widgets.layouts import Column, Row

ROWS = 8
ROW_HEIGHT = 28
LIST_WIDTH = 300
SIDE_WIDTH = 200
PICTURE = 128
AskPicture = Callable[[Named, Callable[[QImage], object]], None]


class _Rows(RowsModel[Completion]):
    def data(self, index: Index, role: int = Qt.ItemDataRole.DisplayRole) -> Any:
        row = self.rows[index.row()]
        if role == Qt.ItemDataRole.DisplayRole:
            return row.label
        if role == Qt.ItemDataRole.AccessibleTextRole:
            return ", ".join(dict.fromkeys((row.label, KIND_WORDS[row.kind], row.note)))
        if role == Qt.ItemDataRole.AccessibleDescriptionRole:
            return ". ".join(f"{name}: {value}" for name, value in row.facts)
        return None


class _Delegate(QStyledItemDelegate):
    """The label, and muted at the right what it is."""

    def sizeHint(self, option: QStyleOptionViewItem, index: Index) -> QSize:
        return QSize(theme.px(120), max(theme.px(ROW_HEIGHT), option.fontMetrics.height() + theme.px(6)))

    def paint(self, painter: QPainter, option: QStyleOptionViewItem, index: Index) -> None:
        model = index.model()
        assert isinstance(model, _Rows)
        row = model.rows[index.row()]
        rect: QRect = option.rect
        painter.save()
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        paint_ground(painter, option)
        pad = theme.space(1)
        painter.setFont(theme.font(-1))
        metrics = painter.fontMetrics()
        note = metrics.elidedText(row.note or KIND_WORDS[row.kind], Qt.TextElideMode.ElideRight, rect.width() // 2)
        wide = metrics.horizontalAdvance(note)
        painter.setPen(QPen(theme.token("text_muted")))
        painter.drawText(
            QRect(rect.right() - pad - wide, rect.top(), wide + 2, rect.height()), Qt.AlignmentFlag.AlignVCenter, note
        )
        painter.setFont(theme.font(0))
        room = rect.width() - 3 * pad - wide
        painter.setPen(QPen(theme.token("text_strong")))
        label = painter.fontMetrics().elidedText(row.label, Qt.TextElideMode.ElideMiddle, room)
        painter.drawText(
            QRect(rect.left() + pad, rect.top(), room, rect.height()), Qt.AlignmentFlag.AlignVCenter, label
        )
        painter.restore()


class _Side(QWidget):
    """What the chosen completion is."""

    def __init__(self) -> None:
        super().__init__()
        column = Column(self, spacing=0.5)
        self.picture = QLabel()
        self.picture.setAlignment(Qt.AlignmentFlag.AlignCenter)
        self.title = Label("", "strong", wrap=True)
        self.facts = Label("", "small", wrap=True)
        for widget in (self.picture, self.title, self.facts):
            column.addWidget(widget)
        column.addStretch(1)

    def show_completion(self, completion: Completion) -> None:
        self.picture.clear()
        self.picture.hide()
        self.title.setText(completion.label if len(completion.label) < 120 else completion.label[:119] + "…")
        self.facts.setText("\n".join(f"{name}: {value}" for name, value in completion.facts))
        self.facts.setVisible(bool(completion.facts))

    def show_picture(self, image: QImage) -> None:
        ratio = self.devicePixelRatioF()
        edge = round(theme.px(PICTURE) * ratio)
        mode = Qt.AspectRatioMode.KeepAspectRatio
        scaled = image.scaled(edge, edge, mode, Qt.TransformationMode.SmoothTransformation)
        scaled.setDevicePixelRatio(ratio)
        self.picture.setPixmap(QPixmap.fromImage(scaled))
        self.picture.setAccessibleName("Preview picture")
        self.picture.show()


class CompletionPopup(QFrame):
    """Never has the focus: the field stays where keys go, and moves the choice. `chosen(Completion)` by a click."""

    chosen = Signal(object)

    def __init__(self, host: QWidget, ask_picture: AskPicture) -> None:
        super().__init__(host)
        self._ask = ask_picture
        self._host, self._at, self._wide, self._pictured = host, QRect(), False, False
        self.setProperty("surface", "float")
        self.setAttribute(Qt.WidgetAttribute.WA_StyledBackground)
        self.setFocusPolicy(Qt.FocusPolicy.NoFocus)
        self.setAccessibleName("Completions")
        row = Row(self, spacing=1, margins=0.75)
        self.list = floating_list()
        self.model = _Rows(self)
        self.list.setModel(self.model)
        self.list.setItemDelegate(_Delegate(self))
        describe(self.list, "Completions", "Up and Down choose, Tab takes, Esc closes.")
        self.list.setToolTip("")
        self.side = _Side()
        row.addWidget(self.list, 1)
        row.addWidget(self.side)
        self.list.clicked.connect(self._clicked)
        self.list.selectionModel().currentChanged.connect(self._explain)
        self.hide()

    def current(self) -> Completion | None:
        """The chosen completion, None when none is yet."""
        index = self.list.currentIndex()
        return self.model.rows[index.row()] if index.isValid() else None

    def offer(self, rows: Sequence[Completion], caret: QRect, host: QWidget, *, choose: bool) -> None:
        """Show completions at the caret, whose rectangle is in `host`; `choose` the first one already."""
        before = self.current() if self.isVisible() else None
        self.setParent(host)
        self.model.show(rows)
        again = next((i for i, row in enumerate(rows) if before and row.label == before.label), 0 if choose else -1)
        if again >= 0:
            self.list.setCurrentIndex(self.model.index(again))
        else:
            self.side.show_completion(rows[0])
        wide = any(row.facts or row.named for row in rows)
        self.side.setVisible(wide)
        self._host, self._at, self._wide = host, caret, wide
        self._pictured = self._pictured and self.isVisible()  # it grows for a picture and stays so
        self._place()
        self.show()
        self.raise_()

    def step(self, by: int) -> None:
        """Move the choice, around the ends for single steps."""
        count, at = len(self.model.rows), self.list.currentIndex().row()
        row = (at + by) % count if abs(by) == 1 and at >= 0 else 0 if by > 0 and at < 0 else at + by
        self.list.setCurrentIndex(self.model.index(count - 1 if at < 0 and by < 0 else max(0, min(count - 1, row))))

    def _place(self) -> None:
        host, caret, wide = self._host, self._at, self._wide
        rows = min(ROWS, len(self.model.rows))
        row_height = max(theme.px(ROW_HEIGHT), self.list.sizeHintForRow(0))
        height = rows * row_height + theme.space(1.5) + theme.px(4)
        side = theme.px(SIDE_WIDTH)
        self.side.setFixedWidth(side)
        if wide:
            height = max(height, theme.px(PICTURE + 90 if self._pictured else 100))
        width = min(theme.px(LIST_WIDTH) + (side + theme.space(2) if wide else 0), host.width() - theme.space(1))
        x = max(theme.space(0.5), min(caret.left(), host.width() - width - theme.space(0.5)))
        below = caret.bottom() + theme.px(6)
        above = caret.top() - theme.px(6) - height
        y = below if below + height <= host.height() or above < 0 else above
        self.setGeometry(x, y, width, min(height, max(theme.px(80), host.height() - y)))

    @Slot(QModelIndex)
    def _explain(self, index: QModelIndex) -> None:
        if not index.isValid():
            return
        completion = self.model.rows[index.row()]
        self.side.show_completion(completion)
        if completion.named is not None:
            self._ask(completion.named, lambda image: self._picture_came(completion, image))

    def _picture_came(self, completion: Completion, image: QImage) -> None:
        if self.current() == completion and self.isVisible() and not image.isNull():
            self.side.show_picture(image)
            self._pictured = True
            self._place()

    @Slot(QModelIndex)
    def _clicked(self, index: QModelIndex) -> None:
        self.chosen.emit(self.model.rows[index.row()])


def place_in(widget: QWidget, rect: QRect, host: QWidget) -> QRect:
    """A rectangle of a widget in the coordinates of its window."""
    return QRect(widget.mapTo(host, QPoint(rect.x(), rect.y())), rect.size())
