"""The left column of Models: search, shelves by kind with their counts, the base model, and the searched folders."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

from PySide6.QtCore import QRect, QSize, Qt, Signal, Slot
from PySide6.QtGui import QPainter
from PySide6.QtWidgets import (
    QLineEdit,
    QListWidget,
    QListWidgetItem,
    QMenu,
    QStyledItemDelegate,
    QStyleOptionViewItem,
    QToolButton,
    QWidget,
)

from studio_app.models.layouts import LAYOUT_WORDS
from studio_app.models.library import Folder
from ui import theme
from ui.create.results_model import Index
from ui.models.cards_model import Filter
from ui.models.words import REFUSED, SHELVES, shortened
from ui.widgets.basics import ElidedLabel, IconButton, Label, describe
from ui.widgets.inputs import Choice
from ui.widgets.layouts import Column, Row

KEY, COUNT = Qt.ItemDataRole.UserRole, Qt.ItemDataRole.UserRole + 1
FAVOURITES = "favourites"


class _ShelfDelegate(QStyledItemDelegate):
    """A shelf's title at the left as usual, its count at the right."""

    def paint(self, painter: QPainter, option: QStyleOptionViewItem, index: Index) -> None:
        super().paint(painter, option, index)
        place: QRect = option.rect
        painter.setFont(theme.font(-1))
        painter.setPen(theme.token("text_muted"))
        right = Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter
        painter.drawText(place.adjusted(0, 0, -theme.px(10), 0), int(right), f"{index.data(COUNT):,}")


class FolderRow(QWidget):
    """One searched folder: whose it is, where, and how to take it out of the list."""

    def __init__(self, folder: Folder, remove: Callable[[], object] | None) -> None:
        super().__init__()
        row = Row(self, spacing=0.5)
        words = Column(spacing=0)
        whose = LAYOUT_WORDS[folder.layout]
        title = whose[0].upper() + whose[1:]
        there = folder.there or folder.layout == "studio"  # which is made when something goes into it
        words.addWidget(Label(title) if there else Label(f"{title}, not there", "warning"))
        path = ElidedLabel(shortened(folder.path), "small")
        path.setAccessibleName(str(folder.path))
        words.addWidget(path)
        row.addLayout(words, 1)
        if remove is not None:
            name = f"Stop searching {folder.path.name}"
            self.button = IconButton("x", name, "Takes the folder out of the list; its files stay.", size=16)
            self.button.clicked.connect(lambda: remove())
            row.addWidget(self.button)


