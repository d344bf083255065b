"""The Models page's three columns: shelves and folders, cards, everything about one; and the room they have."""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar, TypeAlias

from PySide6.QtCore import Slot
from PySide6.QtGui import QPixmap, QResizeEvent
from PySide6.QtWidgets import QSizePolicy, QStackedWidget, QWidget

from studio_app.models.library import Listed
from ui import theme
from ui.models.cards_model import CardsModel
from ui.models.cards_view import CardsView
from ui.models.details import ModelDetails
from ui.models.downloads_panel import DownloadsPanel
from ui.models.incoming import Arrivals, Bar
from ui.models.side import Side
from ui.widgets.basics import Button, ElidedLabel, IconButton, Label, Line
from ui.widgets.containers import EmptyState
from ui.widgets.layouts import Column, Row
from ui.workspace import Workspace

PixmapOf: TypeAlias = Callable[[Listed, int], QPixmap | None]


class ModelsColumns(Workspace):
    """The widgets of the page and their places; what they do is ModelsWorkspace's."""

    title: ClassVar[str] = "Models"
    icon_name: ClassVar[str] = "boxes"

    def _make(self, cards: CardsModel, pixmap: PixmapOf, downloads: DownloadsPanel) -> None:
        self.side = Side()
        self.heading = ElidedLabel("Models", "heading")
        self.import_button = Button("Import…", "download", tip="Copies model files into the studio's folder.")
        self.shelves_button = IconButton("menu", "Shelves", "Shows the shelves and folders.", checkable=True)
        self.details_button = IconButton("info", "Details", "Shows everything about the model.", checkable=True)
        self.again = IconButton("refresh-cw", "Look again", "Looks into every folder for new files.")
        self.downloads = downloads
        self.arrivals = Arrivals()
        self.grid = CardsView(cards, pixmap)
        self.empty = EmptyState(
            "boxes", "Your own models will be here",
            "Drop model files or folders here, paste an address above, or add a folder of ComfyUI, Automatic1111, "
            "InvokeAI or the Hugging Face cache at the left: it is used where it is.",
            "Import files…", "Chooses model files to copy into the studio's folder.",
        )  # fmt: skip
        self.nothing = EmptyState("search", "Nothing fits", "No model has all of this.", "Show all models",
                                  "Clears the search and the shelves.")  # fmt: skip
        self.hashing = Label("", "small")
        self.hash_bar = Bar("How much is hashed")
        self.details = ModelDetails()
        self.back = Button("All models", "chevron-left", kind="quiet", tip="Goes back to the cards.")

    def _lay_out(self) -> None:
        row = Row(self, spacing=0)
        row.addWidget(self.side)
        row.addWidget(Line(vertical=True))
        self._middle = QWidget()
        middle = Column(self._middle, spacing=1, margins=(2, 1.5, 1.5, 1))
        head = Row(spacing=0.5)
        head.addWidget(self.shelves_button)
        head.addWidget(self.heading, 1)
        head.addWidget(self.again)
        head.addWidget(self.details_button)
        head.addWidget(self.import_button)
        middle.addLayout(head)
        middle.addWidget(self.downloads)
        middle.addWidget(self.arrivals)
        self._stack = QStackedWidget()
        for page in (self.nothing, self.grid):
            self._stack.addWidget(page)
        self._stack.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Ignored)
        self.empty.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Ignored)
        middle.addWidget(self._stack, 1)
        middle.addWidget(self.empty, 1)
        foot = Row(spacing=1)
        foot.addWidget(self.hashing)
        foot.addWidget(self.hash_bar, 1)
        middle.addLayout(foot)
        self.hashing.hide()
        self.hash_bar.hide()
        row.addWidget(self._middle, 1)
        row.addWidget(Line(vertical=True))
        right = Column(spacing=0)
        self._right_head = QWidget()
        back = Row(self._right_head, margins=(1, 1, 1, 0))
        back.addWidget(self.back)
        back.addStretch(1)
        right.addWidget(self._right_head)
        right.addWidget(self.details, 1)
        row.addLayout(right)
        self.shelves_button.toggled.connect(self._fit)
        self.details_button.toggled.connect(self._fit)
        for chosen in (self.side.shelves.itemClicked, self.side.shelves.itemActivated, self.side.search.returnPressed):
            chosen.connect(self._close_shelves)
        self.back.clicked.connect(lambda: self.details_button.setChecked(False))
        theme.notifier.changed.connect(self._fit)

    # ---- where there is room

    def resizeEvent(self, event: QResizeEvent) -> None:
        super().resizeEvent(event)
        self._fit()

    @Slot()
    def _close_shelves(self) -> None:
        self.shelves_button.setChecked(False)

    @Slot()
    def _fit(self) -> None:
        """Where there is no room for three columns, buttons bring the shelves and the details."""
        # Without it the columns that are shown now would keep the window wide, and its empty places keep it high.
        self.setMinimumSize(theme.px(340), theme.px(280))
        self._stack.setMinimumHeight(theme.px(48))
        room, middle = self.width(), theme.px(300)
        both = room >= self.side.width() + self.details.width() + middle
        one = both or room >= self.side.width() + middle
        alone = not both and self.details_button.isChecked()
        self.details_button.setVisible(not both)
        self.shelves_button.setVisible(not one)
        self.details.setVisible(both or alone)
        self._right_head.setVisible(alone)
        self.side.setVisible(not alone and (one or self.shelves_button.isChecked()))
        left = self.height() - theme.px(250)  # for what is on its way in: the head, buttons and a strip of cards stay
        self.downloads.set_room(max(theme.px(40), min(theme.px(200), round(left * 0.32))))
        self.arrivals.set_room(max(theme.px(48), min(theme.px(280), round(left * 0.36))))
        self._middle.setVisible(not alone and (one or not self.side.isVisibleTo(self)))
