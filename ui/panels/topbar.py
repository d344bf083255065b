"""The bar above the work: search, the model, whether anything leaves the machine, the device and its memory."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from PySide6.QtCore import QObject, QPoint, QRect, QRectF, QRunnable, QSize, Qt, QThreadPool, QTimer, Signal, Slot
from PySide6.QtGui import (
    QAction,
    QContextMenuEvent,
    QKeyEvent,
    QKeySequence,
    QMouseEvent,
    QPainter,
    QPaintEvent,
    QPen,
    QResizeEvent,
)
from PySide6.QtWidgets import QMenu, QSizePolicy, QToolButton, QWidget

from engine.contracts.references import ModelRef
from studio_app.commands import MENUS
from studio_app.machine_memory import MemoryUse, gigabytes, memory_now
from ui import theme
from ui.actions import Actions
from ui.widgets.basics import ElidedLabel, IconButton, IconLabel, Label, Line, Panel, describe, set_property
from ui.widgets.inputs import Choice
from ui.widgets.layouts import Column, Row
from ui.widgets.memory_bar import paint_bar

if TYPE_CHECKING:
    from studio_app.models.index import ModelEntry
    from ui.panels.run_memory import RunMemory

_ENGINE_WORDS = {
    "cold": "Engine not started",
    "loading": "Engine getting ready",
    "ready": "Engine ready",
    "failed": "Engine could not start",
}


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


BAR = 56  # pixels of the meter's bar


class MemoryMeter(QWidget):
    """The engine's state as a dot, the device's name, and its memory in use as a bar and figures."""

    def __init__(self) -> None:
        super().__init__()
        self._use: MemoryUse | None = None
        self._run: RunMemory | None = None
        self._before = 0
        self._engine = "cold"
        self._compact = False
        self.menu = QMenu(self)
        self.setSizePolicy(QSizePolicy.Policy.Fixed, QSizePolicy.Policy.Fixed)
        self.setFocusPolicy(Qt.FocusPolicy.TabFocus)
        self._say()
        theme.notifier.changed.connect(self.updateGeometry)

    def set_engine(self, state: str) -> None:
        self._engine = state
        self._say()

    def set_run(self, run: RunMemory | None) -> None:
        """What the running job is to take: a mark on the bar, its phase in the tooltip. None when no job runs."""
        if run is not None and self._run is None:
            self._before = self._use.used if self._use is not None else 0
        self._run = run
        self._say()

    @property
    def mark(self) -> float | None:
        """Where the bar is marked, 0..1 of all there is: what was in use before the run, and the most that the run
        takes on top of it. None without such a figure."""
        if self._run is None or not self._run.need or self._use is None or not self._use.total:
            return None
        return min((self._before + self._run.need) / self._use.total, 1.0)

    def set_compact(self, compact: bool) -> None:
        """Figures only, without the bar."""
        if compact != self._compact:
            self._compact = compact
            self.updateGeometry()
            self.update()

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
        run = f" {self._run.words}" if self._run is not None and self._run.words else ""
        text = f"{_ENGINE_WORDS.get(self._engine, self._engine)}. {self._text()}. {where}{run}"
        self.setToolTip(text)
        self.setAccessibleName("Device and memory")
        self.setAccessibleDescription(text)
        self.update()

    def sizeHint(self) -> QSize:
        text = self.fontMetrics().horizontalAdvance(self._text())
        bar = 0 if self._compact else theme.px(8 + BAR)
        return QSize(theme.px(4 + 8 + 8 + 4) + text + bar, theme.px(28))

    def minimumSizeHint(self) -> QSize:
        return self.sizeHint()

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
        if not self._compact:
            self._paint_bar(painter, QRect(x, middle - theme.px(4), theme.px(BAR), theme.px(8)))
        if self.hasFocus():
            painter.setPen(theme.token("focus"))
            painter.setBrush(Qt.BrushStyle.NoBrush)
            painter.drawRoundedRect(self.rect().adjusted(0, 0, -1, -1), theme.corner(), theme.corner())

    def _paint_bar(self, painter: QPainter, bar: QRect) -> None:
        """What is in use; while a job runs what it added to that in the accent's colour, and the mark of its plan."""
        fraction = self._use.fraction if self._use is not None else 0.0
        full = "danger" if fraction > 0.92 else "warning" if fraction > 0.8 else ""
        running = self._run is not None and self._use is not None and self._use.total
        paint_bar(painter, QRectF(bar), fraction, theme.token(full or ("accent" if running else "text_muted")))
        if running and self._use is not None:
            before = min(self._before, self._use.used) / self._use.total
            painter.save()
            painter.setClipRect(QRectF(bar.left(), bar.top(), bar.width() * before, bar.height()))
            paint_bar(painter, QRectF(bar), fraction, theme.token("text_muted"))
            painter.restore()
        if self.mark is not None:
            painter.setPen(Qt.PenStyle.NoPen)
            painter.setBrush(theme.token("text_strong"))
            wide = theme.px(2)
            at = bar.left() + min(round(bar.width() * self.mark), bar.width() - wide)
            painter.drawRect(at, bar.top() - theme.px(4), wide, bar.height() + theme.px(8))

    def mousePressEvent(self, event: QMouseEvent) -> None:
        if event.button() == Qt.MouseButton.LeftButton:
            self._open_menu()

    def keyPressEvent(self, event: QKeyEvent) -> None:
        if event.key() in (Qt.Key.Key_Space, Qt.Key.Key_Return, Qt.Key.Key_Enter):
            self._open_menu()
        else:
            super().keyPressEvent(event)

    def contextMenuEvent(self, event: QContextMenuEvent) -> None:
        self._open_menu()

    def _open_menu(self) -> None:
        self.menu.popup(self.mapToGlobal(QPoint(0, self.height())))


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


class MemoryWatch(QObject):
    """Asks for the memory every two seconds, in a worker thread; `measured` fires with a MemoryUse here."""

    measured = Signal(object)
    _PERIOD_MS = 2000

    def __init__(self, parent: QObject) -> None:
        super().__init__(parent)
        self._pool = QThreadPool(self)
        self._pool.setMaxThreadCount(1)
        self._timer = QTimer(self)
        self._timer.setInterval(self._PERIOD_MS)
        self._timer.timeout.connect(self._ask)

    def start(self) -> None:
        self._ask()
        self._timer.start()

    def close(self) -> None:
        self._timer.stop()
        self._pool.waitForDone(5000)

    @Slot()
    def _ask(self) -> None:
        self._pool.start(_Measure(self))


class _Measure(QRunnable):
    def __init__(self, watch: MemoryWatch) -> None:
        super().__init__()
        self._watch = watch

    def run(self) -> None:
        use = memory_now()
        with contextlib.suppress(RuntimeError):  # the window was closed meanwhile
            self._watch.measured.emit(use)
