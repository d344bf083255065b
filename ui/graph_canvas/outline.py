"""The outline: every node of the open level as a line of words, in step with the canvas in both directions."""

from __future__ import annotations

from typing import Any

from PySide6.QtCore import (
    QAbstractListModel,
    QItemSelection,
    QItemSelectionModel,
    QModelIndex,
    QPersistentModelIndex,
    QRect,
    QSize,
    Qt,
    QTimer,
    Signal,
    Slot,
)
from PySide6.QtGui import QFont, QKeyEvent, QPainter
from PySide6.QtWidgets import QFrame, QLineEdit, QListView, QStyle, QStyledItemDelegate, QStyleOptionViewItem

from ui import theme
from ui.graph_canvas.canvas import Canvas
from ui.graph_canvas.words import describe_node, reading_order
from ui.widgets.basics import IconButton, Label, Panel, describe
from ui.widgets.layouts import Column, Row

_Index = QModelIndex | QPersistentModelIndex


class OutlineModel(QAbstractListModel):
    """The nodes in reading order that have the letters looked for. Words are made when a row is shown."""

    def __init__(self) -> None:
        super().__init__()
        self.canvas: Canvas | None = None
        self.names: list[str] = []

    def show(self, canvas: Canvas | None, text: str) -> None:
        self.beginResetModel()
        self.canvas = canvas
        wanted = text.casefold().split()
        self.names = []
        if canvas is not None:
            items = canvas.scene.items_by_id
            self.names = [
                name for name in reading_order(canvas.scene)
                if all(word in f"{items[name].title} {items[name].schema.title}".casefold() for word in wanted)
            ]  # fmt: skip
        self.endResetModel()

    def refresh(self) -> None:
        """The same nodes, other words."""
        if self.names:
            self.dataChanged.emit(self.index(0), self.index(len(self.names) - 1))

    def rowCount(self, parent: _Index = QModelIndex()) -> int:  # noqa: B008
        return 0 if parent.isValid() else len(self.names)

    def data(self, index: _Index, role: int = Qt.ItemDataRole.DisplayRole) -> Any:
        if self.canvas is None or not 0 <= index.row() < len(self.names):
            return None
        name = self.names[index.row()]
        item = self.canvas.scene.items_by_id.get(name)
        if item is None:
            return None
        if role == Qt.ItemDataRole.DisplayRole:
            return item.title
        if role in {Qt.ItemDataRole.AccessibleTextRole, Qt.ItemDataRole.ToolTipRole}:
            return describe_node(self.canvas.scene, name)
        if role == Qt.ItemDataRole.UserRole:
            return describe_node(self.canvas.scene, name).removeprefix(item.title).lstrip(", ")
        return None


class _RowDelegate(QStyledItemDelegate):
    def sizeHint(self, option: QStyleOptionViewItem, index: _Index) -> QSize:
        return QSize(theme.px(120), theme.px(46))

    def paint(self, painter: QPainter, option: QStyleOptionViewItem, index: _Index) -> None:
        painter.save()
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        rect: QRect = option.rect
        if option.state & QStyle.StateFlag.State_Selected:
            painter.setPen(Qt.PenStyle.NoPen)
            painter.setBrush(theme.token("accent_soft"))
            painter.drawRoundedRect(rect, theme.corner(), theme.corner())
        words = rect.adjusted(theme.space(1), theme.space(0.5), -theme.space(1), -theme.space(0.5))
        lines = ((Qt.ItemDataRole.DisplayRole, theme.font(0, weight=QFont.Weight.DemiBold), "text_strong"),
                 (Qt.ItemDataRole.UserRole, theme.font(-1), "text_muted"))  # fmt: skip
        for role, font, token in lines:
            painter.setFont(font)
            painter.setPen(theme.token(token))
            metrics = painter.fontMetrics()
            text = metrics.elidedText(str(index.data(role) or ""), Qt.TextElideMode.ElideRight, words.width())
            painter.drawText(words, int(Qt.AlignmentFlag.AlignLeft | Qt.AlignmentFlag.AlignTop), text)
            words.setTop(words.top() + metrics.lineSpacing())
        painter.restore()


class _List(QListView):
    chosen = Signal()

    def keyPressEvent(self, event: QKeyEvent) -> None:
        if event.key() in {Qt.Key.Key_Return, Qt.Key.Key_Enter}:
            self.chosen.emit()
        else:
            super().keyPressEvent(event)


