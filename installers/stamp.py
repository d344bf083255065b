"""The file that says an environment is complete, so that a second start does no set-up work.

It is written last, by rename, and holds word for word what was asked for: when constraints, the torch table or the
interpreter differ from it, the environment is brought up to date. Reading it costs well under a millisecond and
imports nothing but json.
"""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path

from installers.environment import venv_python

# The plain name of each part that is stamped on its own: the studio itself, and what its tests need besides.
RUN = "run"
TEST = "test"

_ASKED_FOR = ("constraints.txt", "torch_variants.toml")


@dataclass(frozen=True)
class Stamp:
    """What an environment was completed with.

    `asked_for`: the text of the files that decide what is installed. `interpreter`: real path, size and time of the
    Python beneath, so that an upgrade of it is noticed. `card`: what the driver said of itself (empty for none), so
    that a new card or driver is noticed. `screen`: the kind of display whose libraries were seen to load, if any.
    `wants_index`: torch's build is second best until TESSERA_TORCH_INDEX is set.
    """

    asked_for: str
    interpreter: str
    python: str
    card: str
    variant: str
    screen: str = ""
    wants_index: bool = False

    def write(self, venv: Path, part: str) -> None:
        """Put the stamp in place, whole or not at all, after everything before it has reached the disk."""
        path = stamp_path(venv, part)
        temporary = path.with_suffix(".part")
        with open(temporary, "w", encoding="utf-8") as file:
            json.dump(asdict(self), file, indent=1)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)


def read_stamp(venv: Path, part: str) -> Stamp | None:
    """The stamp, or None when there is none or it can't be read as one."""
    try:
        with open(stamp_path(venv, part), encoding="utf-8") as file:
            return Stamp(**json.load(file))
    except (OSError, ValueError, TypeError):
        return None


def stamp_path(venv: Path, part: str) -> Path:
    return venv / f"tessera-{part}.stamp"


def is_current(venv: Path, part: str, project: Path) -> bool:
    """Whether `part` of the environment is complete and is what this project, interpreter and card ask for."""
    stamp = read_stamp(venv, part)
    return (
        stamp is not None
        and stamp.asked_for == asked_for(project)
        and stamp.interpreter == interpreter_mark(venv)
        and stamp.card == card_mark()
        and not (stamp.wants_index and os.environ.get("TESSERA_TORCH_INDEX"))
    )


def asked_for(project: Path) -> str:
    """The text of the files that decide what is installed."""
    return "\n".join((project / "installers" / name).read_text(encoding="utf-8") for name in _ASKED_FOR)


def interpreter_mark(venv: Path) -> str:
    """Path, size and time of the interpreter that the environment's own points to; empty when it is gone."""
    real = os.path.realpath(venv_python(venv))
    try:
        status = os.stat(real)
    except OSError:
        return ""
    return f"{real} {status.st_size} {status.st_mtime_ns}"


def card_mark() -> str:
    """What the drivers say of themselves without starting a program: enough to notice that something changed."""
    marks = []
    try:
        with open("/proc/driver/nvidia/version", encoding="utf-8", errors="replace") as file:
            marks.append(file.readline().strip())
    except OSError:
        pass
    if os.path.isdir("/sys/class/kfd/kfd/topology/nodes"):
        marks.append("amd")
    choice = os.environ.get("TESSERA_TORCH", "")
    return " ".join([*marks, *([f"TESSERA_TORCH={choice}"] if choice else [])])
