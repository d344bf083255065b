"""What the commands share: where text goes, the progress bar, JSON, and options that read well when wrong."""

from __future__ import annotations

import argparse
import json
import math
import re
import shutil
import sys
import time
from typing import Any, NoReturn

from engine.contracts.errors import BadInput, InvalidRequest, clip
from engine.recipes.enlarge import enlarge_from
from engine.recipes.margins import Margins, margins_from
from studio_app.jobs.eta import time_words

PROGRAM = "main.py"
_LINE_EVERY = 5.0  # seconds between progress lines when the output is no terminal


class Parser(argparse.ArgumentParser):
    """Says what is wrong with the arguments in one sentence, exit code 2."""

    def error(self, message: str) -> NoReturn:
        raise BadInput(message, fix=f"See “{self.prog} --help”")


def whole_number(text: str) -> int:
    try:
        return int(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"“{clip(text, 40)}” is not a whole number") from None


def number(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"“{clip(text, 40)}” is not a number") from None
    if not math.isfinite(value):
        raise argparse.ArgumentTypeError(f"“{clip(text, 40)}” is not a finite number")
    return value


def size(text: str) -> tuple[int, int]:
    """ "768x512" → (768, 512)."""
    match = re.fullmatch(r"(\d{1,6})\s*[x×X]\s*(\d{1,6})", text.strip())
    if not match:
        raise argparse.ArgumentTypeError(f"“{clip(text, 40)}” is not a size; write it as 512x768")
    return int(match[1]), int(match[2])


def margins(text: str) -> Margins:
    """ "left=64,right=64" → Margins(left=64, right=64)."""
    try:
        return margins_from(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def enlarged(text: str) -> dict[str, Any]:
    """ "2" or "1024x768" → fields of Enlarge."""
    try:
        return enlarge_from(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def print_json(value: Any) -> None:
    """One JSON value on one line of standard output."""
    sys.stdout.write(json.dumps(value, ensure_ascii=False, allow_nan=False) + "\n")
    sys.stdout.flush()


def say(text: str) -> None:
    """A result, on standard output."""
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def remark(text: str) -> None:
    """Something beside the result, on standard error, so that output stays clean in a pipe."""
    sys.stderr.write(text + "\n")
    sys.stderr.flush()


class Progress:
    """A bar on a terminal, a line now and then in a pipe, nothing when quiet. Writes to standard error."""

    def __init__(self, *, quiet: bool = False) -> None:
        self._quiet = quiet
        self._bar = not quiet and sys.stderr.isatty()
        self._last_line = time.monotonic()
        self._drawn = False

    def show(self, fraction: float, text: str, seconds_left: float | None) -> None:
        """`fraction` 0..1 of the whole job, and a few words on what is being done."""
        if self._quiet:
            return
        left = f", {time_words(seconds_left)} left" if seconds_left else ""
        if self._bar:
            columns = shutil.get_terminal_size().columns
            width = max(10, min(30, columns - 50))
            full = round(max(0.0, min(1.0, fraction)) * width)
            line = f"{'█' * full}{'░' * (width - full)} {round(fraction * 100):3d} %  {text}{left}"
            sys.stderr.write(f"\r\x1b[2K{line[: columns - 1]}")
            sys.stderr.flush()
            self._drawn = True
        elif time.monotonic() - self._last_line >= _LINE_EVERY:
            self._last_line = time.monotonic()
            remark(f"{round(fraction * 100)} %  {text}{left}")

    def tell(self, text: str) -> None:
        """A line between the progress; the bar is drawn anew after it."""
        if not self._quiet:
            self.clear()
            remark(text)

    def clear(self) -> None:
        """Take the bar away, so that text can follow."""
        if self._drawn:
            sys.stderr.write("\r\x1b[2K")
            sys.stderr.flush()
            self._drawn = False


def require(condition: bool, what: str, fix: str = "") -> None:
    """Raises InvalidRequest when `condition` does not hold."""
    if not condition:
        raise InvalidRequest(what, fix=fix)
