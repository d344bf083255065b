"""The bar above the work: search, the model, whether anything leaves the machine, the device and its memory."""

from __future__ import annotations

from typing import TYPE_CHECKING

from PySide6.QtCore import QRect, QSize, Qt, QTimer, Signal, Slot
from PySide6.QtGui import QAction, QPainter, QPaintEvent
from PySide6.QtWidgets import QSizePolicy, QToolButton, QWidget

from engine.contracts.references import ModelRef
from studio_app.machine_memory import MemoryUse, gigabytes
from ui import theme
from ui.actions import Actions
from ui.widgets.basics import IconButton, Label, Line, Panel, describe, set_property
from ui.widgets.inputs import Choice
from ui.widgets.layouts import Column, Row

if TYPE_CHECKING:
    from studio_app.models.index import ModelEntry

_ENGINE_WORDS = {
    "cold": "Engine not started",
    "loading": "Engine getting ready",
    "ready": "Engine ready",
    "failed": "Engine could not start",
}


class SearchButton(QToolButton):
    """Looks like a field, opens the command palette."""

    def __init__(self, action: QAction) -> None:
        super().__init__()
        self.setProperty("kind", "search")
        self.setIcon(theme.icon("search", 16, token="text_muted"))
        self.setToolButtonStyle(Qt.ToolButtonStyle.ToolButtonTextBesideIcon)
        self._keys = action.shortcut().toString()
        self.setText("Search or command…")
        self.setFocusPolicy(Qt.FocusPolicy.StrongFocus)
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
        describe(self, "Search or command", "Finds every command by a few letters.", self._keys)
        self.clicked.connect(action.trigger)
        theme.notifier.changed.connect(self._rescale)
        self._rescale()

    @Slot()
    def _rescale(self) -> None:
        self.setIconSize(QSize(theme.px(16), theme.px(16)))
        self.setFixedWidth(theme.px(260))

    def paintEvent(self, event: QPaintEvent) -> None:
        super().paintEvent(event)
        painter = QPainter(self)
        painter.setFont(theme.font(-1))
        painter.setPen(theme.token("text_muted"))
        rect = self.rect().adjusted(0, 0, -theme.px(10), 0)
        painter.drawText(rect, Qt.AlignmentFlag.AlignVCenter | Qt.AlignmentFlag.AlignRight, self._keys)


