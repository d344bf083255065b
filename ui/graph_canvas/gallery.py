"""The gallery: the workflows that come with the studio as cards, and the person's own beside them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PySide6.QtCore import (
    QAbstractListModel,
    QFile,
    QModelIndex,
    QPersistentModelIndex,
    QPoint,
    QRect,
    QRectF,
    QSize,
    Qt,
    Signal,
    Slot,
)
from PySide6.QtGui import (
    QAction,
    QFont,
    QKeyEvent,
    QPainter,
    QPainterPath,
    QPen,
    QPixmap,
    QResizeEvent,
    QTextLayout,
    QTextOption,
)
from PySide6.QtWidgets import (
    QFrame,
    QInputDialog,
    QLineEdit,
    QListView,
    QMenu,
    QStyle,
    QStyledItemDelegate,
    QStyleOptionViewItem,
    QWidget,
)

from engine.contracts.errors import TesseraError
from studio_app.application import Application
from studio_app.workflows.library import WorkflowFile
from ui import theme
from ui.dialogs.page import PageDialog
from ui.widgets.basics import Button, Label, describe, set_property
from ui.widgets.fuzzy import ranked
from ui.widgets.layouts import Column, Row

WIDTH, PICTURE = 208, 112  # pixels at scale 1: a card, and the height of its picture
LINES = 3  # of the explanation
_Index = QModelIndex | QPersistentModelIndex


@dataclass(frozen=True)
class Card:
    """A template (`template` is its id) or a file of the person's own."""

    title: str
    explanation: str
    note: str = ""
    picture: Path | None = None
    template: str = ""
    file: WorkflowFile | None = None


class CardModel(QAbstractListModel):
    """The cards shown now. Pictures are read when they are first painted."""

    def __init__(self) -> None:
        super().__init__()
        self.cards: list[Card] = []
        self._pixmaps: dict[Path, QPixmap] = {}

    def show(self, cards: Sequence[Card]) -> None:
        self.beginResetModel()
        self.cards = list(cards)
        self.endResetModel()

    def rowCount(self, parent: _Index = QModelIndex()) -> int:  # noqa: B008
        return 0 if parent.isValid() else len(self.cards)

    def data(self, index: _Index, role: int = Qt.ItemDataRole.DisplayRole) -> Any:
        card = self.cards[index.row()]
        if role == Qt.ItemDataRole.DisplayRole:
            return card.title
        if role in {Qt.ItemDataRole.AccessibleTextRole, Qt.ItemDataRole.ToolTipRole}:
            return ". ".join(part.rstrip(".") for part in (card.title, card.explanation, card.note) if part) + "."
        return None

    def pixmap(self, path: Path) -> QPixmap:
        found = self._pixmaps.get(path)
        if found is None:
            found = self._pixmaps[path] = QPixmap(str(path))
        return found


