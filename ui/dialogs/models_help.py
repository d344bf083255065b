"""How to add a model: where it goes, what fits, and the button that opens the folder."""

from __future__ import annotations

from typing import TYPE_CHECKING

from PySide6.QtCore import Qt, QUrl, Slot
from PySide6.QtGui import QDesktopServices
from PySide6.QtWidgets import QWidget

from studio_app.notifications import Action
from ui.dialogs.page import PageDialog
from ui.widgets.basics import Button, Label
from ui.widgets.layouts import Column, Row

if TYPE_CHECKING:
    from studio_app.application import Application

_STEPS = (
    "Download a Stable Diffusion 1.5 model in diffusers layout: a folder with a file named model_index.json in it.",
    "Put the whole folder into the models folder below, or name its place under Settings, Models.",
    "Press “Look again”, and choose it in the top bar.",
)


class ModelsHelp(PageDialog):
    """`look` reads the folders again and fills the chooser through the window."""

    def __init__(self, app: Application, parent: QWidget) -> None:
        super().__init__("Where to get models", parent, 560, 440)
        self._app = app
        page = Column(spacing=1.5, margins=3)
        self.column.addLayout(page)
        page.addWidget(Label("Add a large model", "title"))
        starter = app.models.starter()
        if starter is not None and starter.notice:
            page.addWidget(Label(starter.notice, "muted", wrap=True))
        for number, step in enumerate(_STEPS, 1):
            row = Row(spacing=1)
            row.addWidget(Label(f"{number}.", "strong"), 0, Qt.AlignmentFlag.AlignTop)
            row.addWidget(Label(step, wrap=True), 1)
            page.addLayout(row)
        self.folder = Label(str(app.paths.models), "muted", wrap=True)
        self.folder.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
        page.addWidget(self.folder)
        self.found = Label("", "normal", wrap=True)
        page.addWidget(self.found)
        page.addStretch(1)
        buttons = Row(spacing=1)
        buttons.addStretch(1)
        self.show_folder = Button("Open models folder", "folder-open", tip="Opens the folder in your file manager.")
        self.show_folder.clicked.connect(self._open_folder)
        self.look = Button("Look again", "refresh-cw", kind="primary", tip="Looks for models in every models folder.")
        self.look.clicked.connect(self._look)
        buttons.addWidget(self.show_folder)
        buttons.addWidget(self.look)
        page.addLayout(buttons)
        self._say()

    @Slot()
    def _open_folder(self) -> None:
        folder = self._app.paths.models
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            text = f"The models folder {folder} can't be made ({error.strerror}). Name another in the settings."
            self._app.notifications.post("warning", text, Action("app.preferences", "Settings"))
            return
        QDesktopServices.openUrl(QUrl.fromLocalFile(str(folder)))

    @Slot()
    def _look(self) -> None:
        from ui.main_window import MainWindow

        self._app.models.refresh()
        window = self.parent()
        if isinstance(window, MainWindow):
            window.load_models()
        self._say()

    def _say(self) -> None:
        names = [entry.name for entry in self._app.models.list()]
        lines = [f"Found: {', '.join(names)}." if names else "No model was found."]
        lines += [f"{refused.path.name} can't be used: {refused.why}" for refused in self._app.models.refused()]
        self.found.setText("\n".join(lines))
