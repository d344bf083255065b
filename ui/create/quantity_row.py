"""How many pictures, and which seed."""

from __future__ import annotations

from PySide6.QtCore import QSize, Qt, Signal, Slot
from PySide6.QtGui import QFocusEvent
from PySide6.QtWidgets import QAbstractButton, QButtonGroup, QLineEdit, QPushButton, QSizePolicy, QWidget

from engine.recipes.checks import MAX_SEED
from studio_app.documents.create_session import CreateSession, SessionChange
from ui import theme
from ui.create.form_parts import Field
from ui.widgets.arithmetic import evaluate
from ui.widgets.basics import IconButton, describe, tab_to_chosen
from ui.widgets.layouts import Column, Row

MAX_PICTURES = 8


class CountPicker(QWidget):
    """One to eight, as buttons: one click each."""

    chosen = Signal(int)

    def __init__(self) -> None:
        super().__init__()
        row = Row(self, spacing=0.5)
        self._group = QButtonGroup(self)
        for count in range(1, MAX_PICTURES + 1):
            button = _CountButton(count)
            self._group.addButton(button, count)
            row.addWidget(button)
        self._group.idClicked.connect(self.chosen)

    def show_count(self, count: int) -> None:
        button = self._group.button(count)
        self._group.setExclusive(False)
        for other in self._group.buttons():
            other.setChecked(other is button)
        self._group.setExclusive(True)
        tab_to_chosen(self._group)

    def button(self, count: int) -> QAbstractButton:
        return self._group.button(count)


class _CountButton(QPushButton):
    def __init__(self, count: int) -> None:
        super().__init__(str(count))
        self.setCheckable(True)
        self.setAutoDefault(False)
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
        self.setStyleSheet("padding-left: 0; padding-right: 0;")
        pictures = "1 picture" if count == 1 else f"{count} pictures"
        describe(self, pictures, f"Makes {pictures}, each with a seed of its own.")

    def minimumSizeHint(self) -> QSize:
        return QSize(theme.px(24), super().minimumSizeHint().height())


class SeedField(QLineEdit):
    """A whole number from 0 to 2**63 − 1. Not a NumberField: its numbers are larger than a float can hold exactly."""

    value_changed = Signal(object)
    corrected = Signal(str)

    def __init__(self) -> None:
        super().__init__()
        self._value = 0
        describe(
            self, "Seed", f"The number the noise is drawn from: same seed and settings, same picture. 0 to {MAX_SEED}."
        )
        self.editingFinished.connect(self._commit)

    def show_value(self, value: int) -> None:
        self._value = value
        self.setText(str(value))
        self.setCursorPosition(0)

    @Slot()
    def _commit(self) -> None:
        value = evaluate(self.text())
        if value is None or int(value) != value or not 0 <= value <= MAX_SEED:
            self.corrected.emit(f"A seed is a whole number from 0 to {MAX_SEED}; {self._value} is kept.")
            self.show_value(self._value)
        elif int(value) != self._value:
            self.value_changed.emit(int(value))

    def focusInEvent(self, event: QFocusEvent) -> None:
        super().focusInEvent(event)
        if event.reason() in (Qt.FocusReason.TabFocusReason, Qt.FocusReason.BacktabFocusReason):
            self.selectAll()


class QuantityRow(QWidget):
    """Mirrors count, seed and the seed's lock of a session."""

    def __init__(self, session: CreateSession) -> None:
        super().__init__()
        self._session = session
        column = Column(self, spacing=1.5)
        self.count = CountPicker()
        self.count_field = Field("Pictures", self.count)
        self.seed = SeedField()
        self.lock = IconButton("lock-open", "Keep the seed", "", checkable=True)
        self.dice = IconButton("dices", "New seed", "Draws another seed now.")
        seed_row = QWidget()
        row = Row(seed_row, spacing=0.5)
        row.addWidget(self.seed, 1)
        row.addWidget(self.lock)
        row.addWidget(self.dice)
        self.seed_field = Field("Seed", seed_row)
        column.addWidget(self.count_field)
        column.addWidget(self.seed_field)
        self.count.chosen.connect(self._count_chosen)
        self.seed.corrected.connect(self.seed_field.mention)
        self.seed.value_changed.connect(self._seed_typed)
        self.lock.toggled.connect(self._lock_toggled)
        self.dice.clicked.connect(self._roll)
        session.subscribe(self._follow)
        self._show()

    def _follow(self, change: SessionChange) -> None:
        if change.fields & {"count", "seed", "seed_locked"}:
            self._show()

    def _show(self) -> None:
        session = self._session
        self.count.show_count(session.request.count)
        self.seed.show_value(session.request.seed)
        self.lock.setChecked(session.seed_locked)
        self.lock.set_icon("lock" if session.seed_locked else "lock-open")
        describe(
            self.lock,
            "Keep the seed",
            "The seed stays the same for the next Generate."
            if session.seed_locked
            else "The seed changes with each Generate; press to keep it.",
        )

    @Slot(int)
    def _count_chosen(self, count: int) -> None:
        self._session.update(count=count)

    @Slot(object)
    def _seed_typed(self, seed: int) -> None:
        self._session.update(seed=seed)
        self._session.set_seed_locked(True)  # whoever types a seed means it

    @Slot(bool)
    def _lock_toggled(self, locked: bool) -> None:
        self._session.set_seed_locked(locked)

    @Slot()
    def _roll(self) -> None:
        self._session.roll_seed()
