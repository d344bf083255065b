"""New room around a picture: how much on each side, and how far the new part fades into the old one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from engine.contracts.codec import Document
from engine.contracts.errors import InvalidRequest

MOST = 4096  # new pixels on one side
MOST_FEATHER = 1024
SIDES = ("left", "top", "right", "bottom")


@dataclass(frozen=True, kw_only=True)
class Margins(Document):
    """New pixels on each side, 0 to 4096, and `feather`: pixels of the old picture over which the new part fades in."""

    left: int = 0
    top: int = 0
    right: int = 0
    bottom: int = 0
    feather: int = 16

    def __bool__(self) -> bool:
        return bool(self.left or self.top or self.right or self.bottom)

    def around(self, size: tuple[int, int]) -> tuple[int, int]:
        """(width, height) of a picture of `size` with them."""
        return size[0] + self.left + self.right, size[1] + self.top + self.bottom


def check_margins(margins: Margins) -> None:
    """Raises InvalidRequest when a side or the feather is out of range."""
    if not all(0 <= getattr(margins, side) <= MOST for side in SIDES):
        raise InvalidRequest(
            "a side of the picture is extended by too much", where="outpainting", fix=f"Use 0 to {MOST} pixels"
        )
    if not 0 <= margins.feather <= MOST_FEATHER:
        raise InvalidRequest(
            f"the feather {margins.feather} is out of range", where="outpainting", fix=f"Use 0 to {MOST_FEATHER} pixels"
        )


def margins_from(text: str) -> Margins:
    """ "left=64,right=64,feather=8" → margins. Raises ValueError with a sentence."""
    found: dict[str, Any] = {}
    for piece in text.split(","):
        name, _, number = piece.strip().partition("=")
        if name not in (*SIDES, "feather") or not number.strip().isdecimal() or len(number) > 9:
            raise ValueError(f"“{piece.strip()[:40]}” is not a side with its pixels; write left=64,top=0,right=64")
        found[name] = int(number)
    return Margins(**found)
