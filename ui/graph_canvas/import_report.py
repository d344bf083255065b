"""What was understood of a file that was opened, and what is missing here, with the button that helps."""

from __future__ import annotations

from PySide6.QtCore import Qt
from PySide6.QtWidgets import QWidget

from studio_app.workflows.opening import Opened
from ui import theme
from ui.dialogs.page import PageDialog, scrolling
from ui.graph_canvas.missing import Lack, Missing
from ui.widgets.basics import Button, IconLabel, Label
from ui.widgets.layouts import Column, Row


class ReportDialog(PageDialog):
    """`lines` are the sentences shown; the buttons of a lack act on the canvas behind."""

    def __init__(self, name: str, opened: Opened, missing: Missing, parent: QWidget) -> None:
        super().__init__("What was opened", parent, 560, 520)
        self._missing = missing
        self.lines: list[str] = []
        page = Column(spacing=1.5, margins=3)
        body = QWidget()
        body.setLayout(page)
        count = len(opened.workflow.nodes)
        page.addWidget(Label(name, "title", wrap=True))
        nodes = "1 node" if count == 1 else f"{count} nodes"
        lacks = missing.lacks()
        verdict = f"{nodes} opened, nothing is missing." if not lacks else f"{nodes} opened, {len(lacks)} need you."
        page.addWidget(Label(verdict, "success" if not lacks else "warning", wrap=True))
        for lack in lacks:
            page.addLayout(self._lack(lack))
        told = [line for line in opened.report[1:] if not _is_told(line, opened)]
        if told:
            page.addWidget(Label("What was understood", "heading"))
        for line in told:
            row = Row(spacing=1)
            row.addWidget(IconLabel("info", 16, "text_muted"), 0, Qt.AlignmentFlag.AlignTop)
            row.addWidget(Label(line, wrap=True), 1)
            page.addLayout(row)
            self.lines.append(line)
        page.addStretch(1)
        self.column.addWidget(scrolling(body), 1)
        foot = Row(spacing=1, margins=2)
        foot.addStretch(1)
        done = Button("Close", kind="primary", tip="Go to the workflow.")
        done.clicked.connect(self.accept)
        foot.addWidget(done)
        self.column.addLayout(foot)

    def _lack(self, lack: Lack) -> Row:
        row = Row(spacing=1)
        row.addWidget(IconLabel("triangle-alert", 16, "warning"), 0, Qt.AlignmentFlag.AlignTop)
        words = Column(spacing=0.75)
        words.addWidget(Label(f"{lack.title}: {lack.sentence}", wrap=True))
        self.lines.append(lack.sentence)
        buttons = Row(spacing=1)
        show = Button("Show", tip=f"Bring “{lack.title}” into view.")
        show.clicked.connect(lambda: self._missing.show(lack))
        buttons.addWidget(show)
        if lack.ref is not None:
            choose = Button("Choose another…", tip=f"Use another model in place of “{lack.ref.name}”.")
            choose.clicked.connect(lambda: self._act(lack))
            buttons.addWidget(choose)
            get = Button("Import…", tip="Go to Models, where files are dropped or fetched by their address.")
            get.clicked.connect(self._import)
        else:
            get = Button("Swap…", tip="Put a node that fits in its place.")
            get.clicked.connect(lambda: self._swap(lack))
            own = Button("Nodes of your own…", tip="See whether a plugin that is off has it.")
            own.clicked.connect(self._own_nodes)
            buttons.addWidget(own)
        buttons.addWidget(get)
        buttons.addStretch(1)
        words.addLayout(buttons)
        words.addSpacing(theme.space(0.5))
        row.addLayout(words, 1)
        return row

    def _import(self) -> None:
        self.accept()
        self._missing.run_command("view.models")

    def _act(self, lack: Lack) -> None:
        self.accept()
        self._missing.choose_model(lack)

    def _own_nodes(self) -> None:
        self.accept()
        self._missing.run_command("app.custom_nodes")

    def _swap(self, lack: Lack) -> None:
        self.accept()
        self._missing.show(lack)
        self._missing.run_command("graph.swap")


def _is_told(line: str, opened: Opened) -> bool:
    """Whether a sentence of the report is said by the rows of what is missing."""
    names = (*opened.missing_types, *(ref.name for ref in opened.missing_models))
    return any(f"“{name}”" in line for name in names)
