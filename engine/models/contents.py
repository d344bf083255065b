"""The tensors and metadata of any weight file, in one form, read from its header alone. Torch-free."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from engine.contracts.errors import MissingModel
from engine.models import pickles
from engine.models.fingerprint import sampled
from engine.models.gguf_header import read_gguf
from engine.models.model_file import Container
from engine.models.onnx_file import check_onnx
from engine.models.safetensors_header import read_header

SAFETENSORS = (".safetensors", ".sft")
PICKLED = (".ckpt", ".pt", ".pth", ".bin")
SUFFIXES = (*SAFETENSORS, ".gguf", *PICKLED, ".onnx")


@dataclass(frozen=True)
class Contents:
    """`shapes` and `dtypes` by the tensors' names; `dtypes` in the container's own spelling."""

    container: Container
    shapes: Mapping[str, tuple[int, ...]]
    dtypes: Mapping[str, str]
    metadata: Mapping[str, str]
    fingerprint: str


def read_contents(path: Path) -> Contents:
    """What `path` holds, by its first bytes and not by its name.

    Raises MissingModel (unreadable) or UnsafeModel (malformed, or it could run code). A file that is no weight file at
    all has the container "other" and no tensors.
    """
    try:
        size = path.stat().st_size
        with path.open("rb") as file:
            head = file.read(16)
    except OSError as error:
        raise MissingModel("it can't be read", where=str(path), fix="Check the file and its permissions") from error
    suffix = path.suffix.lower()
    if head[:4] == b"GGUF" or suffix == ".gguf":
        return _gguf(path)
    if pickles.looks_pickled(head) or suffix in PICKLED:
        found = pickles.inspect(path)
        tensors = found.tensors
        listing = repr([(name, t.dtype, t.shape) for name, t in tensors.items()]).encode()
        return Contents(
            "pickle", {name: t.shape for name, t in tensors.items()}, {name: t.dtype for name, t in tensors.items()},
            {}, _fingerprint(path, listing),
        )  # fmt: skip
    if suffix == ".onnx":
        check_onnx(path)
        return Contents("onnx", {}, {}, {}, _fingerprint(path, b""))
    if suffix in SAFETENSORS or (head[8:9] == b"{" and int.from_bytes(head[:8], "little") <= size):
        header = read_header(path)
        return Contents(
            "safetensors", {name: entry.shape for name, entry in header.tensors.items()},
            {name: entry.dtype for name, entry in header.tensors.items()}, header.metadata,
            _fingerprint(path, header.raw),
        )  # fmt: skip
    return Contents("other", {}, {}, {}, _fingerprint(path, b""))


def _gguf(path: Path) -> Contents:
    header = read_gguf(path)
    shapes = {name: entry.shape for name, entry in header.tensors.items()}
    for key, value in header.metadata.items():
        # Convolutions are stored flattened, with their own shape beside them.
        name = key.removeprefix("comfy.gguf.orig_shape.")
        if name != key and name in shapes and isinstance(value, tuple) and all(isinstance(n, int) for n in value):
            shapes[name] = value
    metadata = {key: str(value) for key, value in header.metadata.items() if not isinstance(value, tuple)}
    return Contents(
        "gguf", shapes, {name: entry.dtype for name, entry in header.tensors.items()}, metadata,
        _fingerprint(path, header.raw),
    )  # fmt: skip


def _fingerprint(path: Path, header: bytes) -> str:
    """sha256 over the header, the size and samples of the bytes."""
    digest = hashlib.sha256(len(header).to_bytes(8, "little") + header)
    try:
        for piece in sampled(path):
            digest.update(len(piece).to_bytes(8, "little") + piece)
    except OSError as error:
        raise MissingModel("it can't be read", where=str(path), fix="Check the file and its permissions") from error
    return digest.hexdigest()
