"""What an interrupted installation left half done, found and cleared so that pip installs it again.

pip writes a package's files, then its records. Killed in between, it leaves files without records (harmless: they are
overwritten), or a metadata folder without RECORD, or with a RECORD that names files which are not there: then pip
takes the package for installed. Removing such a metadata folder is all it needs to do the work again.
"""

from __future__ import annotations

import csv
import shutil
from pathlib import Path


def site_packages(venv: Path) -> Path | None:
    """The folder of installed packages in `venv`, when there is one."""
    folders = [*venv.glob("lib/python3.*/site-packages"), *venv.glob("Lib/site-packages")]
    return folders[0] if len(folders) == 1 else None


def clear_broken(venv: Path) -> list[str]:
    """Remove the metadata of every package that is not wholly there, and pip's own leftovers; the packages' names."""
    packages = site_packages(venv)
    if packages is None:
        return []
    cleared = []
    for metadata in sorted(packages.glob("*.dist-info")):
        if not is_whole(metadata):
            shutil.rmtree(metadata)
            cleared.append(metadata.name.removesuffix(".dist-info").replace("-", " "))
    for leftover in packages.glob("~*"):  # what pip had moved aside to replace
        shutil.rmtree(leftover) if leftover.is_dir() else leftover.unlink()
    return cleared


def has_record(venv: Path, package: str) -> bool:
    """Whether `package` has its metadata in `venv`; after `clear_broken`, that means it is wholly there."""
    packages = site_packages(venv)
    return packages is not None and any(packages.glob(f"{package}-*.dist-info/RECORD"))


def is_whole(metadata: Path) -> bool:
    """Whether the package of the `.dist-info` folder has its records, and every file in them is there in its size."""
    try:
        with open(metadata / "RECORD", encoding="utf-8", newline="") as file:
            rows = [row for row in csv.reader(file) if row]
    except OSError:
        return False
    if not rows or not (metadata / "METADATA").is_file() or not (metadata / "INSTALLER").is_file():
        return False
    base = metadata.parent
    for name, _hash, length in (row[:3] for row in rows if len(row) >= 3):
        if not length or name.endswith(".pyc"):
            continue  # compiled files are made anew when missing
        try:
            if (base / name).stat().st_size != int(length):
                return False
        except OSError:
            return False
    return True
