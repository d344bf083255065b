"""Open a weight file, or the shards of a folder, as tensors that are read when they are asked for.

safetensors and GGUF only; their headers are checked with our own bounds before anything is mapped. Files are mapped
into memory, to be read only: what is asked for in the type it has is a view of the file and takes no memory.
Eight-bit floats come with the scales that ComfyUI and others store beside them; GGUF's blocks are dequantised.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

import torch

from engine.contracts.errors import BadInput, UnsafeModel, clip
from engine.models.contents import SAFETENSORS
from engine.models.fingerprint import weight_files
from engine.models.gguf_header import read_gguf
from engine.models.gguf_weights import PLAIN, QUANTISED, dequantised
from engine.models.mapped import PAGE, Mapped
from engine.models.safetensors_header import read_header

_TYPES = {
    "F64": torch.float64, "F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16,
    "F8_E4M3": torch.float8_e4m3fn, "F8_E5M2": torch.float8_e5m2, "I64": torch.int64, "I32": torch.int32,
    "I16": torch.int16, "I8": torch.int8, "U8": torch.uint8, "BOOL": torch.bool,
}  # fmt: skip
FP8 = (torch.float8_e4m3fn, torch.float8_e5m2)

# What stands beside an eight-bit weight: factors for it, factors for the layer's input (which are only of use where
# the product itself is made in eight bits, and are passed over), and ComfyUI's note of the format.
_WEIGHT_SCALES = (".scale_weight", ".weight_scale")
_INPUT_SCALES = (".scale_input", ".input_scale")
_NOTE = ".comfy_quant"
_MARK = "scaled_fp8"
_FORMATS = ("float8_e4m3fn", "float8_e5m2")


@dataclass(frozen=True, eq=False)
class _Place:
    """Where a tensor lies; `dtype` in the container's spelling."""

    file: Mapped
    begin: int
    end: int
    dtype: str
    shape: tuple[int, ...]


