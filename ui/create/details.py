"""What a picture was made of: prompt, seed, model, sampler, size, time. Every value can be selected and copied."""

from __future__ import annotations

from datetime import datetime

from PySide6.QtCore import Qt, Signal, Slot
from PySide6.QtWidgets import QFrame, QScrollArea, QWidget

from engine.contracts.results import ResultRecord
from engine.recipes.build import request_of
from engine.recipes.request import ImageRequest
from engine.sampling.names import SAMPLER_LABELS, SCHEDULE_LABELS
from ui import theme
from ui.create.difference import exact_request
from ui.widgets.basics import Button, Label
from ui.widgets.layouts import Column

WIDTH = 280


class Details(QWidget):
    """Shows one record, or says that nothing is chosen."""

    copy_wanted = Signal()
    difference_wanted = Signal()

    def __init__(self) -> None:
        super().__init__()
        outer = Column(self, spacing=1, margins=(2, 1.5, 2, 2))
        self._title = Label("Details", "heading")
        outer.addWidget(self._title)
        scroll = QScrollArea()
        scroll.setFrameShape(QFrame.Shape.NoFrame)
        scroll.setWidgetResizable(True)
        scroll.setFocusPolicy(Qt.FocusPolicy.NoFocus)
        self._inside = QWidget()
        self._column = Column(self._inside, spacing=0.25)
        scroll.setWidget(self._inside)
        outer.addWidget(scroll, 1)
        self._copy = Button("Copy as text", "copy", tip="Copies prompt and settings as text other programs understand.")
        self._copy.clicked.connect(self.copy_wanted)
        outer.addWidget(self._copy)
        self.difference = Button(
            "Show what going fast changed", "layers",
            tip="Makes the exact picture of the same seed and lays both over each other.",
        )  # fmt: skip
        self.difference.clicked.connect(self.difference_wanted)
        outer.addWidget(self.difference)
        self._values: dict[str, str] = {}
        self._record: ResultRecord | None = None
        theme.notifier.changed.connect(self._rescale)
        self._rescale()
        self.show_record(None)

    @property
    def values(self) -> dict[str, str]:
        """What is shown, by heading."""
        return dict(self._values)

    @Slot()
    def _rescale(self) -> None:
        self.setMinimumWidth(theme.px(WIDTH))
        self._title.setMinimumHeight(theme.px(32))  # in line with the titles beside it, which have tools

    def show_record(self, record: ResultRecord | None) -> None:
        if record is not None and record == self._record:
            return
        self._record = record
        while (item := self._column.takeAt(0)) is not None:
            widget = item.widget()
            if widget is not None:
                widget.hide()
                widget.deleteLater()
        self._values = {} if record is None else facts_of(record)
        self._copy.setEnabled(record is not None)
        self.difference.setVisible(record is not None and exact_request(record) is not None)
        if record is None:
            self._column.addWidget(Label("Choose a picture to see what it was made of.", "muted", wrap=True))
        for heading, value in self._values.items():
            self._column.addSpacing(theme.space(1))
            self._column.addWidget(Label(heading, "small"))
            text = Label(value, wrap=True)
            text.setTextInteractionFlags(
                Qt.TextInteractionFlag.TextSelectableByMouse | Qt.TextInteractionFlag.TextSelectableByKeyboard
            )
            text.setFocusPolicy(Qt.FocusPolicy.TabFocus)
            text.setAccessibleName(f"{heading}: {value}")
            self._column.addWidget(text)
        self._column.addStretch(1)


def enlarged_words(request: ImageRequest) -> str:
    """ "2×, in tiles, strength 0.3"."""
    enlarge = request.enlarge
    words = [f"to {enlarge.width} × {enlarge.height}" if enlarge.width else f"{enlarge.factor:g}×"]
    if enlarge.upscaler is not None:
        words.append(f"with {enlarge.upscaler.name}")
    if enlarge.redraws and enlarge.strength is not None:
        how = "in tiles" if enlarge.how == "tiles" else "by a second pass"
        words += [how, f"strength {enlarge.strength:g}", f"{enlarge.steps} steps"]
    return ", ".join(words)


def facts_of(record: ResultRecord) -> dict[str, str]:
    """Heading → value, in the order they are read."""
    request = request_of(record.spec)
    facts: dict[str, str] = {}
    if request is not None:
        facts["Prompt"] = request.prompt
        if request.negative:
            facts["Negative prompt"] = request.negative
        if request.style:
            facts["Style"] = request.style.replace("_", " ").capitalize()
    elif record.parameters:
        facts["Parameters"] = record.parameters
    if record.seed is not None:
        facts["Seed"] = str(record.seed)
    if request is not None:
        facts["Model"] = request.model.name
        sampler = SAMPLER_LABELS.get(request.sampler or "", request.sampler or "")
        facts["Sampler"] = f"{sampler}, {SCHEDULE_LABELS.get(request.scheduler or '', request.scheduler or '').lower()}"
        facts["Steps and guidance"] = f"{request.steps} steps, guidance {request.cfg:g}"
        if request.init is not None:
            masked = " inside a mask" if request.mask is not None else ""
            how = "extended" if request.margins else f"strength {request.strength:g}{masked}"
            how = "as it is" if request.enlarge and request.enlarge.as_is else how
            facts["Started from"] = f"{request.init.name or 'a picture'}, {how}"
        if request.enlarge:
            facts["Enlarged"] = enlarged_words(request)
    if record.numerics.quantisation != "none":
        facts["Weights"] = f"{record.numerics.quantisation.removeprefix('int')} bits (made fast)"
    elif request is not None and request.fast:
        facts["Weights"] = "exact: fewer bits were allowed and not needed"
    facts["Size"] = f"{record.width} × {record.height} pixels"
    if record.seconds:
        facts["Time"] = f"{record.seconds:.1f} seconds"
    if record.created:
        facts["Made"] = datetime.fromtimestamp(record.created).strftime("%d %B %Y, %H:%M")
    return facts
