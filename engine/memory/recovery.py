"""Going on after memory ran out: what counts as that, the next plan, and what is remembered. Torch-free.

Three nets hang below one another. A network's call that fails is made again with less on the card (residency.py). A
sampling run that still fails goes on from its last finished step, pictures and then sides one after the other
(attempts.py); a decode or encode that still fails is made in tiles (autoencoding.py). A node that still fails is called
again when the card is bare. What then still does not fit is refused, with the change that would.
"""

from __future__ import annotations

import json
import os
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from engine.contracts.errors import OutOfMemory

# What torch, cuBLAS, cuDNN, the driver and the system say when there is no memory left.
_WORDS = (
    "out of memory", "can't allocate memory", "cannot allocate memory", "not enough memory", "alloc_failed",
    "cudaerrormemoryallocation", "cuda error: memory", "std::bad_alloc", "failed to allocate", "pin_memory",
)  # fmt: skip


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error says that memory ran out, on the card or beside it."""
    if isinstance(error, MemoryError):
        return True
    if type(error).__name__ == "OutOfMemoryError":
        return True
    return isinstance(error, (RuntimeError, OSError)) and any(word in str(error).lower() for word in _WORDS)


def refused(memory: Any) -> OutOfMemory:
    """What a person is told when nothing more can be done; `memory` is the Residency, or None without a card."""
    words = memory.refusal() if memory is not None else None
    what, fix = words or ("the card has too little memory for this", "Make the picture smaller, or fewer at once")
    return OutOfMemory(what, where="memory", fix=fix)


@dataclass(frozen=True)
class Correction:
    """What a real run taught: plans whose largest phase is as large as `below` don't fit, though they seemed to.

    apart  whether sides and pictures must go one after the other
    """

    below: int = 0
    apart: bool = False


class Corrections:
    """Corrections by model, shape and card, kept in a JSON file; without a path in memory only."""

    def __init__(self, path: Path | None = None) -> None:
        self._path = path
        self._known: dict[str, Correction] = {}
        for key, value in self._read().items():
            if isinstance(value, Mapping) and isinstance(value.get("below"), int):
                self._known[key] = Correction(value["below"], value.get("apart") is True)

    @staticmethod
    def key(model: str, width: int, height: int, batch: int, card: str) -> str:
        return json.dumps([model, width, height, batch, card])

    def of(self, key: str) -> Correction:
        return self._known.get(key, Correction())

    def learn(self, key: str, below: int = 0, apart: bool = False) -> None:
        """Remember that plans of `below` bytes and more don't fit, or that only one at a time does."""
        known = self.of(key)
        limits = [limit for limit in (known.below, below) if limit]
        found = Correction(min(limits, default=0), known.apart or apart)
        if found != known:
            self._known[key] = found
            self._write()

    def _read(self) -> Mapping[str, Any]:
        try:
            data = json.loads(self._path.read_bytes()) if self._path else {}
        except (OSError, ValueError):
            return {}
        return data if isinstance(data, dict) else {}

    def _write(self) -> None:
        if self._path is None:
            return
        temporary = self._path.with_name(f".{self._path.name}.{secrets.token_hex(4)}")
        data = {key: {"below": item.below, "apart": item.apart} for key, item in self._known.items()}
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            temporary.write_text(json.dumps(data), encoding="utf-8")
            os.replace(temporary, self._path)
        except OSError:
            temporary.unlink(missing_ok=True)
