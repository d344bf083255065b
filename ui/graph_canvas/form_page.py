"""The form over the canvas of a workflow: another view of the same document."""

from __future__ import annotations

from collections.abc import Callable

from PySide6.QtCore import QEvent, QObject

from ui.bridge.bridge import Bridge
from ui.forms.form_view import FormView
from ui.graph_canvas.canvas import Canvas


class FormPage(QObject):
    """Covers the canvas while it is shown; `run` is what its button does."""

    def __init__(self, canvas: Canvas, bridge: Bridge, run: Callable[[], object]) -> None:
        super().__init__(canvas)
        self._canvas = canvas
        self.form = FormView(canvas.app, bridge, canvas.document, canvas)
        self.form.hide()
        self.form.said.connect(canvas.say)
        self.form.run_wanted.connect(run)
        canvas.installEventFilter(self)

    @property
    def shown(self) -> bool:
        return self.form.isVisibleTo(self._canvas)

    def show(self, shown: bool) -> None:
        self.form.setVisible(shown)
        if shown:
            self.form.setGeometry(self._canvas.rect())
            self.form.refresh()
            self.form.raise_()
            self._canvas.note.hide()  # it was said of the nodes
            first = next(iter(self.form.fields.values()), None)
            (first or self.form.edit).setFocus()
        else:
            self._canvas.view.setFocus()

    def eventFilter(self, watched: QObject, event: QEvent) -> bool:
        if watched is self._canvas and event.type() == QEvent.Type.Resize:
            self.form.setGeometry(self._canvas.rect())
        return False
