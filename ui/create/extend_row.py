"""Extend the picture that one starts from: a button for each side, and what it becomes."""

from __future__ import annotations

from dataclasses import replace

from PySide6.QtCore import Slot
from PySide6.QtWidgets import QWidget

from engine.recipes.margins import SIDES, Margins
from studio_app.documents.create_session import CreateSession, SessionChange
from ui.create.form_parts import Field
from ui.widgets.basics import IconButton, Label, describe
from ui.widgets.layouts import Column, Row

_ICONS = {"left": "chevron-left", "top": "chevron-up", "bottom": "chevron-down", "right": "chevron-right"}
_WHERE = {"left": "on the left", "top": "above", "right": "on the right", "bottom": "below"}


class ExtendRow(QWidget):
    """Mirrors the margins of a session. Each press of a side adds a quarter of the picture's edge there."""

    def __init__(self, session: CreateSession) -> None:
        super().__init__()
        self._session = session
        column = Column(self, spacing=0.5)
        buttons = QWidget()
        row = Row(buttons, spacing=0.5)
        self.sides: dict[str, IconButton] = {}
        for side, icon in _ICONS.items():
            button = self.sides[side] = IconButton(icon, f"Extend {_WHERE[side]}", size=16, quiet=False)
            button.clicked.connect(lambda _=False, side=side: self._extended(side))
            row.addWidget(button)
        self.clear = IconButton("x", "Don’t extend", "Makes the picture at its own size again.", size=16)
        self.clear.clicked.connect(self._cleared)
        row.addWidget(self.clear)
        row.addStretch(1)
        column.addWidget(Field("Extend", buttons))
        self.words = Label("", "small", wrap=True)
        column.addWidget(self.words)
        session.subscribe(self._follow)
        self._show()

    def _follow(self, change: SessionChange) -> None:
        if change.fields & {"margins", "width", "height", "model_facts"}:
            self._show()

    def _show(self) -> None:
        margins = self._session.request.margins
        for side, button in self.sides.items():
            describe(button, f"Extend {_WHERE[side]}", f"Adds {self._step(side)} pixels {_WHERE[side]}.")
        self.clear.setVisible(bool(margins))
        self.words.setVisible(bool(margins))
        width, height = margins.around(self._session.size)
        added = [f"{getattr(margins, side)} {_WHERE[side]}" for side in SIDES if getattr(margins, side)]
        self.words.setText(f"Becomes {width} × {height} px: {', '.join(added)}.")

    def _step(self, side: str) -> int:
        """A quarter of the edge that grows, in steps of 16 pixels."""
        width, height = self._session.size
        return max(1, (width if side in ("left", "right") else height) // 64) * 16

    def _extended(self, side: str) -> None:
        margins = self._session.request.margins
        self._session.update(margins=replace(margins, **{side: getattr(margins, side) + self._step(side)}))

    @Slot()
    def _cleared(self) -> None:
        self._session.update(margins=Margins())
