"""The room every test runs in: offscreen, offline, one thread, nobody's own files touched; noise fails the test."""

from __future__ import annotations

import atexit
import ipaddress
import os
import shutil
import sys
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

# Before anything heavy is imported. Forced, not defaulted: a person's own settings must not reach a test, nor a test
# the person's files. Tests that start a child process hand these on.
_data = tempfile.mkdtemp(prefix="tessera-tests-")
atexit.register(shutil.rmtree, _data, ignore_errors=True)
os.environ.update(
    QT_QPA_PLATFORM="offscreen",
    QT_QUICK_BACKEND="software",
    OMP_NUM_THREADS="1",
    MKL_NUM_THREADS="1",
    OPENBLAS_NUM_THREADS="1",
    TOKENIZERS_PARALLELISM="false",
    HF_HUB_OFFLINE="1",
    HF_HUB_DISABLE_TELEMETRY="1",
    HF_HUB_DISABLE_PROGRESS_BARS="1",
    TESSERA_DATA=_data,
)
for _name in ("DISPLAY", "WAYLAND_DISPLAY", "QT_SCALE_FACTOR", "QT_STYLE_OVERRIDE", "QT_QPA_PLATFORMTHEME"):
    os.environ.pop(_name, None)

settings.register_profile(
    "tessera",
    deadline=None,  # a wall-time limit on a shared machine fails for nothing
    database=None,
    derandomize=bool(os.environ.get("CI")),
    suppress_health_check=[HealthCheck.too_slow],
)
settings.load_profile("tessera")

_outside_calls: list[str] = []


class NetworkBlocked(OSError):
    """A test tried to reach beyond this machine."""


def _refuse_the_network(event: str, args: tuple[object, ...]) -> None:
    """An audit hook, so that sockets opened below Python's `socket` class are seen too."""
    if event in ("socket.connect", "socket.sendto"):
        address = args[1]
        host = address[0] if isinstance(address, tuple) else None  # a Unix socket's address is a path
    elif event == "socket.getaddrinfo":
        host = args[0]
    else:
        return
    if host is None or _is_here(host):
        return
    _outside_calls.append(f"{event} {host}")
    raise NetworkBlocked(f"a test tried to reach {host!r}; tests stay on this machine")


def _is_here(host: object) -> bool:
    text = host.decode("ascii", "replace") if isinstance(host, bytes) else str(host)
    if text in ("", "localhost"):
        return True
    try:
        address = ipaddress.ip_address(text.partition("%")[0])
    except ValueError:
        return False
    return address.is_loopback or address.is_unspecified


sys.addaudithook(_refuse_the_network)


@pytest.fixture(autouse=True)
def own_data_folder(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A data folder of the test's own, where the studio would otherwise use the person's."""
    folder = tmp_path_factory.getbasetemp() / "data" / os.urandom(6).hex()
    monkeypatch.setenv("TESSERA_DATA", str(folder))
    return folder


@pytest.fixture(autouse=True)
def no_outside_calls() -> Iterator[None]:
    """Fails the test that tried the network, even where the code under test swallowed the refusal."""
    _outside_calls.clear()
    yield
    assert not _outside_calls, f"reached beyond this machine: {', '.join(_outside_calls)}"


@pytest.fixture(autouse=True)
def no_leaked_threads() -> Iterator[None]:
    """Fails the test that leaves a thread running which would keep the program from ending."""
    before = set(threading.enumerate())
    yield
    left = [thread for thread in threading.enumerate() if thread not in before and not thread.daemon]
    for thread in left:
        thread.join(timeout=2)  # one that is just ending may end
    alive = sorted(thread.name for thread in left if thread.is_alive())
    assert not alive, f"left threads running: {', '.join(alive)}"