class MemoryMeter(QWidget):
    """The engine's state as a dot, the device's name, and its memory in use as a bar and figures."""

    def __init__(self) -> None:
        super().__init__()
        self._use: MemoryUse | None = None
        self._engine = "cold"
        self.setSizePolicy(QSizePolicy.Policy.Fixed, QSizePolicy.Policy.Fixed)
        self.setFocusPolicy(Qt.FocusPolicy.TabFocus)
        self._say()
        theme.notifier.changed.connect(self.updateGeometry)

    def set_engine(self, state: str) -> None:
        self._engine = state
        self._say()

    def set_use(self, use: MemoryUse) -> None:
        wider = self._text()
        self._use = use
        if len(self._text()) != len(wider):
            self.updateGeometry()
        self._say()

    def _text(self) -> str:
        if self._use is None:
            return "Memory –"
        used, total = gigabytes(self._use.used).removesuffix(" GB"), gigabytes(self._use.total)
        return f"{'GPU' if self._use.card else 'RAM'} {used}/{total}"

    def _say(self) -> None:
        where = "Pictures are made by the processor; this is the machine's main memory, used by all programs."
        if self._use is not None and self._use.card:
            where = f"{self._use.device}: memory of the card, used by all programs."
        text = f"{_ENGINE_WORDS.get(self._engine, self._engine)}. {self._text()}. {where}"
        self.setToolTip(text)
        self.setAccessibleName("Device and memory")
        self.setAccessibleDescription(text)
        self.update()

    def sizeHint(self) -> QSize:
        text = self.fontMetrics().horizontalAdvance(self._text())
        return QSize(text + theme.px(8 + 8 + 40 + 8 + 8), theme.px(28))

    minimumSizeHint = sizeHint

    def paintEvent(self, event: QPaintEvent) -> None:
        painter = QPainter(self)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        middle, x = self.height() // 2, theme.px(4)
        dot = theme.px(8)
        state = {"ready": "success", "loading": "warning", "failed": "danger"}.get(self._engine, "text_muted")
        painter.setPen(Qt.PenStyle.NoPen)
        painter.setBrush(theme.token(state))
        if self._engine == "failed":  # a square as well as red: told apart without colour
            painter.drawRect(x, middle - dot // 2, dot, dot)
        elif self._engine == "ready":
            painter.drawEllipse(x, middle - dot // 2, dot, dot)
        else:
            painter.setBrush(Qt.BrushStyle.NoBrush)
            painter.setPen(theme.token(state))
            painter.drawEllipse(x, middle - dot // 2, dot, dot)
            painter.setPen(Qt.PenStyle.NoPen)
        x += dot + theme.px(8)
        painter.setPen(theme.token("text"))
        text = self._text()
        width = painter.fontMetrics().horizontalAdvance(text)
        painter.drawText(QRect(x, 0, width, self.height()), Qt.AlignmentFlag.AlignVCenter, text)
        x += width + theme.px(8)
        bar = QRect(x, middle - theme.px(3), theme.px(40), theme.px(6))
        painter.setPen(Qt.PenStyle.NoPen)
        painter.setBrush(theme.token("surface4"))
        painter.drawRoundedRect(bar, theme.px(3), theme.px(3))
        if self._use is not None:
            fraction = self._use.fraction
            painter.setBrush(theme.token("danger" if fraction > 0.92 else "warning" if fraction > 0.8 else "text_muted"))
            filled = QRect(bar)
            filled.setWidth(max(theme.px(6), round(bar.width() * fraction)))
            painter.drawRoundedRect(filled, theme.px(3), theme.px(3))
        if self.hasFocus():
            painter.setPen(theme.token("focus"))
            painter.setBrush(Qt.BrushStyle.NoBrush)
            painter.drawRoundedRect(self.rect().adjusted(0, 0, -1, -1), theme.corner(), theme.corner())


class ModelChooser(Choice):
    """The models on this machine; each says what it is on hover. `model_chosen` fires with a ModelRef."""

    model_chosen = Signal(object)

    def __init__(self) -> None:
        super().__init__("Model", "The model that makes the pictures.")
        self._entries: list[ModelEntry] = []
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
        from ui.widgets.basics import ElidedLabel, IconLabel

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
        self.search = SearchButton(actions.action("palette.open"))
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
        row.addWidget(self.meter)
        self.inspector = IconButton(
            "panel-right", "Inspector", "Shows or hides the inspector at the right.", checkable=True
        )
        row.addWidget(self.inspector)
        column.addLayout(row)
        column.addWidget(Line())
        self._rescale()
        theme.notifier.changed.connect(self._rescale)

    def show_offline(self, offline: bool) -> None:
        """Say truthfully what the switch does: this version makes no network call by itself either way."""
        self.offline.blockSignals(True)
        self.offline.setChecked(offline)
        self.offline.blockSignals(False)
        self.offline.setIcon(theme.icon("shield-check" if offline else "wifi", 16))
        self.offline.setText("Offline" if offline else "Online")
        sentence = (
            "Nothing leaves this machine: every network call is refused."
            if offline
            else "Nothing leaves this machine unless you ask for it; click to refuse every network call."
        )
        describe(self.offline, "Offline", sentence)
        set_property(self.offline, "kind", "quiet")

    @Slot()
    def _rescale(self) -> None:
        self.offline.setIconSize(QSize(theme.px(16), theme.px(16)))


class MemoryWatch(QTimer):
    """Asks for the memory every two seconds, in a worker thread, and hands it to the meter."""

    measured = Signal(object)
