"""Run, stop and how far it is: floats at the lower edge of the canvas."""

from __future__ import annotations

from PySide6.QtCore import QPoint, Qt, Signal, Slot
from PySide6.QtGui import QIcon
from PySide6.QtWidgets import QFrame, QMenu, QProgressBar, QWidget

from studio_app.commands import Commands
from ui import theme
from ui.graph_canvas.menus import add_commands
from ui.widgets.basics import Button, IconButton, Label, describe
from ui.widgets.inputs import NumberField
from ui.widgets.layouts import Row

RUNS = (("graph.run", "graph.run_anew", "graph.run_to_here"),)


class RunBar(QFrame):
    """`command` fires with the command of the button pressed, `plan_wanted` when the memory plan is."""

    command = Signal(str)
    plan_wanted = Signal()

    def __init__(self, parent: QWidget, commands: Commands) -> None:
        super().__init__(parent)
        self._commands = commands
        self.setProperty("surface", "float")
        self.setAttribute(Qt.WidgetAttribute.WA_StyledBackground)
        self.setAccessibleName("Run")
        row = Row(self, spacing=0.75, margins=0.75)
        self.add = IconButton("plus", "Add a node", "Find a node by its name or what it does.", shortcut="Space")
        self.undo = IconButton("undo", "Undo", "Take the last change back.", shortcut="Ctrl+Z")
        self.redo = IconButton("redo", "Redo", "Do again what was taken back.", shortcut="Ctrl+Shift+Z")
        self.fit = IconButton("maximize", "Show everything", "See the whole workflow.", shortcut="Home")
        self.form = IconButton("list-ordered", "Form", "Show the workflow as a form, or as nodes again.",
                               shortcut="Ctrl+Alt+F")  # fmt: skip
        self.run = Button("Run", "play", kind="primary", tip="Run what changed since the last run; the rest is kept.",
                          shortcut="Ctrl+Return")  # fmt: skip
        self.more = IconButton(
            "chevron-up", "More ways to run", "Run all anew, or only to the selected nodes.", size=16
        )
        self.menu = QMenu(self.more)
        self.more.clicked.connect(self._open_menu)
        self.count = NumberField("Times to run", "How often the workflow is queued.", minimum=1, maximum=100, value=1)
        self.count.setFixedWidth(theme.px(44))
        self.stop = Button("Stop", "circle-stop", tip="Stop at the next step.", shortcut="Esc")
        self.progress = QProgressBar()
        self.progress.setTextVisible(False)
        self.progress.setAccessibleName("Progress of the workflow")
        self.words = Label("", "muted")
        pairs: tuple[tuple[QWidget, str], ...] = (
            (self.add, "graph.search"), (self.undo, "graph.undo"), (self.redo, "graph.redo"),
            (self.fit, "graph.frame_all"), (self.form, "graph.form"),
            (self.run, "graph.run"), (self.stop, "graph.cancel"),
        )  # fmt: skip
        for widget, command in pairs:
            widget.setProperty("command", command)
            widget.clicked.connect(self._pressed)  # type: ignore[attr-defined]  # all are buttons
            row.addWidget(widget)
            if widget is self.run:
                row.addWidget(self.more)
                row.addWidget(self.count)
        row.addWidget(self.progress)
        row.addWidget(self.words)
        self.fits = Button("", kind="quiet")
        describe(self.fits, "Memory plan", "What the heaviest sampler needs of memory. Opens how each runs.")
        self.fits.clicked.connect(self.plan_wanted)
        self.fits.hide()
        row.addWidget(self.fits)
        self.show_idle()
        self._rescale()
        theme.notifier.changed.connect(self._rescale)

    @Slot()
    def _rescale(self) -> None:
        self.progress.setFixedSize(theme.px(120), theme.px(6))

    @Slot()
    def _open_menu(self) -> None:
        """The ways to run, with their keys as they are now, above the bar."""
        self.menu.clear()
        add_commands(self.menu, self._commands, RUNS)
        self.menu.popup(self.more.mapToGlobal(QPoint(0, -self.menu.sizeHint().height())))

    @Slot()
    def _pressed(self) -> None:
        sender = self.sender()
        if sender is not None:
            self.command.emit(str(sender.property("command")))

    def show_idle(self) -> None:
        for widget in (self.stop, self.progress, self.words):
            widget.hide()
        self.adjustSize()

    def show_plan(self, words: str, whole: str, *, fits: bool = True) -> None:
        """How the samplers fit into memory: a few words, all of it on hover and behind it; "" for nothing to say."""
        self.fits.setText(words)
        self.fits.setIcon(QIcon() if fits else theme.icon("triangle-alert", 16, token="warning"))
        describe(self.fits, f"Memory plan: {words}", whole)
        self.fits.setVisible(bool(words))
        self.adjustSize()

    def show_running(self, done: int, planned: int, title: str, waiting: int, left: str = "") -> None:
        """`waiting`: jobs of this workflow that are queued behind the one that runs; `left`: time in words."""
        self.stop.show()
        self.progress.show()
        self.progress.setRange(0, planned)
        self.progress.setValue(done)
        more = f", {waiting} more queued" if waiting else ""
        time = f", {left}" if left else ""
        self.words.setText(f"{title or 'Waiting'}{time}{more}")
        self.words.show()
        self.adjustSize()
