"""A safetensors file written tensor by tensor, so that no more than one of them is in memory."""

from __future__ import annotations

import contextlib
import json
import math
import os
import secrets
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from engine.contracts.errors import StorageError

_NAMES = {
    torch.float64: "F64", torch.float32: "F32", torch.float16: "F16", torch.bfloat16: "BF16", torch.int64: "I64",
    torch.int32: "I32", torch.int16: "I16", torch.int8: "I8", torch.uint8: "U8", torch.bool: "BOOL",
}  # fmt: skip


@dataclass(frozen=True)
class TensorPlan:
    """A tensor to come: its name, shape and the type it is written in."""

    name: str
    shape: tuple[int, ...]
    dtype: torch.dtype


def write_safetensors(
    path: Path, plans: Sequence[TensorPlan], made: Callable[[str], torch.Tensor], metadata: Mapping[str, str]
) -> None:
    """Write `made(name)` for each plan, rounded once to its type. The file appears whole or not at all.

    Raises StorageError when it can't be written.
    """
    header: dict[str, object] = {"__metadata__": dict(metadata)}
    end = 0
    for plan in plans:
        begin, end = end, end + math.prod(plan.shape) * plan.dtype.itemsize
        header[plan.name] = {"dtype": _NAMES[plan.dtype], "shape": list(plan.shape), "data_offsets": [begin, end]}
    raw = json.dumps(header, ensure_ascii=False, separators=(",", ":")).encode()
    raw += b" " * (-len(raw) % 8)
    fresh = path.with_name(f".{path.name[:80]}.{secrets.token_hex(6)}.part")
    try:
        with fresh.open("wb") as file:
            file.write(len(raw).to_bytes(8, "little") + raw)
            for plan in plans:
                tensor = made(plan.name).to(plan.dtype).contiguous()
                file.write(tensor.reshape(-1).view(torch.uint8).numpy().data)
            file.flush()
            os.fsync(file.fileno())
        fresh.replace(path)
    except OSError as error:
        raise StorageError(f"{path} can't be written ({error.strerror})", fix="Choose another folder") from error
    finally:
        with contextlib.suppress(OSError):
            fresh.unlink(missing_ok=True)
