"""`main.py test`: style, types, import contracts and tests, each timed, with one closing summary.

Everything runs even when something fails, so that one run shows all there is to mend. `--full` adds the long soak and
kill tests. Any other argument is pytest's (`-k name`, a file, `-x`): then only pytest runs, for the quick loop.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass

from installers.console import duration
from installers.environment import ROOT

TYPED = ("main.py", "engine", "studio_app", "ui", "cloud_client", "installers", "tests")
_FULL = "--full"


@dataclass
class Check:
    """One program of the suite. `aside` ones run beside the tests, their output kept until the tests are done."""

    name: str
    command: Sequence[str]
    aside: bool = False


@dataclass
class Outcome:
    check: Check
    code: int
    seconds: float


def main(arguments: Sequence[str]) -> int:
    """Run the suite with pytest's own exit code when it fails, 1 when another check does, 0 when all is well."""
    full = _FULL in arguments
    for_pytest = [argument for argument in arguments if argument != _FULL]
    if for_pytest:
        return subprocess.run(pytest_command(full, for_pytest), cwd=ROOT, check=False).returncode
    began = time.monotonic()
    outcomes = run_all(checks(full))
    print(summary(outcomes, time.monotonic() - began), flush=True)
    return next((1 for outcome in outcomes if outcome.code), 0)


def checks(full: bool) -> list[Check]:
    return [
        Check("ruff check", module("ruff", "check", ".")),
        Check("ruff format", module("ruff", "format", "--check", ".")),
        Check("import contracts", [sys.executable, "-c", _LINT_IMPORTS]),
        Check("mypy --strict", module("mypy", "--strict", *TYPED), aside=True),
        Check("pytest, all" if full else "pytest", pytest_command(full, ())),
    ]


def pytest_command(full: bool, arguments: Sequence[str]) -> list[str]:
    # The tests share the machine with mypy first; two workers keep both cores busy after it. Each worker's own
    # libraries run on one thread (tests/conftest.py). A hand-picked run stays in one process, for its debugger.
    workers = [] if arguments else ["-n", str(min(4, _cores())), "--dist", "worksteal"]
    return module("pytest", *workers, *([] if full else ["-m", "not full"]), *arguments)


def module(name: str, *arguments: str) -> list[str]:
    return [sys.executable, "-m", name, *arguments]


def run_all(wanted: Sequence[Check]) -> list[Outcome]:
    """Run the checks in turn, those marked `aside` meanwhile; print the output of each in one piece."""
    aside = [_Aside(check) for check in wanted if check.aside]
    outcomes: list[Outcome] = []
    try:
        for check in (check for check in wanted if not check.aside):
            print(f"── {check.name}", flush=True)
            began = time.monotonic()
            code = subprocess.run(check.command, cwd=ROOT, check=False, stdin=subprocess.DEVNULL).returncode
            outcomes.append(Outcome(check, code, time.monotonic() - began))
        for running in aside:
            outcomes.append(running.outcome())
            print(f"── {running.check.name}\n{running.said()}", end="", flush=True)
    finally:
        for running in aside:
            running.close()
    return outcomes


def summary(outcomes: Sequence[Outcome], seconds: float) -> str:
    """A line for each check, and one for all."""
    width = max(len(outcome.check.name) for outcome in outcomes)
    lines = [
        f"  {outcome.check.name:<{width}}  {'ok' if not outcome.code else 'FAILED':<6}  {duration(outcome.seconds)}"
        for outcome in outcomes
    ]
    failed = [outcome.check.name for outcome in outcomes if outcome.code]
    verdict = f"failed: {', '.join(failed)}" if failed else "all well"
    return "\n".join(["── the suite", *lines, f"  {duration(seconds)} in all: {verdict}"])


class _Aside:
    """A check that runs beside the others, what it says kept in a file and the time of its end noted when it ends."""

    def __init__(self, check: Check) -> None:
        self.check = check
        self._output = tempfile.TemporaryFile("w+", encoding="utf-8")  # noqa: SIM115 - close() closes it
        self._began = self._ended = time.monotonic()
        self._process = subprocess.Popen(
            check.command, cwd=ROOT, stdin=subprocess.DEVNULL, stdout=self._output, stderr=subprocess.STDOUT
        )
        self._watch = threading.Thread(target=self._wait)
        self._watch.start()

    def _wait(self) -> None:
        self._process.wait()
        self._ended = time.monotonic()

    def outcome(self) -> Outcome:
        """How it went, once it has ended."""
        self._watch.join()
        return Outcome(self.check, self._process.returncode, self._ended - self._began)

    def said(self) -> str:
        self._output.seek(0)
        return self._output.read()

    def close(self) -> None:
        if self._process.poll() is None:
            self._process.terminate()
        self._watch.join()
        self._output.close()


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1


# import-linter has no `python -m`; its console script's folder moves with the platform.
_LINT_IMPORTS = "import sys; from importlinter.cli import lint_imports_command; sys.exit(lint_imports_command())"
