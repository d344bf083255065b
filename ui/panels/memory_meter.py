"""The device and its memory at the upper right: how much is in use, what a run adds to it, what its plan foresees."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from PySide6.QtCore import QObject, QPoint, QRect, QRectF, QRunnable, QSize, Qt, QThreadPool, QTimer, Signal, Slot
from PySide6.QtGui import QContextMenuEvent, QKeyEvent, QMouseEvent, QPainter, QPaintEvent
from PySide6.QtWidgets import QMenu, QSizePolicy, QWidget

from studio_app.machine_memory import MemoryUse, gigabytes, memory_now
from ui import theme
from ui.widgets.memory_bar import paint_bar

if TYPE_CHECKING:
    from ui.panels.run_memory import RunMemory

_ENGINE_WORDS = {
    "cold": "Engine not started",
    "loading": "Engine getting ready",
    "ready": "Engine ready",
    "failed": "Engine could not start",
}
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
