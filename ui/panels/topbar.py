"""The bar above the work: search, the model, whether anything leaves the machine, the device and its memory."""

from __future__ import annotations

from typing import TYPE_CHECKING

from PySide6.QtCore import QRect, QRectF, QSize, Qt, Signal, Slot
from PySide6.QtGui import (
    QAction,
    QKeySequence,
    QPainter,
    QPaintEvent,
    QPen,
    QResizeEvent,
)
from PySide6.QtWidgets import QMenu, QSizePolicy, QToolButton

from engine.contracts.references import ModelRef
from studio_app.commands import MENUS
from ui import theme
from ui.actions import Actions
from ui.panels.memory_meter import MemoryMeter
from ui.widgets.basics import ElidedLabel, IconButton, IconLabel, Label, Line, Panel, describe, set_property
from ui.widgets.inputs import Choice
from ui.widgets.layouts import Column, Row

if TYPE_CHECKING:
    from studio_app.models.index import ModelEntry


class SearchButton(QToolButton):
    """Looks like a field, opens the command palette. Shrinks to its icon where there is little room."""

    def __init__(self, action: QAction) -> None:
        super().__init__()
        self._keys = action.shortcut().toString(QKeySequence.SequenceFormat.NativeText)
        self.setProperty("kind", "search")
        self.setText("Search or command…")
        self.setFocusPolicy(Qt.FocusPolicy.StrongFocus)
        self.setSizePolicy(QSizePolicy.Policy.Preferred, QSizePolicy.Policy.Fixed)
        describe(self, "Search or command", "Finds every command by a few letters.", self._keys)
        self.clicked.connect(action.trigger)
        theme.notifier.changed.connect(self.updateGeometry)

    def sizeHint(self) -> QSize:
        return QSize(theme.px(280), theme.px(32))

    def minimumSizeHint(self) -> QSize:
        return QSize(theme.px(32), theme.px(32))

    def paintEvent(self, event: QPaintEvent) -> None:
        painter = QPainter(self)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        focused = self.hasFocus()
        painter.setPen(QPen(theme.token("focus" if focused else "control_line"), 2 if focused else 1))
        painter.setBrush(theme.token("surface3" if self.underMouse() else "surface2"))
        inset = 1.0 if focused else 0.5
        painter.drawRoundedRect(
            QRectF(self.rect()).adjusted(inset, inset, -inset, -inset), theme.corner(), theme.corner()
        )
        edge, pad = theme.px(16), theme.space(1)
        rect = self.rect()
        theme.paint_icon(painter, "search", QRect(pad, (rect.height() - edge) // 2, edge, edge), "text_muted")
        left = pad + edge + pad
        painter.setPen(theme.token("text_muted"))
        painter.setFont(theme.font(-1))
        keys = painter.fontMetrics().horizontalAdvance(self._keys)
        painter.setFont(theme.font(0))
        words = painter.fontMetrics().horizontalAdvance(self.text())
        room = rect.width() - left - pad
        if room >= words:
            painter.drawText(rect.adjusted(left, 0, -pad, 0), Qt.AlignmentFlag.AlignVCenter, self.text())
        if room >= words + 2 * pad + keys:
            painter.setFont(theme.font(-1))
            right = Qt.AlignmentFlag.AlignVCenter | Qt.AlignmentFlag.AlignRight
            painter.drawText(rect.adjusted(0, 0, -pad, 0), right, self._keys)


class ModelChooser(Choice):
    """The models on this machine; each says what it is on hover. `model_chosen` fires with a ModelRef."""

    model_chosen = Signal(object)

    def __init__(self) -> None:
        super().__init__("Model", "The model that makes the pictures.")
        self._entries: list[ModelEntry] = []
        self.setMinimumContentsLength(18)  # wide where there is room; the minimum is its own
        self.setSizePolicy(QSizePolicy.Policy.Preferred, QSizePolicy.Policy.Fixed)
        self.activated.connect(self._chosen)
        theme.notifier.changed.connect(self._rescale)
        self._rescale()

    def set_entries(self, entries: list[ModelEntry]) -> None:
        self._entries = entries
        current = self.currentData()
        self.blockSignals(True)
        self.clear()
        for entry in entries:
            self.addItem(entry.name, entry.ref.identity)
            tip = entry.notice or f"{entry.name}, family {entry.family}."
            self.setItemData(self.count() - 1, tip, Qt.ItemDataRole.ToolTipRole)
        if not entries:
            self.addItem("No model on this machine")
        self.setEnabled(bool(entries))
        self.blockSignals(False)
        self.setCurrentIndex(max(0, self.findData(current)))

    def show_model(self, ref: ModelRef) -> None:
        """Select the entry of `ref`: by identity, else by name."""
        for index, entry in enumerate(self._entries):
            if ref.identity == entry.ref.identity or ref.name == entry.name:
                self.setCurrentIndex(index)
                return

    def current(self) -> ModelEntry | None:
        index = self.currentIndex()
        return self._entries[index] if 0 <= index < len(self._entries) else None

    @Slot(int)
    def _chosen(self, index: int) -> None:
        if 0 <= index < len(self._entries):
            self.model_chosen.emit(self._entries[index].ref)

    @Slot()
    def _rescale(self) -> None:
        self.setMinimumWidth(theme.px(120))
        self.setMaximumWidth(theme.px(240))


class NoticeBar(Panel):
    """One honest line about the chosen model, with a cross that hides it."""

    dismissed = Signal()

    def __init__(self) -> None:
        super().__init__(2)
        row = Row(self, spacing=1, margins=(1.5, 0, 0.5, 0))
        row.addWidget(IconLabel("info", 16, "accent"))
        self.text = ElidedLabel("", "normal")
        row.addWidget(self.text, 1)
        self.cross = IconButton("x", "Hide this notice", "Hides this line; it stays with the model's name.", size=16)
        self.cross.clicked.connect(self.dismissed)
        row.addWidget(self.cross)
        self.setSizePolicy(QSizePolicy.Policy.Preferred, QSizePolicy.Policy.Fixed)

    def say(self, text: str) -> None:
        self.text.setText(text)
        self.setAccessibleName(text)
        self.setVisible(bool(text))


class TopBar(Panel):
    """Everything of the bar; the window connects the parts."""

    def __init__(self, actions: Actions) -> None:
        super().__init__(1)
        self.setAccessibleName("Top bar")
        column = Column(self, spacing=0)
        row = Row(spacing=1.5, margins=(1.5, 1, 1.5, 1))
        self.menu_button = IconButton("menu", "Menu", "Every command, by subject.")
        self.menu_button.setPopupMode(QToolButton.ToolButtonPopupMode.InstantPopup)
        self.menu_button.setMenu(self._menu(actions))
        row.addWidget(self.menu_button)
        self.search = SearchButton(actions.action("app.palette"))
        row.addWidget(self.search)
        row.addStretch(1)
        self.model_label = Label("Model", "muted")
        self.model = ModelChooser()
        self.model_label.setBuddy(self.model)
        row.addWidget(self.model_label)
        row.addWidget(self.model)
        self.offline = QToolButton()
        self.offline.setCheckable(True)
        self.offline.setProperty("kind", "quiet")
        self.offline.setToolButtonStyle(Qt.ToolButtonStyle.ToolButtonTextBesideIcon)
        self.offline.setFocusPolicy(Qt.FocusPolicy.StrongFocus)
        row.addWidget(self.offline)
        self.meter = MemoryMeter()
        for command in ("models.free_memory", "models.will_it_fit", "app.preferences"):
            self.meter.menu.addAction(actions.action(command))
        row.addWidget(self.meter)
        self.inspector = IconButton(
            "panel-right", "Inspector", "Shows or hides the inspector at the right.", checkable=True
        )
        row.addWidget(self.inspector)
        column.addLayout(row)
        column.addWidget(Line())
        self._rescale()
        theme.notifier.changed.connect(self._rescale)

    def _menu(self, actions: Actions) -> QMenu:
        menu = QMenu(self)
        for title in MENUS:
            inside = actions.in_menu(title)
            if inside:
                menu.addMenu(title).addActions(inside)
        return menu

    def resizeEvent(self, event: QResizeEvent) -> None:
        super().resizeEvent(event)
        self._fit()

    def _fit(self) -> None:
        """Words give way to icons before anything is cut."""
        roomy = self.width() >= theme.px(900)
        self.model_label.setVisible(roomy and self.model.isVisibleTo(self))
        style = Qt.ToolButtonStyle.ToolButtonTextBesideIcon if roomy else Qt.ToolButtonStyle.ToolButtonIconOnly
        self.offline.setToolButtonStyle(style)
        self.offline.setIconSize(theme.beside_words() if roomy else QSize(theme.px(16), theme.px(16)))
        self.meter.set_compact(self.width() < theme.px(640))

    def show_models(self, shown: bool) -> None:
        self.model.setVisible(shown)
        self._fit()

    def show_offline(self, offline: bool) -> None:
        """Say truthfully what the switch does: this version makes no network call by itself either way."""
        self.offline.blockSignals(True)
        self.offline.setChecked(offline)
        self.offline.blockSignals(False)
        self.offline.setIcon(theme.icon("shield-check" if offline else "monitor", 16))
        self.offline.setText("Offline" if offline else "Local")
        sentence = (
            "All network use is forbidden; click to allow what you ask for."
            if offline
            else "Nothing leaves this machine unless you ask; click to forbid all network use."
        )
        describe(self.offline, "Offline", sentence)
        set_property(self.offline, "kind", "quiet")

    @Slot()
    def _rescale(self) -> None:
        self._fit()
