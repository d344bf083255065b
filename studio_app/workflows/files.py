"""Workflow files as a person keeps them: read whole or refused with one sentence, written whole or not at all."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from engine.contracts.codec import MAX_DOCUMENT_BYTES, dump_json, parse_json
from engine.contracts.errors import InvalidDocument, StorageError
from engine.contracts.workflow import Workflow
from studio_app.files import write_atomically

SUFFIX = ".tessera.json"
_UNSAFE = re.compile(r'[\x00-\x1f<>:"/\\|?*]+')


@dataclass(frozen=True)
class Stamp:
    """A file's state on the disk: its time of change in nanoseconds and its size in bytes."""

    time: int
    size: int

    @classmethod
    def of(cls, path: Path) -> Stamp | None:
        """None when there is no such file."""
        try:
            found = path.stat()
        except OSError:
            return None
        return cls(found.st_mtime_ns, found.st_size)


class ChangedOutside(StorageError):
    """The file is no longer what was opened."""

    def __init__(self, path: Path) -> None:
        super().__init__(
            f"“{path.name}” was changed by another window or program since it was opened here",
            fix="Save it under another name, or save over it",
        )


def read_workflow(path: Path) -> tuple[Workflow, Stamp]:
    """A workflow file. Raises InvalidDocument."""
    data, stamp = read_bytes(path, MAX_DOCUMENT_BYTES)
    return Workflow.from_json(parse_json(data, path.name), path.name), stamp


def read_bytes(path: Path, limit: int) -> tuple[bytes, Stamp]:
    """A file's bytes, at most `limit`. Raises InvalidDocument."""
    stamp = Stamp.of(path)
    try:
        if path.is_dir():
            raise InvalidDocument("it is a folder, not a file", where=path.name)
        with path.open("rb") as file:
            data = file.read(limit + 1)
    except FileNotFoundError:
        raise InvalidDocument("there is no such file", where=str(path)) from None
    except OSError as error:
        raise InvalidDocument(f"it can't be read ({error.strerror})", where=str(path)) from error
    if len(data) > limit:
        raise InvalidDocument(f"it is larger than {limit // 2**20} MB", where=path.name)
    return data, stamp or Stamp(0, len(data))


def write_workflow(path: Path, workflow: Workflow) -> Stamp:
    """Write a workflow file. Raises StorageError; the file is then what it was."""
    data = (dump_json(workflow.to_json()) + "\n").encode("utf-8", "surrogatepass")
    write_atomically(path, data)
    return Stamp.of(path) or Stamp(0, len(data))


def file_name(title: str) -> str:
    """A title as a file's name, without what some system refuses."""
    name = _UNSAFE.sub(" ", title).strip(" .")[:80].strip()
    return (name or "workflow") + SUFFIX


def free_path(folder: Path, title: str) -> Path:
    """A path in `folder` that no file has yet."""
    name = file_name(title).removesuffix(SUFFIX)
    path, number = folder / (name + SUFFIX), 2
    while path.exists():
        path, number = folder / f"{name} {number}{SUFFIX}", number + 1
    return path
