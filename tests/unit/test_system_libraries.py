"""What a window lacks is named, with the one command that installs it."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from installers.environment import ROOT, display_kind
from installers.system_libraries import install_command, missing, read_libraries, sentence

LIBRARIES = read_libraries(ROOT)


def os_release(folder: Path, text: str) -> Path:
    file = folder / "os-release"
    file.write_text(text, encoding="utf-8")
    return file


def lacking(*files: str, display: str = "x11") -> list[str]:
    return [found.file for found in missing(LIBRARIES, display, can_load=lambda file: file not in files)]


def test_only_what_the_display_needs_is_looked_for() -> None:
    gone = ("libEGL.so.1", "libxcb-cursor.so.0", "libwayland-client.so.0")
    assert lacking(*gone, display="x11") == ["libEGL.so.1", "libxcb-cursor.so.0"]
    assert lacking(*gone, display="wayland") == ["libEGL.so.1", "libwayland-client.so.0"]
    assert lacking(*gone, display="offscreen") == ["libEGL.so.1"]
    assert lacking(*gone, display="native") == []


@pytest.mark.parametrize(
    ("release", "root", "command"),
    [
        ('ID=debian\nVERSION="12"\n', True, "apt-get install -y libegl1 libxcb-cursor0"),
        ("ID=pop\nID_LIKE='ubuntu debian'\n", False, "sudo apt-get install -y libegl1 libxcb-cursor0"),
        ('ID="rocky"\nID_LIKE="rhel centos fedora"\n', False, "sudo dnf install -y libglvnd-egl xcb-util-cursor"),
        ("ID=arch\n", False, "sudo pacman -S --needed libglvnd xcb-util-cursor"),
        ("ID=slackware\n", False, ""),
    ],
)
def test_one_command_installs_all_of_it(tmp_path: Path, release: str, root: bool, command: str) -> None:
    gone = [found for found in LIBRARIES if found.file in ("libEGL.so.1", "libxcb-cursor.so.0")]
    assert install_command(gone, os_release=os_release(tmp_path, release), root=root) == command


def test_a_package_that_holds_several_files_is_named_once(tmp_path: Path) -> None:
    gone = [found for found in LIBRARIES if found.file in ("libEGL.so.1", "libGL.so.1")]
    assert install_command(gone, os_release=os_release(tmp_path, "ID=arch\n"), root=True).count("libglvnd") == 1


def test_the_sentence_names_the_files_even_on_an_unknown_system(tmp_path: Path) -> None:
    text = sentence(LIBRARIES[:1], os_release=tmp_path / "absent", root=False)
    assert (
        text == "The window needs libraries that this system lacks (libEGL.so.1). Install the packages that hold them"
    )


@pytest.mark.skipif(sys.platform != "linux", reason="displays differ only on Linux")
@pytest.mark.parametrize(
    ("variables", "kind"),
    [
        ({}, ""),
        ({"DISPLAY": ":0"}, "x11"),
        ({"WAYLAND_DISPLAY": "wayland-0"}, "wayland"),
        ({"WAYLAND_DISPLAY": "wayland-0", "DISPLAY": ":0"}, "x11"),
        ({"WAYLAND_DISPLAY": "wayland-0", "DISPLAY": ":0", "QT_QPA_PLATFORM": "wayland"}, "wayland"),
        ({"QT_QPA_PLATFORM": "offscreen"}, "offscreen"),
    ],
)
def test_the_kind_of_display(variables: dict[str, str], kind: str) -> None:
    assert display_kind(variables) == kind
