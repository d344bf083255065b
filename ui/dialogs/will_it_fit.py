"""Will it fit? Any model, here or only known of, at any size, over the usual sizes of card."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from PySide6.QtCore import QSize, Qt, QTimer, Slot
from PySide6.QtGui import QShowEvent
from PySide6.QtWidgets import QAbstractItemView, QGridLayout, QHeaderView, QTableWidget, QTableWidgetItem, QWidget

from engine.memory.footprint import GIB
from engine.memory.words import in_short, size, time
from studio_app.fitting import Candidate, candidates, over_cards
from studio_app.machine_memory import card_memory, gigabytes, main_memory
from studio_app.planning import Planned, Planner
from ui import theme
from ui.bridge.background import Background
from ui.dialogs.page import PageDialog, scrolling
from ui.panels.how_it_runs import HowItRuns
from ui.widgets.basics import Label, Line, describe
from ui.widgets.inputs import Choice, NumberField
from ui.widgets.layouts import Column, Row

if TYPE_CHECKING:
    from studio_app.application import Application
    from ui.bridge.bridge import Bridge

PAUSE_MS = 250
QUALITIES = (("exact", "Exact"), ("8-bit", "Eight bits where that helps"), ("4-bit", "Four bits where that helps"))
RAM_SIZES = (8, 16, 32, 64, 128)
COLUMNS = ("Card", "Runs", "Of the card", "Main memory", "Time")
PREDICTED = "Foreseen from the models’ own shapes, at the speed of a common card of each size; nothing is run."


class WillItFit(PageDialog):
    """Everything is worked out beside the window. `plans` are those shown, by the card's size in GB."""

    def __init__(self, app: Application, bridge: Bridge, parent: QWidget) -> None:
        super().__init__("Will it fit?", parent, 760, 680)
        self._app = app
        self._planner = Planner(app.models, app.paths.cache / "estimates.json")
        self._background = Background(self)
        self._candidates: list[Candidate] = []
        self.plans: dict[int, Planned] = {}
        self._asked = 0
        self._pause = QTimer(self)
        self._pause.setSingleShot(True)
        self._pause.setInterval(PAUSE_MS)
        self._pause.timeout.connect(self._ask)
        self._make()
        self._lay_out()
        bridge.engine_state.connect(self._engine_changed)
        self.model.activated.connect(self._model_chosen)
        for field in (self.wide, self.high, self.count):
            field.value_changed.connect(self._changed)
        for choice in (self.ram, self.quality):
            choice.activated.connect(self._changed)
        self.table.itemSelectionChanged.connect(self._show_chosen)
        theme.notifier.changed.connect(self._rescale)
        self._rescale()

    def _make(self) -> None:
        self.model = Choice("Model", "A model of this machine, or one that could be added.")
        self.wide = NumberField("Width", "In pixels.", minimum=64, maximum=16384, value=1024, step=64)
        self.high = NumberField("Height", "In pixels.", minimum=64, maximum=16384, value=1024, step=64)
        self.count = NumberField("Pictures at once", "Made as one batch.", minimum=1, maximum=8, value=1)
        self.quality = Choice("Weights", "Exact weights give the very picture; fewer bits need less memory.")
        for value, words in QUALITIES:
            self.quality.addItem(words, value)
        self.ram = Choice("Main memory", "What is not on the card comes from there.")
        here = main_memory().total
        self.ram.addItem(f"This machine, {gigabytes(here)}", here)
        for gib in RAM_SIZES:
            self.ram.addItem(f"{gib} GB", gib * GIB)
        self.table = QTableWidget(0, len(COLUMNS))
        self.table.setHorizontalHeaderLabels(list(COLUMNS))
        self.table.verticalHeader().hide()
        self.table.setShowGrid(False)
        self.table.setWordWrap(False)
        self.table.setTextElideMode(Qt.TextElideMode.ElideMiddle)
        self.table.setEditTriggers(QAbstractItemView.EditTrigger.NoEditTriggers)
        self.table.setSelectionBehavior(QAbstractItemView.SelectionBehavior.SelectRows)
        self.table.setSelectionMode(QAbstractItemView.SelectionMode.SingleSelection)
        self.table.setTabKeyNavigation(False)
        self.table.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        head = self.table.horizontalHeader()
        head.setSectionResizeMode(QHeaderView.ResizeMode.ResizeToContents)
        head.setSectionResizeMode(1, QHeaderView.ResizeMode.Stretch)
        head.setDefaultAlignment(Qt.AlignmentFlag.AlignLeft | Qt.AlignmentFlag.AlignVCenter)
        head.setHighlightSections(False)
        describe(self.table, "Cards", "How the model would run on each size of card.")
        self.state = Label("", "muted", wrap=True)
        self.page = HowItRuns()

    def _lay_out(self) -> None:
        page = Column(spacing=1.5, margins=2)
        self.column.addLayout(page)
        self.grid = QGridLayout()
        size_row = QWidget()
        row = Row(size_row, spacing=0.5)
        row.addWidget(self.wide, 1)
        row.addWidget(Label("×", "muted"))
        row.addWidget(self.high, 1)
        cells: tuple[tuple[str, QWidget, QWidget, int, int, int], ...] = (
            ("Model", self.model, self.model, 0, 0, 2), ("Size", size_row, self.wide, 0, 2, 1),
            ("Pictures at once", self.count, self.count, 0, 3, 1), ("Weights", self.quality, self.quality, 2, 0, 2),
            ("Main memory", self.ram, self.ram, 2, 2, 2),
        )  # fmt: skip
        for words, widget, buddy, line, column, span in cells:
            label = Label(words, "small")
            label.setBuddy(buddy)
            self.grid.addWidget(label, line, column, 1, span)
            self.grid.addWidget(widget, line + 1, column, 1, span)
        for column, stretch in enumerate((2, 1, 3, 2)):
            self.grid.setColumnStretch(column, stretch)
        page.addLayout(self.grid)
        page.addWidget(self.table)
        page.addWidget(self.state)
        page.addWidget(Line())
        page.addWidget(scrolling(self.page), 1)
        page.addWidget(Label(PREDICTED, "small", wrap=True))

    # ---- asking

    def showEvent(self, event: QShowEvent) -> None:
        super().showEvent(event)
        chosen = self.model.currentText()
        self._candidates = candidates(self._app.models)
        self.model.clear()
        for candidate in self._candidates:
            self.model.addItem(candidate.name if candidate.here else f"{candidate.name} (not here)")
        self.model.setCurrentIndex(max(0, self.model.findText(chosen)))
        if not chosen:
            self._take_size()
        self._changed()

    def choose(self, name: str) -> None:
        """Ask about a model by its name, here or known."""
        for index, candidate in enumerate(self._candidates):
            if candidate.name == name:
                self.model.setCurrentIndex(index)
                self._model_chosen()
                return

    @Slot()
    def _model_chosen(self) -> None:
        self._take_size()
        self._changed()

    def _take_size(self) -> None:
        candidate = self._candidate()
        if candidate is not None:
            for field, value in ((self.wide, candidate.limits.width), (self.high, candidate.limits.height)):
                field.blockSignals(True)
                field.setValue(float(value))
                field.blockSignals(False)

    def _candidate(self) -> Candidate | None:
        index = self.model.currentIndex()
        return self._candidates[index] if 0 <= index < len(self._candidates) else None

    @Slot()
    def _changed(self, value: Any = None) -> None:
        self._asked += 1
        self._pause.start()

    @Slot(object)
    def _engine_changed(self, state: object) -> None:
        if self.isVisible() and state in ("ready", "failed"):
            self._pause.start()

    @Slot()
    def _ask(self) -> None:
        """Estimating needs what the engine loads; it is loaded there, not here, so that the window stays awake."""
        engine, candidate = self._app.engine, self._candidate()
        if candidate is None or not self.isVisible():
            return
        if engine.state == "failed":
            self._fail(f"The engine could not start, so nothing can be foreseen: {engine.error}")
            return
        if engine.state != "ready":
            self.state.setText("The engine is getting ready…")
            engine.warm()
            return
        self.state.setText("Working it out…")
        asked = self._asked
        width, height = (max(64, round(field.value() / 8) * 8) for field in (self.wide, self.high))
        count, ram, quality = int(self.count.value()), self.ram.currentData(), self.quality.currentData()

        def work() -> tuple[int, dict[int, Planned]]:
            if asked != self._asked:
                return asked, {}
            return asked, over_cards(self._planner, candidate, width, height, count, ram, quality)

        self._background.run(work, self._known, self._fail)

    def _fail(self, sentence: str) -> None:
        self.plans = {}
        self.table.setRowCount(0)
        self.state.setText(sentence)
        self.page.hide()

    # ---- showing

    def _known(self, answer: tuple[int, dict[int, Planned]]) -> None:
        asked, plans = answer
        if asked != self._asked:
            return
        chosen = self.chosen()
        self.plans = plans
        self.state.setText("")
        self.state.hide()
        self.table.blockSignals(True)
        self.table.setRowCount(len(plans))
        for row, (card, planned) in enumerate(plans.items()):
            for column, words in enumerate(_cells(card, planned)):
                item = QTableWidgetItem(words)
                item.setToolTip(planned.words if column == 1 else words)
                self.table.setItem(row, column, item)
        self.table.blockSignals(False)
        self._rescale()
        sizes = list(plans)
        self.table.selectRow(sizes.index(chosen if chosen in sizes else _nearest(sizes)))
        self._show_chosen()

    def chosen(self) -> int:
        """The card whose row is chosen, in GB; 0 for none."""
        rows = {index.row() for index in self.table.selectedIndexes()}
        sizes = list(self.plans)
        return sizes[min(rows)] if rows and min(rows) < len(sizes) else 0

    @Slot()
    def _show_chosen(self) -> None:
        card = self.chosen()
        planned = self.plans.get(card)
        self.page.setVisible(planned is not None)
        if planned is None:
            return
        self.page.show_runs([(f"On a card with {card} GB", planned)])

    @Slot()
    def _rescale(self) -> None:
        self.grid.setHorizontalSpacing(theme.space(1.5))
        self.grid.setVerticalSpacing(theme.space(0.5))
        rows = self.table.rowCount() or len(RAM_SIZES) + 1
        line = max(theme.px(28), self.table.fontMetrics().height() + theme.px(8))
        self.table.verticalHeader().setDefaultSectionSize(line)
        for row in range(self.table.rowCount()):
            self.table.setRowHeight(row, line)
        head = self.table.horizontalHeader().sizeHint().height()
        self.table.setFixedHeight(head + rows * line + 2 * self.table.frameWidth())
        self.table.setIconSize(QSize(theme.px(16), theme.px(16)))

    def close_down(self) -> None:
        """Wait for what the worker still does."""
        self._pause.stop()
        self._background.close()


def _cells(card: int, planned: Planned) -> tuple[str, ...]:
    plan = planned.plan
    if plan is None:
        return f"{card} GB", f"does not fit. {planned.fix}" if planned.fix else "does not fit", "–", "–", "–"
    return f"{card} GB", in_short(plan), size(plan.peak), size(plan.ram), time(plan.seconds)


def _nearest(sizes: list[int]) -> int:
    """The row to begin with: this machine's card, else the usual one."""
    card = card_memory()
    wanted = card.total / GIB if card is not None else 8
    return min(sizes, key=lambda each: abs(each - wanted))
