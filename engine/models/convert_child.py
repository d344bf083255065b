"""Turn one checked pickle into safetensors, inside a process that has nothing left to do harm with.

Run by engine.models.convert as `python -I -B convert_child.py IN OUT LIMIT_BYTES LIMIT_SECONDS`, never imported by the
studio. What it needs is imported and opened first; then no file, socket or process can be opened any more: the limit
on open files is lowered to those in use, the sizes of memory, file and processor time are bounded, new imports outside
of a short list and every dangerous event of the interpreter are refused. Only then is the pickle read, by torch's
restricted unpickler. The result is written by us: names, types, shapes, bytes.
"""

from __future__ import annotations

import importlib.abc
import importlib.util
import io
import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import Any, BinaryIO

DTYPES = {
    "torch.float32": "F32", "torch.float16": "F16", "torch.bfloat16": "BF16", "torch.float64": "F64",
    "torch.int64": "I64", "torch.int32": "I32", "torch.int16": "I16", "torch.int8": "I8", "torch.uint8": "U8",
    "torch.bool": "BOOL",
}  # fmt: skip

IMPORTS = ("torch", "collections", "encodings", "numpy", "pickle", "zipfile", "_")

# Events of the interpreter (docs.python.org/3/library/audit_events.html) that reading weights never needs.
REFUSED = (
    "socket.", "subprocess.", "os.system", "os.exec", "os.spawn", "os.posix_spawn", "os.fork", "os.kill", "os.remove",
    "os.rename", "os.rmdir", "os.mkdir", "os.link", "os.symlink", "os.truncate", "os.chmod", "os.chown", "os.putenv",
    "pty.", "shutil.", "ctypes.", "webbrowser.", "urllib.", "ftplib.", "smtplib.", "winreg.", "tempfile.", "open",
    "compile", "exec", "code.__new__",
)  # fmt: skip


class _ImportList(importlib.abc.MetaPathFinder):
    """Refuses to find modules outside of IMPORTS."""

    def find_spec(self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None) -> None:
        if fullname.partition(".")[0] not in IMPORTS:
            raise ImportError(f"the module “{fullname}” may not be imported here")


def _refuse(event: str, arguments: tuple[Any, ...]) -> None:
    if event.startswith(REFUSED):
        raise PermissionError(f"“{event}” is not allowed here")


def _bound(memory: int, file_bytes: int, seconds: int) -> None:
    try:
        import resource
    except ImportError:  # Windows: the parent's time limit, the audit hook and the import list remain
        return
    for what, limit in (
        (resource.RLIMIT_AS, memory),
        (resource.RLIMIT_FSIZE, file_bytes),
        (resource.RLIMIT_CPU, seconds),
        (resource.RLIMIT_CORE, 0),
    ):
        hard = resource.getrlimit(what)[1]
        limit = limit if hard == resource.RLIM_INFINITY else min(limit, hard)
        resource.setrlimit(what, (limit, limit))


def _close_the_door() -> None:
    """No descriptor can be opened from here on, so no file and no socket; no process can be started either."""
    try:
        import resource
    except ImportError:
        pass
    else:
        resource.setrlimit(resource.RLIMIT_NPROC, (0, 0))
        resource.setrlimit(resource.RLIMIT_NOFILE, (0, 0))
    sys.meta_path.insert(0, _ImportList())
    sys.addaudithook(_refuse)


def _plain_table() -> Any:
    # By its file: -I leaves this folder off the path, and importing `engine` would bring more than is needed.
    spec = importlib.util.spec_from_file_location("state_dict", Path(__file__).with_name("state_dict.py"))
    if spec is None or spec.loader is None:
        raise ImportError("state_dict.py is missing")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.plain_table


def _warm_up(torch: Any, legacy: bool) -> None:
    """Read a checkpoint of our own, so that what torch imports on its way is imported before the door closes."""
    buffer = io.BytesIO()
    torch.save({"w": torch.zeros(2, 2)}, buffer, _use_new_zipfile_serialization=not legacy)
    buffer.seek(0)
    torch.load(buffer, map_location="cpu", weights_only=True)
    if legacy:  # the old reader wants a real file
        torch.load(io.BytesIO(buffer.getvalue()), map_location="cpu", weights_only=True)


def _write(torch: Any, table: dict[str, Any], out: BinaryIO) -> None:
    """The safetensors format: 8 bytes of length, a JSON header, the tensors' bytes one after another."""
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    table = dict(sorted(table.items(), key=lambda item: -item[1].element_size()))  # keeps every tensor aligned
    at = 0
    for name, tensor in table.items():
        count = tensor.numel() * tensor.element_size()
        header[name] = {
            "dtype": DTYPES[str(tensor.dtype)], "shape": list(tensor.shape), "data_offsets": [at, at + count],
        }  # fmt: skip
        at += count
    raw = json.dumps(header, separators=(",", ":")).encode()
    raw += b" " * (-len(raw) % 8)
    out.write(len(raw).to_bytes(8, "little") + raw)
    for tensor in table.values():
        if tensor.numel():
            flat = tensor.detach().contiguous().reshape(-1).view(torch.uint8)
            out.write(flat.numpy().data)
    out.flush()


def main(arguments: Sequence[str]) -> int:
    source, target, limit_bytes, limit_seconds = arguments
    size = os.path.getsize(source)
    import torch

    torch.set_num_threads(1)
    plain_table = _plain_table()
    with open(source, "rb") as file, open(target, "xb") as out:
        legacy = file.read(4) != b"PK\x03\x04"
        file.seek(0)
        _warm_up(torch, legacy)
        _write(torch, {"w": torch.zeros(2)}, io.BytesIO())
        _bound(3 * size + 8 * 2**30, int(limit_bytes), int(limit_seconds))
        _close_the_door()
        loaded = torch.load(file, map_location="cpu", weights_only=True)
        _write(torch, plain_table(loaded, lambda item: isinstance(item, torch.Tensor)), out)
    return 0


if __name__ == "__main__":
    try:
        status = main(sys.argv[1:])
    except BaseException as error:  # noqa: BLE001 - one line to the parent, whatever it was
        sys.stderr.write(f"{type(error).__name__}: {' '.join(str(error).split())[:300]}\n")
        status = 1
    sys.stderr.flush()
    os._exit(status)
