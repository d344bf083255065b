"""What tells model files apart without reading all of them."""

from __future__ import annotations

import hashlib
from pathlib import Path

from engine.models.safetensors_header import read_header


def fingerprint_of(path: Path) -> str:
    """sha256 over the file's header, its size and 4 KiB blocks of it: tells files apart without reading all."""
    header, size = read_header(path), path.stat().st_size
    digest = hashlib.sha256(header.raw + str(size).encode())
    with path.open("rb") as file:
        for i in range(16):
            file.seek(max(0, size - 4096) * i // 15)
            digest.update(file.read(4096))
    return digest.hexdigest()
