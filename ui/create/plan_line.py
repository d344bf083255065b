"""Whether what Create would make fits, and how it would run: a line under Generate, known before it is pressed.

Pressed, it opens “How it runs”. What does not fit comes with the button that makes it fit.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

from PySide6.QtCore import QRect, QRectF, QSize, Qt, QTimer, Signal, Slot
from PySide6.QtGui import QPainter, QPaintEvent, QPen
from PySide6.QtWidgets import QSizePolicy, QToolButton, QWidget

from engine.memory.words import size, time
from studio_app.application import Application
from studio_app.documents.create_session import CreateSession
from studio_app.offers import Offer, offers
from studio_app.planning import Planned, Planner, share_words
from ui import theme
from ui.bridge.background import Background
from ui.bridge.bridge import Bridge
from ui.panels.how_it_runs import HowItRuns
from ui.widgets.basics import Button, Label, describe
from ui.widgets.layouts import Column
from ui.widgets.memory_bar import fill_token, paint_bar
from ui.widgets.popover import Popover

PAUSE_MS = 400
PATIENCE_MS = 500  # longer than this, and it is said that the plan is being made
ASKING = "Working out what it takes…"


class PlanButton(QToolButton):
    """One line of words over a bar of the memory it takes, and a chevron: it opens more."""

    def __init__(self) -> None:
        super().__init__()
        self.share = 0.0
        self.warns = False
        self.setCheckable(True)
        self.setFocusPolicy(Qt.FocusPolicy.StrongFocus)
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
        self._rescale()
        theme.notifier.changed.connect(self._rescale)

    @Slot()
    def _rescale(self) -> None:
        self.setFont(theme.font(-1))
        self.updateGeometry()

    def say(self, words: str, share: float, whole: str, *, warns: bool = False) -> None:
        """`share` of the memory there is, 0 where no bar is shown; `whole` is the tooltip."""
        self.share, self.warns = share, warns
        self.setText(words)
        describe(self, "Memory plan", f"{whole} Opens how it runs.", "Enter")
        self.setAccessibleName(f"Memory plan: {words}")
        self.update()

    def sizeHint(self) -> QSize:
        return QSize(theme.px(120), self.fontMetrics().height() + theme.px(6 + 4 + 12))

    def minimumSizeHint(self) -> QSize:
        return QSize(theme.px(80), self.sizeHint().height())

    def paintEvent(self, event: QPaintEvent) -> None:
        painter = QPainter(self)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        corner, pad, icon = theme.corner(), theme.space(1), theme.px(16)
        if self.underMouse() or self.isChecked() or self.hasFocus():
            painter.setPen(QPen(theme.token("focus"), 2) if self.hasFocus() else Qt.PenStyle.NoPen)
            painter.setBrush(theme.token("surface3" if self.underMouse() or self.isChecked() else "surface1"))
            painter.drawRoundedRect(QRectF(self.rect()).adjusted(1, 1, -1, -1), corner, corner)
        metrics = self.fontMetrics()
        bar = theme.px(6) if self.share else 0
        lines = metrics.height() + (bar + theme.px(4) if bar else 0)
        top, left = (self.height() - lines) // 2, pad
        if self.warns:
            place = QRect(left, top + (metrics.height() - icon) // 2, icon, icon)
            theme.paint_icon(painter, "triangle-alert", place, "warning")
            left += icon + theme.px(6)
        room = self.width() - left - pad - icon - theme.px(4)
        painter.setFont(self.font())
        painter.setPen(theme.token("text"))
        words = metrics.elidedText(self.text(), Qt.TextElideMode.ElideMiddle, room)
        painter.drawText(QRect(left, top, room, metrics.height()), Qt.AlignmentFlag.AlignVCenter, words)
        chevron = QRect(self.width() - pad - icon, top + (metrics.height() - icon) // 2, icon, icon)
        theme.paint_icon(painter, "chevron-down" if self.isChecked() else "chevron-up", chevron, "text_muted")
        if bar:
            box = QRectF(pad, top + metrics.height() + theme.px(4), self.width() - 2 * pad, bar)
            paint_bar(painter, box, self.share, theme.token(fill_token(self.share)))


class PlanLine(QWidget):
    """Asked for after a pause in what is typed, worked out beside the window. Waits for the engine: estimating needs
    what the engine loads, and loading it for this line alone would make the window wait.

    `changed` fires when another plan is shown; `command_wanted(command id)` for an offer that the form can't do.
    """

    changed = Signal()
    command_wanted = Signal(str)

    def __init__(self, app: Application, bridge: Bridge, session: CreateSession) -> None:
        super().__init__()
        column = Column(self, spacing=0.75)
        self.button, self.note = PlanButton(), Label("", "small", wrap=True)
        self.remedy = Button("")
        describe(self.button, "Memory plan", "What this run needs of memory. Opens how it runs.", "Enter")
        describe(self.remedy, "Make it fit", "Change the settings so that the run fits.")
        for widget in (self.button, self.remedy, self.note):
            column.addWidget(widget)
        self.note.setAlignment(Qt.AlignmentFlag.AlignHCenter)
        self.hide()
        self._app, self._session = app, session
        self._background = Background(self)  # of its own: the first plan of a model takes seconds
        self._planner = Planner(app.models, app.paths.cache / "estimates.json")
        self.planned: Planned | None = None
        self._offers: list[Offer] | None = None
        self._popover: Popover | None = None
        self._page = HowItRuns()
        self._asked = 0
        self._timed = True
        self._warned = False
        self._pause, self._patience = _once(self, PAUSE_MS, self._ask), _once(self, PATIENCE_MS, self._say_asking)
        bridge.engine_state.connect(self._engine_changed)
        self._drop = session.subscribe(lambda change: self._changed())
        self.button.clicked.connect(self.toggle)
        self.remedy.clicked.connect(self.apply_remedy)
        self._page.offer_chosen.connect(self.apply)
        self._pause.start()

    # ---- what others ask

    @property
    def text(self) -> str:
        return self.button.text() if not self.isHidden() else ""

    @property
    def tells_time(self) -> bool:
        """Whether the line says how long it takes, or that it can't be."""
        planned = self.planned
        return not self.isHidden() and planned is not None and (planned.plan is not None or planned.refused)

    def show_time(self, shown: bool) -> None:
        """Say how long it takes, or leave that to who knows from pictures made before."""
        if shown != self._timed:
            self._timed = shown
            self._show()

    def holds_back(self) -> str:
        """Why Generate should not start yet, "" when nothing speaks against it. Asked again, it lets go."""
        planned = self.planned
        if self._warned or planned is None or not planned.refused or self._pause.isActive():
            return ""
        self._warned = True
        remedy = f"“{self.remedy.text()}” does, or press" if not self.remedy.isHidden() else "Press"
        return f"This would not fit. {remedy} Generate again to try all the same."

    @Slot()
    def toggle(self) -> None:
        """Open or close “How it runs”."""
        if self._popover is None:
            self._popover = Popover("How it runs", self.button, self._page)
            self._popover.closed.connect(lambda: self.button.setChecked(False))
        if self._popover.isVisible():
            self._popover.close_popover()
            return
        self.button.setChecked(True)
        self._fill()
        self._popover.open_popover()
        if self._offers is None and self.planned is not None:
            self._ask_offers(self.planned)

    @property
    def popover(self) -> Popover | None:
        return self._popover

    @property
    def page(self) -> HowItRuns:
        return self._page

    @Slot(object)
    def apply(self, offer: Offer) -> None:
        """What an offer's button says."""
        if offer.command:
            self.command_wanted.emit(offer.command)
        else:
            self._session.update(**offer.fields)
        if self._popover is not None and self._popover.isVisible():
            self._popover.setFocus()

    @Slot()
    def apply_remedy(self) -> None:
        if self._offers:
            self.apply(self._offers[0])

    # ---- asking

    def _changed(self) -> None:
        self._asked += 1  # what is being worked out is of no use any more
        self._warned = False
        self._pause.start()

    @Slot(object)
    def _engine_changed(self, state: object) -> None:
        if state == "ready":
            self._pause.start()

    @Slot()
    def _ask(self) -> None:
        if self._app.engine.state != "ready":
            return
        self._asked += 1
        self._patience.start()
        asked, request = self._asked, self._session.request
        request = replace(request, prompt=request.prompt.strip() or "a picture")  # its words don't change its size

        def work() -> tuple[int, Planned | None]:
            if asked != self._asked:
                return asked, None
            spec = self._app.jobs.spec_of(request)
            return asked, self._planner.in_create(spec, self._app.settings, self._app.node_types())

        self._background.run(work, self._known, lambda sentence: self._known((asked, None)))

    def _known(self, answer: tuple[int, Planned | None]) -> None:
        asked, planned = answer
        if asked != self._asked:
            return
        self._patience.stop()
        self.planned, self._offers = planned, None
        self._show()
        self.changed.emit()
        if planned is not None and (planned.refused or self._opened):
            self._ask_offers(planned)

    def _ask_offers(self, planned: Planned) -> None:
        asked, request = self._asked, self._session.request

        def work() -> tuple[int, list[Offer]]:
            if asked != self._asked:
                return asked, []
            limits = self._app.models.entry(request.model).defaults
            return asked, offers(self._planner, planned, request, limits)

        self._background.run(work, self._know_offers, lambda sentence: self._know_offers((asked, [])))

    def _know_offers(self, answer: tuple[int, list[Offer]]) -> None:
        asked, found = answer
        if asked == self._asked:
            self._offers = found
            self._show()

    # ---- showing

    @property
    def _opened(self) -> bool:
        return self._popover is not None and self._popover.isVisible()

    @Slot()
    def _say_asking(self) -> None:
        self.button.say(ASKING, 0.0, "What this needs of memory is foreseen from the model’s own shapes.")
        self.remedy.hide()
        self.note.hide()
        self.show()

    def _show(self) -> None:
        planned = self.planned
        self.setVisible(planned is not None)
        if planned is None:
            if self._popover is not None:
                self._popover.close_popover()
            return
        room = _usable(planned) if planned.refused else planned.room
        share = planned.need / room if room and planned.need else 0.0
        self.button.say(self._words(planned), share, _whole(planned), warns=planned.refused)
        offered = self._offers[0] if planned.refused and self._offers else None
        self.remedy.setVisible(offered is not None)
        self.note.setVisible(planned.refused and (offered is not None or self._offers == []))
        if offered is not None:
            self.remedy.setText(offered.words)
            describe(self.remedy, offered.words, f"{offered.words}: {offered.note}.")
            self.note.setText(f"{offered.note[:1].upper()}{offered.note[1:]}.")
        elif planned.refused:
            self.note.setText(f"{planned.fix}.")
        if self._opened:
            self._fill()

    def _words(self, planned: Planned) -> str:
        """A few words for the line."""
        if planned.refused:
            if planned.need <= _usable(planned):
                return "Does not fit: too little main memory"
            return f"Does not fit: needs {size(planned.need)}, there is {size(_usable(planned))}"
        if planned.plan is None:
            return f"On the processor: {share_words(planned)}" if planned.need else planned.unknown
        bits = f" with {planned.plan.bits}-bit weights" if planned.plan.bits < 16 else ""
        said = f"Fits the card{bits}: {share_words(planned)}"
        return f"{said}, {self._time(planned)}" if self._timed else said

    def _time(self, planned: Planned) -> str:
        """For all pictures that Generate would make."""
        plan, request = planned.plan, planned.request
        assert plan is not None
        batch = request.batch if request is not None else 1
        rounds = math.ceil(self._session.request.count / max(1, batch)) * max(1, len(self._session.prompts()))
        return f"about {time(plan.seconds * rounds)}"

    def _fill(self) -> None:
        planned = self.planned
        if planned is None:
            return
        asking = "" if self._offers is not None else "Looking for what would make it faster…"
        self._page.show_runs([("", planned)], self._offers or (), asking)

    def close_down(self) -> None:
        """Stop listening, and wait for what the worker still does."""
        self._pause.stop()
        self._patience.stop()
        self._drop()
        self._background.close()


def _once(parent: QWidget, milliseconds: int, act: Callable[[], object]) -> QTimer:
    made = QTimer(parent)
    made.setSingleShot(True)
    made.setInterval(milliseconds)
    made.timeout.connect(act)
    return made


def _usable(planned: Planned) -> int:
    """Bytes that a plan may fill."""
    return planned.machine.usable if planned.machine is not None else planned.room


def _whole(planned: Planned) -> str:
    if planned.refused:
        return f"It does not fit: {planned.words}. {planned.fix}."
    return planned.words or f"What it needs is not known before the run: {planned.unknown}."
