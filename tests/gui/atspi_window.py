"""The Graph page in a window of its own on a real display, read from outside: `python -m tests.gui.atspi_window DATA`.

Prints what `atspi_reader.py` reads, and ends.
"""

from __future__ import annotations

import sys
from pathlib import Path

from PySide6.QtCore import QProcess, QTimer
from PySide6.QtWidgets import QApplication

from studio_app.application import Application
from ui import appearance
from ui.bridge.bridge import Bridge
from ui.graph_canvas.workspace import GraphWorkspace


def main(data: Path) -> int:
    qt = QApplication(["tessera"])
    app = Application(data)
    appearance.apply(app)
    bridge = Bridge()
    page = GraphWorkspace(app, bridge)
    page.resize(1100, 700)
    page.files.open_workflow(app.workflows.library.template("text_to_picture"))
    page.show()
    reader = QProcess()
    reader.setProcessChannelMode(QProcess.ProcessChannelMode.ForwardedChannels)
    reader.finished.connect(qt.quit)
    QTimer.singleShot(
        0, reader, lambda: reader.start("/usr/bin/python3", [str(Path(__file__).with_name("atspi_reader.py"))])
    )
    QTimer.singleShot(25_000, qt, qt.quit)
    qt.exec()
    page.close_down()
    bridge.close()
    app.close()
    return 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
