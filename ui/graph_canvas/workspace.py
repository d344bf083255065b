"""The Graph workspace: workflows in tabs, the canvas to the edges, the run bar floating over it."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, ClassVar

from PySide6.QtCore import QPoint, QPointF, Signal, Slot
from PySide6.QtGui import QDropEvent, QHideEvent, QKeyEvent, QKeySequence, QResizeEvent, QShowEvent
from PySide6.QtWidgets import QSplitter, QStackedWidget, QWidget

from engine.contracts.errors import TesseraError
from engine.contracts.job_spec import JobSpec
from engine.contracts.references import ModelRef
from studio_app.application import Application
from studio_app.workflows.opening import missing_types
from studio_app.workflows.workflows import OpenWorkflow
from ui import theme
from ui.bridge.bridge import Bridge
from ui.graph_canvas.acts import Acts
from ui.graph_canvas.beside import Beside
from ui.graph_canvas.canvas import Canvas, key_name
from ui.graph_canvas.dropped_models import drop_models
from ui.graph_canvas.files import Files
from ui.graph_canvas.finding import Finding
from ui.graph_canvas.handlers import canvas_handlers
from ui.graph_canvas.inspecting import Inspecting
from ui.graph_canvas.menus import menu_at
from ui.graph_canvas.run_bar import RunBar
from ui.graph_canvas.runner import Runner
from ui.graph_canvas.runs import Runs
from ui.graph_canvas.search import NodeFinder
from ui.graph_canvas.tabs import Tabs
from ui.graph_canvas.values.editor import ValueEditor
from ui.graph_canvas.values.menu import add_output_acts, add_value_acts
from ui.graph_canvas.values.picture import PictureImport
from ui.models.mime import model_paths
from ui.widgets.basics import Button
from ui.widgets.containers import EmptyState
from ui.widgets.layouts import Column
from ui.workspace import Workspace

RECOVERED = "The studio ended without closing. Your workflows are as they were, with their history."


class GraphWorkspace(Workspace):
    """Shows `app.workflows`. `current_changed`: another tab is in front, or its selection changed."""

    title: ClassVar[str] = "Graph"
    icon_name: ClassVar[str] = "workflow"
    current_changed = Signal()

    def __init__(self, app: Application, bridge: Bridge) -> None:
        super().__init__()
        self._app, self._bridge = app, bridge
        self.app = app
        self.setAccessibleName("Graph")
        self.bridge = bridge
        self.runs = Runs(app, bridge, self)
        self.files = Files(self)
        self.finder = NodeFinder(app.node_types().schemas())
        self.pages: dict[str, tuple[Canvas, Acts, Finding]] = {}
        self.editors: dict[str, ValueEditor] = {}
        self._unbind: list[Callable[[], None]] = []
        self._minimap, self._snap = True, False
        column = Column(self, spacing=0)
        self.tabs = Tabs()
        column.addWidget(self.tabs)
        self.stack = QStackedWidget()
        split = QSplitter()
        split.addWidget(self.stack)
        self.beside = Beside(self, split)
        column.addWidget(split, 1)
        self.empty = EmptyState(
            "workflow", "Build a workflow from nodes",
            "Nodes load models, read prompts, draw and change pictures; wires carry what they make.",
            "Start from text to picture", "Open a workflow that turns a prompt into a picture.",
        )  # fmt: skip
        self.empty.button.setProperty("kind", "primary")
        self.empty.button.clicked.connect(self.files.start_text_to_picture)
        self.templates = Button("Choose a template…", "grid-2x2", tip="See the workflows that come with the studio.")
        self.templates.clicked.connect(self.beside.open_gallery)
        self.blank = Button("Empty workflow", "plus", tip="Begin with nothing on the canvas.", shortcut="Ctrl+N")
        self.blank.clicked.connect(self.files.new)
        self.empty.add_button(self.templates)
        self.empty.add_button(self.blank)
        self.stack.addWidget(self.empty)
        self.bar = RunBar(self, app.commands)
        self.bar.command.connect(self._run_command)
        self.inspecting = Inspecting(self)
        self.runner = Runner(self)
        self.tabs.chosen.connect(self._tab_chosen)
        self.tabs.close_wanted.connect(self.files.close_at)
        self.tabs.new_wanted.connect(self.files.new)
        self.runs.changed.connect(self._show_run)
        self._stop = app.workflows.tabs_changed.subscribe(lambda tab: self.show_tabs())
        self._stop_types = app.plugins.changed.subscribe(lambda registry: bridge.post(self._types_changed, registry))
        self._start()

    def _start(self) -> None:
        try:
            self._app.workflows.start()
            if self._app.workflows.recovered:
                self._app.notifications.post("info", RECOVERED)
        except TesseraError as error:
            self._app.notifications.post("warning", str(error))
        self.show_tabs()

    # ---- tabs

    @property
    def current(self) -> Canvas | None:
        """The canvas in front."""
        tab = self._app.workflows.current
        return self.pages[tab.id][0] if tab is not None and tab.id in self.pages else None

    @property
    def acts(self) -> Acts | None:
        canvas = self.current
        return self.pages[canvas.tab.id][1] if canvas is not None else None

    @property
    def finding(self) -> Finding | None:
        canvas = self.current
        return self.pages[canvas.tab.id][2] if canvas is not None else None

    def show_tabs(self) -> None:
        """Bring tabs and canvases in step with the open workflows."""
        workflows = self._app.workflows
        self.bar.setParent(self)  # it floats in the canvas in front, below that one's lists
        for tab_id in [name for name in self.pages if all(tab.id != name for tab in workflows.tabs)]:
            canvas = self.pages.pop(tab_id)[0]
            self.inspecting.forget(tab_id)
            self.editors.pop(tab_id).close_down()
            self.runs.forget(canvas)
            self.beside.forget(tab_id)
            canvas.close_down()
            self.stack.removeWidget(canvas)
            canvas.deleteLater()
        current = workflows.current
        if current is not None and current.id not in self.pages:
            self._make(current)
        self.tabs.show_tabs([(tab.title, tab.is_changed) for tab in workflows.tabs],
                            workflows.tabs.index(current) if current is not None else -1)  # fmt: skip
        page = self.current
        self.stack.setCurrentWidget(page if page is not None else self.empty)
        self.tabs.setVisible(bool(workflows.tabs))
        if page is not None:
            self.bar.setParent(page)
        self.bar.setVisible(page is not None)
        self._show_run()
        self.current_changed.emit()

    def _make(self, tab: OpenWorkflow) -> None:
        canvas = Canvas(self._app, tab)
        acts = Acts(canvas)
        finding = Finding(acts, self.finder)
        self.pages[tab.id] = (canvas, acts, finding)
        self.editors[tab.id] = ValueEditor(acts, self._bridge)
        self.inspecting.attach(canvas, self.editors[tab.id])
        self.stack.addWidget(canvas)
        self.beside.watch(acts)
        self.runs.watch(canvas)
        canvas.set_minimap(self._minimap)
        canvas.view.snap = self._snap
        canvas.view.search_wanted.connect(finding.search)
        canvas.view.menu_wanted.connect(self._menu)
        canvas.view.open_wanted.connect(self._open_node)
        canvas.view.frame_wanted.connect(acts.rename_frame)
        canvas.view.dropped.connect(self._dropped)
        canvas.scene.changed_nodes.connect(self._document_changed)
        canvas.selection_changed.connect(self.current_changed)
        if tab.notice:
            canvas.say(tab.notice)

    @Slot(int)
    def _tab_chosen(self, index: int) -> None:
        tabs = self._app.workflows.tabs
        if 0 <= index < len(tabs) and tabs[index] is not self._app.workflows.current:
            self._app.workflows.show(tabs[index])
            self.show_tabs()
            self.take_focus()

    def _types_changed(self, registry: object) -> None:
        """A plugin was enabled, changed or turned off: the search and what is open know it at once."""
        found = self._app.node_types()
        self.finder.set_schemas(found.schemas())
        for tab in self._app.workflows.tabs:
            if tab.document.registry is not found:
                tab.document.set_registry(found)

    @Slot(object)
    def _document_changed(self, change: object) -> None:
        tabs = self._app.workflows.tabs
        self.tabs.mark([(tab.title, tab.is_changed) for tab in tabs])

    @Slot(object)
    def _dropped(self, event: QDropEvent) -> None:
        paths, acts = model_paths(event.mimeData()), self.acts
        if paths and acts is not None:
            drop_models(acts, paths, acts.view.to_scene(event.position()))
        else:
            self.beside.drop(event.mimeData())

    # ---- commands

    def _bind(self) -> None:
        if self._unbind:
            return
        handlers: dict[str, Callable[[], object]] = {
            "graph.minimap": self.toggle_minimap, "graph.snap": self.toggle_snap,
            "graph.menu": self._menu_of_selection, **self.beside.handlers(),
        }  # fmt: skip
        handlers |= self.files.handlers() | self.runner.handlers() | self.inspecting.handlers()
        for name, act in canvas_handlers().items():
            handlers[name] = partial(self._on_current, act)
        self._unbind = [self._app.commands.bind(name, handler) for name, handler in handlers.items()]

    def _on_current(self, act: Callable[[Acts, Finding], object]) -> None:
        acts, finding = self.acts, self.finding
        if acts is None or finding is None:
            self.files.new()
            acts, finding = self.acts, self.finding
        if acts is not None and finding is not None:
            act(acts, finding)

    def _release(self) -> None:
        for unbind in self._unbind:
            unbind()
        self._unbind = []

    @Slot(str)
    def _run_command(self, command: str) -> None:
        self._app.commands.run(command)

    def toggle_minimap(self) -> None:
        self._minimap = not self._minimap
        for canvas, _, _ in self.pages.values():
            canvas.set_minimap(self._minimap)

    def toggle_snap(self) -> None:
        self._snap = not self._snap
        for canvas, _, _ in self.pages.values():
            canvas.view.snap = self._snap
            canvas.say("Nodes snap to the grid." if self._snap else "Nodes move freely.")

    # ---- menus, nodes

    @Slot(QPoint, QPointF)
    def _menu(self, globally: QPoint, place: QPointF) -> None:
        acts, finding = self.acts, self.finding
        if acts is not None and finding is not None:
            menu = menu_at(acts, finding, place)
            over = acts.scene.node_at(place)
            row = over.layout.row_at(place.y() - over.corner[1]) if over is not None else None
            if over is not None and row is not None and row.input:
                add_value_acts(menu, self.editors[acts.canvas.tab.id], over.node.id, row.input)
            if over is not None:
                add_output_acts(menu, self.editors[acts.canvas.tab.id], over.node.id)
            acts.canvas.show_menu(menu, globally)

    def _menu_of_selection(self) -> None:
        canvas = self.current
        if canvas is None:
            return
        names = canvas.scene.selected
        box = canvas.scene.bounds(names) if names else canvas.view.visible_area()
        place = box.topLeft() + QPointF(20, 10) if names else box.center()
        self._menu(canvas.view.viewport().mapToGlobal(canvas.view.viewportTransform().map(place).toPoint()), place)

    @Slot(str)
    def _open_node(self, name: str) -> None:
        acts = self.acts
        if acts is not None and not acts.open_node(name):
            acts.scene.select([name])
            acts.rename()

    # ---- what floats

    @Slot()
    def _show_run(self) -> None:
        self.runner.show()
        self._place()

    def _place(self) -> None:
        """The run bar at the lower edge, in the middle of the canvas."""
        page = self.current
        if page is None:
            return
        self.bar.adjustSize()
        page.view.foot = self.bar.height() + 2 * theme.space(1.5)
        room = self.stack.size()
        self.bar.move((room.width() - self.bar.width()) // 2, room.height() - self.bar.height() - theme.space(1.5))
        self.bar.raise_()
        if page.popup.isVisible():
            page.popup.raise_()

    # ---- as a page

    def resizeEvent(self, event: QResizeEvent) -> None:
        super().resizeEvent(event)
        self._place()

    def keyPressEvent(self, event: QKeyEvent) -> None:
        """Without a canvas, which answers its keys itself, the keys that open a workflow are the page's."""
        names = {QKeySequence(command.shortcut).toString(): command.id
                 for command in map(self._app.commands.get, ("graph.new", "graph.open", "graph.gallery"))}  # fmt: skip
        command = names.get(key_name(event)) if self.current is None else None
        if command is None or not self._app.commands.run(command):
            super().keyPressEvent(event)

    def showEvent(self, event: QShowEvent) -> None:
        super().showEvent(event)
        self._bind()
        self._place()

    def hideEvent(self, event: QHideEvent) -> None:
        """Off the screen its commands are nobody's: the keys belong to the page that is shown."""
        super().hideEvent(event)
        self._release()

    def take_focus(self) -> None:
        canvas = self.current
        if canvas is not None:
            canvas.view.setFocus()
        else:
            self.empty.button.setFocus()

    def inspector(self) -> QWidget:
        return self.inspecting.panel

    def model(self) -> ModelRef | None:
        return None

    def set_covered(self, covered: bool) -> None:
        self.empty.set_hidden(covered)
        self.bar.setVisible(not covered and self.current is not None)

    def receive(self, thing: object) -> None:
        """What made a picture, opened as a graph."""
        if isinstance(thing, JobSpec):
            self.inspecting.open_as_graph(thing)

    def missing_nodes(self) -> tuple[str, ...]:
        canvas = self.current
        return missing_types(canvas.document.workflow, self._app.node_types()) if canvas is not None else ()

    def start_with(self, prompt: str) -> None:
        self.files.start_text_to_picture()
        self.runner.run()

    def save_state(self) -> dict[str, Any]:
        return {"minimap": self._minimap, "snap": self._snap, "recent": list(self.finder.recent),
                **self.beside.save_state(), **self.inspecting.save_state()}  # fmt: skip

    def restore_state(self, state: dict[str, Any]) -> None:
        self.inspecting.restore_state(state)
        if state.get("minimap") is False:
            self.toggle_minimap()
        self._snap = state.get("snap") is True
        for canvas, _, _ in self.pages.values():
            canvas.view.snap = self._snap
        self.beside.restore_state(state)
        recent = state.get("recent")
        if isinstance(recent, list):
            self.finder.recent = [name for name in recent if isinstance(name, str)]

    def close_down(self) -> None:
        PictureImport.of(self._app, self._bridge).close()
        self.inspecting.close_down()
        self._release()
        self._stop()
        self._stop_types()
        self.beside.close_down()
        for canvas, _, _ in self.pages.values():
            canvas.close_down()
