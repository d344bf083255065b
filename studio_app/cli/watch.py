"""Running one job in the foreground: progress, Ctrl-C, and what came of it."""

from __future__ import annotations

import contextlib
import queue
import signal
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from types import FrameType

from engine.contracts.errors import Cancelled
from engine.contracts.job_events import JobEvent
from engine.graph.registry import Registry
from studio_app.application import Application
from studio_app.cli.console import Progress
from studio_app.jobs.rows import JobRow


@contextlib.contextmanager
def running(data_dir: Path | None, *, keep: bool, registry: Registry | None = None) -> Iterator[Application]:
    """A started application; without `keep` its library is a temporary folder that goes away afterwards.

    `registry` gives the node types (else the studio's own only: a command of one job has no use for others).
    """
    with contextlib.ExitStack() as stack:
        library = None
        if not keep:
            library = Path(stack.enter_context(TemporaryDirectory(prefix="tessera-", ignore_cleanup_errors=True)))
        app = Application(data_dir, library_dir=library, registry=lambda: registry or Registry.builtin())
        stack.callback(app.close)
        app.start()
        app.wait_ready()
        yield app


def finish(
    app: Application, submit: Callable[[], str], progress: Progress, on_event: Callable[[JobEvent], None] | None = None
) -> JobRow:
    """Submit a job and wait for its end; Ctrl-C (or a polite kill) stops it at the next step, a second one at once.

    Raises Cancelled, or the error the job failed with.
    """
    events: queue.SimpleQueue[JobEvent | None] = queue.SimpleQueue()  # None: the person asked to stop
    unsubscribe = app.events.subscribe(events.put)
    warned: set[str] = set()  # the positive and the negative prompt, or several runs, may warn of the same
    with _stopping(lambda: events.put(None)):
        try:
            job_id = submit()
            while True:
                event = events.get()
                if event is None:
                    app.jobs.cancel(job_id)
                    continue
                if event.job != job_id:
                    continue
                if on_event:
                    on_event(event)
                _show(app.jobs.get(job_id), event, progress)
                warning = _warning(event)
                if warning and warning not in warned:
                    warned.add(warning)
                    progress.tell(warning)
                if event.kind == "finished":
                    break
        finally:
            unsubscribe()
            progress.clear()
    row = app.jobs.get(job_id)
    if row.status == "cancelled":
        raise Cancelled
    if row.status != "succeeded":
        raise app.jobs.failure(job_id)
    return row


def _show(row: JobRow, event: JobEvent, progress: Progress) -> None:
    if event.kind == "node_progress":
        progress.show(row.fraction, row.text or _title(row), row.seconds_left)
    elif event.kind == "node_started":
        progress.show(row.fraction, _title(row), row.seconds_left)


def _warning(event: JobEvent) -> str:
    """What a node warns of, "" for other events."""
    return str(event.data.get("text", "")) if event.kind == "log" and event.data.get("level") == "warning" else ""


def _title(row: JobRow) -> str:
    return next((n.title or n.type for n in row.spec.workflow.nodes if n.id == row.node), row.node).lower()


@contextlib.contextmanager
def _stopping(ask: Callable[[], None]) -> Iterator[None]:
    """Ctrl-C and SIGTERM call `ask`, wherever the program is just then; the second one stops it there and then."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    asked = False

    def stop(_number: int, _frame: FrameType | None) -> None:
        nonlocal asked
        if asked:
            raise KeyboardInterrupt
        asked = True
        ask()

    before = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