class Side(QWidget):
    """`filter_changed(Filter)`; `folder_wanted(path or "")`, "" to ask for one; `folder_unwanted(path)`."""

    filter_changed = Signal(object)
    folder_wanted = Signal(str)
    folder_unwanted = Signal(str)
    menu_opens = Signal()

    def __init__(self) -> None:
        super().__init__()
        self._filter = Filter()
        self._counted: list[tuple[str, int]] = []
        column = Column(self, spacing=1, margins=(2, 1.5, 1.5, 1.5))
        self.search = QLineEdit()
        self.search.setPlaceholderText("Find a model")
        self.search.setClearButtonEnabled(True)
        describe(self.search, "Find a model", "Looks at names, kinds, tags, notes and trigger words.", "Ctrl+F")
        column.addWidget(self.search)
        self.shelves = QListWidget()
        self.shelves.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self.shelves.setItemDelegate(_ShelfDelegate(self.shelves))
        describe(self.shelves, "Shelves", "Shows one kind of models.")
        column.addWidget(self.shelves, 1)
        base = Row(spacing=1)
        label = Label("Base model", "muted")
        self.base = Choice("Base model", "Shows only what works with this base model.")
        label.setBuddy(self.base)
        base.addWidget(label)
        base.addWidget(self.base, 1)
        column.addLayout(base)
        column.addSpacing(theme.space(1))
        head = Row(spacing=0.5)
        head.addWidget(Label("Folders", "strong"), 1)
        self.add_folder = IconButton("folder-plus", "Add a folder", "Searches one more folder, where it is.", size=16)
        self.add_folder.setPopupMode(QToolButton.ToolButtonPopupMode.InstantPopup)
        self.menu = QMenu(self)
        self.add_folder.setMenu(self.menu)
        head.addWidget(self.add_folder)
        column.addLayout(head)
        self._folders = Column(spacing=1)
        column.addLayout(self._folders)
        self.search.textChanged.connect(self._changed)
        self.shelves.currentRowChanged.connect(self._changed)
        self.base.activated.connect(self._changed)
        self.menu.aboutToShow.connect(self.menu_opens)
        theme.notifier.changed.connect(self._rescale)
        self.show_counts(Counter())
        self._rescale()

    # ---- shelves

    def show_counts(self, counts: Counter[str]) -> None:
        """Every shelf that has something, and the chosen one."""
        rows = [("", "All models", "boxes"), (FAVOURITES, "Favourites", "star")]
        rows += [(kind, title, icon) for kind, (title, icon) in SHELVES.items()]
        rows += [(REFUSED, "Refused", "circle-alert")]
        chosen = FAVOURITES if self._filter.favourites else self._filter.kind
        wanted = [(key, counts[key]) for key, _, _ in rows if counts[key] or key in ("", FAVOURITES, chosen)]
        if wanted == self._counted:
            return  # a list that is made anew loses the press of the mouse that chose in it
        self._counted = wanted
        self.shelves.blockSignals(True)
        self.shelves.clear()
        for key, title, icon in rows:
            if not (counts[key] or key in ("", FAVOURITES, chosen)):
                continue
            item = QListWidgetItem(theme.icon(icon, 16), title)
            item.setData(KEY, key)
            item.setData(COUNT, counts[key])
            item.setData(Qt.ItemDataRole.AccessibleTextRole, f"{title}, {counts[key]}")
            item.setSizeHint(QSize(0, theme.px(32)))
            self.shelves.addItem(item)
            if key == chosen:
                self.shelves.setCurrentItem(item)
        self.shelves.blockSignals(False)

    def show_bases(self, bases: Sequence[str]) -> None:
        self.base.blockSignals(True)
        self.base.clear()
        self.base.addItem("All", "")
        for name in dict.fromkeys([*bases, *([self._filter.base] if self._filter.base else [])]):
            self.base.addItem(name, name)
        self.base.setCurrentIndex(max(0, self.base.findData(self._filter.base)))
        self.base.blockSignals(False)

    def show_filter(self, wanted: Filter) -> None:
        """Choose what is shown, as when a page is brought back."""
        self._filter = wanted
        self.search.blockSignals(True)
        self.search.setText(wanted.text)
        self.search.blockSignals(False)
        for row in range(self.shelves.count()):
            if self.shelves.item(row).data(KEY) == (FAVOURITES if wanted.favourites else wanted.kind):
                self.shelves.setCurrentRow(row)

    @Slot()
    def _changed(self) -> None:
        item = self.shelves.currentItem()
        kind = str(item.data(KEY)) if item is not None else ""
        favourites = kind == FAVOURITES
        base = str(self.base.currentData() or "")
        self._filter = Filter(self.search.text(), "" if favourites else kind, base, favourites)
        self.filter_changed.emit(self._filter)

    # ---- folders

    def show_folders(self, folders: Sequence[Folder]) -> None:
        while (old := self._folders.takeAt(0)) is not None:
            widget = old.widget()
            if widget is not None:
                widget.hide()
                widget.deleteLater()
        for folder in folders:
            self._folders.addWidget(
                FolderRow(folder, None if folder.layout == "studio" else self._remover(folder.path))
            )

    def offer(self, usual: Sequence[tuple[str, Path]]) -> None:
        """Fill the menu of the button that adds a folder: other programs' that were found, then any."""
        self.menu.clear()
        for layout, path in usual:
            self.menu.addAction(f"{LAYOUT_WORDS[layout]}: {shortened(path)}", self._adder(str(path)))
        if usual:
            self.menu.addSeparator()
        self.menu.addAction("Another folder…", self._adder(""))

    def _adder(self, path: str) -> Callable[[], None]:
        return lambda: self.folder_wanted.emit(path)

    def _remover(self, path: Path) -> Callable[[], None]:
        return lambda: self.folder_unwanted.emit(str(path))

    @Slot()
    def _rescale(self) -> None:
        self.setFixedWidth(theme.px(240))
        self.shelves.setIconSize(QSize(theme.px(16), theme.px(16)))
        for row in range(self.shelves.count()):
            self.shelves.item(row).setSizeHint(QSize(0, theme.px(32)))
