"""What the text encoders said of prompts, kept: in main memory, the least recently used going first, and on the disk
beside it, where a later session finds it. What comes back is bit for bit what the encoders said.

What a prompt is found by is read_prompts.py's affair. Torch-free at import.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from engine.graph.cache import Kept, ValueCache

if TYPE_CHECKING:
    from engine.families.protocol import EncodedText


class TextCache:
    """`values` says how much is kept, and where besides main memory. `found` and `read` count prompts."""

    def __init__(self, values: ValueCache) -> None:
        self._values = values
        self.found = self.read = 0

    @property
    def held(self) -> int:
        """Bytes in main memory."""
        return self._values.used_bytes

    def get(self, key: bytes, encode: Callable[[], EncodedText]) -> EncodedText:
        """What is kept under `key`, else what `encode` says."""
        from engine.families.protocol import EncodedText

        kept = self._values.get(key) or self._values.get_dear(key)
        if kept is not None:
            self.found += 1
            return EncodedText(*kept.outputs)
        self.read += 1
        said = encode()
        kept = Kept((said.entries, said.tokens, said.limit, said.ignored, said.notes), None, ())
        self._values.put(key, kept)
        if self._values.disk is not None:
            self._values.disk.put(key, kept)
        return said

    def clear(self) -> None:
        """Let go of what is in main memory; what is on the disk stays."""
        self._values.clear()
