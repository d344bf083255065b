"""SIGKILL at random moments of generating and saving leaves nothing broken behind."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="forks from a warm parent")


def kill(rounds: int, seed: int, folder: Path) -> dict[str, Any]:
    command = [sys.executable, "-m", "tests.end_to_end.kill_rounds", str(rounds), str(seed), str(folder)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    figures: dict[str, Any] = json.loads(done.stdout)
    assert figures["broken"] == 0, done.stderr
    assert figures["files"] == figures["records"]
    return figures


def test_a_studio_killed_five_times_has_every_picture_whole_and_its_state_back(tmp_path: Path) -> None:
    figures = kill(5, seed=3, folder=tmp_path)
    assert figures["rounds"] == 5
    assert figures["interrupted"] >= 1  # the kills did hit running jobs


@pytest.mark.full
def test_a_studio_killed_fifty_times_has_every_picture_whole_and_its_state_back(tmp_path: Path) -> None:
    figures = kill(50, seed=4, folder=tmp_path)
    assert figures["interrupted"] >= 25
    assert figures["records"] >= 100
