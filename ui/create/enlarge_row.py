"""Make the picture larger once it is there: how many times, and for experts how."""

from __future__ import annotations

from collections.abc import Sequence

from PySide6.QtCore import QSize, Signal, Slot
from PySide6.QtWidgets import QAbstractButton, QButtonGroup, QGridLayout, QPushButton, QSizePolicy, QWidget

from engine.contracts.references import ModelRef
from engine.recipes.enlarge import HOWS, MOST, STRENGTHS
from studio_app.documents.create_session import CreateSession, SessionChange
from studio_app.models.index import ModelEntry
from ui import theme
from ui.create.form_parts import Field, Hint, Section
from ui.widgets.basics import Label, describe, tab_to_chosen
from ui.widgets.inputs import Choice, NumberField, SliderField, Toggle
from ui.widgets.layouts import Row

FACTORS = (1.0, 1.5, 2.0, 3.0, 4.0)
_HOW_LABELS = {"second-pass": "Second pass (hires fix)", "tiles": "In tiles", "network": "Upscaler alone"}
_FIELDS = {"enlarge", "init", "mask", "margins", "width", "height", "model_facts"}


def factor_name(factor: float) -> str:
    return "Off" if factor == 1 else f"{factor:g}×"


def size_words(session: CreateSession) -> str:
    """ "512 × 512 → 1024 × 1024 px"; "" while nothing is enlarged."""
    request = session.request
    if not request.enlarge:
        return ""
    before, after = request.margins.around(session.size), session.made_size
    return f"{before[0]} × {before[1]} → {after[0]} × {after[1]} px"


class _FactorButton(QPushButton):
    def __init__(self, factor: float) -> None:
        super().__init__(factor_name(factor))
        self.setCheckable(True)
        self.setAutoDefault(False)
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
        self.setStyleSheet("padding-left: 0; padding-right: 0;")
        if factor == 1:
            describe(self, "Don’t enlarge", "Leaves the picture at the size it is drawn at.")
        else:
            describe(self, f"Enlarge {factor:g}×", f"Makes the picture {factor:g} times as wide and as high.")

    def minimumSizeHint(self) -> QSize:
        return QSize(theme.px(32), super().minimumSizeHint().height())


class FactorPicker(QWidget):
    """One click each; none is checked for a factor or a size of the person's own. `chosen(factor)`."""

    chosen = Signal(float)

    def __init__(self) -> None:
        super().__init__()
        row = Row(self, spacing=0.5)
        self._group = QButtonGroup(self)
        for place, factor in enumerate(FACTORS):
            button = _FactorButton(factor)
            self._group.addButton(button, place)
            row.addWidget(button)
        self._group.idClicked.connect(self._clicked)

    def button(self, factor: float) -> QAbstractButton:
        """The button of one of FACTORS. Raises ValueError."""
        return self._group.button(FACTORS.index(factor))

    def show_factor(self, factor: float | None) -> None:
        self._group.setExclusive(False)
        for place, known in enumerate(FACTORS):
            self._group.button(place).setChecked(known == factor)
        self._group.setExclusive(True)
        tab_to_chosen(self._group)

    @Slot(int)
    def _clicked(self, place: int) -> None:
        self.chosen.emit(FACTORS[place])


class EnlargeRow(Section):
    """Mirrors how much larger a session's picture is made, and what size it then has."""

    def __init__(self, session: CreateSession) -> None:
        self.sizes = Label("", "small")
        super().__init__("Enlarge", self.sizes)
        self._session = session
        self.factors = FactorPicker()
        self.add(self.factors)
        self.redraw_first = Toggle(
            "Draw it anew first",
            "Off: the picture you start from is enlarged as it is. On: it is redrawn first, as its strength says.",
        )
        self.add(self.redraw_first)
        self.hint = Hint()
        self.add(self.hint)
        self.factors.chosen.connect(self._factor_chosen)
        self.redraw_first.toggled.connect(self._redraw_toggled)
        session.subscribe(self._follow)
        self._show()

    def complain(self, sentence: str) -> None:
        self.hint.say(sentence)

    def _follow(self, change: SessionChange) -> None:
        if change.fields & _FIELDS:
            self._show()

    def _show(self) -> None:
        request = self._session.request
        enlarge = request.enlarge
        self.factors.show_factor(None if enlarge.width else enlarge.factor)
        words = size_words(self._session)
        self.sizes.setText(words)
        self.sizes.setAccessibleName(f"Size: {words}" if words else "")
        plain = request.init is not None and request.mask is None and not request.margins
        self.redraw_first.setVisible(bool(enlarge) and plain)
        self.redraw_first.blockSignals(True)
        self.redraw_first.setChecked(not enlarge.as_is)
        self.redraw_first.blockSignals(False)

    @Slot(float)
    def _factor_chosen(self, factor: float) -> None:
        self._session.set_enlarge(factor=factor, width=0, height=0)

    @Slot(bool)
    def _redraw_toggled(self, anew: bool) -> None:
        self._session.set_enlarge(as_is=not anew)


