"""How long until the window is there, and until a picture can be made. Each start is a fresh process, offscreen.

first_window_cpu_s     processor seconds of the whole process, interpreter included, to the first painted window
first_window_wall_s    the same by the clock (depends on what else the machine does)
ready_cpu_s, ready_wall_s  to the engine saying "ready": torch imported, the starter model loaded
heavy_modules          how many of torch, diffusers, httpx, sqlite3 were loaded when the window was painted (must be 0)
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from tests.benchmarks.harness import Goal, Report

GOALS: dict[str, Goal] = {"first_window_cpu_s": ("<=", 1.0), "heavy_modules": ("<=", 0)}
_ROOT = Path(__file__).resolve().parents[2]
_HEAVY = ("torch", "diffusers", "httpx", "sqlite3")
_LIMIT_S = 180


def run(rounds: int = 5) -> Report:
    """The median of `rounds` starts, after one that only fills the disk cache."""
    starts = [_start() for _ in range(rounds + 1)][1:]
    figures = {name: statistics.median(start[name] for start in starts) for name in starts[0]}
    figures["heavy_modules"] = max(start["heavy_modules"] for start in starts)
    return Report("startup", figures, GOALS)


def _start() -> dict[str, float]:
    with tempfile.TemporaryDirectory() as folder:
        environment = {**os.environ, "QT_QPA_PLATFORM": "offscreen", "TESSERA_DATA": folder, "HF_HUB_OFFLINE": "1"}
        environment["TESSERA_STARTED"] = repr(time.time())
        command = [sys.executable, "-m", "tests.benchmarks.startup"]
        done = subprocess.run(
            command, cwd=_ROOT, env=environment, capture_output=True, text=True, timeout=_LIMIT_S, check=True
        )
    result: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return result


def _child() -> None:
    """Opens the window as `run` of ui.main_window does, and prints when it was painted and when it was ready."""
    started = float(os.environ["TESSERA_STARTED"])
    figures: dict[str, float] = {}

    from PySide6.QtCore import QTimer
    from PySide6.QtWidgets import QApplication

    from studio_app.application import Application
    from ui import appearance
    from ui.main_window import open_window

    qt = QApplication(["startup"])
    app = Application()
    app.settings.set("ui.welcomed", True)
    appearance.apply(app)
    window = open_window(app)

    def painted() -> None:
        figures["first_window_cpu_s"] = time.process_time()
        figures["first_window_wall_s"] = time.time() - started
        figures["heavy_modules"] = sum(name in sys.modules for name in _HEAVY)

    def state(value: object) -> None:
        if value in {"ready", "failed"} and "ready_cpu_s" not in figures:
            figures["ready_cpu_s"] = time.process_time() if value == "ready" else float("nan")
            figures["ready_wall_s"] = time.time() - started if value == "ready" else float("nan")
            QTimer.singleShot(0, window.close)

    # Before the window's own connection, which starts the application: nothing but the window counts.
    window.first_shown.disconnect()
    window.first_shown.connect(painted)
    window.first_shown.connect(window.commands.start_application)
    window.bridge.engine_state.connect(state)
    qt.exec()
    app.close()
    sys.stdout.write(json.dumps(figures) + "\n")


if __name__ == "__main__":
    _child()
