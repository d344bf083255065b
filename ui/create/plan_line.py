"""Whether what Create would make fits, and how it would run: one line under Generate, known before it is pressed."""

from __future__ import annotations

from dataclasses import replace

from PySide6.QtCore import Qt, QTimer, Slot

from engine.memory.words import size
from studio_app.application import Application
from studio_app.documents.create_session import CreateSession
from studio_app.planning import Planned, Planner
from ui.bridge.background import Background
from ui.bridge.bridge import Bridge
from ui.widgets.basics import Label

PAUSE_MS = 400


class PlanLine(Label):
    """Asked for after a pause in what is typed, worked out beside the window. Waits for the engine: estimating needs
    what the engine loads, and loading it for this line alone would make the window wait."""

    def __init__(self, app: Application, bridge: Bridge, session: CreateSession, background: Background) -> None:
        super().__init__("", "small", wrap=True)
        self.setAlignment(Qt.AlignmentFlag.AlignHCenter)
        self.setAccessibleName("Memory plan")
        self.hide()
        self._app, self._session, self._background = app, session, background
        self._planner = Planner(app.models, app.paths.cache / "estimates.json")
        self._asked = 0
        self._pause = QTimer(self)
        self._pause.setSingleShot(True)
        self._pause.setInterval(PAUSE_MS)
        self._pause.timeout.connect(self._ask)
        bridge.engine_state.connect(self._engine_changed)
        self._drop = session.subscribe(lambda change: self._pause.start())
        self._pause.start()

    @Slot(object)
    def _engine_changed(self, state: object) -> None:
        if state == "ready":
            self._pause.start()

    @Slot()
    def _ask(self) -> None:
        if self._app.engine.state != "ready":
            return
        self._asked += 1
        asked, request = self._asked, self._session.request
        request = replace(request, prompt=request.prompt.strip() or "a picture")  # its words don't change its size

        def work() -> tuple[int, Planned | None]:
            spec = self._app.jobs.spec_of(request)
            return asked, self._planner.in_create(spec, self._app.settings, self._app.node_types())

        self._background.run(work, self._show, lambda sentence: self.hide())

    def _show(self, answer: tuple[int, Planned | None]) -> None:
        asked, planned = answer
        if asked != self._asked:
            return
        self.setVisible(planned is not None)
        if planned is None:
            return
        refused = planned.plan is None and bool(planned.fix)
        self.setText(f"It does not fit: {planned.words}. {planned.fix}." if refused else planned.words)
        self.set_role("warning" if refused else "small")
        self.setToolTip(_details(planned))

    def close_down(self) -> None:
        """Stop listening."""
        self._pause.stop()
        self._drop()


def _details(planned: Planned) -> str:
    if planned.plan is None:
        return "What this needs of memory, foreseen from the model’s own shapes."
    lines = [f"{phase.name}: {size(phase.peak)}, {phase.seconds:.1f} s" for phase in planned.plan.phases]
    lines.append(f"main memory: {size(planned.plan.ram)}")
    return "\n".join([*lines, *(text for text in (planned.effect, planned.faster) if text)])