class EnlargeDetails(QWidget):
    """What an expert sets of it. Shown while something is enlarged; an upscaler only where one is installed."""

    def __init__(self, session: CreateSession) -> None:
        super().__init__()
        self._session = session
        self._upscalers: list[ModelEntry] = []
        self._showing = False
        self.factor = NumberField(
            "Enlarge by", "How many times as wide and as high.", minimum=1, maximum=MOST, value=2, step=0.25,
            decimals=2, suffix=" ×",
        )  # fmt: skip
        self.how = Choice("How to enlarge", "Whether the enlarged picture is redrawn, and in how many pieces.")
        self.strength = SliderField(
            "Enlarging strength", "How much of the enlarged picture is redrawn: 0 keeps it, much draws other things.",
            minimum=0, maximum=1, step=0.02, decimals=2, value=0.4,
        )  # fmt: skip
        self.upscaler = Choice("Upscaler", "A network that enlarges the pixels before they are redrawn.")
        self.prompt = Toggle(
            "Tell it the prompt again",
            "On: the second pass follows the prompt too. Off: it only makes clear what is there already.",
        )
        self.how_field = Field("How to enlarge", self.how)
        self.factor_field = Field("Enlarge by", self.factor)
        self.strength_field = Field("Enlarging strength", self.strength)
        self.upscaler_field = Field("Upscaler", self.upscaler)
        grid = QGridLayout(self)
        grid.setContentsMargins(0, 0, 0, 0)
        grid.setHorizontalSpacing(theme.space(1.5))
        grid.setVerticalSpacing(theme.space(1.5))
        grid.addWidget(self.how_field, 0, 0)
        grid.addWidget(self.factor_field, 0, 1)
        grid.addWidget(self.strength_field, 1, 0, 1, 2)
        grid.addWidget(self.upscaler_field, 2, 0, 1, 2)
        grid.addWidget(self.prompt, 3, 0, 1, 2)
        grid.setColumnStretch(0, 1)
        self.how.activated.connect(self._how_chosen)
        self.upscaler.activated.connect(self._upscaler_chosen)
        self.factor.value_changed.connect(self._factor_set)
        self.strength.value_changed.connect(self._strength_set)
        self.prompt.toggled.connect(self._prompt_set)
        session.subscribe(self._follow)
        self.set_upscalers(())

    def set_upscalers(self, entries: Sequence[ModelEntry]) -> None:
        """Offer these; without any only what a model can do itself."""
        self._upscalers = list(entries)
        self.upscaler.clear()
        self.upscaler.addItem("None: interpolate", None)
        for entry in entries:
            self.upscaler.addItem(entry.name, entry.ref)
        self.how.clear()
        for how in HOWS:
            if how != "network" or entries:
                self.how.addItem(_HOW_LABELS[how], how)
        self._show()

    def _follow(self, change: SessionChange) -> None:
        if change.fields & _FIELDS:
            self._show()

    def _show(self) -> None:
        self._showing = True
        enlarge, model = self._session.request.enlarge, self._session.facts.recommended
        self.setVisible(bool(enlarge))
        self.how.setCurrentIndex(self.how.findData(enlarge.how))
        before = self._session.request.margins.around(self._session.size)
        self.factor.setValue(self._session.made_size[0] / before[0] if enlarge.width else enlarge.factor)
        usual = STRENGTHS.get(enlarge.how, 0.0) if model.redraw_strength is None else model.redraw_strength
        self.strength.setValue(usual if enlarge.strength is None else enlarge.strength)
        self.prompt.setChecked(model.redraw_prompt if enlarge.prompt is None else enlarge.prompt)
        for widget in (self.strength_field, self.prompt):
            widget.setVisible(enlarge.redraws)
        names = [entry.name for entry in self._upscalers]
        chosen = enlarge.upscaler.name if enlarge.upscaler else ""
        self.upscaler.setCurrentIndex(names.index(chosen) + 1 if chosen in names else 0 if not chosen else -1)
        self.upscaler_field.setVisible(bool(names) or bool(chosen))
        self._showing = False

    def _update(self, **fields: object) -> None:
        if not self._showing:
            self._session.set_enlarge(**fields)

    @Slot(int)
    def _how_chosen(self, index: int) -> None:
        how = self.how.itemData(index)
        upscaler = self._session.request.enlarge.upscaler
        if how == "network" and upscaler is None and self._upscalers:
            upscaler = self._upscalers[0].ref
        self._update(how=how, upscaler=upscaler)

    @Slot(int)
    def _upscaler_chosen(self, index: int) -> None:
        ref = self.upscaler.itemData(index)
        enlarge = self._session.request.enlarge
        chosen = ref if isinstance(ref, ModelRef) else None
        # Nothing is left of "alone" without its network.
        how = HOWS[0] if chosen is None and enlarge.how == "network" else enlarge.how
        self._update(upscaler=chosen, how=how)

    @Slot(float)
    def _factor_set(self, value: float) -> None:
        self._update(factor=float(value), width=0, height=0)

    @Slot(float)
    def _strength_set(self, value: float) -> None:
        self._update(strength=float(value))

    @Slot(bool)
    def _prompt_set(self, told: bool) -> None:
        self._update(prompt=told)
