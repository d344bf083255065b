"""The cache's disk tier: results dear to make, kept across restarts as plain arrays and JSON, never as pickled code.

One file for each result, named by its signature: a magic line, a JSON header, the raw bytes of its arrays, and a
checksum. A file that is damaged, or of another version, is a miss and is removed.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import importlib
import json
import logging
import os
import sys
import threading
from pathlib import Path
from typing import Any

import numpy as np

from engine.contracts.references import BlobRef, ModelRef
from engine.graph import values
from engine.graph.cache import Kept

MAGIC = b"tessera-value-2\n"
SUFFIX = ".value"
_CHECK_BYTES = 16
_CLASSES: dict[str, type[Any]] = {
    cls.__name__: cls
    for cls in (
        values.LatentValue, values.ConditioningEntry, values.Patch, values.ModelHandle, values.TextEncoderHandle,
        values.VAEHandle, values.ControlHandle, values.VisionHandle, values.VisionOutput, values.UpscalerHandle,
        values.Control, values.NoiseValue, values.SamplerValue, values.GuiderValue, values.Video, values.Artifact,
        BlobRef, ModelRef,
    )
}  # fmt: skip

log = logging.getLogger(__name__)


class NotKeepable(Exception):
    """A value has a part that has no form on disk."""


class DiskTier:
    """Results by signature in `folder`, at most `budget_bytes`; those not used for longest go first.

    Signatures cover documents and nodes, not the engine's arithmetic: give each studio version, device and numerics
    plan a folder of its own. Disk errors never reach a job: what can't be written is not kept. Any thread may use it.
    """

    def __init__(self, folder: Path, budget_bytes: int) -> None:
        self.folder, self.budget_bytes = folder, budget_bytes
        self._sizes: dict[str, tuple[float, int]] | None = None  # file name → (last use, bytes)
        self._lock = threading.Lock()

    def __contains__(self, digest: bytes) -> bool:
        return (self.folder / (digest.hex() + SUFFIX)).exists()

    def get(self, digest: bytes) -> Kept | None:
        path = self.folder / (digest.hex() + SUFFIX)
        try:
            data = path.read_bytes()
        except OSError:
            return None
        try:
            kept = unpack(data)
        except (ValueError, KeyError, TypeError, IndexError, AttributeError) as error:
            log.warning("a kept result is damaged and was removed: %s (%s)", path.name, error)
            with contextlib.suppress(OSError):
                path.unlink()
            return None
        with contextlib.suppress(OSError):
            os.utime(path)
        return kept

    def put(self, digest: bytes, kept: Kept) -> None:
        name = digest.hex() + SUFFIX
        try:
            data = pack(kept)
        except NotKeepable as error:
            log.debug("not kept on disk: %s", error)
            return
        if len(data) > self.budget_bytes:
            return
        partial = self.folder / f"{name}.{os.getpid()}.{threading.get_ident()}.part"
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            partial.write_bytes(data)
            os.replace(partial, self.folder / name)
            with self._lock:
                self._make_room(name, len(data))
        except OSError as error:
            log.warning("a result could not be kept on disk: %s", error)
            with contextlib.suppress(OSError):
                partial.unlink()

    def _make_room(self, name: str, size: int) -> None:
        if self._sizes is None:
            self._sizes = {}
            for entry in os.scandir(self.folder):
                if entry.name.endswith(SUFFIX):
                    found = entry.stat()
                    self._sizes[entry.name] = (found.st_mtime, found.st_size)
        used = (self.folder / name).stat().st_mtime
        self._sizes[name] = (used, size)
        total = sum(held for _, held in self._sizes.values())
        if total <= self.budget_bytes:
            return
        for old in sorted(self._sizes, key=lambda item: self._last_use(item)):
            if total <= self.budget_bytes or old == name:
                break
            total -= self._sizes.pop(old)[1]
            with contextlib.suppress(FileNotFoundError):
                (self.folder / old).unlink()

    def _last_use(self, name: str) -> float:
        try:
            return (self.folder / name).stat().st_mtime
        except OSError:
            return 0.0


def pack(kept: Kept) -> bytes:
    """A result as the bytes of its file. Raises NotKeepable."""
    blobs: list[bytes] = []
    header = {
        "outputs": [_flatten(v, blobs) for v in kept.outputs],
        "many": list(kept.many) if kept.many is not None else None,
        "artifacts": [_flatten(a, blobs) for a in kept.artifacts],
        "numerics": [list(noted) for noted in kept.numerics],
        "sizes": [],
    }
    header["sizes"] = [len(b) for b in blobs]
    text = json.dumps(header).encode()
    body = b"".join([MAGIC, len(text).to_bytes(8, "little"), text, *blobs])
    return body + hashlib.blake2b(body, digest_size=_CHECK_BYTES).digest()


def unpack(data: bytes) -> Kept:
    """The result in a file's bytes. Raises ValueError and its like when they are damaged."""
    body, check = data[:-_CHECK_BYTES], data[-_CHECK_BYTES:]
    if not body.startswith(MAGIC) or hashlib.blake2b(body, digest_size=_CHECK_BYTES).digest() != check:
        raise ValueError("the checksum does not fit")
    start = len(MAGIC) + 8
    end = start + int.from_bytes(body[len(MAGIC) : start], "little")
    header = json.loads(body[start:end])
    blobs: list[bytes] = []
    for size in header["sizes"]:
        blobs.append(body[end : end + size])
        end += size
    outputs = tuple(_restore(v, blobs) for v in header["outputs"])
    many = tuple(header["many"]) if header["many"] is not None else None
    artifacts = tuple(_restore(a, blobs) for a in header["artifacts"])
    return Kept(outputs, many, artifacts, tuple((name, value) for name, value in header["numerics"]))


