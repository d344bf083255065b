"""The settings, built from the one table of settings: a page for each group, an editor for each kind."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from PySide6.QtCore import QSize, Qt, Slot
from PySide6.QtWidgets import QLineEdit, QListWidget, QStackedWidget, QWidget

from engine.contracts.errors import BadInput, StorageError
from studio_app.settings.table import GROUPS, TABLE, Setting
from ui import theme
from ui.dialogs.network_ledger import LedgerTable
from ui.dialogs.page import PageDialog, scrolling
from ui.dialogs.setting_editors import SettingEditor, editor_for
from ui.widgets.basics import Button, IconButton, Label, Line, describe, set_property
from ui.widgets.layouts import Column, Row

if TYPE_CHECKING:
    from studio_app.application import Application


class SettingRow(QWidget):
    """Label, editor, a button that brings the default back, and the sentence that explains it."""

    def __init__(self, app: Application, setting: Setting) -> None:
        super().__init__()
        self.setting = setting
        self._app = app
        column = Column(self, spacing=0.5, margins=(0, 1))
        row = Row(spacing=1)
        self.editor: SettingEditor = editor_for(setting, app.settings.get(setting.key))
        label = Label(setting.label, "strong", wrap=True)
        label.setBuddy(self.editor)
        row.addWidget(label, 2)
        row.addWidget(self.editor, 3)
        self.default = IconButton(
            "undo", f"Default for {setting.label}", f"Brings the default of “{setting.label}” back.", size=16
        )
        policy = self.default.sizePolicy()
        policy.setRetainSizeWhenHidden(True)
        self.default.setSizePolicy(policy)
        row.addWidget(self.default)
        column.addLayout(row)
        column.addWidget(Label(setting.help, "muted", wrap=True))
        self.problem = Label("", "danger", wrap=True)
        self.problem.hide()
        column.addWidget(self.problem)
        self.default.clicked.connect(self._reset)
        self.editor.edited.connect(self._edited)
        self._mark()

    @Slot(object)
    def _edited(self, value: Any) -> None:
        self.problem.hide()
        try:
            self._app.settings.set(self.setting.key, value)
        except BadInput as error:
            self.problem.setText(str(error))
            self.problem.show()
        except StorageError as error:
            self._app.notifications.post("warning", str(error))
        set_property(self.editor, "invalid", self.problem.isVisibleTo(self))
        self._mark()

    @Slot()
    def _reset(self) -> None:
        self.editor.show_value(self.setting.default)
        self._edited(self.setting.default)

    def refresh(self) -> None:
        """Show what the setting is now, whoever changed it."""
        self.editor.show_value(self._app.settings.get(self.setting.key))
        self._mark()

    def _mark(self) -> None:
        self.default.setVisible(self._app.settings.get(self.setting.key) != self.setting.default)

    def fits(self, words: list[str]) -> bool:
        text = f"{self.setting.label} {self.setting.help} {self.setting.key}".casefold()
        return all(word in text for word in words)


class Preferences(PageDialog):
    """Changes hold at once; there is nothing to confirm. `rows` are all settings a person can see."""

    def __init__(self, app: Application, parent: QWidget) -> None:
        super().__init__("Settings", parent, 760, 600)
        self.rows: list[SettingRow] = []
        self._group_rows: list[list[SettingRow]] = []
        top = Row(margins=2)
        self.search = QLineEdit()
        self.search.setPlaceholderText("Find a setting")
        describe(self.search, "Find a setting", "Shows only the settings whose words have these letters.")
        top.addWidget(self.search)
        self.column.addLayout(top)
        self.column.addWidget(Line())
        middle = Row(spacing=0)
        self.groups = QListWidget()
        describe(self.groups, "Groups of settings", "Chooses which settings are shown.")
        self.groups.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self.pages = QStackedWidget()
        for name, title in GROUPS:
            settings = [setting for setting in TABLE if setting.group == name and not setting.hidden]
            if settings:
                self.groups.addItem(title)
                rows = [SettingRow(app, setting) for setting in settings]
                self._group_rows.append(rows)
                self.rows += rows
                more = {"network": LedgerTable, "nodes": _own_nodes, "memory": _will_it_fit}.get(name)
                self.pages.addWidget(_page(rows, more(app) if more is not None else None))
        side = Column(spacing=0, margins=1)
        side.addWidget(self.groups)
        middle.addLayout(side)
        middle.addWidget(Line(vertical=True))
        middle.addWidget(self.pages, 1)
        self.column.addLayout(middle, 1)
        self.groups.currentRowChanged.connect(self.pages.setCurrentIndex)
        self.groups.setCurrentRow(0)
        self.search.textChanged.connect(self._filter)
        theme.notifier.changed.connect(self._rescale)
        self._rescale()

    def refresh(self) -> None:
        for row in self.rows:
            row.refresh()

    @Slot(str)
    def _filter(self, text: str) -> None:
        words = text.casefold().split()
        first = -1
        for index, rows in enumerate(self._group_rows):
            found = False
            for row in rows:
                fits = row.fits(words)
                row.setVisible(fits)
                found = found or fits
            self.groups.item(index).setHidden(not found)
            if found and first < 0:
                first = index
        if first >= 0 and self.groups.item(self.groups.currentRow()).isHidden():
            self.groups.setCurrentRow(first)

    @Slot()
    def _rescale(self) -> None:
        self.groups.setFixedWidth(theme.px(160))
        for index in range(self.groups.count()):
            self.groups.item(index).setSizeHint(QSize(0, theme.px(32)))


def _own_nodes(app: Application) -> QWidget:
    """The way to the plugins that were found."""
    words = "See which plugins were found, and let them run or not."
    return _way(app, words, "Nodes of your own…", "shield-check", "app.custom_nodes")


def _will_it_fit(app: Application) -> QWidget:
    """The way to what a card can do."""
    words = "See how any model would run on any card, and how long it would take."
    return _way(app, words, "Will it fit?…", "memory-stick", "models.will_it_fit")


def _way(app: Application, words: str, name: str, icon: str, command: str) -> QWidget:
    """A sentence, and the button that leads there."""
    holder = QWidget()
    row = Row(holder)
    row.addWidget(Label(words, "muted", wrap=True), 1, Qt.AlignmentFlag.AlignTop)
    button = Button(name, icon, tip=words)
    button.clicked.connect(lambda: app.commands.run(command))
    row.addWidget(button, 0, Qt.AlignmentFlag.AlignTop)
    return holder


def _page(rows: list[SettingRow], more: QWidget | None = None) -> QWidget:
    """One group's rows below each other, with hairlines between them, and what the group shows besides."""
    body = QWidget()
    column = Column(body, spacing=0.5, margins=(3, 1, 2, 2))
    if words := _at_start([row.setting for row in rows]):
        column.addWidget(Label(words, "small", wrap=True))
        column.addWidget(Line())
    for index, row in enumerate(rows):
        if index:
            column.addWidget(Line())
        column.addWidget(row)
    if more is not None:
        column.addWidget(Line())
        column.addWidget(more, 1)
    column.addStretch(1 if more is None else 0)
    return scrolling(body)


def _at_start(settings: list[Setting]) -> str:
    """Which settings of a page hold from the next start on, said once for all of them."""
    later = [f"“{setting.label}”" for setting in settings if setting.restart]
    at_once = [f"“{setting.label}”" for setting in settings if not setting.restart]
    if not later:
        return ""
    if len(later) > len(at_once):
        but = f", but for {_listed(at_once)}" if at_once else ""
        return f"What is set here takes effect at the next start{but}."
    return f"{_listed(later)} {'takes' if len(later) == 1 else 'take'} effect at the next start."


def _listed(words: list[str]) -> str:
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}"
