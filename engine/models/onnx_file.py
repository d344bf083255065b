"""Refuse ONNX files whose weights lie in other files. Torch-free; walks protobuf fields without any library.

`external_data` names a path that the runtime opens: a hostile model reads any file of the machine through it.
Field numbers: https://github.com/onnx/onnx/blob/main/onnx/onnx.proto
"""

from __future__ import annotations

import mmap
from pathlib import Path

from engine.contracts.errors import MissingModel
from engine.models.archives import refused

MAX_FIELDS = 5_000_000
MAX_DEPTH = 24

# message → {field: message} of those that can hold tensors.
_INSIDE = {
    "model": {7: "graph", 25: "function", 20: "training"},
    "training": {1: "graph", 2: "graph"},
    "graph": {1: "node", 5: "tensor", 15: "sparse"},
    "function": {7: "node"},
    "node": {5: "attribute"},
    "attribute": {5: "tensor", 6: "graph", 10: "tensor", 11: "graph", 22: "sparse", 23: "sparse"},
    "sparse": {1: "tensor", 2: "tensor"},
    "tensor": {},
}
_EXTERNAL_DATA, _DATA_LOCATION = 13, 14


class _Damaged(Exception):
    pass


def check_onnx(path: Path) -> None:
    """Raises UnsafeModel for external data or a damaged file, MissingModel when it can't be read."""
    try:
        with path.open("rb") as file:
            if path.stat().st_size == 0:
                raise refused(path, "it is empty")
            with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
                walk = _Walk(path, data)
                walk.message("model", 0, len(data), 0)
                if not walk.graphs:
                    raise refused(path, "it holds no ONNX graph")
    except _Damaged:
        raise refused(path, "it is not a whole ONNX file") from None
    except OSError as error:
        raise MissingModel("it can't be read", where=str(path), fix="Check the file and its permissions") from error


class _Walk:
    def __init__(self, path: Path, data: mmap.mmap) -> None:
        self._path, self._data = path, data
        self._fields = 0
        self.graphs = 0

    def message(self, kind: str, at: int, end: int, depth: int) -> None:
        if depth > MAX_DEPTH:
            raise refused(self._path, "its graphs are nested too deeply")
        inside = _INSIDE[kind]
        while at < end:
            self._fields += 1
            if self._fields > MAX_FIELDS:
                raise refused(self._path, "it has more parts than are read")
            tag, at = self._number(at, end)
            number, wire = tag >> 3, tag & 7
            if wire == 0:
                value, at = self._number(at, end)
                if kind == "tensor" and number == _DATA_LOCATION and value != 0:
                    raise refused(self._path, "its weights lie in other files, which could be any file")
            elif wire == 2:
                length, at = self._number(at, end)
                if length > end - at:
                    raise _Damaged
                if kind == "tensor" and number == _EXTERNAL_DATA:
                    raise refused(self._path, "its weights lie in other files, which could be any file")
                if number in inside:
                    self.graphs += inside[number] == "graph"
                    self.message(inside[number], at, at + length, depth + 1)
                at += length
            elif wire in (1, 5):
                at += 8 if wire == 1 else 4
            else:
                raise _Damaged
        if at != end:
            raise _Damaged

    def _number(self, at: int, end: int) -> tuple[int, int]:
        value = shift = 0
        while True:
            if at >= end or shift > 63:
                raise _Damaged
            byte = self._data[at]
            at += 1
            value |= (byte & 0x7F) << shift
            if byte < 0x80:
                return value, at
            shift += 7
