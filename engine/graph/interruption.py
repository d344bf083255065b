"""Stopping deep inside a node: what runs on a thread for a job asks here, between layers, tiles and read chunks.

`ctx.check_cancelled()` is for nodes; this is for what they call, networks and loaders, which know of no job.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator


class _Asked(threading.local):
    check: Callable[[], None] | None = None


_asked = _Asked()


def check() -> None:
    """Raises Cancelled when the job that this thread works for was cancelled; else nothing."""
    asked = _asked.check
    if asked is not None:
        asked()


@contextlib.contextmanager
def attending(ask: Callable[[], None]) -> Iterator[None]:
    """While this lasts, `check` on this thread calls `ask`."""
    before, _asked.check = _asked.check, ask
    try:
        yield
    finally:
        _asked.check = before
