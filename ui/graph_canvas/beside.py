"""What stands beside the canvas: the gallery, files that come in with their reports, versions, and the outline."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from PySide6.QtCore import QMimeData, QObject, Slot
from PySide6.QtWidgets import QDialog, QSplitter

from engine.contracts.errors import TesseraError
from studio_app.workflows.opening import Opened
from ui import theme
from ui.graph_canvas.acts import Acts
from ui.graph_canvas.exchange import Exchange
from ui.graph_canvas.missing import Missing
from ui.graph_canvas.outline import Outline

if TYPE_CHECKING:
    from ui.graph_canvas.workspace import GraphWorkspace


class Beside(QObject):
    """Serves one Graph page. `outline` lies in `splitter` with the canvases; `reports` are kept by tab."""

    def __init__(self, page: GraphWorkspace, splitter: QSplitter) -> None:
        super().__init__(page)
        self._page, self._app, self._splitter = page, page.app, splitter
        self.reports: dict[str, tuple[str, Opened]] = {}
        self.missing: dict[str, Missing] = {}
        self.dialog: QDialog | None = None
        self.exchange = Exchange(self._app, self)
        self.exchange.opened.connect(self._opened)
        self.exchange.own_file.connect(self._own_file)
        self.exchange.refused.connect(self._say)
        self.outline = Outline()
        self.outline.hide()
        splitter.insertWidget(0, self.outline)
        splitter.setCollapsible(0, False)
        splitter.setHandleWidth(1)
        splitter.setStretchFactor(1, 1)
        self.outline.side_wanted.connect(self.swap_side)
        self.outline.closed.connect(self.toggle_outline)
        page.current_changed.connect(self._follow)

    def handlers(self) -> dict[str, Callable[[], object]]:
        return {
            "graph.gallery": self.open_gallery, "graph.versions": self.open_versions, "graph.report": self.open_report,
            "graph.outline": self.toggle_outline,
        }  # fmt: skip

    def watch(self, acts: Acts) -> None:
        """Mark what a new canvas lacks, and let it hand over text that is another program's."""
        self.missing[acts.canvas.tab.id] = Missing(acts)
        acts.canvas.foreign_text = self.exchange.open_text

    def forget(self, tab_id: str) -> None:
        self.missing.pop(tab_id, None)
        self.reports.pop(tab_id, None)

    @Slot(str)
    def _say(self, sentence: str) -> None:
        canvas = self._page.current
        if canvas is not None and canvas.isVisible():
            canvas.say(sentence)
        else:
            self._app.notifications.post("warning", sentence)

    # ---- dialogs

    def _open(self, dialog: QDialog) -> None:
        """One at a time; it is gone when it is closed."""
        if self.dialog is not None:
            self.dialog.close()
        self.dialog = dialog
        dialog.finished.connect(self._closed)
        dialog.show()
        dialog.raise_()
        dialog.activateWindow()

    @Slot()
    def _closed(self) -> None:
        dialog = self.sender()
        if isinstance(dialog, QDialog):
            dialog.deleteLater()
            if dialog is self.dialog:
                self.dialog = None
                self._page.take_focus()

    def open_gallery(self) -> None:
        from ui.graph_canvas.gallery import Gallery

        gallery = Gallery(self._app, self._page.window())
        gallery.template_wanted.connect(self._template)
        gallery.file_wanted.connect(self._own_file)
        self._open(gallery)

    @Slot(str)
    def _template(self, template_id: str) -> None:
        try:
            self._page.files.open_workflow(self._app.workflows.library.template(template_id))
        except TesseraError as error:
            self._say(str(error))

    def open_versions(self) -> None:
        from ui.graph_canvas.versions import VersionsDialog

        canvas = self._page.current
        if canvas is not None:
            self._open(VersionsDialog(self._app, canvas.tab, self._page.window()))

    def open_report(self) -> None:
        """What was understood of the file this tab came from, and what it lacks."""
        from ui.graph_canvas.import_report import ReportDialog

        canvas = self._page.current
        if canvas is None:
            return
        name, opened = self.reports.get(canvas.tab.id, (canvas.tab.title, Opened(canvas.document.workflow)))
        self._open(ReportDialog(name, opened, self.missing[canvas.tab.id], self._page.window()))

    # ---- what comes in

    def drop(self, mime: QMimeData) -> None:
        """Files, or text, that were dropped on a canvas."""
        paths = [Path(url.toLocalFile()) for url in mime.urls() if url.isLocalFile()]
        if paths:
            self.exchange.open_paths(paths)
        elif not (mime.hasText() and self.exchange.open_text(mime.text())):
            self._say("What was dropped holds no workflow.")

    @Slot(str, object)
    def _opened(self, name: str, opened: Opened) -> None:
        canvas = self._page.files.open_workflow(opened.workflow, name.rpartition(".")[0] or name)
        if canvas is None:
            return
        self.reports[canvas.tab.id] = (name, opened)
        if len(opened.report) > 1 or opened.missing_types or opened.missing_models:
            self.open_report()
        else:
            canvas.say(f"“{name}” was opened; nothing is missing.")

    @Slot(object)
    def _own_file(self, path: Path) -> None:
        self._page.files.open_file(path)

    # ---- the outline

    def toggle_outline(self) -> None:
        self.show_outline(not self.outline.isVisible())
        if self.outline.isVisible():
            self.outline.list.setFocus()
        else:
            self._page.take_focus()

    def show_outline(self, shown: bool) -> None:
        self.outline.setVisible(shown)
        if shown:
            width = theme.px(260)
            sizes = [width, max(width, self._splitter.width() - width)]
            self._splitter.setSizes(sizes if self._splitter.indexOf(self.outline) == 0 else sizes[::-1])
        self._follow()

    def swap_side(self) -> None:
        right = self._splitter.indexOf(self.outline) == 0
        self._splitter.insertWidget(1 if right else 0, self.outline)
        self.show_outline(True)

    @Slot()
    def _follow(self) -> None:
        self.outline.show_canvas(self._page.current if self.outline.isVisible() else None)

    def save_state(self) -> dict[str, Any]:
        return {"outline": self.outline.isVisible(), "outline_right": self._splitter.indexOf(self.outline) == 1}

    def restore_state(self, state: dict[str, Any]) -> None:
        if state.get("outline_right") is True:
            self._splitter.insertWidget(1, self.outline)
        if state.get("outline") is True:
            self.show_outline(True)

    def close_down(self) -> None:
        self.outline.show_canvas(None)
        self.exchange.close()
