"""Which version this is, what it is made of, and under which licences."""

from __future__ import annotations

from pathlib import Path

from PySide6.QtCore import Qt
from PySide6.QtWidgets import QPlainTextEdit, QWidget

from studio_app.paths import DISPLAY_NAME
from studio_app.version import VERSION
from ui import theme
from ui.dialogs.page import PageDialog
from ui.widgets.basics import IconLabel, Label, describe
from ui.widgets.inputs import Choice
from ui.widgets.layouts import Column, Row


class About(PageDialog):
    """Each licence text that is shipped can be read here."""

    def __init__(self, resources: Path, parent: QWidget) -> None:
        super().__init__(f"About {DISPLAY_NAME}", parent, 640, 560)
        page = Column(spacing=2, margins=3)
        self.column.addLayout(page)
        head = Row(spacing=2)
        head.addWidget(IconLabel("layers", 40, "accent"), 0, Qt.AlignmentFlag.AlignTop)
        words = Column(spacing=0.5)
        words.addWidget(Label(DISPLAY_NAME, "title"))
        words.addWidget(Label(f"Version {VERSION}", "muted"))
        head.addLayout(words, 1)
        page.addLayout(head)
        page.addWidget(
            Label(
                "A studio for pictures made on your own machine, free software under the Apache License 2.0.", wrap=True
            )
        )
        self.texts = _licences(resources)
        self.choice = Choice("Licence", "Which licence text is shown below.")
        self.choice.addItems(list(self.texts))
        page.addWidget(self.choice)
        self.text = QPlainTextEdit()
        self.text.setReadOnly(True)
        self.text.setTabChangesFocus(True)
        self.text.setFont(theme.font(-1))
        describe(self.text, "Licence text", "The whole text of the licence chosen above.")
        page.addWidget(self.text, 1)
        self.choice.currentTextChanged.connect(self._show)
        self._show(self.choice.currentText())

    def _show(self, title: str) -> None:
        self.text.setPlainText(self.texts.get(title, ""))


def _licences(resources: Path) -> dict[str, str]:
    """Title → text of every licence file that is there; nothing is named that is not shipped."""
    root = resources.parent
    places = {
        f"{DISPLAY_NAME} (Apache-2.0)": (root / "LICENSE",),
        "Third-party software": (root / "THIRD_PARTY_NOTICES.md", root / "NOTICE", root / "docs" / "third_party.md"),
        "Inter typeface (SIL Open Font License 1.1)": (resources / "fonts" / "OFL.txt",),
        "Lucide icons (ISC and MIT)": (resources / "icons" / "LICENSE",),
    }
    texts: dict[str, str] = {}
    for title, paths in places.items():
        path = next((p for p in paths if p.is_file()), None)
        if path is not None:
            texts[title] = path.read_text(encoding="utf-8", errors="replace")
    return texts