class Weights:
    """The tensors of a file or of the shards of a folder.

    shapes    by name, without the factors that stand beside eight-bit weights
    dtypes    in the container's own spelling
    metadata  of a file; empty for a folder
    """

    def __init__(self, path: Path, places: Mapping[str, _Place], metadata: Mapping[str, str]) -> None:
        self.path, self.metadata = path, metadata
        self._places = places
        self._scales = _scales(path, places)
        beside = (*_WEIGHT_SCALES, *_INPUT_SCALES, _NOTE)
        scaled = set(self._scales)
        hidden = {
            name for name in places
            if name.rpartition(".")[2] == _MARK
            or (name.endswith(beside) and f"{name.rpartition('.')[0]}.weight" in scaled)
        }  # fmt: skip
        self.shapes: Mapping[str, tuple[int, ...]] = MappingProxyType(
            {name: place.shape for name, place in places.items() if name not in hidden}
        )
        self.dtypes: Mapping[str, str] = MappingProxyType({name: places[name].dtype for name in self.shapes})

    def identity(self) -> str:
        """The same until a file is moved or written: its place, time and size."""
        files = sorted(self.path.glob("*.safetensors")) if self.path.is_dir() else [self.path]
        facts = [(str(file.absolute()), file.stat().st_mtime_ns, file.stat().st_size) for file in files]
        return hashlib.sha256(repr(facts).encode()).hexdigest()

    def stored(self, name: str) -> torch.Tensor:
        """A tensor as it lies in the file, on the CPU: a view. Of a quantised one, its bytes."""
        place = self._places[name]
        data = place.file.bytes(place.begin, place.end)
        if place.dtype in QUANTISED:
            return data
        dtype = _TYPES.get(place.dtype) or PLAIN.get(place.dtype)
        if dtype is None:
            raise BadInput(f"its tensor “{clip(name)}” is of the type {place.dtype}, which is not read",
                           where=self.path.name, fix="Use a file in fp16, bf16, fp8 or another GGUF type")  # fmt: skip
        if data.storage_offset() % dtype.itemsize:
            data = data.clone()  # some writers don't align
        return data.view(dtype).reshape(place.shape)

    def scale(self, name: str) -> torch.Tensor | None:
        """The factor of an eight-bit weight, float32, shaped to multiply it; None where it has none."""
        if name not in self._scales:
            return None
        factor = self.stored(self._scales[name]).float()
        shape = self.shapes[name]
        if factor.numel() == 1:
            return factor.reshape(())
        if factor.shape[0] == shape[0] and factor.numel() == shape[0]:
            return factor.reshape(-1, *[1] * (len(shape) - 1))
        raise BadInput(f"the factors of “{clip(name)}” have a shape that is not known here", where=self.path.name,
                       fix="Use a file in fp16 or bf16")  # fmt: skip

    def numbers(self, name: str, dtype: torch.dtype, device: torch.device) -> torch.Tensor:
        """A tensor as numbers of `dtype` on `device`, rounded once; a view of the file where both are its own."""
        place, stored = self._places[name], self.stored(name)
        data, factor = stored.to(device), self.scale(name)
        if place.dtype in QUANTISED:
            out = dequantised(data, place.dtype, place.shape).to(dtype)
        elif factor is not None:
            out = (data.float() * factor.to(device)).to(dtype)
        else:
            out = data.to(dtype)
        if out.data_ptr() != stored.data_ptr():
            place.file.release(place.begin, place.end)
        return out

    def read_ahead(self, names: Iterable[str]) -> None:
        """Bring tensors into the system's memory. Raises Cancelled between chunks when the job was cancelled."""
        spans: dict[int, tuple[Mapped, list[tuple[int, int]]]] = {}
        for name in names:
            place = self._places[name]
            spans.setdefault(id(place.file), (place.file, []))[1].append((place.begin, place.end))
        for file, listed in spans.values():
            file.read_ahead(_joined(sorted(listed)))

    def release_rest(self) -> None:
        """Let go of the pages that were copied last, which stayed mapped for the tensor that might follow."""
        for file in {id(place.file): place.file for place in self._places.values()}.values():
            file.release_rest()

    def content(self, names: Sequence[str], without: str = "") -> str:
        """sha256 of what `names` hold, by three samples of each: the same part in two files is the same.

        `without` is taken off the names' beginnings.
        """
        digest = hashlib.sha256()
        for name in sorted(names):
            place = self._places[name]
            digest.update(repr((name.removeprefix(without), place.dtype, place.shape)).encode())
            size = place.end - place.begin
            for at in (0, size // 2, max(0, size - 64)):
                piece = place.file.bytes(place.begin + at, min(place.end, place.begin + at + 64))
                digest.update(piece.numpy().tobytes())
            if name in self._scales:
                digest.update(self.stored(self._scales[name]).float().numpy().tobytes())
        return digest.hexdigest()


def open_weights(path: Path) -> Weights:
    """The tensors of a safetensors or GGUF file, or of a folder with one safetensors file or shards and an index.

    Raises MissingModel (not there, unreadable), UnsafeModel (malformed, or a pickle) or InvalidDocument.
    """
    if path.is_dir():
        return _of_folder(path)
    suffix = path.suffix.lower()
    if suffix == ".gguf":
        return _of_gguf(path)
    if suffix in SAFETENSORS:
        places, metadata = _of_safetensors(path)
        return Weights(path, places, metadata)
    raise UnsafeModel(
        f"{path.name} is refused: only safetensors and GGUF files are opened", where=str(path.parent),
        fix="Make a safetensors copy of it with “main.py models import FILE”",
    )  # fmt: skip


def _of_safetensors(path: Path) -> tuple[dict[str, _Place], Mapping[str, str]]:
    header = read_header(path)
    file = Mapped(path, 8 + len(header.raw))
    places = {name: _Place(file, e.begin, e.end, e.dtype, e.shape) for name, e in header.tensors.items()}
    return places, header.metadata


def _of_gguf(path: Path) -> Weights:
    header = read_gguf(path)
    file = Mapped(path, header.data_start)
    places: dict[str, _Place] = {}
    for name, entry in header.tensors.items():
        shape: tuple[int, ...] = entry.shape
        original = header.metadata.get(f"comfy.gguf.orig_shape.{name}")
        if isinstance(original, tuple) and math.prod(int(edge) for edge in original) == math.prod(shape):
            shape = tuple(int(edge) for edge in original)  # more than 4 dimensions, or blocks that did not fit
        if entry.dtype not in QUANTISED and entry.dtype not in PLAIN:
            raise BadInput(f"its tensor “{clip(name)}” is of the type {entry.dtype}, which is not read",
                           where=path.name, fix=f"Use one of: {', '.join(sorted(QUANTISED))}")  # fmt: skip
        places[name] = _Place(file, entry.begin, entry.end, entry.dtype, shape)
    metadata = {key: str(value) for key, value in header.metadata.items() if not isinstance(value, tuple)}
    return Weights(path, places, metadata)


def _of_folder(path: Path) -> Weights:
    places: dict[str, _Place] = {}
    metadata: Mapping[str, str] = {}
    for file in weight_files(path.parent, path.name):
        found, metadata = _of_safetensors(file)
        places.update(found)
    return Weights(path, places, metadata)


def _scales(path: Path, places: Mapping[str, _Place]) -> dict[str, str]:
    """weight → the name of its factor. Raises BadInput for a format of ComfyUI's that is not read here."""
    found: dict[str, str] = {}
    for name, place in places.items():
        layer, _, last = name.rpartition(".")
        if f".{last}" in _WEIGHT_SCALES and f"{layer}.weight" in places:
            weight = places[f"{layer}.weight"]
            if weight.dtype not in ("F8_E4M3", "F8_E5M2"):
                raise _unread(path, f"weights of the type {weight.dtype} with factors")
            found[f"{layer}.weight"] = name
        elif f".{last}" == _NOTE:
            stated = _note(place)
            if stated not in _FORMATS:
                raise _unread(path, f"weights in the format “{clip(stated)}”")
        elif last.startswith("bitsandbytes__") or last in ("absmax", "quant_map"):
            raise _unread(path, "weights in bitsandbytes' format")
    return found


def _note(place: _Place) -> str:
    try:
        data = json.loads(place.file.bytes(place.begin, min(place.end, place.begin + PAGE)).numpy().tobytes())
    except ValueError:
        return "unreadable"
    return str(data.get("format", "none")) if isinstance(data, dict) else "none"


def _unread(path: Path, what: str) -> BadInput:
    return BadInput(f"it holds {what}, which are not read here", where=path.name,
                    fix="Use a file of the same model in fp16, bf16, fp8 or GGUF")  # fmt: skip


def _joined(spans: Sequence[tuple[int, int]]) -> list[tuple[int, int]]:
    """Sorted spans with those joined that are less than a page apart."""
    joined: list[tuple[int, int]] = []
    for begin, end in spans:
        if joined and begin - joined[-1][1] < PAGE:
            joined[-1] = (joined[-1][0], max(end, joined[-1][1]))
        else:
            joined.append((begin, end))
    return joined
