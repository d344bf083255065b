"""Read and check a GGUF header with our own bounds, before any library opens the file. Torch-free.

The format (versions 2 and 3, little-endian): "GGUF", version, counts of tensors and of key-values, the key-values,
then for each tensor its name, dimensions (fastest first), type and offset; then, aligned, the data.
https://github.com/ggml-org/ggml/blob/master/docs/gguf.md
"""

from __future__ import annotations

import itertools
import math
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any, BinaryIO, TypeAlias

from engine.contracts.errors import MissingModel, UnsafeModel, clip

MAX_HEADER_BYTES = 64 * 1024 * 1024  # a language model's vocabulary lies in the header
MAX_TENSORS = 100_000
MAX_KEYS = 10_000
MAX_ITEMS = 4_000_000
MAX_NAME_BYTES = 1024
MAX_KEPT_TEXT = 65_536
MAX_DIMENSIONS = 4
MAX_DEPTH = 3

# type number → (name, numbers in a block, bytes of a block)
TYPES: Mapping[int, tuple[str, int, int]] = MappingProxyType(
    {
        0: ("F32", 1, 4), 1: ("F16", 1, 2), 2: ("Q4_0", 32, 18), 3: ("Q4_1", 32, 20), 6: ("Q5_0", 32, 22),
        7: ("Q5_1", 32, 24), 8: ("Q8_0", 32, 34), 9: ("Q8_1", 32, 36), 10: ("Q2_K", 256, 84), 11: ("Q3_K", 256, 110),
        12: ("Q4_K", 256, 144), 13: ("Q5_K", 256, 176), 14: ("Q6_K", 256, 210), 15: ("Q8_K", 256, 292),
        16: ("IQ2_XXS", 256, 66), 17: ("IQ2_XS", 256, 74), 18: ("IQ3_XXS", 256, 98), 19: ("IQ1_S", 256, 50),
        20: ("IQ4_NL", 32, 18), 21: ("IQ3_S", 256, 110), 22: ("IQ2_S", 256, 82), 23: ("IQ4_XS", 256, 136),
        24: ("I8", 1, 1), 25: ("I16", 1, 2), 26: ("I32", 1, 4), 27: ("I64", 1, 8), 28: ("F64", 1, 8),
        29: ("IQ1_M", 256, 56), 30: ("BF16", 1, 2), 34: ("TQ1_0", 256, 54), 35: ("TQ2_0", 256, 66),
        39: ("MXFP4", 32, 17),
    }
)  # fmt: skip

# value type number → struct code; 8 is text and 9 an array
_SCALARS: Mapping[int, str] = MappingProxyType(
    {0: "<B", 1: "<b", 2: "<H", 3: "<h", 4: "<I", 5: "<i", 6: "<f", 7: "<?", 10: "<Q", 11: "<q", 12: "<d"}
)

Value: TypeAlias = str | int | float | bool | tuple[Any, ...]


@dataclass(frozen=True)
class GgufTensor:
    """One tensor: `dtype` in ggml's spelling, `shape` slowest first as in torch; bytes from the data's start."""

    dtype: str
    shape: tuple[int, ...]
    begin: int
    end: int


@dataclass(frozen=True)
class GgufHeader:
    """A checked header. `data_start` counts bytes from the start of the file. Long arrays are given as their length."""

    version: int
    tensors: Mapping[str, GgufTensor]
    metadata: Mapping[str, Value]
    data_start: int
    raw: bytes


class _Cut(Exception):
    """The file ended, or the header went past its limit, in the middle of something."""


class _Cursor:
    def __init__(self, file: BinaryIO, limit: int) -> None:
        self._file, self._limit = file, limit
        self.taken = bytearray()

    def take(self, count: int) -> bytes:
        if count > self._limit - len(self.taken):
            raise _Cut
        data = self._file.read(count)
        if len(data) != count:
            raise _Cut
        self.taken += data
        return data

    def number(self, code: str) -> Any:
        return struct.unpack(code, self.take(struct.calcsize(code)))[0]


def read_gguf(path: Path) -> GgufHeader:
    """The header of a GGUF file. Raises MissingModel when unreadable and UnsafeModel when it breaks a rule."""
    try:
        size = path.stat().st_size
        with path.open("rb") as file:
            return _read(path, file, size)
    except OSError as error:
        raise MissingModel("it can't be read", where=str(path), fix="Check the file and its permissions") from error
    except _Cut:
        raise _refused(path, "its header is cut short or longer than 64 MB") from None


