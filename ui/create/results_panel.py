"""The right side of Create: the grid of results, one of them large, its details, and what can be done with it."""

from __future__ import annotations

from collections.abc import Callable

from PySide6.QtCore import QItemSelection, QModelIndex, QPoint, Qt, Signal, Slot
from PySide6.QtGui import QImage, QKeyEvent, QKeySequence, QPixmap
from PySide6.QtWidgets import QMenu, QSlider, QStackedWidget, QWidget

from engine.contracts.results import ResultRecord
from studio_app.application import Application
from ui import theme
from ui.bridge.background import Background
from ui.create.details import Details
from ui.create.difference import exact_request
from ui.create.results_model import JobEntry, PictureEntry, ResultsModel, describe_entry
from ui.create.results_view import LARGEST_TILE, SMALLEST_TILE, USUAL_TILE, ResultsView
from ui.panels.thumbnails import Thumbnails
from ui.viewer.image_view import ImageView
from ui.viewer.pyramid import display_image
from ui.widgets.basics import Button, ElidedLabel, IconButton, Label, Panel, describe
from ui.widgets.containers import EmptyState
from ui.widgets.layouts import Column, Row

FIRST_PROMPT = "a red circle on a blue background"
CLOSE_VARIATIONS = "picture.variations_close"  # in the context menu only, so not in the command table
# command id, icon, name, sentence, shortcut
ACTIONS = (
    ("picture.save_as", "save", "Save as…", "Saves the picture under a name of your own.", "Ctrl+S"),
    ("picture.copy", "copy", "Copy", "Copies the picture to the clipboard.", "Ctrl+C"),
    ("picture.use_as_input", "image-plus", "Use as input", "Starts the next picture from this one.", "Ctrl+I"),
    ("picture.variations", "shuffle", "Make variations", "Makes more like this one.", "Ctrl+M"),
    ("picture.enlarge", "expand", "Enlarge 2×", "Makes the picture twice as wide and as high.", "Ctrl+Shift+E"),
    (
        "picture.reuse_settings",
        "sliders-horizontal",
        "Use its settings",
        "Brings prompt and settings back.",
        "Ctrl+U",
    ),
    ("picture.delete", "trash-2", "Delete", "Takes the picture out of the library.", "Delete"),
)


class MessageBar(Panel):
    """One sentence about what just happened, with at most one thing to do about it."""

    acted = Signal()

    def __init__(self) -> None:
        super().__init__(2)
        row = Row(self, spacing=1, margins=(1.5, 0.75))
        self.label = Label("", wrap=True)
        self.action = Button("Undo")
        close = IconButton("x", "Dismiss", "Hides this message.", size=16)
        row.addWidget(self.label, 1)
        row.addWidget(self.action)
        row.addWidget(close)
        self.action.clicked.connect(self._act)
        close.clicked.connect(self.hide)
        self.hide()

    def say(self, sentence: str, action: str = "") -> None:
        self.label.setText(sentence)
        self.setAccessibleName(sentence)
        self.action.setText(action)
        describe(self.action, action)
        self.action.setVisible(bool(action))
        self.setVisible(bool(sentence))

    @Slot()
    def _act(self) -> None:
        self.hide()
        self.acted.emit()


