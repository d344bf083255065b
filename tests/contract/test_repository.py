"""Promises that the files of the repository keep."""

from __future__ import annotations

import re
import subprocess
import tomllib
from pathlib import Path

import pytest

from installers.start import COMMANDS
from studio_app.commands import TABLE as SHORTCUTS
from studio_app.shortcuts_page import shortcuts_page

ROOT = Path(__file__).parents[2]

# Put together from parts, so that this file does not name them either.
REGISTRY_HOSTS = tuple(
    ".".join(parts)
    for parts in (
        ("pypi", "org"),
        ("files", "pythonhosted", "org"),
        ("download", "pytorch", "org"),
        ("registry", "npmjs", "org"),
        ("deb", "debian", "org"),
        ("archive", "ubuntu", "com"),
        ("conda", "anaconda", "org"),
        ("crates", "io"),
        ("proxy", "golang", "org"),
    )
)


def tracked_files() -> list[Path]:
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=True).stdout
    return [path for name in listed.split(b"\0") if name and (path := ROOT / name.decode()).is_file()]


def test_no_package_registry_is_named() -> None:
    wanted = re.compile("|".join(re.escape(host) for host in REGISTRY_HOSTS).encode())
    found = [str(path.relative_to(ROOT)) for path in tracked_files() if wanted.search(path.read_bytes())]
    assert found == []


def canonical(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def constrained() -> dict[str, str]:
    text = (ROOT / "installers" / "constraints.txt").read_text(encoding="utf-8")
    return dict(line.split("==") for line in text.splitlines() if line and not line.startswith("#"))


def test_every_package_asked_for_has_one_exact_version() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    asked = [*project["dependencies"], *project["optional-dependencies"]["test"]]
    names = {canonical(re.match(r"[A-Za-z0-9._-]+", line)[0]) for line in asked}  # type: ignore[index]
    assert names <= set(constrained())
    assert "torchvision" not in constrained()
    assert "opencv-python" not in constrained()


def test_qt_is_one_that_python_3_11_survives() -> None:
    major, minor = (int(part) for part in constrained()["pyside6-essentials"].split(".")[:2])
    assert (major, minor) < (6, 12)


def test_qts_void_calls_keep_their_references() -> None:
    """The canary of PySide6 6.12 on Python 3.11: nearly every call loses a reference to None, and then Qt aborts."""
    import sys

    from PySide6.QtCore import QObject

    thing = QObject()
    before = sys.getrefcount(None)
    for _ in range(1000):
        thing.setObjectName("canary")
    assert abs(sys.getrefcount(None) - before) < 100


def test_the_readme_lists_every_command_line_and_leads_to_every_shortcut() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert [name for name in COMMANDS if f"`main.py {name}" not in readme] == []
    assert "(docs/shortcuts.md)" in readme


def test_the_page_of_shortcuts_is_the_table() -> None:
    page = (ROOT / "docs" / "shortcuts.md").read_text(encoding="utf-8")
    assert page == shortcuts_page(), "python -m studio_app.shortcuts_page > docs/shortcuts.md"
    assert [entry.title for entry in SHORTCUTS if entry.title.rstrip("…") not in page] == []


@pytest.mark.parametrize("name", ["LICENSE", "THIRD_PARTY_NOTICES.md", "CONTRIBUTING.md", "README.md"])
def test_the_papers_are_there(name: str) -> None:
    assert (ROOT / name).stat().st_size > 1000


def test_the_licence_is_the_whole_of_apache_2() -> None:
    text = (ROOT / "LICENSE").read_text(encoding="utf-8")
    assert text.lstrip().startswith("Apache License")
    assert "END OF TERMS AND CONDITIONS" in text
    assert len(text) > 10_000


def test_every_notice_names_a_package_that_is_installed_and_none_is_left_out() -> None:
    notices = (ROOT / "THIRD_PARTY_NOTICES.md").read_text(encoding="utf-8")
    named = {canonical(line.split("|")[1].strip()) for line in notices.splitlines() if re.match(r"\| [a-z0-9]", line)}
    assert set(constrained()) - named == set()
