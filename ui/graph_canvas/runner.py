"""The commands that run the workflow in front, and the run bar that tells how far it is."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from PySide6.QtCore import QObject

if TYPE_CHECKING:
    from ui.graph_canvas.workspace import GraphWorkspace


class Runner(QObject):
    """Belongs to one Graph page."""

    def __init__(self, page: GraphWorkspace) -> None:
        super().__init__(page)
        self._page = page

    def handlers(self) -> dict[str, Callable[[], object]]:
        return {
            "graph.run": self.run, "graph.run_anew": self.run_anew, "graph.run_to_here": self.run_to_here,
            "graph.cancel": self.cancel,
        }  # fmt: skip

    def run(self) -> None:
        """Run what changed since the last run; the rest is kept."""
        canvas = self._page.current
        if canvas is not None:
            self._page.inspecting.run(canvas)

    def run_anew(self) -> None:
        """Run every node."""
        canvas = self._page.current
        if canvas is not None:
            self._page.inspecting.run(canvas, anew=True)

    def run_to_here(self) -> None:
        """Run what the selected nodes need, at whatever level they are."""
        acts = self._page.acts
        names = acts.chosen() if acts is not None else []
        if acts is not None and names:
            self._page.inspecting.run(acts.canvas, tuple(acts.canvas.run_name(name) for name in names))

    def cancel(self) -> None:
        """Escape: stop the run, else let go of the selection."""
        canvas = self._page.current
        if canvas is None:
            return
        if self._page.runs.jobs_of(canvas):
            self._page.runs.cancel(canvas)
        else:
            canvas.scene.select(())

    def show(self) -> None:
        """Bring the run bar in step with the jobs of the workflow in front."""
        page, canvas = self._page, self._page.current
        if canvas is None:
            return
        jobs = page.runs.jobs_of(canvas)
        if jobs:
            page.bar.show_running(*page.runs.progress_of(canvas), len(jobs) - 1, page.runs.time_left(canvas))
        else:
            page.bar.show_idle()
