"""What the studio found on this machine, as text that can be copied into a report."""

from __future__ import annotations

import platform
import sys
from importlib import metadata
from typing import TYPE_CHECKING

from PySide6.QtCore import Slot
from PySide6.QtGui import QGuiApplication, QShowEvent
from PySide6.QtWidgets import QPlainTextEdit, QWidget

from studio_app.machine_memory import card_memory, gigabytes, main_memory
from studio_app.version import VERSION
from ui.dialogs.page import PageDialog
from ui.widgets.basics import Button, Label, describe
from ui.widgets.layouts import Column, Row

if TYPE_CHECKING:
    from studio_app.application import Application

_PACKAGES = ("PySide6-Essentials", "torch", "diffusers", "transformers", "numpy", "opencv-python-headless", "pillow")
_LOG_LINES = 40


class SystemReport(PageDialog):
    """Read afresh each time it is shown. Nothing of it is sent anywhere."""

    def __init__(self, app: Application, parent: QWidget) -> None:
        super().__init__("System report", parent, 640, 560)
        self._app = app
        page = Column(spacing=1.5, margins=2)
        self.column.addLayout(page)
        page.addWidget(Label("What the studio found here. It stays on this machine unless you copy it.", wrap=True))
        self.text = QPlainTextEdit()
        self.text.setReadOnly(True)
        self.text.setTabChangesFocus(True)
        describe(self.text, "System report", "Versions, memory, folders and the last lines of the log.")
        page.addWidget(self.text, 1)
        row = Row()
        row.addStretch(1)
        self.copy = Button("Copy report", "copy", kind="primary", tip="Copies the whole report as text.")
        self.copy.clicked.connect(self._copy)
        row.addWidget(self.copy)
        page.addLayout(row)

    def showEvent(self, event: QShowEvent) -> None:
        super().showEvent(event)
        self.text.setPlainText(report(self._app))

    @Slot()
    def _copy(self) -> None:
        QGuiApplication.clipboard().setText(self.text.toPlainText())
        self._app.notifications.post("success", "The report is on the clipboard.")


def report(app: Application) -> str:
    """The report's text: one fact on a line."""
    memory, card = main_memory(), card_memory()
    ratio = QGuiApplication.primaryScreen().devicePixelRatio()
    lines = [
        f"Tessera Studio {VERSION}",
        f"Python {platform.python_version()} on {platform.platform()}",
        *(f"{name} {_version(name)}" for name in _PACKAGES),
        f"Window system: {QGuiApplication.platformName()}, pixel ratio {ratio:g}",
        f"Memory: {gigabytes(memory.used)} of {gigabytes(memory.total)} in use",
        f"Card: {card.device}, {gigabytes(card.used)} of {gigabytes(card.total)} in use"
        if card
        else "Card: none found",
        f"Engine: {app.engine.state}{f' ({app.engine.error})' if app.engine.error else ''}",
        f"Models: {', '.join(entry.name for entry in app.models.list()) or 'none'}",
        f"Data folder: {app.paths.data}",
        f"Pictures folder: {app.output_folder()}",
        f"Executable: {sys.executable}",
        "",
        "Last lines of the log:",
        *_log_tail(app),
    ]
    return "\n".join(lines)


def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return "not installed"


def _log_tail(app: Application) -> list[str]:
    try:
        text = (app.paths.data / "logs" / "studio.log").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ["(nothing was logged)"]
    return text.splitlines()[-_LOG_LINES:]