class _CardDelegate(QStyledItemDelegate):
    def sizeHint(self, option: QStyleOptionViewItem, index: _Index) -> QSize:
        line = _line_height()
        view = option.widget
        width = view.card_width() if isinstance(view, CardView) else theme.px(WIDTH)
        return QSize(width, theme.px(PICTURE) + theme.space(3.5) + line + LINES * line)

    def paint(self, painter: QPainter, option: QStyleOptionViewItem, index: _Index) -> None:
        model = index.model()
        assert isinstance(model, CardModel)
        card = model.cards[index.row()]
        chosen = bool(option.state & QStyle.StateFlag.State_Selected)
        focused = chosen and bool(option.state & QStyle.StateFlag.State_HasFocus)
        gap = theme.space(0.5)
        box = QRectF(option.rect).adjusted(gap, gap, -gap, -gap)
        painter.save()
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        painter.setRenderHint(QPainter.RenderHint.SmoothPixmapTransform)
        shape = QPainterPath()
        shape.addRoundedRect(box, theme.corner(), theme.corner())
        hovered = bool(option.state & QStyle.StateFlag.State_MouseOver)
        painter.fillPath(shape, theme.token("surface4" if hovered else "surface3"))
        painter.setClipPath(shape)
        self._picture(painter, QRectF(box.left(), box.top(), box.width(), theme.px(PICTURE)), card, model)
        painter.setClipping(False)
        pad = theme.space(1)
        words = box.adjusted(pad, theme.px(PICTURE) + theme.space(0.75), -pad, -theme.space(0.5)).toRect()
        painter.setFont(theme.font(0, weight=QFont.Weight.DemiBold))
        painter.setPen(theme.token("text_strong"))
        title = painter.fontMetrics().elidedText(card.title, Qt.TextElideMode.ElideRight, words.width())
        painter.drawText(words, int(Qt.AlignmentFlag.AlignTop | Qt.AlignmentFlag.AlignLeft), title)
        painter.setFont(theme.font(-1))
        problem = card.file is not None and bool(card.file.problem)
        painter.setPen(theme.token("danger" if problem else "text_muted"))
        _wrapped(painter, words.adjusted(0, _line_height() + theme.space(0.5), 0, 0), card.explanation or card.note)
        if chosen:
            painter.setBrush(Qt.BrushStyle.NoBrush)
            painter.setPen(QPen(theme.token("focus" if focused else "accent"), 2))
            painter.drawPath(shape)
        painter.restore()

    def _picture(self, painter: QPainter, area: QRectF, card: Card, model: CardModel) -> None:
        painter.fillRect(area, theme.token("surface0"))
        pixmap = model.pixmap(card.picture) if card.picture is not None else QPixmap()
        if pixmap.isNull():
            side = theme.px(32)
            place = QRect(0, 0, side, side)
            place.moveCenter(area.center().toPoint())
            theme.paint_icon(painter, "workflow", place, "text_muted")
            return
        scale = max(area.width() / pixmap.width(), area.height() / pixmap.height())
        size = QSize(round(pixmap.width() * scale), round(pixmap.height() * scale))
        place = QRect(QPoint(0, 0), size)
        place.moveCenter(area.center().toPoint())
        painter.save()
        painter.setClipRect(area, Qt.ClipOperation.IntersectClip)
        painter.drawPixmap(place, pixmap)
        painter.restore()


def _line_height() -> int:
    return round(theme.font_pixels(0) * 1.4)


def _wrapped(painter: QPainter, area: QRect, text: str) -> None:
    """At most LINES lines; the last one is elided where more would follow."""
    layout = QTextLayout(text, painter.font())
    layout.setTextOption(QTextOption(Qt.AlignmentFlag.AlignLeft))
    layout.beginLayout()
    y, height = area.top(), painter.fontMetrics().lineSpacing()
    for number in range(LINES):
        line = layout.createLine()
        if not line.isValid():
            break
        line.setLineWidth(area.width())
        shown = text[line.textStart() : line.textStart() + line.textLength()].rstrip()
        if number == LINES - 1:
            rest = text[line.textStart() :]
            shown = painter.fontMetrics().elidedText(rest, Qt.TextElideMode.ElideRight, area.width())
        painter.drawText(area.left(), y + painter.fontMetrics().ascent(), shown)
        y += height
    layout.endLayout()


