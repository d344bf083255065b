"""Writing files so that a crash or a full disk never leaves half of one."""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
import sys
import time
from pathlib import Path

from engine.contracts.errors import StorageError

PARTIAL_SUFFIX = ".part"


def write_atomically(path: Path, data: bytes, *, overwrite: bool = True, durable: bool = True) -> Path:
    """Write `data` to `path` by a temporary file beside it, fsync and rename; folders are made as needed.

    With `overwrite` False an existing file is never touched: raises FileExistsError. Raises StorageError with one
    sentence when the disk is full or the folder can't be written; nothing is left behind then.
    """
    temporary = path.with_name(f".{path.name[:80]}.{secrets.token_hex(6)}{PARTIAL_SUFFIX}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            with open(temporary, "xb") as file:
                file.write(data)
                file.flush()
                if durable:
                    os.fsync(file.fileno())
            if overwrite:
                os.replace(temporary, path)
            else:
                _move_to_free_name(temporary, path)
        finally:
            with contextlib.suppress(OSError):
                temporary.unlink(missing_ok=True)
        if durable:
            sync_folder(path.parent)
    except FileExistsError:
        if path.parent.is_dir():
            raise
        raise StorageError(f"“{path.parent}” is a file, not a folder", fix="Choose another folder") from None
    except OSError as error:
        raise storage_error(error, path) from error
    return path


def _move_to_free_name(temporary: Path, path: Path) -> None:
    """Rename without overwriting: a hard link fails when the name is taken. Where links are not to be had, check."""
    try:
        os.link(temporary, path)
    except FileExistsError:
        raise
    except OSError:
        if path.exists():
            raise FileExistsError(path) from None
        os.replace(temporary, path)


def sync_folder(folder: Path) -> None:
    """Make a rename in `folder` last through a power cut, where the system has such a thing."""
    if sys.platform == "win32":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        with contextlib.suppress(OSError):  # some network file systems refuse it
            os.fsync(descriptor)
    finally:
        os.close(descriptor)


def storage_error(error: OSError, path: Path) -> StorageError:
    """An operating-system error about `path` as one sentence with a remedy."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return StorageError(f"the disk with {path.parent} is full", fix="Free some space or choose another folder")
    if error.errno == errno.EFBIG:
        return StorageError(f"“{path}” is larger than this disk or account allows", fix="Choose another folder")
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        return StorageError(f"“{path.parent}” can't be written", fix="Choose a folder that you may write to")
    if error.errno in (errno.ENOTDIR, errno.EEXIST):
        return StorageError(f"“{path.parent}” is not a folder", fix="Choose another folder")
    if error.errno == errno.ENAMETOOLONG:
        return StorageError("the file name is too long", where=path.name[:60], fix="Choose a shorter name")
    if error.errno == errno.EISDIR:
        return StorageError(f"“{path}” is a folder", fix="Give the name of a file")
    return StorageError(
        f"“{path}” can't be written ({error.strerror or type(error).__name__})", fix="Choose another folder"
    )


def set_aside(path: Path) -> Path | None:
    """Rename a file that can't be read to "<name>.broken-<time>", so that nothing is lost. None when that fails too."""
    kept = path.with_name(f"{path.name}.broken-{time.strftime('%Y%m%d-%H%M%S')}-{secrets.token_hex(2)}")
    try:
        path.rename(kept)
    except OSError:
        return None
    return kept
