"""Whether a graph's samplers fit: on the run bar and behind it, and on the nodes that would not, before they run."""

from __future__ import annotations

from typing import TYPE_CHECKING

from PySide6.QtCore import QObject, Slot

from engine.memory.words import size
from studio_app import looking
from studio_app.planning import Planned
from ui.graph_canvas.canvas import Canvas
from ui.graph_canvas.states import IDLE, NodeState
from ui.graph_canvas.values.running import Running
from ui.panels.how_it_runs import HowItRuns
from ui.widgets.popover import Popover

if TYPE_CHECKING:
    from ui.graph_canvas.workspace import GraphWorkspace


class MemoryMarks(QObject):
    """Belongs to one Graph page. `popover` is “How it runs”, once it was opened."""

    def __init__(self, page: GraphWorkspace, running: Running, parent: QObject) -> None:
        super().__init__(parent)
        self._page, self._running = page, running
        self._content = HowItRuns()
        self.popover: Popover | None = None
        running.planned.connect(self.show)
        page.current_changed.connect(self.mark)

    @Slot()
    def show(self) -> None:
        """The plans of the workflow in front are known."""
        words, whole, fits = self._running.plan_in_words()
        self._page.bar.show_plan(words, whole, fits=fits)
        self.mark()
        if self.popover is not None and self.popover.isVisible():
            self._fill()

    @Slot()
    def toggle(self) -> None:
        """Open or close the list of the samplers, each with how it runs."""
        bar = self._page.bar
        if self.popover is None:
            self.popover = Popover("How it runs", bar.fits, self._content)
        if self.popover.isVisible():
            self.popover.close_popover()
        else:
            self._fill()
            self.popover.open_popover()

    def _fill(self) -> None:
        canvas = self._page.current
        runs = sorted(self._running.plans.values(), key=lambda each: (not each.refused, -each.need))
        titles = [_title(canvas, each) if len(runs) > 1 else "" for each in runs]
        self._content.show_runs(list(zip(titles, runs, strict=True)))

    @Slot()
    def mark(self) -> None:
        """A badge on each node of the open level that would not fit; none on those that do by now."""
        canvas = self._page.current
        if canvas is None:
            return
        scene = canvas.scene
        refused = {name: each for name, each in self._running.plans.items() if each.refused}
        for node in scene.items_by_id:
            state, name = scene.states.get(node, IDLE), canvas.run_name(node)
            found = next((p for at, p in refused.items() if at == name or at.startswith(f"{name}:")), None)
            if found is not None and state.kind in {"idle", "unfit"}:
                scene.set_state(node, NodeState("unfit", text=looking.plan_words(found), word=_badge(found)))
            elif found is None and state.kind == "unfit":
                scene.set_state(node, IDLE)


def _title(canvas: Canvas | None, planned: Planned) -> str:
    item = canvas.scene.items_by_id.get(planned.node) if canvas is not None else None
    return item.title if item is not None else planned.node


def _badge(planned: Planned) -> str:
    """ "needs 22.0 GiB", or where main memory is what lacks "won't fit"."""
    usable = planned.machine.usable if planned.machine is not None else planned.room
    return f"needs {size(planned.need)}" if planned.need > usable else "won’t fit"
