"""Which of the system's libraries a window needs and lacks, and the one command that installs them (Linux only)."""

from __future__ import annotations

import ctypes
import tomllib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

_COMMANDS = {
    "apt": "apt-get install -y",
    "dnf": "dnf install -y",
    "pacman": "pacman -S --needed",
}
_FAMILIES = {
    "apt": {"debian", "ubuntu", "linuxmint", "pop", "raspbian"},
    "dnf": {"fedora", "rhel", "centos", "rocky", "almalinux"},
    "pacman": {"arch", "manjaro", "endeavouros"},
}


@dataclass(frozen=True)
class Library:
    """One row of system_libraries.toml: the file a loader looks for, what needs it, its package by manager."""

    file: str
    needed_for: str
    packages: Mapping[str, str]


def read_libraries(project: Path) -> list[Library]:
    with open(project / "installers" / "system_libraries.toml", "rb") as file:
        rows = tomllib.load(file)["library"]
    return [Library(row["file"], row["for"], {name: row[name] for name in _COMMANDS}) for row in rows]


def missing(
    libraries: Sequence[Library],
    display: str,
    can_load: Callable[[str], bool] | None = None,
) -> list[Library]:
    """Those of `libraries` that a window on `display` needs and the system's loader does not find."""
    if display == "native":
        return []
    found = can_load or loads
    return [library for library in libraries if library.needed_for in ("any", display) and not found(library.file)]


def loads(file: str) -> bool:
    """Whether the loader finds the shared library `file`."""
    try:
        ctypes.CDLL(file)
    except OSError:
        return False
    return True


def install_command(lacking: Sequence[Library], *, os_release: Path = Path("/etc/os-release"), root: bool) -> str:
    """The one command that installs `lacking` here; empty where the package manager is not known."""
    manager = _manager(os_release)
    if not manager:
        return ""
    packages = dict.fromkeys(library.packages[manager] for library in lacking)
    return f"{'' if root else 'sudo '}{_COMMANDS[manager]} {' '.join(packages)}"


def sentence(lacking: Sequence[Library], *, os_release: Path = Path("/etc/os-release"), root: bool) -> str:
    """What to tell a person about `lacking`."""
    names = ", ".join(library.file for library in lacking)
    command = install_command(lacking, os_release=os_release, root=root)
    remedy = f"Install them with: {command}" if command else "Install the packages that hold them"
    return f"The window needs libraries that this system lacks ({names}). {remedy}"


def _manager(os_release: Path) -> str:
    try:
        text = os_release.read_text(encoding="utf-8")
    except OSError:
        return ""
    entries = dict(line.split("=", 1) for line in text.splitlines() if "=" in line)
    names = {
        name
        for key in ("ID", "ID_LIKE")
        for name in entries.get(key, "").strip("\"'").split()
    }  # fmt: skip
    return next((manager for manager, family in _FAMILIES.items() if names & family), "")