class CardView(QListView):
    """Cards in rows; Enter or a double click opens one, arrows go from card to card."""

    opened = Signal(QModelIndex)

    def __init__(self) -> None:
        super().__init__()
        self.setViewMode(QListView.ViewMode.IconMode)
        self.setResizeMode(QListView.ResizeMode.Adjust)
        self.setMovement(QListView.Movement.Static)
        self.setUniformItemSizes(True)
        self.setMouseTracking(True)
        self.setFrameShape(QFrame.Shape.NoFrame)
        self.setVerticalScrollMode(QListView.ScrollMode.ScrollPerPixel)
        self.setItemDelegate(_CardDelegate(self))
        self.setContextMenuPolicy(Qt.ContextMenuPolicy.CustomContextMenu)
        self.doubleClicked.connect(self.opened)

    def card_width(self) -> int:
        """As many cards of WIDTH as fit share a row to its end."""
        room = self.viewport().width() - 1
        return max(theme.px(WIDTH), room // max(1, room // theme.px(WIDTH)))

    def resizeEvent(self, event: QResizeEvent) -> None:
        super().resizeEvent(event)
        self.scheduleDelayedItemsLayout()  # Qt keeps the rows of the first, smaller size otherwise

    def keyPressEvent(self, event: QKeyEvent) -> None:
        if event.key() in {Qt.Key.Key_Return, Qt.Key.Key_Enter} and self.currentIndex().isValid():
            self.opened.emit(self.currentIndex())
        else:
            super().keyPressEvent(event)


class Gallery(PageDialog):
    """`template_wanted` fires with a template's id, `file_wanted` with a path: open it in a tab."""

    template_wanted = Signal(str)
    file_wanted = Signal(object)

    def __init__(self, app: Application, parent: QWidget) -> None:
        super().__init__("Workflows", parent, 960, 700)
        self._app = app
        head = Row(spacing=1, margins=2)
        self.templates = Button("Templates", kind="quiet", tip="Workflows that come with the studio; all of them run.")
        self.own = Button("My workflows", kind="quiet", tip="The workflows that you saved.")
        for button in (self.templates, self.own):
            button.setCheckable(True)
            button.setAutoExclusive(True)
            head.addWidget(button)
        self.templates.setChecked(True)
        self.search = QLineEdit()
        self.search.setPlaceholderText("What do you want to make?")
        describe(self.search, "Find a workflow", "Shows only the workflows whose title or explanation has these words.")
        head.addWidget(self.search, 1)
        self.column.addLayout(head)
        self.model = CardModel()
        self.view = CardView()
        self.view.setModel(self.model)
        describe(self.view, "Workflows", "Enter opens the chosen one in a tab of its own.")
        self.view.setToolTip("")
        holder = Column(margins=(1.5, 0, 1.5, 0))
        holder.addWidget(self.view)
        self.column.addLayout(holder, 1)
        self.nothing = Label("", "muted", wrap=True)
        self.nothing.setAlignment(Qt.AlignmentFlag.AlignCenter)
        self.column.addWidget(self.nothing)
        foot = Row(spacing=1, margins=2)
        self.note = Label("", "muted", wrap=True)
        foot.addWidget(self.note, 1)
        self.rename_button = Button("Rename…", tip="Give the chosen workflow another name.")
        self.delete_button = Button("Delete", "trash-2", tip="Move the chosen workflow to the trash.")
        self.open_button = Button("Open", kind="primary", tip="Open the chosen workflow in a tab of its own.")
        for button in (self.rename_button, self.delete_button, self.open_button):
            foot.addWidget(button)
        self.column.addLayout(foot)
        self._cards: list[Card] = []
        self.templates.toggled.connect(self.reload)
        self.search.textChanged.connect(self._filter)
        self.view.opened.connect(self._open)
        self.view.customContextMenuRequested.connect(self._menu)
        self.view.selectionModel().currentChanged.connect(self._chosen_changed)
        self.open_button.clicked.connect(self._open_chosen)
        self.rename_button.clicked.connect(self._ask_name)
        self.delete_button.clicked.connect(self._delete)
        self.reload()

    # ---- showing

    @Slot()
    def reload(self) -> None:
        """Read the folder that is shown again."""
        own = self.own.isChecked()
        for button in (self.templates, self.own):
            set_property(button, "kind", "normal" if button.isChecked() else "quiet")
        self.rename_button.setVisible(own)
        self.delete_button.setVisible(own)
        try:
            self._cards = self._own_cards() if own else self._template_cards()
        except TesseraError as error:
            self._cards = []
            self.note.setText(str(error))
        self._filter(self.search.text())

    def _template_cards(self) -> list[Card]:
        return [
            Card(t.title, t.explanation, t.group, t.picture, template=t.id)
            for t in self._app.workflows.library.templates()
        ]

    def _own_cards(self) -> list[Card]:
        found = []
        for file in self._app.workflows.library.workflows():
            count = "1 node" if file.nodes == 1 else f"{file.nodes} nodes"
            found.append(Card(file.name, file.problem or file.description, count, file=file))
        return found

    @Slot(str)
    def _filter(self, text: str) -> None:
        texts = [f"{card.title} {card.note} {card.explanation}" for card in self._cards]
        self.model.show([self._cards[i] for i in ranked(text, texts)] if text.strip() else self._cards)
        some = bool(self.model.cards)
        self.view.setVisible(some)
        self.nothing.setVisible(not some)
        empty = "You have saved no workflow yet. Save one with Ctrl+S and it is here."
        self.nothing.setText(empty if self.own.isChecked() and not self._cards else "No workflow has these words.")
        if some:
            self.view.setCurrentIndex(self.model.index(0))
        self._chosen_changed()

    @property
    def chosen(self) -> Card | None:
        index = self.view.currentIndex()
        return self.model.cards[index.row()] if index.isValid() and index.row() < len(self.model.cards) else None

    @Slot()
    def _chosen_changed(self) -> None:
        card = self.chosen
        for button in (self.rename_button, self.delete_button, self.open_button):
            button.setEnabled(card is not None)
        if card is not None:
            problem = card.file is not None and bool(card.file.problem)
            self.open_button.setEnabled(not problem)
            self.rename_button.setEnabled(not problem)
            self.note.setText(card.explanation or card.note)

    # ---- doing

    @Slot(QModelIndex)
    def _open(self, index: QModelIndex) -> None:
        self._open_card(self.model.cards[index.row()])

    @Slot()
    def _open_chosen(self) -> None:
        if self.chosen is not None:
            self._open_card(self.chosen)

    def _open_card(self, card: Card) -> None:
        if card.template:
            self.template_wanted.emit(card.template)
        elif card.file is not None and not card.file.problem:
            self.file_wanted.emit(card.file.path)
        else:
            return
        self.accept()

    @Slot(QPoint)
    def _menu(self, place: QPoint) -> None:
        menu = QMenu(self)
        buttons = [
            button for button in (self.open_button, self.rename_button, self.delete_button) if button.isVisible()
        ]
        for button in buttons:
            action = QAction(button.text(), menu)
            action.setEnabled(button.isEnabled())
            action.triggered.connect(button.click)
            menu.addAction(action)
        menu.aboutToHide.connect(menu.deleteLater)
        menu.popup(self.view.viewport().mapToGlobal(place))

    @Slot()
    def _ask_name(self) -> None:
        card = self.chosen
        if card is None or card.file is None:
            return
        dialog = QInputDialog(self)
        dialog.setWindowTitle("Rename")
        dialog.setLabelText("Name of the workflow")
        dialog.setTextValue(card.title)
        file = card.file
        dialog.textValueSelected.connect(lambda name: self.give_name(file, name))
        dialog.open()

    def give_name(self, file: WorkflowFile, name: str) -> None:
        """Another name for a workflow of the person's own; its file stays where it is."""
        if not name.strip():
            return
        try:
            self._app.workflows.rename_file(file.path, name.strip())
        except TesseraError as error:
            self.note.setText(str(error))
            return
        self.reload()

    @Slot()
    def _delete(self) -> None:
        card = self.chosen
        if card is None or card.file is None:
            return
        path = card.file.path
        if any(tab.path == path for tab in self._app.workflows.tabs):
            self.note.setText(f"“{card.title}” is open in a tab; close it first.")
            return
        moved = QFile(str(path)).moveToTrash()
        self.reload()
        if moved:
            self.note.setText(f"“{card.title}” is in the trash.")
        else:
            self.note.setText(f"This system has no trash for {path.parent}; delete “{path.name}” there yourself.")
