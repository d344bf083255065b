"""What a plan is made for: the memory of a card and of the machine, and how fast they are. Nothing is read here.

Figures of a real card come from `engine.memory.device`; the presets are for planning without one, with the speed of a
common card of that size (half of its dense sixteen-bit rate, 80 % of what its slot can carry).
"""

from __future__ import annotations

import re
import sys
from dataclasses import dataclass, replace
from types import MappingProxyType

from engine.contracts.errors import InvalidRequest, clip
from engine.memory.footprint import GIB

GUARD = GIB // 2
WINDOWS_GUARD = round(0.7 * GIB)
TERA = 1e12


@dataclass(frozen=True)
class Machine:
    """vram        bytes of the card that may be used     guard      of them, left free
    ram         bytes of main memory that may be used
    bandwidth   bytes a second from pinned main memory to the card
    disk        bytes a second from the disk
    flops       sixteen-bit operations a second that real work reaches
    name        what it is, for a person
    fused       whether attention in bfloat16 has a fused kernel (cards from 2020 on)
    """

    vram: int
    ram: int
    bandwidth: float = 20e9
    disk: float = 2e9
    flops: float = 45 * TERA
    guard: int = GUARD
    name: str = ""
    fused: bool = True

    @property
    def usable(self) -> int:
        """What a plan may fill."""
        return max(self.vram - self.guard, 0)

    def leaving(self, size: int) -> Machine:
        """The machine with `size` bytes of the card left to other programs."""
        return replace(self, vram=max(self.vram - size, 0))


# GB → (card, tera-operations a second reached, bytes a second carried)
_CARDS = {
    4: ("GTX 1650", 3.5, 10e9), 6: ("RTX 2060", 26, 10e9), 8: ("RTX 4060", 30, 10e9), 12: ("RTX 4070", 58, 20e9),
    16: ("RTX 4070 Ti Super", 88, 20e9), 24: ("RTX 4090", 165, 20e9),
}  # fmt: skip
PRESETS = MappingProxyType(
    {
        size: Machine(size * GIB, 32 * GIB, bandwidth=line, flops=rate * TERA, name=f"{size} GB ({card} speed)")
        for size, (card, rate, line) in _CARDS.items()
    }
)


def preset(vram: int, ram: int) -> Machine:
    """A machine with this much memory (bytes), as fast as the common card nearest in size."""
    size = min(PRESETS, key=lambda gb: (abs(gb * GIB - vram), gb))
    return replace(PRESETS[size], vram=vram, ram=ram, name=f"{vram / GIB:.3g} GiB ({_CARDS[size][0]} speed)")


def real_card(budget: int, total: int, ram: int, name: str, bandwidth: float = 0.0, *, fused: bool = True) -> Machine:
    """A card that is there: `budget` of its `total` bytes may be used. Its speed is that of a common card of its size
    until something was measured."""
    like = preset(max(total, GIB), ram)
    return replace(
        like, vram=budget, guard=guard_of(budget), name=name, bandwidth=bandwidth or like.bandwidth, fused=fused
    )


def guard_of(budget: int) -> int:
    """Bytes that are left free of a card; Windows takes more of it for itself."""
    return min(WINDOWS_GUARD if sys.platform == "win32" else GUARD, budget // 8)


_SIZE = re.compile(r"^\s*(\d+(?:\.\d+)?)\s*([kmgt]?)(i?)b?\s*$", re.IGNORECASE)


def read_size(text: str) -> int:
    """`8GiB`, `8GB` (as cards are called: the same), `512MiB` → bytes. Raises InvalidRequest."""
    match = _SIZE.match(text)
    if not match or not match[2]:
        raise InvalidRequest(f"“{clip(text)}” is no size", fix="Write it like 8GiB")
    power = {"k": 1, "m": 2, "g": 3, "t": 4}[match[2].lower()]
    return round(float(match[1]) * 1024.0**power)
