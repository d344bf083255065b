"""Read and check a safetensors header with our own bounds, before any library opens the file. Torch-free.

The format: 8 bytes little-endian header length, a JSON object {name: {dtype, shape, data_offsets}}, then the data.
The safetensors library accepts duplicate keys and headers of any practical size (67 MB took 10 s), so we look first.
"""

from __future__ import annotations

import itertools
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

from engine.contracts.errors import MissingModel, UnsafeModel, clip

MAX_HEADER_BYTES = 16 * 1024 * 1024
MAX_KEYS = 100_000

_BITS: Mapping[str, int] = MappingProxyType(
    {
        "BOOL": 8, "U8": 8, "I8": 8, "F8_E4M3": 8, "F8_E5M2": 8, "F8_E8M0": 8, "F8_E4M3FNUZ": 8, "F8_E5M2FNUZ": 8,
        "I16": 16, "U16": 16, "F16": 16, "BF16": 16, "I32": 32, "U32": 32, "F32": 32,
        "I64": 64, "U64": 64, "F64": 64, "C64": 64, "F4": 4, "F6_E2M3": 6, "F6_E3M2": 6,
    }
)  # fmt: skip


@dataclass(frozen=True)
class TensorEntry:
    """One tensor: `dtype` in safetensors' spelling; `begin` and `end` count bytes from the start of the data."""

    dtype: str
    shape: tuple[int, ...]
    begin: int
    end: int


@dataclass(frozen=True)
class Header:
    """A checked header. `raw` is its JSON bytes, for fingerprints."""

    tensors: Mapping[str, TensorEntry]
    metadata: Mapping[str, str]
    raw: bytes

    @property
    def parameters(self) -> int:
        """How many numbers all tensors hold together."""
        return sum(math.prod(entry.shape) for entry in self.tensors.values())


class _DuplicateError(Exception):
    pass


def read_header(path: Path) -> Header:
    """The header of a safetensors file. Raises MissingModel when unreadable and UnsafeModel when it breaks a rule."""
    try:
        with path.open("rb") as file:
            size = path.stat().st_size
            prefix = file.read(8)
            length = int.from_bytes(prefix, "little")
            if len(prefix) < 8 or length > size - 8:
                raise _refused(path, "it is cut short or not a safetensors file")
            if length > MAX_HEADER_BYTES:
                raise _refused(path, f"its header is {length // 2**20} MB long; 16 MB is the most that is read")
            raw = file.read(length)
    except OSError as error:
        raise MissingModel("it can't be read", where=str(path), fix="Check the file and its permissions") from error
    try:
        data = json.loads(raw.decode("utf-8"), object_pairs_hook=_unique)
    except _DuplicateError as error:
        raise _refused(path, f"the key “{clip(str(error))}” stands twice in its header") from error
    except (UnicodeDecodeError, json.JSONDecodeError, RecursionError, ValueError) as error:
        raise _refused(path, "its header is not valid JSON") from error
    if not isinstance(data, dict):
        raise _refused(path, "its header is not a JSON object")
    return _check(path, data, size - 8 - length, raw)


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    out = dict(pairs)
    if len(out) != len(pairs):
        seen: set[str] = set()
        for key, _ in pairs:
            if key in seen:
                raise _DuplicateError(key)
            seen.add(key)
    return out


def _check(path: Path, data: dict[str, Any], data_bytes: int, raw: bytes) -> Header:
    metadata = data.pop("__metadata__", {})
    if not isinstance(metadata, dict) or not all(isinstance(value, str) for value in metadata.values()):
        raise _refused(path, "its metadata holds something other than text")
    if len(data) > MAX_KEYS:
        raise _refused(path, f"it names {len(data)} tensors; {MAX_KEYS} is the most that is read")
    tensors = {key: _entry(path, key, value, data_bytes) for key, value in data.items()}
    spans = sorted((entry.begin, entry.end) for entry in tensors.values())
    for (_, end), (begin, _) in itertools.pairwise(spans):
        if begin < end:
            raise _refused(path, "two of its tensors share bytes")
    if sum(end - begin for begin, end in spans) != data_bytes:
        # Such bytes could be another file, a zip archive say, for a program that looks at the end first.
        raise _refused(path, "it has bytes that belong to no tensor")
    return Header(MappingProxyType(tensors), MappingProxyType(metadata), raw)


def _entry(path: Path, key: str, value: Any, data_bytes: int) -> TensorEntry:
    fields: dict[str, Any] = value if isinstance(value, dict) else {}
    dtype: Any = fields.get("dtype")
    shape: Any = fields.get("shape")
    offsets: Any = fields.get("data_offsets")
    if (
        not isinstance(dtype, str)
        or dtype not in _BITS
        or not _naturals(shape)
        or not _naturals(offsets)
        or len(offsets) != 2
    ):
        raise _refused(path, f"the entry of tensor “{clip(key)}” is malformed")
    begin, end = offsets
    if not begin <= end <= data_bytes:
        raise _refused(path, f"tensor “{clip(key)}” lies outside the file")
    if (end - begin) * 8 != math.prod(shape) * _BITS[dtype]:
        raise _refused(path, f"tensor “{clip(key)}” has a shape that does not fit its bytes")
    return TensorEntry(dtype, tuple(shape), begin, end)


def _naturals(value: Any) -> bool:
    return isinstance(value, list) and all(
        isinstance(item, int) and not isinstance(item, bool) and item >= 0 for item in value
    )


def _refused(path: Path, why: str) -> UnsafeModel:
    return UnsafeModel(
        f"{path.name} is refused: {why}", where=str(path.parent), fix="Get the file again from its source"
    )
