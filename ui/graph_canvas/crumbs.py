"""Breadcrumbs: the workflow, and the subgraphs that were opened on the way to what is shown."""

from __future__ import annotations

from PySide6.QtCore import Qt, Signal, Slot
from PySide6.QtWidgets import QFrame, QWidget

from engine.graph.subgraphs import SUBGRAPH
from studio_app.documents.graph_document import GraphDocument
from ui import theme
from ui.widgets.basics import Button, Label
from ui.widgets.layouts import Row


class Crumbs(QFrame):
    """Hidden at the top level. `chosen` fires with the level to open."""

    chosen = Signal(object)

    def __init__(self, document: GraphDocument, parent: QWidget) -> None:
        super().__init__(parent)
        self._document = document
        self.setProperty("surface", "float")
        self.setAttribute(Qt.WidgetAttribute.WA_StyledBackground)
        self.setAccessibleName("Where you are")
        self._row = Row(self, spacing=0, margins=(1, 0.5))
        self._levels: list[tuple[str, ...]] = []
        self.show_level()

    def show_level(self) -> None:
        """Take the document's level over."""
        while (item := self._row.takeAt(0)) is not None:
            widget = item.widget()
            if widget is not None:
                widget.hide()
                widget.deleteLater()
        level = self._document.level
        self._levels = [level[:length] for length in range(len(level) + 1)]
        for index, each in enumerate(self._levels):
            title = self.title_of(each)
            if index == len(level):
                self._row.addWidget(Label(title, "strong"))
            else:
                button = Button(title, kind="quiet", tip=f"Go back to “{title}”.")
                button.setProperty("level", index)
                button.clicked.connect(self._choose)
                self._row.addWidget(button)
                self._row.addWidget(Label("›", "muted"))
                self._row.addSpacing(theme.space(1))
        self.setVisible(bool(level))
        self.adjustSize()
        self.raise_()

    def title_of(self, level: tuple[str, ...]) -> str:
        """The name of a level as it is read."""
        content = self._document.content
        if not level:
            return content.top.name or "Workflow"
        graph = content.graphs[self._document.graph_at(level[:-1])]
        node = graph.nodes[level[-1]]
        head = content.subgraphs.get(node.type.removeprefix(SUBGRAPH))
        return node.title or (head.name if head is not None else "") or "Subgraph"

    @Slot()
    def _choose(self) -> None:
        sender = self.sender()
        if isinstance(sender, Button):
            self.chosen.emit(self._levels[int(sender.property("level"))])

    def close_down(self) -> None:
        self.chosen.disconnect()
