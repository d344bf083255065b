"""SIGKILL at random moments of editing costs at most the last second."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="forks")


def kill(rounds: int, seed: int, folder: Path) -> dict[str, Any]:
    command = [sys.executable, "-m", "tests.end_to_end.document_kills", str(rounds), str(seed), str(folder)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    figures: dict[str, Any] = json.loads(done.stdout)
    return figures


def test_an_editor_killed_three_times_lost_at_most_the_last_second(tmp_path: Path) -> None:
    assert kill(3, seed=1, folder=tmp_path)["edits"] > 100


@pytest.mark.full
def test_an_editor_killed_forty_times_lost_at_most_the_last_second(tmp_path: Path) -> None:
    assert kill(40, seed=2, folder=tmp_path)["edits"] > 2000