def _read(path: Path, file: BinaryIO, size: int) -> GgufHeader:
    cursor = _Cursor(file, min(size, MAX_HEADER_BYTES))
    if cursor.take(4) != b"GGUF":
        raise _refused(path, "it does not begin as a GGUF file")
    version = cursor.number("<I")
    if version not in (2, 3):
        raise _refused(path, f"it is GGUF version {version}; 2 and 3 are known")
    tensor_count, key_count = cursor.number("<Q"), cursor.number("<Q")
    if tensor_count > MAX_TENSORS or key_count > MAX_KEYS:
        raise _refused(path, f"it names {tensor_count} tensors and {key_count} keys, more than are read")
    metadata: dict[str, Value] = {}
    for _ in range(key_count):
        key = _text(path, cursor, MAX_NAME_BYTES)
        if key in metadata:
            raise _refused(path, f"the key “{clip(key)}” stands twice in its header")
        metadata[key] = _value(path, cursor, cursor.number("<I"), 0)
    alignment = metadata.get("general.alignment", 32)
    if not isinstance(alignment, int) or alignment <= 0 or alignment % 8 or alignment > 65_536:
        raise _refused(path, "its alignment is not a multiple of 8")
    infos: dict[str, tuple[str, tuple[int, ...], int, int]] = {}
    for _ in range(tensor_count):
        name = _text(path, cursor, MAX_NAME_BYTES)
        if name in infos:
            raise _refused(path, f"the tensor “{clip(name)}” stands twice in its header")
        infos[name] = _tensor(path, cursor, name, alignment)
    start = math.ceil(len(cursor.taken) / alignment) * alignment
    tensors = {name: GgufTensor(dtype, shape, begin, begin + n) for name, (dtype, shape, begin, n) in infos.items()}
    for name, entry in tensors.items():
        if start + entry.end > size:
            raise _refused(path, f"tensor “{clip(name)}” lies outside the file")
    spans = sorted((entry.begin, entry.end) for entry in tensors.values())
    for (_, end), (begin, _) in itertools.pairwise(spans):
        if begin < end:
            raise _refused(path, "two of its tensors share bytes")
    return GgufHeader(version, MappingProxyType(tensors), MappingProxyType(metadata), start, bytes(cursor.taken))


def _tensor(path: Path, cursor: _Cursor, name: str, alignment: int) -> tuple[str, tuple[int, ...], int, int]:
    """(type, shape, offset, bytes)."""
    dimensions = cursor.number("<I")
    if not 1 <= dimensions <= MAX_DIMENSIONS:
        raise _refused(path, f"tensor “{clip(name)}” has {dimensions} dimensions; 1 to {MAX_DIMENSIONS} are known")
    shape = tuple(reversed([cursor.number("<Q") for _ in range(dimensions)]))
    number, offset = cursor.number("<I"), cursor.number("<Q")
    if number not in TYPES:
        raise _refused(path, f"tensor “{clip(name)}” is of an unknown type ({number})")
    dtype, block, block_bytes = TYPES[number]
    count = math.prod(shape)
    if count == 0 or count >= 2**48 or shape[-1] % block:
        raise _refused(path, f"tensor “{clip(name)}” has a shape that does not fit its type")
    if offset % alignment:
        raise _refused(path, f"tensor “{clip(name)}” is not aligned")
    return dtype, shape, offset, count // block * block_bytes


def _text(path: Path, cursor: _Cursor, limit: int) -> str:
    length = cursor.number("<Q")
    if length > limit:
        raise _refused(path, f"a text of {length} bytes stands where at most {limit} are read")
    try:
        return cursor.take(length).decode("utf-8")
    except UnicodeDecodeError:
        raise _refused(path, "a text in its header is not UTF-8") from None


def _value(path: Path, cursor: _Cursor, kind: int, depth: int) -> Value:
    if kind == 8:
        data = cursor.take(cursor.number("<Q"))
        return data[:MAX_KEPT_TEXT].decode("utf-8", "replace")
    if kind == 9:
        item_kind, count = cursor.number("<I"), cursor.number("<Q")
        if count > MAX_ITEMS or depth >= MAX_DEPTH:
            raise _refused(path, "a list in its header is too long or too deep")
        if item_kind in _SCALARS and count > 64:  # read over in one go
            cursor.take(count * struct.calcsize(_SCALARS[item_kind]))
            return (count,)
        items = [_value(path, cursor, item_kind, depth + 1) for _ in range(count)]
        return tuple(items) if count <= 64 else (count,)
    if kind not in _SCALARS:
        raise _refused(path, f"a value in its header is of an unknown type ({kind})")
    if kind == 7:
        return bool(cursor.number("<B"))
    return cursor.number(_SCALARS[kind])  # type: ignore[no-any-return]


def _refused(path: Path, why: str) -> UnsafeModel:
    return UnsafeModel(
        f"{path.name} is refused: {why}", where=str(path.parent), fix="Get the file again from its source"
    )
