"""What a person sees of set-up: one line a step, living on a terminal, plain when piped. All of it on standard error,
so that a command's own output stays its own."""

from __future__ import annotations

import shutil
import sys
import time
from typing import TextIO


class Console:
    """Numbered steps with times. On a terminal the line of the running step is redrawn in place."""

    def __init__(self, stream: TextIO | None = None) -> None:
        self._stream = stream or sys.stderr
        self._live = self._stream.isatty()
        self._step = ""
        self._began = 0.0
        self._drawn = 0.0
        self._open = False

    def say(self, text: str) -> None:
        """A line of its own."""
        self._clear()
        print(text, file=self._stream, flush=True)

    def start(self, step: str) -> None:
        """Begin `step`. When piped, nothing is printed until it ends, except the downloads it makes."""
        self._step = step
        self._began = time.monotonic()
        self._draw("")

    def progress(self, text: str) -> None:
        """How far the running step is; shown on a terminal only, at most ten times a second."""
        if self._live and time.monotonic() - self._drawn > 0.1:
            self._draw(text)

    def done(self, result: str = "") -> None:
        """End the running step, with what came of it."""
        seconds = time.monotonic() - self._began
        self.say(f"  {self._step}{f': {result}' if result else ''} ({duration(seconds)})")

    def _draw(self, text: str) -> None:
        if not self._live:
            return
        self._drawn = time.monotonic()
        width = shutil.get_terminal_size().columns - 1
        passed = duration(self._drawn - self._began)
        line = f"  {self._step} … {text}{' ' if text else ''}({passed})"
        self._stream.write("\r\033[K" + line[:width])
        self._stream.flush()
        self._open = True

    def _clear(self) -> None:
        if self._open:
            self._stream.write("\r\033[K")
            self._open = False


def duration(seconds: float) -> str:
    """3.2 s, 1 min 05 s."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    return f"{int(seconds) // 60} min {int(seconds) % 60:02d} s"


def size(count: float) -> str:
    """`count` bytes as 840 KiB, 12.5 MiB, 1.4 GiB."""
    for unit, step in (("GiB", 2**30), ("MiB", 2**20)):
        if count >= step:
            number = count / step
            return f"{number:.0f} {unit}" if number >= 100 else f"{number:.1f} {unit}"
    return f"{count / 1024:.0f} KiB"
