"""One open workflow on the screen: its scene, the view onto it, and what floats above."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence

from PySide6.QtCore import QEvent, QPoint, QPointF, Qt, QTimer, Signal, Slot
from PySide6.QtGui import QKeyEvent, QKeySequence, QResizeEvent
from PySide6.QtWidgets import QFrame, QMenu, QWidget

from engine.contracts.errors import TesseraError
from studio_app.application import Application
from studio_app.workflows.session import View
from studio_app.workflows.workflows import OpenWorkflow
from ui import theme
from ui.graph_canvas import access
from ui.graph_canvas.choice_popup import ChoicePopup
from ui.graph_canvas.crumbs import Crumbs
from ui.graph_canvas.minimap import Minimap
from ui.graph_canvas.run_record import RunRecord, run_name
from ui.graph_canvas.scene import GraphScene
from ui.graph_canvas.tools.pointer import Pointer
from ui.graph_canvas.view import GraphView
from ui.widgets.basics import Label
from ui.widgets.layouts import Column

SAY_MS = 4500
_ALSO = {"Ctrl+Y": "graph.redo", "Enter": "graph.edit", "Ctrl+Enter": "graph.run", "=": "graph.zoom_in",
         "Shift+F10": "graph.menu", "Ctrl+Del": "graph.delete_keep", "Shift+Backtab": "graph.go_previous"}  # fmt: skip


class Canvas(QWidget):
    """The view fills it; minimap, breadcrumbs and the search float. Holds no truth but where one looks.

    selection_changed   other nodes are selected, or those selected were changed
    """

    selection_changed = Signal()

    def __init__(self, app: Application, tab: OpenWorkflow) -> None:
        super().__init__()
        self.app, self.tab, self.document = app, tab, tab.document
        self.scene = GraphScene(self.document)
        self.record = RunRecord(self.document)
        self.view = GraphView(self.scene)
        self.view.setParent(self)
        self.pointer = Pointer(self.view)
        self.view.keys = self._key
        self.foreign_text: Callable[[str], bool] = lambda text: False  # who opens another program's text
        access.install()
        self.typed: Callable[[str], bool] = lambda text: False  # who takes what is typed on a chosen node
        self.minimap = Minimap(self.view, self)
        self.crumbs = Crumbs(self.document, self)
        self.popup = ChoicePopup(self)
        self.note = _Note(self)
        self.setFocusProxy(self.view)
        self._fresh = True  # not shown yet: framed when it has a size
        self._looked = QTimer(self)
        self._looked.setSingleShot(True)
        self._looked.setInterval(300)
        self._looked.timeout.connect(self._keep_view)
        self.view.moved.connect(self._view_moved)
        self.view.said.connect(self.say)
        self.scene.shown.connect(self._level_shown)
        self.scene.changed_nodes.connect(self._show_empty)
        self.scene.selection_changed.connect(self.selection_changed)
        self.scene.selection_changed.connect(self._tell)
        self.crumbs.chosen.connect(self.go_to_level)
        self.minimap_wanted = True
        self._show_empty()

    @Slot()
    def _tell(self) -> None:
        access.tell_focus(self.view)

    def run_name(self, node: str) -> str:
        """A node of the open level as runs name it."""
        return run_name(self.document.level, node)

    # ---- where one looks

    def restore_view(self) -> None:
        """Look where the tab was left; at everything the first time."""
        kept = self.tab.view
        if kept.level and kept.level != self.document.level:
            with contextlib.suppress(TesseraError):  # the subgraph is gone: the workflow itself is shown
                self.document.open_level(kept.level)
        if kept.scale > 0:
            self.view.look_at(QPointF(*kept.centre), kept.scale)
        else:
            self.view.frame_nodes()
        self.view.wait_for_pictures()

    @Slot()
    def _view_moved(self) -> None:
        self._looked.start()

    @Slot()
    def _keep_view(self) -> None:
        centre = self.view.centre()
        seen = View(centre=(centre.x(), centre.y()), scale=self.view.scale_factor, level=self.document.level)
        self.app.workflows.look(self.tab, seen)

    @Slot(object)
    def go_to_level(self, level: tuple[str, ...]) -> None:
        """Open another level and show all of it."""
        try:
            self.document.open_level(level)
        except TesseraError as error:
            self.say(str(error))

    @Slot()
    def _level_shown(self) -> None:
        self.crumbs.show_level()
        self._place()
        if not self._fresh:
            self.view.frame_nodes()
        self._show_empty()

    # ---- what floats

    @Slot(str)
    def say(self, sentence: str) -> None:
        """One sentence at the lower edge for a while."""
        if sentence:
            self.note.say(sentence)
            self._place()

    def open_list(
        self,
        title: str,
        placeholder: str,
        find: Callable[[str], Sequence[object]],
        take: Callable[[object], object],
        at: QPointF | None = None,
        nothing: str = "Nothing has these letters. Try fewer.",
    ) -> None:
        """A list to choose from at a place of the scene, else beside the selected node, else in the middle."""
        if at is None:
            chosen = self.chosen_item_corner()
            at = chosen if chosen is not None else self.view.centre()
        port = self.view.viewportTransform().map(at)
        self.popup.open_at(port.toPoint(), title, placeholder, find, take, nothing)  # type: ignore[arg-type]

    def chosen_item_corner(self) -> QPointF | None:
        """The upper right corner of the selected node."""
        names = self.scene.selected
        if not names:
            return None
        box = self.scene.bounds(names)
        return QPointF(box.right() + 12, box.top())

    def show_menu(self, menu: QMenu, place: QPoint) -> None:
        """Open a menu at a place of the screen without waiting for it."""
        menu.setParent(self, menu.windowFlags())
        menu.aboutToHide.connect(menu.deleteLater)
        menu.popup(place)

    def set_minimap(self, shown: bool) -> None:
        self.minimap_wanted = shown
        self._show_empty()

    @Slot()
    def _show_empty(self) -> None:
        self.minimap.setVisible(self.minimap_wanted and bool(self.scene.items_by_id))

    def resizeEvent(self, event: QResizeEvent) -> None:
        super().resizeEvent(event)
        self.view.setGeometry(self.rect())
        self._place()
        if self._fresh and self.isVisible():
            self._fresh = False
            self.restore_view()

    def showEvent(self, event: QEvent) -> None:
        if self._fresh and self.width() > 100:
            self._fresh = False
            self.view.setGeometry(self.rect())
            self.restore_view()

    def _place(self) -> None:
        gap = theme.space(1.5)
        self.minimap.move(self.width() - self.minimap.width() - gap, self.height() - self.minimap.height() - gap)
        self.crumbs.move(gap, gap)
        self.note.place(self.width(), self.height() - theme.px(64))

    # ---- keys

    def _key(self, event: QKeyEvent, run: bool) -> bool:
        """Whether a key belongs to the canvas; `run`: do what it means. The table of commands has the keys."""
        command = self.key_table().get(key_name(event))
        if command is None:
            return run and not event.modifiers() & ~Qt.KeyboardModifier.KeypadModifier and self.typed(event.text())
        if not self.app.commands.is_bound(command):
            return False
        if run:
            self.app.commands.run(command)
        return True

    def key_table(self) -> dict[str, str]:
        """Key → command, as the table has them now."""
        commands = self.app.commands
        found = {key: name for key, name in _ALSO.items() if commands.get(name) == commands.shipped(name)}
        for command in commands.all():
            if command.id.startswith("graph.") and command.shortcut:
                found[QKeySequence(command.shortcut).toString()] = command.id
        return found

    def close_down(self) -> None:
        self._looked.stop()
        self._keep_view()
        self.scene.close()
        self.crumbs.close_down()


def key_name(event: QKeyEvent) -> str:
    """A key press as the table writes it: "Ctrl+Shift+G"."""
    modifiers = event.modifiers() & ~Qt.KeyboardModifier.KeypadModifier
    key = event.key()
    if key == Qt.Key.Key_Backtab:
        return "Shift+Tab"
    if key in {Qt.Key.Key_Plus, Qt.Key.Key_Equal, Qt.Key.Key_Minus}:  # Shift is how some keyboards write them
        modifiers &= ~Qt.KeyboardModifier.ShiftModifier
    return QKeySequence(modifiers.value | key).toString()


class _Note(QFrame):
    """A sentence that floats for a while."""

    def __init__(self, parent: QWidget) -> None:
        super().__init__(parent)
        self.setProperty("surface", "float")
        self.setAttribute(Qt.WidgetAttribute.WA_StyledBackground)
        self.setAttribute(Qt.WidgetAttribute.WA_TransparentForMouseEvents)
        self.label = Label("", "normal", wrap=True)
        Column(self, margins=(1.5, 1)).addWidget(self.label)
        self._timer = QTimer(self)
        self._timer.setSingleShot(True)
        self._timer.setInterval(SAY_MS)
        self._timer.timeout.connect(self.hide)
        self.hide()

    def say(self, sentence: str) -> None:
        self.label.setText(sentence)
        self.setAccessibleName(sentence)
        self.show()
        self.raise_()
        self._timer.start()

    def place(self, width: int, bottom: int) -> None:
        wide = min(theme.px(460), width - theme.space(4))
        words = self.label.fontMetrics().horizontalAdvance(self.label.text()) + theme.space(2)
        self.label.setFixedWidth(min(wide, words))
        self.adjustSize()
        self.move((width - self.width()) // 2, bottom - self.height())
