"""The commands the frame itself can do: appearance, panels, dialogs, files, start and quit."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from PySide6.QtCore import QObject, QUrl, Slot
from PySide6.QtGui import QDesktopServices
from PySide6.QtWidgets import QDialog, QFileDialog

from engine.contracts.errors import TesseraError
from studio_app.notifications import Action
from ui.dialogs.welcome import Welcome
from ui.workspaces import WorkspaceEntry

if TYPE_CHECKING:
    from ui.main_window import MainWindow

_SCALES = (0.75, 0.9, 1.0, 1.1, 1.25, 1.5, 1.75, 2.0, 2.5, 3.0)
_WATCHED = ("ui.theme", "ui.scale", "ui.reduced_motion", "ui.mode", "network.offline", "models.folders",
            "create.megapixels", "ui.shortcuts")  # fmt: skip


class WindowCommands(QObject):
    """Binds its methods to the command table for one window. Dialogs are made when first asked for; none is modal."""

    def __init__(self, window: MainWindow) -> None:
        super().__init__(window)
        self._window, self._app = window, window.app
        self._dialogs: dict[str, QDialog] = {}
        self.welcome: Welcome | None = None
        handlers: dict[str, Callable[[], object]] = {
            "app.palette": self.open_palette,
            "app.preferences": self.open_preferences,
            "app.custom_nodes": self.open_custom_nodes,
            "app.quit": window.close,
            "file.open_output_folder": self.open_output_folder,
            "library.save_unsaved": self.save_unsaved,
            "models.free_memory": self._app.engine.free_memory,
            "models.will_it_fit": self.open_will_it_fit,
            "view.theme_system": lambda: self._set("ui.theme", "system"),
            "view.theme_dark": lambda: self._set("ui.theme", "dark"),
            "view.theme_light": lambda: self._set("ui.theme", "light"),
            "view.theme_contrast": lambda: self._set("ui.theme", "contrast"),
            "view.scale_up": lambda: self._step_scale(1),
            "view.scale_down": lambda: self._step_scale(-1),
            "view.scale_reset": lambda: self._set("ui.scale", 1.0),
            "view.full_screen": self.toggle_full_screen,
            "view.filmstrip": self.toggle_filmstrip,
            "view.inspector": self.toggle_inspector,
            "help.shortcuts": self.open_shortcuts,
            "help.welcome": self.show_welcome,
            "help.models": self.open_models_help,
            "help.system": self.open_system,
            "help.about": self.open_about,
        }
        for command_id, handler in handlers.items():
            self._app.commands.bind(command_id, handler)
        for index, entry in enumerate(window._entries):
            self._bind_page(index, entry)

    def _bind_page(self, index: int, entry: WorkspaceEntry) -> None:
        self._app.commands.bind(entry.command, lambda: self._window.show_workspace(index))

    def _set(self, key: str, value: object) -> None:
        self._window.remember(key, value)

    # ---- start

    @Slot()
    def start_application(self) -> None:
        """After the first paint: listen, open the store, warm the engine in the background, welcome a new person."""
        window, app = self._window, self._app
        window.bridge.start(app)
        for key in _WATCHED:
            window.bridge.watch(key)
        app.start()
        window.bridge.announce_ready()
        window.load_models()
        window.memory.start()
        if app.settings.get("engine.warm_up"):
            app.engine.warm()
        if not app.settings.get("ui.welcomed"):
            self.show_welcome()
        elif window.page is not None:
            window.page.take_focus()

    # ---- the frame

    def open_palette(self) -> None:
        self._window.palette_.open_over(self._window.actions_.offered())

    def toggle_full_screen(self) -> None:
        if self._window.isFullScreen():
            self._window.showNormal()
        else:
            self._window.showFullScreen()

    def toggle_filmstrip(self) -> None:
        self._window.show_filmstrip(not self._window.filmstrip_wanted())

    def toggle_inspector(self) -> None:
        self._window.show_inspector(not self._window.inspector_shown())

    def _step_scale(self, direction: int) -> None:
        now: float = self._app.settings.get("ui.scale")
        nearest = min(range(len(_SCALES)), key=lambda i: abs(_SCALES[i] - now))
        self._set("ui.scale", _SCALES[min(len(_SCALES) - 1, max(0, nearest + direction))])

    # ---- the welcome page

    def show_welcome(self) -> None:
        if self.welcome is None:
            self.welcome = Welcome(self._window.pages, self._app.settings.get("ui.mode"))
            self.welcome.level_chosen.connect(self._choose_level)
            self.welcome.first_picture.connect(self._first_picture)
            self.welcome.closed.connect(self._welcomed)
        if self._window.page is not None:
            self._window.page.set_covered(True)
        self.welcome.show()
        self.welcome.raise_()
        self.welcome.place()
        self.welcome.start.setFocus()

    @Slot(str)
    def _choose_level(self, level: str) -> None:
        self._set("ui.mode", level)

    @Slot(str)
    def _first_picture(self, prompt: str) -> None:
        page = self._window.page
        if page is not None:
            page.start_with(prompt)

    @Slot()
    def _welcomed(self) -> None:
        self._set("ui.welcomed", True)
        if self.welcome is not None:
            self.welcome.deleteLater()
            self.welcome = None
        page = self._window.page
        if page is not None:
            page.set_covered(False)
            page.take_focus()

    # ---- dialogs

    def _open(self, name: str, make: Callable[[], QDialog]) -> QDialog:
        dialog = self._dialogs.get(name)
        if dialog is None:
            dialog = self._dialogs[name] = make()
        dialog.show()
        dialog.raise_()
        dialog.activateWindow()
        return dialog

    def close_down(self) -> None:
        """Wait for what a dialog's worker still does. Before the window goes."""
        for dialog in self._dialogs.values():
            close_down = getattr(dialog, "close_down", None)
            if close_down is not None:
                close_down()

    def open_preferences(self) -> None:
        from ui.dialogs.preferences import Preferences

        self._open("preferences", lambda: Preferences(self._app, self._window))

    def open_custom_nodes(self) -> None:
        """Ask first about those that the page in front lacks."""
        from ui.dialogs.custom_nodes import CustomNodes

        dialog = self._open("custom_nodes", lambda: CustomNodes(self._app, self._window))
        page = self._window.page
        if isinstance(dialog, CustomNodes) and page is not None:
            dialog.want(page.missing_nodes())

    def open_shortcuts(self) -> None:
        from ui.dialogs.shortcuts import Shortcuts

        self._open("shortcuts", lambda: Shortcuts(self._app, self._window))

    def open_about(self) -> None:
        from ui.dialogs.about import About

        self._open("about", lambda: About(self._app.paths.resources, self._window))

    def open_models_help(self) -> None:
        from ui.dialogs.models_help import ModelsHelp

        self._open("models", lambda: ModelsHelp(self._app, self._window))

    def open_will_it_fit(self) -> None:
        from ui.dialogs.will_it_fit import WillItFit

        self._open("fit", lambda: WillItFit(self._app, self._window.bridge, self._window))

    def open_system(self) -> None:
        from ui.dialogs.system import SystemReport

        self._open("system", lambda: SystemReport(self._app, self._window))

    # ---- files

    def open_output_folder(self) -> None:
        """Show the folder of finished pictures, making it when there is none yet."""
        folder = self._app.output_folder()
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            text = f"The pictures folder {folder} can't be made ({error.strerror}). Choose another in the settings."
            self._app.notifications.post("warning", text, Action("app.preferences", "Settings"))
            return
        QDesktopServices.openUrl(QUrl.fromLocalFile(str(folder)))

    def save_unsaved(self) -> None:
        """Pictures that could not be written: save them into a folder of the person's choice."""
        waiting = self._app.library.unsaved
        if not waiting:
            self._app.notifications.post("info", "Every picture is saved.")
            return
        chosen = QFileDialog.getExistingDirectory(self._window, "Save unsaved pictures in")
        if chosen:
            self.save_unsaved_in(Path(chosen))

    def save_unsaved_in(self, folder: Path) -> None:
        """Save what waits in memory as files in `folder` and say how it went."""
        saved = 0
        for item in self._app.library.unsaved:
            suffix = Path(item.record.artifact.name).suffix or ".png"
            try:
                self._app.library.save_as(item.record, folder / f"{item.record.id}{suffix}")
            except TesseraError as error:
                self._app.notifications.post("warning", str(error), Action("library.save_unsaved", "Other folder…"))
                return
            saved += 1
        word = "picture" if saved == 1 else "pictures"
        self._app.notifications.post("success", f"{saved} {word} saved in {folder}.")
