"""How a planned run goes: its parts with what each takes, what it does to the picture, and what one click would change.

Create shows it over its plan line, the canvas over its run bar.
"""

from __future__ import annotations

from collections.abc import Sequence

from PySide6.QtCore import Qt, Signal
from PySide6.QtWidgets import QGridLayout, QWidget

from engine.contracts.errors import clip
from engine.memory.words import size, time
from studio_app.offers import Offer
from studio_app.planning import PHASE_WORDS, Planned
from ui import theme
from ui.widgets.basics import Button, Label, Line
from ui.widgets.layouts import Column
from ui.widgets.memory_bar import MemoryBar

LONGEST = 40  # letters of a model's name
SAME = "The picture is the same, bit for bit, as on a card with room to spare."


class HowItRuns(QWidget):
    """`offer_chosen(Offer)` when a person takes one. `offers` are the buttons that are shown."""

    offer_chosen = Signal(object)

    def __init__(self) -> None:
        super().__init__()
        self._column = Column(self, spacing=1, margins=(1.75, 0.5, 1.75, 1))
        self.offers: list[Button] = []
        self._page: QWidget | None = None

    def show_runs(self, runs: Sequence[tuple[str, Planned]], offers: Sequence[Offer] = (), note: str = "") -> None:
        """`runs` are titled where there are several; `note` is said last."""
        page = QWidget()
        column = Column(page, spacing=1)
        for place, (title, planned) in enumerate(runs):
            if place:
                column.addWidget(Line())
            self._show_run(column, title, planned, remedy=not offers)
        self.offers = []
        if offers:
            column.addWidget(Line())
            refused = any(planned.refused for _, planned in runs)
            column.addWidget(Label("What would fit" if refused else "Other ways", "strong"))
            for offer in offers:
                column.addWidget(self._offer(offer))
                column.addWidget(Label(f"{offer.note[:1].upper()}{offer.note[1:]}.", "small", wrap=True))
        if note:
            column.addWidget(Label(note, "small", wrap=True))
        column.addStretch(1)
        if self._page is not None:
            self._column.removeWidget(self._page)
            self._page.hide()
            self._page.deleteLater()  # later: a button of it may be what asked for this
        self._page = page
        self._column.addWidget(page)
        page.show()

    def _offer(self, offer: Offer) -> Button:
        made = Button(offer.words, tip=f"{offer.words}: {offer.note}.")
        made.clicked.connect(lambda: self.offer_chosen.emit(offer))
        self.offers.append(made)
        return made

    def _show_run(self, column: Column, title: str, planned: Planned, *, remedy: bool) -> None:
        if title:
            column.addWidget(Label(title, "strong", wrap=True))
        column.addWidget(Label(_what(planned), "small", wrap=True))
        if planned.refused:
            column.addWidget(Label(f"It does not fit: {planned.words}.", "warning", wrap=True))
            if remedy:
                column.addWidget(Label(f"{planned.fix}.", wrap=True))
            return
        plan = planned.plan
        if plan is None:
            column.addWidget(Label(planned.words or _unknown(planned), wrap=True))
            return
        column.addWidget(_phases(planned))
        column.addWidget(Label(planned.words, wrap=True))
        column.addWidget(Label(planned.effect or SAME, "normal" if planned.effect else "small", wrap=True))
        if planned.faster:
            column.addWidget(Label(planned.faster, "small", wrap=True))


def _phases(planned: Planned) -> QWidget:
    """A row for each part: what it does, its peak as a bar and in figures, its seconds."""
    plan = planned.plan
    assert plan is not None
    holder = QWidget()
    grid = QGridLayout(holder)
    grid.setContentsMargins(0, 0, 0, 0)
    grid.setHorizontalSpacing(theme.space(1.5))
    grid.setVerticalSpacing(theme.space(0.5))
    right = Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter
    for row, phase in enumerate(plan.phases):
        words = PHASE_WORDS[phase.name]
        name = Label(f"{words[0].upper()}{words[1:]}", "small")
        bar = MemoryBar()
        bar.show_share(phase.peak, planned.room)
        peak, seconds = Label(size(phase.peak), "small"), Label(time(phase.seconds), "small")
        grid.addWidget(name, row, 0)
        grid.addWidget(bar, row, 1, Qt.AlignmentFlag.AlignVCenter)
        grid.addWidget(peak, row, 2, right)
        grid.addWidget(seconds, row, 3, right)
    grid.setColumnStretch(1, 1)
    return holder


def _what(planned: Planned) -> str:
    """The model, the size and the steps that were planned."""
    request = planned.request
    if request is None:
        return clip(planned.model, LONGEST)
    several = f", {request.batch} at once" if request.batch > 1 else ""
    return f"{clip(planned.model, LONGEST)}, {request.width} × {request.height}{several}, {request.steps} steps"


def _unknown(planned: Planned) -> str:
    return f"Not known before the run: {planned.unknown}."
