"""Everything known of one model, at the right: picture, facts, trigger words, tags, notes, versions, where it lies."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from PySide6.QtCore import QEvent, QObject, QRectF, QSize, Qt, QTimer, Signal, Slot
from PySide6.QtGui import QDragEnterEvent, QDropEvent, QImage, QPainter, QPainterPath, QPaintEvent, QPixmap
from PySide6.QtWidgets import QGridLayout, QLineEdit, QMenu, QPlainTextEdit, QSizePolicy, QToolButton, QWidget

from studio_app.models.library import Listed
from studio_app.models.versions import History
from ui import theme
from ui.create.mime import local_picture
from ui.dialogs.page import scrolling
from ui.models.versions_list import VersionsList
from ui.models.words import SHELVES, bases_of, prompt_words, shortened, size_words
from ui.widgets.basics import Button, IconButton, Label, describe
from ui.widgets.containers import EmptyState
from ui.widgets.layouts import Column, Flow, Row

SAVE_AFTER_MS = 800


class Picture(QWidget):
    """The preview, as wide as the panel; a picture dropped on it takes its place (`dropped` with its path)."""

    dropped = Signal(object)

    def __init__(self) -> None:
        super().__init__()
        self._pixmap = QPixmap()
        self._icon = "image"
        self.setAcceptDrops(True)
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
        describe(self, "Preview picture", "Drop a picture here to make it the model's preview.")
        theme.notifier.changed.connect(self.updateGeometry)

    def sizeHint(self) -> QSize:
        return QSize(theme.px(280), theme.px(208))

    def show_picture(self, pixmap: QPixmap, icon: str) -> None:
        self._pixmap, self._icon = pixmap, icon
        self.update()

    def paintEvent(self, event: QPaintEvent) -> None:
        painter = QPainter(self)
        painter.setRenderHints(QPainter.RenderHint.Antialiasing | QPainter.RenderHint.SmoothPixmapTransform)
        shape = QPainterPath()
        shape.addRoundedRect(QRectF(self.rect()), theme.corner(), theme.corner())
        painter.fillPath(shape, theme.token("surface2"))
        if self._pixmap.isNull():
            edge = theme.px(48)
            box = QRectF(0, 0, edge, edge)
            box.moveCenter(QRectF(self.rect()).center())
            theme.paint_icon(painter, self._icon, box.toRect(), "text_muted")
            return
        painter.setClipPath(shape)
        shown = QRectF(0, 0, *self._pixmap.size().scaled(self.size(), Qt.AspectRatioMode.KeepAspectRatio).toTuple())
        shown.moveCenter(QRectF(self.rect()).center())
        painter.drawPixmap(shown, self._pixmap, QRectF(self._pixmap.rect()))

    def dragEnterEvent(self, event: QDragEnterEvent) -> None:
        if local_picture(event.mimeData()) is not None:
            event.acceptProposedAction()

    def dropEvent(self, event: QDropEvent) -> None:
        path = local_picture(event.mimeData())
        if path is not None:
            event.acceptProposedAction()
            self.dropped.emit(path)


class ModelDetails(QWidget):
    """Shows one Listed. What a person does is told by signals that carry it first.

    use_wanted(item)              remove_wanted(item)              copy_wanted(text)
    note_changed(item, Note)      picture_wanted(item, "file" | "result" | "none" | path)
    version_wanted(item)          rollback_wanted(item, number)    changelog_written(item, number, text)
    show_wanted(path)             open_wanted(address)             item_wanted(path)
    """

    use_wanted = Signal(object)
    remove_wanted = Signal(object)
    copy_wanted = Signal(str)
    note_changed = Signal(object, object)
    picture_wanted = Signal(object, object)
    version_wanted = Signal(object)
    rollback_wanted = Signal(object, int)
    changelog_written = Signal(object, int, str)
    show_wanted = Signal(object)
    open_wanted = Signal(str)
    item_wanted = Signal(object)

    def __init__(self) -> None:
        super().__init__()
        self.item: Listed | None = None
        outer = Column(self, spacing=0)
        self.nothing = EmptyState("box", "No model is chosen", "Choose a card to see everything known about it.")
        outer.addWidget(self.nothing)
        body = QWidget()
        self._make(Column(body, spacing=1, margins=(1.5, 1.5, 2, 2)))
        self._area = scrolling(body)
        outer.addWidget(self._area)
        self._save = QTimer(self)
        self._save.setSingleShot(True)
        self._save.setInterval(SAVE_AFTER_MS)
        self._save.timeout.connect(self.keep_note)
        self._connect()
        theme.notifier.changed.connect(self._rescale)
        self._rescale()
        self.show_item(None)

    def _make(self, column: Column) -> None:
        self.picture = Picture()
        column.addWidget(self.picture)
        head = Row(spacing=0.5)
        self.name = Label("", "heading", wrap=True)
        self.name.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
        self.star = IconButton("star", "Favourite", "Marks the model as a favourite.", shortcut="F", checkable=True)
        self.more = IconButton("ellipsis", "More", "Preview picture, versions, the file's place and the trash.")
        self.more.setPopupMode(QToolButton.ToolButtonPopupMode.InstantPopup)
        self.menu = QMenu(self)
        self.more.setMenu(self.menu)
        head.addWidget(self.name, 1)
        head.addWidget(self.star, 0, Qt.AlignmentFlag.AlignTop)
        head.addWidget(self.more, 0, Qt.AlignmentFlag.AlignTop)
        column.addLayout(head)
        self.words = Label("", "muted", wrap=True)
        column.addWidget(self.words)
        self.use = Button("Use in Create", "sparkles", kind="primary")
        column.addWidget(self.use)
        self.use_note = Label("", "small", wrap=True)
        column.addWidget(self.use_note)
        self.triggers_title = Label("Trigger words", "strong")
        column.addWidget(self.triggers_title)
        self._triggers = QWidget()
        self._trigger_flow = Flow(self._triggers, spacing=0.5)
        column.addWidget(self._triggers)
        self.tags_title, self.note_title = Label("Tags", "strong"), Label("Notes", "strong")
        column.addWidget(self.tags_title)
        self.tags = QLineEdit()
        self.tags.setPlaceholderText("portrait, ink")
        describe(self.tags, "Tags", "Words to find the model by, with commas between them.")
        column.addWidget(self.tags)
        column.addWidget(self.note_title)
        self.note = QPlainTextEdit()
        self.note.setTabChangesFocus(True)
        self.note.setPlaceholderText("What it is good for, at which weight…")
        describe(self.note, "Notes", "Your own words about the model; they stay with it when it is renamed.")
        column.addWidget(self.note)
        self.versions = VersionsList()
        column.addWidget(self.versions)
        column.addWidget(Label("Facts", "strong"))
        facts = QWidget()
        self._facts = QGridLayout(facts)
        self._facts.setContentsMargins(0, 0, 0, 0)
        self._facts.setColumnStretch(1, 1)
        column.addWidget(facts)
        self.copies = Column(spacing=0.5)
        column.addLayout(self.copies)
        column.addStretch(1)

    def _connect(self) -> None:
        self.use.clicked.connect(lambda: self._tell(self.use_wanted))
        self.star.clicked.connect(self.keep_note)
        self.tags.textEdited.connect(self._later)
        self.note.textChanged.connect(self._later)
        self.tags.editingFinished.connect(self.keep_note)
        self.note.installEventFilter(self)
        self.picture.dropped.connect(self._picture_dropped)
        self.versions.import_wanted.connect(lambda: self._tell(self.version_wanted))
        self.versions.rollback_wanted.connect(self._roll_back)
        self.versions.note_written.connect(self._changelog)

    def _tell(self, signal: object) -> None:
        if self.item is not None:
            signal.emit(self.item)  # type: ignore[attr-defined]

    @Slot(object)
    def _picture_dropped(self, path: Path) -> None:
        if self.item is not None:
            self.picture_wanted.emit(self.item, path)

    @Slot(int)
    def _roll_back(self, number: int) -> None:
        if self.item is not None:
            self.rollback_wanted.emit(self.item, number)

    @Slot(int, str)
    def _changelog(self, number: int, text: str) -> None:
        if self.item is not None:
            self.changelog_written.emit(self.item, number, text)

    # ---- showing

    def show_item(self, item: Listed | None, *, usable: str = "", chosen_picture: bool = False) -> None:
        """Show a file. `usable` is the words of its main button, "" when the studio can't use it."""
        if self.item is not None and (item is None or item.path != self.item.path):
            self.keep_note()
        same = item is not None and self.item is not None and item.path == self.item.path
        self.item = item
        self._area.setVisible(item is not None)
        self.nothing.setVisible(item is None)
        if item is None:
            return
        about = item.file
        self.name.setText(item.name)
        self.words.setText(item.words())
        self.words.set_role("muted" if about is not None else "danger")
        self.use.setVisible(bool(usable))
        self.use.setText(usable)
        describe(self.use, usable, "Puts it to work on the Create page.", "Enter")
        hint = "Or drag its card onto a prompt." if prompt_words(item) else ""
        self.use_note.setText(hint)
        self.use_note.setVisible(bool(hint))
        self.star.setVisible(about is not None)
        self.star.setChecked(item.note.favourite)
        if not same or not (self.tags.hasFocus() or self.note.hasFocus()):
            self._fill_note(item)
        for widget in (self.tags_title, self.tags, self.note_title, self.note):
            widget.setVisible(about is not None)
        self._fill_triggers(about.trigger_words if about else ())
        self._fill_facts(item)
        self._fill_menu(item, chosen_picture=chosen_picture)
        if not same:
            self.versions.show_history(None, offer=False)
            self.show_copies([])
            self.picture.show_picture(QPixmap(), SHELVES[about.kind][1] if about else "circle-alert")
            self._area.verticalScrollBar().setValue(0)

    def show_picture(self, image: QImage) -> None:
        about = self.item.file if self.item else None
        self.picture.show_picture(QPixmap.fromImage(image), SHELVES[about.kind][1] if about else "circle-alert")

    def show_history(self, history: History | None, *, offer: bool) -> None:
        """`offer`: whether the model can get versions, because it lies in the studio's own folder."""
        self.versions.show_history(history, offer=offer)

    def show_copies(self, paths: list[Path]) -> None:
        """Files with the same content."""
        while (old := self.copies.takeAt(0)) is not None:
            widget = old.widget()
            if widget is not None:
                widget.hide()
                widget.deleteLater()
        if not paths:
            return
        self.copies.addWidget(Label("The same content lies in", "strong"))
        for path in paths:
            button = Button(shortened(path), "copy", kind="quiet", tip=f"Shows {path}.")
            button.setStyleSheet("text-align: left;")
            button.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Fixed)
            button.clicked.connect(self._item_opener(path))
            self.copies.addWidget(button)

    def _item_opener(self, path: Path) -> Callable[[], None]:
        return lambda: self.item_wanted.emit(path)

    def _fill_note(self, item: Listed) -> None:
        self.tags.setText(", ".join(item.note.tags))
        self.note.blockSignals(True)
        self.note.setPlainText(item.note.text)
        self.note.blockSignals(False)

    def _fill_triggers(self, words: tuple[str, ...]) -> None:
        while (old := self._trigger_flow.takeAt(0)) is not None:
            widget = old.widget()
            if widget is not None:
                widget.hide()
                widget.deleteLater()
        for word in words[:24]:
            button = Button(word if len(word) <= 32 else f"{word[:31]}…", tip=f"Copies “{word}”.")
            button.clicked.connect(self._copier(word))
            self._trigger_flow.addWidget(button)
        if len(words) > 1:
            every = Button("Copy all", "copy", kind="quiet", tip="Copies all trigger words.")
            every.clicked.connect(self._copier(", ".join(words)))
            self._trigger_flow.addWidget(every)
        self._triggers.setVisible(bool(words))
        self.triggers_title.setVisible(bool(words))

    def _copier(self, text: str) -> Callable[[], None]:
        return lambda: self.copy_wanted.emit(text)

    def _fill_facts(self, item: Listed) -> None:
        while (old := self._facts.takeAt(0)) is not None:
            widget = old.widget()
            if widget is not None:
                widget.hide()
                widget.deleteLater()
        about = item.file
        facts = {"Size": size_words(item.size_bytes)}
        if about is not None:
            facts = {
                "Base": ", ".join(bases_of(item)), "Variant": about.variant, "Precision": about.precision, **facts,
                "Parameters": f"{about.parameters:,}" if about.parameters else "", "Parts": ", ".join(about.parts),
                "Naming": about.layout, "Prediction": about.prediction, "Title": about.title,
                "Licence": about.licence if about.licence != "unknown" else "not named in the file",
                **{name.capitalize(): value for name, value in about.details.items()},
            }  # fmt: skip
        facts["Source"] = "it came with the studio, and can't be deleted" if item.built_in else item.note.source
        unhashed = item.built_in or item.path.is_dir() or about is None
        facts["sha256"] = item.sha256 or ("" if unhashed else "being worked out")
        facts["Lies in"] = shortened(item.path.parent)
        for row, (name, value) in enumerate((n, v) for n, v in facts.items() if v):
            self._facts.addWidget(Label(name, "muted"), row, 0, Qt.AlignmentFlag.AlignTop)
            # A hash has no place to break a line: spaces of no width let it.
            text = Label("\u200b".join(value) if name in ("sha256", "Lies in", "Source") else value, wrap=True)
            text.setAccessibleName(f"{name}: {value}")
            text.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
            self._facts.addWidget(text, row, 1)

    def _fill_menu(self, item: Listed, *, chosen_picture: bool) -> None:
        self.menu.clear()

        def add(icon: str, text: str, act: Callable[[], object]) -> None:
            self.menu.addAction(theme.icon(icon, 16), text, act)

        if item.file is not None:
            add("image", "Preview from a file…", lambda: self.picture_wanted.emit(item, "file"))
            add("sparkles", "Preview from the newest result", lambda: self.picture_wanted.emit(item, "result"))
            if chosen_picture:
                add("undo", "Remove the chosen preview", lambda: self.picture_wanted.emit(item, "none"))
            self.menu.addSeparator()
        if item.sha256:
            add("copy", "Copy the sha256", lambda: self.copy_wanted.emit(item.sha256))
        add("copy", "Copy the path", lambda: self.copy_wanted.emit(str(item.path)))
        add("folder-open", "Show in the file manager", lambda: self.show_wanted.emit(item.path))
        if item.note.source.startswith(("https://", "http://")):
            add("external-link", "Open the page it came from", lambda: self.open_wanted.emit(item.note.source))
        self.menu.addSeparator()
        if not item.built_in:
            add("trash-2", "Move to the trash", lambda: self.remove_wanted.emit(item))

    # ---- what a person writes

    @Slot()
    def _later(self) -> None:
        self._save.start()

    @Slot()
    def keep_note(self) -> None:
        """Hand on what was written, if it differs from what is known."""
        self._save.stop()
        item = self.item
        if item is None or item.file is None:
            return
        tags = tuple(dict.fromkeys(" ".join(tag.split()) for tag in self.tags.text().split(",") if tag.strip()))
        note = replace(item.note, tags=tags, text=self.note.toPlainText(), favourite=self.star.isChecked())
        if note != item.note:
            self.item = replace(item, note=note)
            self.note_changed.emit(item, note)

    def eventFilter(self, watched: QObject, event: QEvent) -> bool:
        if event.type() == QEvent.Type.FocusOut:
            self.keep_note()
        return super().eventFilter(watched, event)

    @Slot()
    def _rescale(self) -> None:
        self.setFixedWidth(theme.px(336))
        self.note.setFixedHeight(theme.px(72))
        self._facts.setHorizontalSpacing(theme.space(1.5))
        self._facts.setVerticalSpacing(theme.space(0.5))
