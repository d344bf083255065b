"""The suite's runner and set-up's console: everything runs, everything is timed, a terminal is kept tidy."""

from __future__ import annotations

import io
import subprocess
import sys

import pytest

from installers import suite
from installers.console import Console, duration, size
from installers.suite import Check, Outcome, checks, pytest_command, run_all, summary


def says(text: str, code: int = 0) -> list[str]:
    return [sys.executable, "-c", f"print({text!r}); raise SystemExit({code})"]


def test_everything_runs_even_when_something_fails(capfd: pytest.CaptureFixture[str]) -> None:
    outcomes = run_all(
        [
            Check("types", says("typed", 1), aside=True),
            Check("style", says("styled", 2)),
            Check("tests", says("tested")),
        ]
    )
    assert [(outcome.check.name, outcome.code) for outcome in outcomes] == [("style", 2), ("tests", 0), ("types", 1)]
    assert capfd.readouterr().out.split() == ["──", "style", "styled", "──", "tests", "tested", "──", "types", "typed"]


def test_the_summary_names_what_failed() -> None:
    outcomes = [Outcome(Check("ruff check", []), 0, 1.24), Outcome(Check("pytest", []), 1, 75)]
    assert summary(outcomes, 76.4).splitlines() == [
        "── the suite",
        "  ruff check  ok      1.2 s",
        "  pytest      FAILED  1 min 15 s",
        "  1 min 16 s in all: failed: pytest",
    ]
    assert summary(outcomes[:1], 2).endswith("all well")


def test_one_failure_fails_the_suite(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> None:
    for code in (0, 3):
        monkeypatch.setattr(suite, "checks", lambda full, code=code: [Check("one", says("x", code))])
        assert suite.main([]) == min(code, 1)
    assert "failed: one" in capfd.readouterr().out


def test_other_arguments_are_pytests_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    ran: list[list[str]] = []

    def run(command: list[str], **_: object) -> subprocess.CompletedProcess[str]:
        ran.append(command)
        return subprocess.CompletedProcess(command, 5)

    monkeypatch.setattr(subprocess, "run", run)
    assert suite.main(["-k", "sampler", "--full"]) == 5
    assert ran == [[sys.executable, "-m", "pytest", "-k", "sampler"]]


def test_the_long_tests_are_left_out_unless_asked_for() -> None:
    assert pytest_command(False, ())[-2:] == ["-m", "not full"]
    assert "not full" not in pytest_command(True, ())
    assert [check.name for check in checks(full=False)] == [
        "ruff check",
        "ruff format",
        "import contracts",
        "mypy --strict",
        "pytest",
    ]


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_terminals_line_is_redrawn_and_then_replaced() -> None:
    screen = Terminal()
    console = Console(screen)
    console.start("PyTorch")
    console._drawn = 0  # long ago
    console.progress("torch 2.13.0, 12.0 MiB of 190 MiB")
    console.done("1 package")
    last = screen.getvalue().rsplit("\r\033[K", 1)[-1]
    assert "torch 2.13.0, 12.0 MiB of 190 MiB" in screen.getvalue()
    assert last.startswith("  PyTorch: 1 package (")
    assert screen.getvalue().count("\n") == 1


@pytest.mark.parametrize(
    ("seconds", "text"), [(0, "0.0 s"), (59.94, "59.9 s"), (60, "1 min 00 s"), (3725, "62 min 05 s")]
)
def test_durations(seconds: float, text: str) -> None:
    assert duration(seconds) == text


@pytest.mark.parametrize(
    ("count", "text"), [(500, "0 KiB"), (860_160, "840 KiB"), (13_107_200, "12.5 MiB"), (2**20 * 300, "300 MiB")]
)
def test_sizes(count: int, text: str) -> None:
    assert size(count) == text
