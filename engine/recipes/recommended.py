"""What a model recommends and what it can take, as far as recipes need to know it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Recommended:
    """Settings a request falls back on, and the limits it is checked against.

    width, height     native size in pixels; their product is the area other shapes keep to
    multiple          both sides must be divisible by this
    minimum, maximum  smallest and largest side
    inpainting        the network takes the mask as extra channels (9-channel checkpoints)
    redraw_reach      how many times its own area it redraws well in one go; beyond, enlarged pictures go by windows
    redraw_strength   how much of an enlarged picture is redrawn, None for the usual
    redraw_prompt     whether it is told the prompt again for that; small models then draw all of it anew
    """

    width: int = 512
    height: int = 512
    steps: int = 25
    cfg: float = 7.0
    sampler: str = "euler"
    scheduler: str = "normal"
    multiple: int = 8
    minimum: int = 64
    maximum: int = 4096
    inpainting: bool = False
    redraw_reach: float = 2.25
    redraw_strength: float | None = None
    redraw_prompt: bool = True

    @property
    def area(self) -> int:
        return self.width * self.height
