"""The editor of a seed: a number that is kept, counted on or drawn anew after each run."""

from __future__ import annotations

from functools import partial

from PySide6.QtCore import QPoint, Signal, Slot
from PySide6.QtWidgets import QMenu

from engine.contracts.node_schema import InputSchema
from engine.contracts.workflow import SEED_CONTROLS, SeedControl
from studio_app.documents.seeds import WORDS, new_seed
from ui.graph_canvas.values.fields import NumberValue
from ui.widgets.basics import IconButton, describe


class SeedValue(NumberValue):
    """A seed, with a die for a new one now, a lock that keeps it or has it drawn anew after each run, as in Create, and
    a list that also counts. `control_changed` fires with one of SEED_CONTROLS."""

    control_changed = Signal(str)

    def __init__(self, name: str, item: InputSchema) -> None:
        super().__init__(name, item)
        self.dice = IconButton("dices", "New seed", "Take another random number.", size=16)
        self.lock = IconButton("lock", "Keep the seed", size=16, checkable=True)
        self.after = IconButton(
            "chevron-down", "After each run", "Choose what becomes of the seed after a run.", size=16
        )
        self.menu = QMenu(self)
        for button in (self.dice, self.lock, self.after):
            self.add(button)
        self.control: SeedControl = "fixed"
        self.show_control("fixed")
        self.dice.clicked.connect(self._roll)
        self.lock.clicked.connect(self._turn)
        self.after.clicked.connect(self._open_menu)

    def show_control(self, control: SeedControl) -> None:
        """What becomes of the seed after a run, as it stands in the document."""
        self.control = control
        self.lock.setChecked(control == "fixed")
        self.lock.set_icon(_CONTROL_ICONS[control])
        told = "It stays as it is; press to draw a new one after each run."
        describe(self.lock, "Keep the seed", told if control == "fixed" else f"{WORDS[control]}; press to keep it.")

    @Slot()
    def _roll(self) -> None:
        self.number.setValue(new_seed(self.item))

    @Slot()
    def _turn(self) -> None:
        self._choose("randomize" if self.control == "fixed" else "fixed")

    def _choose(self, control: SeedControl) -> None:
        self.show_control(control)
        self.control_changed.emit(control)

    @Slot()
    def _open_menu(self) -> None:
        self.menu.clear()
        for control in SEED_CONTROLS:
            action = self.menu.addAction(WORDS[control])
            action.setCheckable(True)
            action.setChecked(control == self.control)
            action.triggered.connect(partial(self._choose, control))
        self.menu.popup(self.after.mapToGlobal(QPoint(0, self.after.height())))


_CONTROL_ICONS: dict[SeedControl, str] = {
    "fixed": "lock", "randomize": "lock-open", "increment": "plus", "decrement": "minus",
}  # fmt: skip
