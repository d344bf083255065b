"""Workflows and their files: new, opened, saved, closed, with the questions that go with it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from PySide6.QtCore import QObject, Slot
from PySide6.QtWidgets import QFileDialog, QMessageBox

from engine.contracts.errors import TesseraError
from engine.contracts.workflow import Workflow
from engine.recipes.request import ImageRequest
from studio_app.documents.arrange_edits import LayOut
from studio_app.documents.graph_document import GraphDocument
from studio_app.workflows.files import ChangedOutside
from studio_app.workflows.workflows import OpenWorkflow
from ui.graph_canvas.canvas import Canvas
from ui.graph_canvas.geometry import layout_of

if TYPE_CHECKING:
    from ui.graph_canvas.workspace import GraphWorkspace

FIRST_PROMPT = "a red circle on a blue background"
FILES = "Workflows (*.json)"


class Files(QObject):
    """Belongs to one Graph page, which shows what `app.workflows` has open."""

    def __init__(self, page: GraphWorkspace) -> None:
        super().__init__(page)
        self._page, self._app = page, page.app

    def handlers(self) -> dict[str, Callable[[], object]]:
        return {
            "graph.new": self.new, "graph.open": self.ask_open, "graph.save": self.save,
            "graph.save_as": self.ask_save_as, "graph.close_tab": self.close_current,
        }  # fmt: skip

    # ---- opening

    @Slot()
    def new(self) -> None:
        """An empty workflow in a tab of its own."""
        self._app.workflows.new()
        self._page.take_focus()

    @Slot()
    def start_text_to_picture(self) -> None:
        """A workflow that makes a picture of a prompt, with the model that Create uses."""
        request = ImageRequest(prompt=FIRST_PROMPT)
        try:
            workflow = self._app.jobs.spec_of(request).workflow
        except TesseraError as error:
            self._app.notifications.post("warning", str(error))
            return
        self.open_workflow(workflow, "Text to picture")

    def open_workflow(self, workflow: Workflow, name: str = "") -> Canvas | None:
        """A workflow in a tab of its own; one whose nodes all lie at one place is laid out."""
        document = GraphDocument(workflow, self._app.node_types())
        if len({node.position for node in workflow.nodes}) <= 1 < len(workflow.nodes):
            lay_out(document)
        self._app.workflows.new(replace(document.workflow, name=workflow.name or name))
        self._page.take_focus()
        return self._page.current

    def open_file(self, path: Path) -> None:
        try:
            self._app.workflows.open(path)
        except TesseraError as error:
            self._app.notifications.post("warning", str(error))
        self._page.show_tabs()

    def ask_open(self) -> None:
        folder = self._app.workflows.library.own
        chosen, _ = QFileDialog.getOpenFileName(
            self._page, "Open a workflow", str(folder if folder.is_dir() else ""), FILES
        )
        if chosen:
            self.open_file(Path(chosen))

    # ---- saving

    def save(self) -> None:
        tab = self._app.workflows.current
        if tab is not None:
            self.save_tab(tab)

    def save_tab(self, tab: OpenWorkflow) -> bool:
        """Write a tab to its file, to a new one in the library when it has none; whether it could be."""
        try:
            path = self._app.workflows.save(tab) if tab.path is not None else self._app.workflows.save_as(tab)
        except ChangedOutside as error:
            self._ask_overwrite(tab, str(error))
            return False
        except TesseraError as error:
            self._app.notifications.post("warning", str(error))
            return False
        canvas = self._page.pages.get(tab.id)
        if canvas is not None:
            canvas[0].say(f"Saved as {path.name}.")
        return True

    def _ask_overwrite(self, tab: OpenWorkflow, sentence: str) -> None:
        """The file is another program's by now: save elsewhere, or over it."""
        box = QMessageBox(self._page)
        box.setText(sentence)
        elsewhere = box.addButton("Save as…", QMessageBox.ButtonRole.AcceptRole)
        over = box.addButton("Save over it", QMessageBox.ButtonRole.DestructiveRole)
        box.setEscapeButton(box.addButton("Not now", QMessageBox.ButtonRole.RejectRole))

        def decide() -> None:
            if box.clickedButton() is elsewhere:
                self.ask_save_as()
            elif box.clickedButton() is over:
                try:
                    self._app.workflows.save(tab, overwrite=True)
                except TesseraError as error:
                    self._app.notifications.post("warning", str(error))

        box.finished.connect(decide)
        box.open()

    def ask_save_as(self) -> None:
        tab = self._app.workflows.current
        if tab is None:
            return
        folder = self._app.workflows.library.own
        start = str(tab.path or folder / f"{tab.title}.json")
        chosen, _ = QFileDialog.getSaveFileName(self._page, "Save the workflow", start, FILES)
        if chosen:
            path = Path(chosen)
            try:
                self._app.workflows.save_as(tab, path if path.suffix else path.with_suffix(".json"))
            except TesseraError as error:
                self._app.notifications.post("warning", str(error))

    # ---- closing

    def close_current(self) -> None:
        tab = self._app.workflows.current
        if tab is not None:
            self.close_at(self._app.workflows.tabs.index(tab))

    @Slot(int)
    def close_at(self, index: int) -> None:
        """Close a tab; what no file holds is asked about."""
        tab = self._app.workflows.tabs[index]
        if not tab.is_changed:
            self._app.workflows.close_tab(tab)
            return
        box = QMessageBox(self._page)
        box.setText(f"“{tab.title}” has changes that are in no file.")
        save = box.addButton("Save", QMessageBox.ButtonRole.AcceptRole)
        box.addButton("Close without saving", QMessageBox.ButtonRole.DestructiveRole)
        keep = box.addButton("Keep open", QMessageBox.ButtonRole.RejectRole)
        box.setEscapeButton(keep)

        def decide() -> None:
            clicked = box.clickedButton()
            if clicked is keep or (clicked is save and not self.save_tab(tab)):
                return
            self._app.workflows.close_tab(tab)

        box.finished.connect(decide)
        box.open()


def lay_out(document: GraphDocument) -> None:
    """Lay a workflow out as large as its nodes are drawn."""
    layouts = {name: layout_of(node, document.schema(name)) for name, node in document.nodes.items()}
    document.edit("Lay out", LayOut((), {name: (found.width, found.height) for name, found in layouts.items()}))
