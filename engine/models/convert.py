"""From a pickled checkpoint to safetensors: checked here without opening it, read in a locked-down child process."""

from __future__ import annotations

import contextlib
import os
import secrets
import subprocess
import sys
import tempfile
from pathlib import Path

from engine.contracts.errors import StorageError, TesseraError, UnsafeModel, clip
from engine.models.archives import refused
from engine.models.pickles import Checkpoint, inspect
from engine.models.safetensors_header import read_header

CHILD = Path(__file__).with_name("convert_child.py")
SECONDS_AT_LEAST = 120
BYTES_PER_SECOND = 20 * 2**20
ROOM = 64 * 2**20  # for the header of what is written


def convert_pickle(source: Path, target: Path) -> Path:
    """Write the tensors of the pickle `source` as safetensors at `target`, which must not exist; returns `target`.

    Raises UnsafeModel with the reason when the pickle is refused, StorageError when it can't be written.
    """
    checked = inspect(source)
    size = source.stat().st_size
    partial = target.with_name(f".{target.name[:80]}.{secrets.token_hex(6)}.part")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        _run_child(source, partial, size + ROOM, SECONDS_AT_LEAST + size // BYTES_PER_SECOND)
        _compare(source, partial, checked)
        with partial.open("rb+") as file:
            os.fsync(file.fileno())
        try:
            os.link(partial, target)  # unlike a rename, never writes over what is there
        except FileExistsError:
            raise StorageError(f"{target} is there already", fix="Rename it or import under another name") from None
        except OSError:
            os.replace(partial, target)
    except TesseraError:
        raise
    except OSError as error:
        raise StorageError(f"{target} can't be written ({error.strerror})", fix="Choose another folder") from error
    finally:
        with contextlib.suppress(OSError):
            partial.unlink(missing_ok=True)
    return target


def _run_child(source: Path, target: Path, limit_bytes: int, seconds: int) -> None:
    command = [sys.executable, "-I", "-B", str(CHILD), str(source.resolve()), str(target.resolve()),
               str(limit_bytes), str(seconds)]  # fmt: skip
    environment = {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": "", "PATH": os.defpath}
    for name in ("SYSTEMROOT", "LD_LIBRARY_PATH"):  # without these a Python may not start at all
        if name in os.environ:
            environment[name] = os.environ[name]
    with tempfile.TemporaryDirectory(prefix="tessera-convert-") as room:
        try:
            done = subprocess.run(
                command, cwd=room, env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE, timeout=seconds, start_new_session=True, close_fds=True, check=False,
            )  # fmt: skip
        except subprocess.TimeoutExpired:
            raise refused(source, f"it could not be converted within {seconds} seconds") from None
    if done.returncode:
        said = done.stderr.decode("utf-8", "replace").strip().splitlines()
        why = clip(said[-1], 200) if said else f"the converter ended with {done.returncode}"
        raise refused(source, f"it could not be converted ({why})")


def _compare(source: Path, written: Path, checked: Checkpoint) -> None:
    """What was written must be what the check saw: the same names, types and shapes."""
    found = {name: (entry.dtype, entry.shape) for name, entry in read_header(written).tensors.items()}
    expected = {name: (entry.dtype, entry.shape) for name, entry in checked.tensors.items()}
    if found != expected:
        raise UnsafeModel(
            f"{source.name} is refused: it holds other tensors than it shows", where=str(source.parent),
            fix="Get the file again from its source, best as safetensors",
        )  # fmt: skip
