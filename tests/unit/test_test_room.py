"""The room of the tests keeps its promises (see tests/conftest.py)."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def run_tests_of(source: str, tmp_path: Path) -> str:
    """Run `source` as a test file of its own, under this project's settings and conftest; the output."""
    file = tmp_path / "test_inner.py"
    file.write_text(source, encoding="utf-8")
    where = ("-c", ROOT / "pyproject.toml", "--rootdir", ROOT)
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "pytest",
            "-q",
            "-p",
            "no:cacheprovider",
            "-p",
            "no:xdist",
            "-p",
            "tests.conftest",
            *where,
            file,
        ],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    return done.stdout + done.stderr


def test_noise_fails_the_test_that_makes_it(tmp_path: Path) -> None:
    output = run_tests_of(
        """
import socket, threading, warnings
from PySide6.QtCore import qWarning

held = threading.Event()

def test_warning():
    warnings.warn("careless", UserWarning)

def test_qt_message():
    qWarning("QWidget: careless")

def test_swallowed_network():
    try:
        socket.create_connection(("192.0.2.1", 80), timeout=1)
    except OSError:
        pass

def test_loopback_is_fine():
    with socket.create_server(("127.0.0.1", 0)) as server, socket.create_connection(server.getsockname()):
        pass

def test_leaves_a_thread():
    thread = threading.Thread(target=held.wait, args=(30,), name="forgotten")
    thread.start()

def test_ends():
    held.set()
""",
        tmp_path,
    )
    assert "UserWarning: careless" in output
    assert "QWidget: careless" in output
    assert "reached beyond this machine: socket.getaddrinfo 192.0.2.1" in output
    assert "left threads running: forgotten" in output
    assert "2 failed, 4 passed, 2 errors" in output


def test_a_host_name_is_not_even_looked_up() -> None:
    with pytest.raises(OSError, match="tests stay on this machine"):
        socket.getaddrinfo("example.invalid", 443)
    # The refusal is expected here; clear it, so that this test itself does not fail for it.
    sys.modules["tests.conftest"].__dict__["_outside_calls"].clear()


def test_no_persons_files_and_no_screen() -> None:
    assert os.environ["QT_QPA_PLATFORM"] == "offscreen"
    assert not Path(os.environ["TESSERA_DATA"]).is_relative_to(Path.home())
    assert os.environ["OMP_NUM_THREADS"] == "1"
