"""The engine's kept results: in memory, and on disk what is dear to make, so that it survives a restart."""

from __future__ import annotations

import hashlib
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from studio_app.version import VERSION

if TYPE_CHECKING:
    from engine.graph.cache import ValueCache

DISK_BYTES = 2 * 2**30


def open_cache(memory_bytes: int, folder: Path | None, device: str) -> ValueCache:
    """A cache of `memory_bytes`; with `folder`, also what earlier runs kept there.

    Signatures cover documents, nodes and models, not the engine's arithmetic: each state of the engine's code, on
    each device, has a folder of its own.
    """
    from engine.graph.cache import ValueCache
    from engine.graph.disk import DiskTier

    disk = DiskTier(folder / f"{VERSION}-{_state_of_engine()}-{device}", DISK_BYTES) if folder else None
    return ValueCache(memory_bytes, disk)


@cache
def _state_of_engine() -> str:
    """A few letters that differ when a file of the engine does, by times and sizes; reading them takes milliseconds."""
    root = Path(__file__).resolve().parents[1] / "engine"
    stats = ((path.relative_to(root), path.stat()) for path in sorted(root.rglob("*.py")))
    told = "\n".join(f"{path} {stat.st_mtime_ns} {stat.st_size}" for path, stat in stats)
    return hashlib.sha256(told.encode()).hexdigest()[:12]
