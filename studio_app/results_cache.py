"""What the engine keeps: results, and prompts that were read; in memory, and on disk so that it survives a restart."""

from __future__ import annotations

import hashlib
import logging
import shutil
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from studio_app.version import VERSION

if TYPE_CHECKING:
    from engine.graph.cache import ValueCache
    from engine.memory.text_cache import TextCache
    from studio_app.settings.store import Settings

log = logging.getLogger(__name__)


def open_cache(settings: Settings, folder: Path | None) -> ValueCache:
    """The cache of results that the settings ask for; with `folder`, also what earlier runs kept there.

    Signatures cover documents, nodes and models, not the engine's arithmetic: each state of the engine's code has a
    folder of its own, and in it each device with what the settings let it change.
    """
    return _opened(settings, "engine.cache_mib", "engine.disk_cache_mib", folder, arithmetic(settings))


def open_texts(settings: Settings, folder: Path | None) -> TextCache | None:
    """The cache of read prompts that the settings ask for; its own hashes cover the arithmetic. None when it is off."""
    from engine.memory.text_cache import TextCache

    kept = "engine.text_cache_mib"
    return TextCache(_opened(settings, kept, kept, folder, "prompts")) if settings.get(kept) else None


def arithmetic(settings: Settings) -> str:
    """A folder's name for the device and for whatever else the settings say that pictures can differ by."""
    said = [str(settings.get("engine.device"))]
    for key, plain in (("engine.quality", "exact"), ("engine.attention", "auto"), ("engine.half_sums", "fast")):
        if settings.get(key) != plain:
            said.append(f"{key.partition('.')[2]}-{settings.get(key)}")
    said += [name for name in ("compile", "fast_cache") if settings.get(f"engine.{name}")]
    return "_".join(said)


def _opened(settings: Settings, memory: str, disk: str, folder: Path | None, name: str) -> ValueCache:
    from engine.graph.cache import ValueCache
    from engine.graph.disk import DiskTier

    tier, budget = None, settings.get(disk) * 2**20
    if folder is not None:
        state = f"{VERSION}-{_state_of_engine()}"
        _forget_others(folder, state)
        tier = DiskTier(folder / state / name, budget) if budget else None
    return ValueCache(settings.get(memory) * 2**20, tier)


def _forget_others(folder: Path, state: str) -> None:
    """Take away what another state of the engine kept: nothing would find it again."""
    try:
        others = [path for path in folder.iterdir() if path.name != state]
    except OSError:
        return
    for path in others:
        log.info("kept results of another version are removed: %s", path.name)
        shutil.rmtree(path, ignore_errors=True)


@cache
def _state_of_engine() -> str:
    """A few letters that differ when a file of the engine does, by times and sizes; reading them takes milliseconds."""
    root = Path(__file__).resolve().parents[1] / "engine"
    stats = ((path.relative_to(root), path.stat()) for path in sorted(root.rglob("*.py")))
    told = "\n".join(f"{path} {stat.st_mtime_ns} {stat.st_size}" for path, stat in stats)
    return hashlib.sha256(told.encode()).hexdigest()[:12]
