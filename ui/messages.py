"""What Qt and Python say when something is wrong: to the log, and to the person one sentence, never a traceback."""

from __future__ import annotations

import logging
import sys
import threading
from logging.handlers import RotatingFileHandler
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING

from PySide6.QtCore import QMessageLogContext, QtMsgType, qInstallMessageHandler

from studio_app.notifications import Action

if TYPE_CHECKING:
    from studio_app.notifications import Notifications

log = logging.getLogger("tessera.window")
_QT_LEVELS = {
    QtMsgType.QtDebugMsg: logging.DEBUG,
    QtMsgType.QtInfoMsg: logging.INFO,
    QtMsgType.QtWarningMsg: logging.WARNING,
    QtMsgType.QtCriticalMsg: logging.ERROR,
    QtMsgType.QtFatalMsg: logging.CRITICAL,
}
_LOG_BYTES, _LOG_FILES = 2 * 2**20, 3
UNEXPECTED = "Something happened that the studio did not expect. Your pictures are safe; the log says more."


def log_to(path: Path) -> None:
    """Keep the log in `path`, at most three files of 2 MiB. Nothing is created before there is something to write."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError:
        return  # the studio works without a log; what can't be written is said where it matters
    handler = RotatingFileHandler(path, maxBytes=_LOG_BYTES, backupCount=_LOG_FILES, encoding="utf-8", delay=True)
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    handler.setLevel(logging.INFO)
    logging.getLogger().addHandler(handler)


def install(notifications: Notifications) -> None:
    """Send Qt's messages to the log and uncaught exceptions of every thread to the log and to `notifications`."""

    def report(kind: type[BaseException], error: BaseException | None, trace: TracebackType | None) -> None:
        if issubclass(kind, KeyboardInterrupt):
            return
        log.error("uncaught exception", exc_info=(kind, error or kind(), trace))
        notifications.post("error", UNEXPECTED, Action("help.system", "System report"))

    def report_thread(args: threading.ExceptHookArgs) -> None:
        if args.exc_type is not SystemExit:
            report(args.exc_type, args.exc_value, args.exc_traceback)

    sys.excepthook = report
    threading.excepthook = report_thread
    qInstallMessageHandler(_on_qt_message)


def _on_qt_message(kind: QtMsgType, context: QMessageLogContext, text: str) -> None:
    logging.getLogger("tessera.qt").log(_QT_LEVELS.get(kind, logging.INFO), "%s", text)