def _flatten(value: Any, blobs: list[bytes]) -> Any:
    if value is None or isinstance(value, (bool, str)) or value.__class__ in (int, float):
        return {"v": value} if not isinstance(value, float) else {"f": value.hex()}
    if isinstance(value, bytes):
        blobs.append(value)
        return {"b": len(blobs) - 1}
    if isinstance(value, np.ndarray) and not value.dtype.hasobject:
        blobs.append(np.ascontiguousarray(value).tobytes())
        return {"a": [len(blobs) - 1, value.dtype.str, list(value.shape)]}
    if hasattr(value, "untyped_storage"):
        return _flatten_tensor(value, blobs)
    if isinstance(value, (tuple, list)):
        return {"t" if isinstance(value, tuple) else "l": [_flatten(v, blobs) for v in value]}
    if isinstance(value, dict) and all(isinstance(k, str) for k in value):
        return {"d": {k: _flatten(v, blobs) for k, v in value.items()}}
    name = type(value).__name__
    if _CLASSES.get(name) is type(value):
        fields = {f.name: _flatten(getattr(value, f.name), blobs) for f in dataclasses.fields(_CLASSES[name])}
        return {"c": [name, fields]}
    raise NotKeepable(f"{name} has no form on disk")


def _flatten_tensor(tensor: Any, blobs: list[bytes]) -> Any:
    torch: Any = sys.modules["torch"]
    plain = tensor.detach().cpu().contiguous()
    blobs.append(
        plain.view(torch.uint8).numpy().tobytes()
        if plain.dim()
        else plain.reshape(1).view(torch.uint8).numpy().tobytes()
    )
    return {"T": [len(blobs) - 1, str(tensor.dtype).removeprefix("torch."), list(tensor.shape)]}


def _restore(item: dict[str, Any], blobs: list[bytes]) -> Any:
    ((tag, body),) = item.items()
    if tag == "v":
        return body
    if tag == "f":
        return float.fromhex(body)
    if tag == "b":
        return blobs[body]
    if tag == "a":
        index, dtype, shape = body
        return np.frombuffer(blobs[index], dtype=np.dtype(dtype)).reshape(shape).copy()
    if tag == "T":
        index, dtype, shape = body
        torch: Any = importlib.import_module("torch")
        flat = (
            torch.frombuffer(bytearray(blobs[index]), dtype=torch.uint8)
            if blobs[index]
            else torch.empty(0, dtype=torch.uint8)
        )
        return flat.view(getattr(torch, dtype)).reshape(shape)
    if tag in "tl":
        restored = [_restore(v, blobs) for v in body]
        return tuple(restored) if tag == "t" else restored
    if tag == "d":
        return {k: _restore(v, blobs) for k, v in body.items()}
    name, fields = body
    return _CLASSES[name](**{k: _restore(v, blobs) for k, v in fields.items()})
