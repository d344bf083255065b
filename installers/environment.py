"""Where the environment is, and what every process of the studio starts with."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping, MutableMapping, Sequence
from pathlib import Path
from typing import NoReturn

ROOT = Path(__file__).resolve().parent.parent

WINDOWS = sys.platform == "win32"


def frozen() -> bool:
    """Whether this is a built bundle, which brings its own interpreter and packages."""
    return bool(getattr(sys, "frozen", False))


def venv_folder(project: Path = ROOT) -> Path:
    return project / ".venv"


def venv_python(venv: Path) -> Path:
    """The interpreter of `venv`, whether or not it exists."""
    return venv / "Scripts" / "python.exe" if WINDOWS else venv / "bin" / "python"


def runs_in(venv: Path) -> bool:
    """Whether the running interpreter is that of `venv`."""
    return sys.prefix != sys.base_prefix and os.path.realpath(sys.prefix) == os.path.realpath(venv)


def set_process_variables(variables: MutableMapping[str, str] = os.environ) -> None:
    """Set what the native libraries read once, when they load. A person's own setting of a tuning variable stands;
    the three that keep the engine off the network do not give way."""
    variables.update(
        HF_HUB_OFFLINE="1",  # the engine opens no socket; downloads go through studio_app/network
        HF_HUB_DISABLE_TELEMETRY="1",
        DO_NOT_TRACK="1",
    )
    defaults = {
        "HF_HUB_DISABLE_PROGRESS_BARS": "1",
        "TRANSFORMERS_VERBOSITY": "error",
        "DIFFUSERS_VERBOSITY": "error",
        "TOKENIZERS_PARALLELISM": "false",  # its pool warns, and can hang, after a fork
        "OMP_NUM_THREADS": str(max(1, _cores() - 1)),  # one core is the window's
        "OMP_WAIT_POLICY": "PASSIVE",  # idle workers sleep; spinning ones take the window's core
        "PYTHONNOUSERSITE": "1",  # packages of the person's own Python don't leak in
        "PYTHONUTF8": "1",
    }
    if sys.platform == "linux":
        defaults["PYTORCH_ALLOC_CONF"] = "expandable_segments:True"  # fewer out-of-memory errors from fragmentation
    if sys.platform == "darwin":
        defaults["PYTORCH_ENABLE_MPS_FALLBACK"] = "1"  # an operator Metal lacks runs on the processor
    for name, value in defaults.items():
        variables.setdefault(name, value)


def display_kind(variables: Mapping[str, str] = os.environ) -> str:
    """The display a window would open on: x11, wayland, offscreen, native (not Linux), or empty for none."""
    if sys.platform != "linux":
        return "native"
    platform = variables.get("QT_QPA_PLATFORM", "").partition(":")[0]
    if platform in ("offscreen", "minimal", "vnc"):
        return "offscreen"
    # Qt falls back from Wayland to X11 where both are there, and X11 needs more: check for the one that must work.
    if variables.get("DISPLAY") and platform != "wayland":
        return "x11"
    return "wayland" if variables.get("WAYLAND_DISPLAY") else ""


def hand_over(python: Path, arguments: Sequence[str]) -> NoReturn:
    """Go on as `python arguments…` with this process's environment. On POSIX the process itself continues, so that
    signals and the exit code need no relaying; Windows has no such call, so there a child runs and is waited for."""
    command = [str(python), *arguments]
    sys.stdout.flush()
    sys.stderr.flush()
    if not WINDOWS:
        os.execv(command[0], command)
    child = subprocess.Popen(command)
    while True:
        try:
            raise SystemExit(child.wait())
        except KeyboardInterrupt:
            continue  # the child got it too, and decides


def is_root() -> bool:
    """Whether this process may install packages of the system without sudo."""
    return hasattr(os, "geteuid") and os.geteuid() == 0


def _cores() -> int:
    """The cores this process may use."""
    return len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1
