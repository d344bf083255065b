"""The named file of a picture in a person's folder: never over another file, never half."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from pathlib import Path

from engine.contracts.errors import StorageError
from studio_app.files import PARTIAL_SUFFIX, write_atomically

_MOST_NAMES = 10_000


@dataclass(frozen=True)
class ExportRequest:
    """`name` is a file name with its extension; a number is added when it is taken."""

    folder: Path
    name: str


def write_export(request: ExportRequest, data: bytes, *, recovering: bool = False) -> Path:
    """Write `data` under the first free name: "a.png", "a 2.png", …

    When `recovering`, a file that already holds just these bytes is the one written before the crash. Raises
    StorageError with one sentence.
    """
    if recovering:
        _remove_partial(request)
    for number in range(1, _MOST_NAMES):
        path = request.folder / _numbered(request.name, number)
        if recovering and _holds(path, data):
            return path
        with contextlib.suppress(FileExistsError):
            if not path.exists():
                return write_atomically(path, data, overwrite=False)
    raise StorageError(f"every name like {request.name} is taken in {request.folder}", fix="Choose another folder")


def _remove_partial(request: ExportRequest) -> None:
    """Take away what a crash left of this very export."""
    stem = request.name.rpartition(".")[0] or request.name
    with contextlib.suppress(OSError):
        for path in request.folder.iterdir():
            if path.name.startswith(f".{stem}"[:60]) and path.name.endswith(PARTIAL_SUFFIX):
                path.unlink(missing_ok=True)


def _numbered(name: str, number: int) -> str:
    stem, dot, suffix = name.rpartition(".")
    if number == 1:
        return name
    return f"{stem} {number}.{suffix}" if dot else f"{name} {number}"


def _holds(path: Path, data: bytes) -> bool:
    try:
        return path.stat().st_size == len(data) and path.read_bytes() == data
    except OSError:
        return False
