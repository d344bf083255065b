"""Theme, scale and motion by the settings, and "as the system" when that is chosen."""

from __future__ import annotations

from PySide6.QtCore import QObject, Qt, Slot
from PySide6.QtWidgets import QApplication

from studio_app.application import Application
from ui import theme

KEYS = frozenset({"ui.theme", "ui.scale", "ui.reduced_motion"})


def apply(app: Application) -> None:
    """Put what the settings say on the QApplication."""
    qt = QApplication.instance()
    assert isinstance(qt, QApplication)
    settings = app.settings
    theme.apply(
        qt,
        resolved(settings.get("ui.theme")),
        settings.get("ui.scale"),
        reduced_motion=bool(settings.get("ui.reduced_motion")),
    )


def resolved(name: str) -> str:
    """The theme meant: "system" is the desktop's own choice, dark where it has none."""
    if name != "system":
        return name
    return "light" if QApplication.styleHints().colorScheme() == Qt.ColorScheme.Light else "dark"


class _SystemFollower(QObject):
    def __init__(self, app: Application, parent: QObject) -> None:
        super().__init__(parent)
        self._app = app
        QApplication.styleHints().colorSchemeChanged.connect(self._follow)

    @Slot()
    def _follow(self) -> None:
        if self._app.settings.get("ui.theme") == "system":
            apply(self._app)


def follow_system(app: Application) -> None:
    """Change with the desktop while the setting says "as the system"."""
    qt = QApplication.instance()
    assert qt is not None
    _SystemFollower(app, qt)
