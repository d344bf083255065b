"""What the Graph page shows beside its canvas of the workflow in front: properties, run, memory plan, form."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from PySide6.QtCore import QObject, Slot

from engine.contracts.job_spec import JobSpec
from studio_app.workflows.opening import as_request, open_as_graph
from ui.graph_canvas.canvas import Canvas
from ui.graph_canvas.form_page import FormPage
from ui.graph_canvas.memory_marks import MemoryMarks
from ui.graph_canvas.properties.panel import PropertiesPanel
from ui.graph_canvas.values.editor import ValueEditor
from ui.graph_canvas.values.running import Running

if TYPE_CHECKING:
    from ui.graph_canvas.workspace import GraphWorkspace


class Inspecting(QObject):
    """Belongs to one Graph page."""

    def __init__(self, page: GraphWorkspace) -> None:
        super().__init__(page)
        self.page = page
        self.running = Running(page.app, page.runs, self)
        self.panel = PropertiesPanel(page.app, page.bridge, self.running)
        self.forms: dict[str, FormPage] = {}
        page.current_changed.connect(self.follow)
        page.runs.changed.connect(self.panel.refresh)
        self.memory = MemoryMarks(page, self.running, self)
        page.bar.plan_wanted.connect(self.memory.toggle)

    def attach(self, canvas: Canvas, editor: ValueEditor) -> None:
        """A canvas was opened."""
        self.running.attach(canvas, editor)
        canvas.scene.changed_nodes.connect(self.follow)

    @property
    def editor(self) -> ValueEditor | None:
        """Of the canvas in front."""
        canvas = self.page.current
        return self.page.editors.get(canvas.tab.id) if canvas is not None else None

    @Slot()
    def follow(self) -> None:
        """Another workflow or selection is in front, or it was changed."""
        editor = self.editor
        form = self.forms.get(editor.canvas.tab.id) if editor is not None else None
        if form is not None and form.shown:
            self.page.bar.hide()
        self.panel.show_editor(editor)
        self.running.watch(editor.document if editor is not None else None)

    def run(self, canvas: Canvas, targets: tuple[str, ...] = (), *, anew: bool = False) -> list[str]:
        """Queue the workflow as often as the run bar says; what has not changed is not run again, unless `anew`."""
        editor = self.page.editors[canvas.tab.id]
        return self.running.run(canvas, editor, targets, int(self.page.bar.count.value()), anew=anew)

    def toggle_previews(self) -> None:
        """Show or hide on the nodes what they made."""
        shown = not self.page.runs.previews
        self.page.runs.show_previews([canvas for canvas, _, _ in self.page.pages.values()], shown)
        canvas = self.page.current
        if canvas is not None:
            canvas.say("Nodes show what they made." if shown else "Nodes show no pictures.")

    # ---- other views of the same document

    def toggle_form(self) -> None:
        """Show the workflow in front as a form, or as nodes again."""
        canvas = self.page.current
        if canvas is None:
            return
        page = self.forms.get(canvas.tab.id)
        if page is None:
            page = self.forms[canvas.tab.id] = FormPage(canvas, self.page.bridge, self.page.runner.run)
        self.page.editors[canvas.tab.id].close_editor()
        page.show(not page.shown)
        self.page.bar.setVisible(not page.shown)

    def forget(self, tab: str) -> None:
        """A tab was closed."""
        page = self.forms.pop(tab, None)
        if page is not None:
            page.form.close_down()

    def open_as_graph(self, spec: JobSpec) -> None:
        """Exactly what made a picture, in a tab of its own."""
        opened = open_as_graph(spec, self.page.app.node_types())
        canvas = self.page.files.open_workflow(opened.workflow, spec.title or "From a picture")
        if canvas is not None and len(opened.report) > 1:
            canvas.say(" ".join(opened.report[1:]))

    def open_in_create(self) -> None:
        """Hand the workflow to Create, where it is one that Create makes too."""
        canvas = self.page.current
        if canvas is None:
            return
        request = as_request(canvas.document.workflow)
        if request is None:
            canvas.say("This workflow does more than Create can show; it stays a graph.")
        else:
            self.page.sent.emit("Create", request)

    def handlers(self) -> dict[str, Callable[[], object]]:
        return {
            "graph.previews": self.toggle_previews, "graph.form": self.toggle_form,
            "graph.open_in_create": self.open_in_create,
        }  # fmt: skip

    def save_state(self) -> dict[str, Any]:
        return {"previews": self.page.runs.previews}

    def restore_state(self, state: dict[str, Any]) -> None:
        self.page.runs.previews = state.get("previews") is not False

    def close_down(self) -> None:
        self.running.close_down()
        self.panel.close_down()