class Outline(Panel):
    """Beside the canvas, at either side. `side_wanted`: it is to go to the other side; `closed`: it is to go."""

    side_wanted = Signal()
    closed = Signal()

    def __init__(self) -> None:
        super().__init__(1)
        self.setAccessibleName("Outline")
        self._canvas: Canvas | None = None
        self._own = False  # the selection is being changed from here, or shown here
        column = Column(self, spacing=0.75, margins=1)
        head = Row(spacing=0.5)
        head.addWidget(Label("Outline", "strong"), 1)
        self.side = IconButton("panel-right", "Other side", "Put the outline at the other side of the canvas.", size=16)
        self.close_button = IconButton("x", "Close the outline", "Hide the outline.", size=16)
        self.side.clicked.connect(self.side_wanted)
        self.close_button.clicked.connect(self.closed)
        head.addWidget(self.side)
        head.addWidget(self.close_button)
        column.addLayout(head)
        self.query = QLineEdit()
        self.query.setPlaceholderText("Find a node")
        describe(self.query, "Find in the outline", "Shows only the nodes whose titles have these letters.")
        column.addWidget(self.query)
        self.model = OutlineModel()
        self.list = _List()
        self.list.setModel(self.model)
        self.list.setItemDelegate(_RowDelegate(self.list))
        self.list.setUniformItemSizes(True)
        self.list.setFrameShape(QFrame.Shape.NoFrame)
        self.list.setSelectionMode(QListView.SelectionMode.ExtendedSelection)
        self.list.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        describe(self.list, "Nodes", "Choosing one shows it on the canvas; Enter goes there.")
        self.list.setToolTip("")
        column.addWidget(self.list, 1)
        self._later = QTimer(self)
        self._later.setSingleShot(True)
        self._later.setInterval(60)
        self._later.timeout.connect(self.reload)
        self.query.textChanged.connect(self.reload)
        self.list.selectionModel().selectionChanged.connect(self._select)
        self.list.chosen.connect(self._go)
        self.setMinimumWidth(theme.px(160))

    def show_canvas(self, canvas: Canvas | None) -> None:
        """Follow another canvas."""
        if canvas is not self._canvas:
            if self._canvas is not None:
                self._canvas.scene.changed_nodes.disconnect(self._changed)
                self._canvas.scene.shown.disconnect(self._changed)
                self._canvas.scene.dirty.disconnect(self._repainted)
                self._canvas.selection_changed.disconnect(self._show_selection)
            self._canvas = canvas
            if canvas is not None:
                canvas.scene.changed_nodes.connect(self._changed)
                canvas.scene.shown.connect(self._changed)
                canvas.scene.dirty.connect(self._repainted)
                canvas.selection_changed.connect(self._show_selection)
        self.reload()

    @Slot()
    def _changed(self) -> None:
        self._later.start()

    @Slot()
    def _repainted(self) -> None:
        """A state may have changed: the rows in sight are painted again, no other."""
        self.list.viewport().update()

    @Slot()
    def reload(self) -> None:
        self._later.stop()
        if not self.isVisible() and self._canvas is not None:
            return  # made when it is shown
        self._own = True
        self.model.show(self._canvas, self.query.text())
        self._own = False
        self._show_selection()

    @Slot()
    def _show_selection(self) -> None:
        if self._own or self._canvas is None or not self.isVisible():
            return
        selected = self._canvas.scene.selected
        rows = [row for row, name in enumerate(self.model.names) if name in selected]
        chosen = QItemSelection()
        for row in rows:
            chosen.select(self.model.index(row), self.model.index(row))
        self._own = True
        models = self.list.selectionModel()
        models.select(chosen, QItemSelectionModel.SelectionFlag.ClearAndSelect)
        if len(rows) == 1:
            models.setCurrentIndex(self.model.index(rows[0]), QItemSelectionModel.SelectionFlag.NoUpdate)
            self.list.scrollTo(self.model.index(rows[0]))
        self._own = False

    @Slot()
    def _select(self) -> None:
        if self._own or self._canvas is None:
            return
        self._own = True
        names = [self.model.names[index.row()] for index in self.list.selectedIndexes()]
        self._canvas.scene.select(names)
        if names:
            self._canvas.view.ensure_seen(self._canvas.scene.bounds(names))
        self._own = False

    @Slot()
    def _go(self) -> None:
        if self._canvas is not None:
            self._canvas.view.walking = True
            self._canvas.view.setFocus()

    def showEvent(self, event: object) -> None:
        self.reload()