class ResultsPanel(QWidget):
    """Grid and viewer over one ResultsModel. `action_wanted(command id)`, `first_wanted`, `selection_changed`,
    `second_try_wanted(job id)`."""

    action_wanted = Signal(str)
    first_wanted = Signal()
    selection_changed = Signal()
    drag_wanted = Signal()
    second_try_wanted = Signal(str)

    def __init__(self, app: Application, model: ResultsModel, background: Background) -> None:
        super().__init__()
        self._app, self._model, self._background = app, model, background
        self._shown = ""  # id of the record that is shown large
        self.thumbnails = Thumbnails(self)
        self._make()
        self._lay_out()
        self._connect()
        self._update()

    def _make(self) -> None:
        self.back = IconButton("chevron-left", "Back to all results", "Shows all results again.", shortcut="Esc")
        self.title = ElidedLabel("Results", "heading")
        self.tile_size = QSlider(Qt.Orientation.Horizontal)
        self.tile_size.setRange(SMALLEST_TILE, LARGEST_TILE)
        self.tile_size.setValue(USUAL_TILE)
        describe(self.tile_size, "Size of the pictures", "How large the pictures are shown in the grid.")
        self.zoom_out = IconButton("zoom-out", "Zoom out", "Shows more of the picture.", shortcut="-")
        self.zoom = Button("Fit", kind="quiet", tip="Shows all of the picture.", shortcut="F")
        self.zoom_in = IconButton("zoom-in", "Zoom in", "Shows the picture larger.", shortcut="+")
        self.actual = Button("1:1", kind="quiet", tip="Shows one pixel of the picture on one of the screen.")
        self.previous = IconButton("chevron-left", "Previous picture", "Goes to the newer picture.", shortcut="Left")
        self.next = IconButton("chevron-right", "Next picture", "Goes to the older picture.", shortcut="Right")
        self.action_buttons: dict[str, IconButton] = {}
        for command, icon, name, tip, shortcut in ACTIONS:
            self.action_buttons[command] = IconButton(icon, name, tip, shortcut=shortcut)
        self.details_button = IconButton("info", "Details", "Shows what the picture was made of.")
        self.grid = ResultsView(self._model, self._pixmap)
        self.view = ImageView()
        self.empty = EmptyState(
            "images", "Your pictures will be here",
            "Say what the picture should show and press Generate, or drop a picture on the window to start from it.",
            f"Try: {FIRST_PROMPT}", "Writes this prompt and makes the picture.",
        )  # fmt: skip
        self.message = MessageBar()
        self.details = Details()

    def _lay_out(self) -> None:
        middle = Column(self, spacing=0)
        header = Row(spacing=0.5, margins=(2, 1.5, 2, 0.5))
        header.addWidget(self.back)
        header.addWidget(self.title, 1)
        header.addSpacing(theme.space(1))
        header.addWidget(self.tile_size)
        header.addSpacing(theme.space(1))
        for button in self.action_buttons.values():
            header.addWidget(button)
        header.addWidget(self.details_button)
        middle.addLayout(header)
        self._stack = QStackedWidget()
        for page in (self.empty, self.grid, self.view):
            self._stack.addWidget(page)
        inset = Row(margins=(1.5, 0, 1.5, 0))
        inset.addWidget(self._stack)
        middle.addLayout(inset, 1)
        self.viewer_tools = QWidget()
        tools = Row(self.viewer_tools, spacing=0.5, margins=(2, 1, 2, 0))
        tools.addWidget(self.previous)
        tools.addWidget(self.next)
        tools.addStretch(1)
        for widget in (self.zoom_out, self.zoom, self.zoom_in, self.actual):
            tools.addWidget(widget)
        middle.addWidget(self.viewer_tools)
        foot = Row(margins=(2, 1, 2, 1))
        foot.addWidget(self.message)
        middle.addLayout(foot)

    def _connect(self) -> None:
        self.back.clicked.connect(self.show_grid)
        self.tile_size.valueChanged.connect(self.grid.set_tile)
        self.zoom_out.clicked.connect(self.view.zoom_out)
        self.zoom_in.clicked.connect(self.view.zoom_in)
        self.zoom.clicked.connect(self.view.fit)
        self.actual.clicked.connect(self.view.actual_size)
        self.previous.clicked.connect(self.show_previous)
        self.next.clicked.connect(self.show_next)
        self.view.previous_wanted.connect(self.show_previous)
        self.view.next_wanted.connect(self.show_next)
        self.view.closed.connect(self.show_grid)
        self.view.zoom_changed.connect(self._show_zoom)
        self.view.drag_wanted.connect(self.drag_wanted)
        self.grid.drag_wanted.connect(self.drag_wanted)
        self.grid.opened.connect(self._opened)
        self.grid.second_try_wanted.connect(self.second_try_wanted)
        self.grid.selectionModel().selectionChanged.connect(self._selected)
        self.grid.setContextMenuPolicy(Qt.ContextMenuPolicy.CustomContextMenu)
        self.grid.customContextMenuRequested.connect(self._grid_menu)
        self.view.setContextMenuPolicy(Qt.ContextMenuPolicy.CustomContextMenu)
        self.view.customContextMenuRequested.connect(self._view_menu)
        self.empty.button.clicked.connect(self.first_wanted)
        self.details_button.clicked.connect(self._sender_of("view.inspector"))
        for command, button in self.action_buttons.items():
            button.clicked.connect(self._sender_of(command))
        self._model.rowsInserted.connect(self._update)
        self._model.rowsRemoved.connect(self._update)
        self._model.modelReset.connect(self._update)
        self.thumbnails.ready.connect(self._model.picture_ready)
        theme.notifier.changed.connect(self._rescale)
        self._rescale()

    @Slot()
    def _rescale(self) -> None:
        self.title.setMinimumHeight(self.details_button.sizeHint().height())  # the same with and without the tools
        self.tile_size.setFixedWidth(theme.px(96))

    def _sender_of(self, command: str) -> Callable[[], None]:
        return lambda: self.action_wanted.emit(command)

    def _pixmap(self, record: ResultRecord, edge: int) -> QPixmap | None:
        return self.thumbnails.get(record.id, lambda: self._app.library.read(record), edge)

    # ---- what is chosen

    @property
    def viewing(self) -> bool:
        """Whether one picture is shown large."""
        return self._stack.currentWidget() is self.view

    def chosen(self) -> list[ResultRecord]:
        """The picture shown large, or those selected in the grid."""
        if self.viewing:
            return [record for record in self._model.pictures if record.id == self._shown]
        rows = sorted(index.row() for index in self.grid.selectionModel().selectedIndexes())
        entries = [self._model.entry(row) for row in rows]
        return [entry.record for entry in entries if isinstance(entry, PictureEntry)]

    def choose(self, record_id: str) -> None:
        """Select a picture in the grid."""
        row = self._model.row_of(record_id)
        if row >= 0:
            self.grid.setCurrentIndex(self._model.index(row))

    # ---- pages

    @Slot()
    def show_grid(self) -> None:
        """All results; the one that was large stays selected."""
        was, self._shown = self._shown, ""
        self._stack.setCurrentWidget(self.grid)
        self.view.set_image(None)
        if was:
            self.choose(was)
            self.grid.setFocus()
        self._update()

    def open(self, record_id: str) -> None:
        """Show one picture large."""
        record = next((item for item in self._model.pictures if item.id == record_id), None)
        if record is None:
            return
        self._shown = record_id
        if not self.viewing:
            self._stack.setCurrentWidget(self.view)
            self.view.setFocus()

        def show(image: QImage) -> None:
            if self._shown == record_id:
                self.view.set_image(image, describe_entry(PictureEntry(record)))
                if image.isNull():
                    self.message.say("This picture can't be read; its file may be damaged.")

        self._background.run(
            lambda: display_image(QImage.fromData(self._app.library.read(record))), show, self.message.say
        )
        self._update()

    @Slot()
    def show_previous(self) -> None:
        self._step(-1)

    @Slot()
    def show_next(self) -> None:
        self._step(1)

    def _step(self, by: int) -> None:
        ids = [record.id for record in self._model.pictures]
        if self._shown in ids:
            place = ids.index(self._shown) + by
            if 0 <= place < len(ids):
                self.open(ids[place])

    @Slot(int)
    def _opened(self, row: int) -> None:
        entry = self._model.entry(row)
        if isinstance(entry, PictureEntry):
            self.open(entry.record.id)
        elif isinstance(entry, JobEntry) and entry.remedy:
            self.second_try_wanted.emit(entry.key)

    @Slot(QItemSelection, QItemSelection)
    def _selected(self, chosen: QItemSelection, left: QItemSelection) -> None:
        self._update()

    @Slot(float)
    def _show_zoom(self, percent: float) -> None:
        self.zoom.setText(f"{percent:.0f} %")

    @Slot(QPoint)
    def _grid_menu(self, place: QPoint) -> None:
        if self.chosen():
            self._menu(self.grid.viewport().mapToGlobal(place))

    @Slot(QPoint)
    def _view_menu(self, place: QPoint) -> None:
        self._menu(self.view.mapToGlobal(place))

    def _menu(self, place: QPoint) -> None:
        menu = QMenu(self)
        for command, icon, name, _, _ in ACTIONS:
            menu.addAction(theme.icon(icon, 16), name).triggered.connect(self._sender_of(command))
        close = menu.addAction(theme.icon("wand-sparkles", 16), "Make variations close to it")
        close.triggered.connect(self._sender_of(CLOSE_VARIATIONS))
        if any(exact_request(record) is not None for record in self.chosen()[:1]):
            difference = menu.addAction(theme.icon("layers", 16), "Show what going fast changed")
            difference.triggered.connect(self._sender_of("picture.show_difference"))
        graph = menu.addAction(theme.icon("workflow", 16), "Open as graph")
        graph.triggered.connect(self._sender_of("picture.open_as_graph"))
        menu.aboutToHide.connect(menu.deleteLater)
        menu.popup(place)

    @Slot()
    def _update(self, parent: QModelIndex | None = None, first: int = 0, last: int = 0) -> None:
        viewing = self.viewing
        ids = [record.id for record in self._model.pictures]
        if viewing and self._shown not in ids:
            self.show_grid()
            return
        if not viewing:
            self._stack.setCurrentWidget(self.grid if self._model.rowCount() else self.empty)
        chosen = self.chosen()
        self.back.setVisible(viewing)
        self.viewer_tools.setVisible(viewing)
        self.tile_size.setVisible(not viewing and bool(self._model.rowCount()))
        for button in (*self.action_buttons.values(), self.details_button):
            button.setVisible(bool(self._model.rowCount()))
        for button in self.action_buttons.values():
            button.setEnabled(bool(chosen))
        if viewing:
            place = ids.index(self._shown)
            self.previous.setEnabled(place > 0)
            self.next.setEnabled(place + 1 < len(ids))
            self.title.setText(f"{place + 1} of {len(ids)}")
        else:
            self.title.setText("Results" if len(chosen) < 2 else f"{len(chosen)} pictures chosen")
        self.details.show_record(chosen[0] if len(chosen) == 1 else None)
        self.selection_changed.emit()

    def keyPressEvent(self, event: QKeyEvent) -> None:
        """Keys that the grid and the large view leave over: Delete and Ctrl+C are about the chosen picture."""
        if event.key() == Qt.Key.Key_Delete:
            self.action_wanted.emit("picture.delete")
        elif event.matches(QKeySequence.StandardKey.Copy):
            self.action_wanted.emit("picture.copy")
        else:
            super().keyPressEvent(event)

    def close_down(self) -> None:
        """Wait for what the workers still do."""
        self.thumbnails.close()
        self.view.wait_for_levels()
