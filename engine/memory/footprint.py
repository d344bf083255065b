"""What a model needs, part by part, as numbers: what estimates give and the planner reads. Torch-free."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

GIB = 1 << 30


@dataclass(frozen=True)
class Footprint:
    """One part of a model in sixteen-bit weights; all sizes in bytes.

    part     its name in a diffusers folder          role   "text", "denoiser" or "vae"
    weights  all of them                             outside  weights that lie outside streamed blocks
    blocks   the size of each block that streaming moves at a time, in order
    leaves   the two largest layers together
    peak     alive at once beside the weights in one forward, inputs counted
    flops    of one forward
    beside   of the weights outside, those of ControlNets and their like: they stay on the card, and in sixteen bits
    single   whether it runs in thirty-two bits on a card too, and is counted so
    """

    part: str
    role: str
    weights: int
    outside: int
    blocks: tuple[int, ...]
    leaves: int
    peak: int
    flops: float
    beside: int = 0
    single: bool = False

    @property
    def largest_block(self) -> int:
        return max(self.blocks, default=self.weights)

    def to_json(self) -> dict[str, Any]:
        return {**asdict(self), "blocks": list(self.blocks)}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Footprint:
        """Raises KeyError, TypeError or ValueError for what is none."""
        return cls(**{**data, "blocks": tuple(int(size) for size in data["blocks"])})


@dataclass(frozen=True)
class ModelFootprint:
    """A whole model for one request.

    `vae_tiles`: edge of a tile in pixels → the decoder's peak for one such tile. `halves`: how many sides of guidance
    go through the denoiser together, 1 or 2; `apart` is the denoiser's peak for one side and one picture alone.
    `seen`: what was measured on the card planned for, bytes beside the weights, by "text", "denoise", "apart" (with
    fewer bits "denoise/8"), "decode" and "decode/512" for a tile; it is no part of what is kept with the estimate.
    """

    family: str
    variant: str
    parts: tuple[Footprint, ...]
    vae_tiles: Mapping[int, int]
    halves: int
    apart: int
    sides: int
    seen: Mapping[str, int] = field(default_factory=dict)

    def of(self, role: str) -> tuple[Footprint, ...]:
        return tuple(part for part in self.parts if part.role == role)

    @property
    def denoiser(self) -> Footprint:
        return self.of("denoiser")[0]

    @property
    def vae(self) -> Footprint:
        return self.of("vae")[0]

    def to_json(self) -> dict[str, Any]:
        return {
            "family": self.family, "variant": self.variant, "parts": [part.to_json() for part in self.parts],
            "vae_tiles": {str(edge): size for edge, size in self.vae_tiles.items()}, "halves": self.halves,
            "apart": self.apart, "sides": self.sides,
        }  # fmt: skip

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> ModelFootprint:
        """Raises KeyError, TypeError or ValueError for what is none."""
        return cls(
            str(data["family"]), str(data["variant"]), tuple(Footprint.from_json(part) for part in data["parts"]),
            {int(edge): int(size) for edge, size in data["vae_tiles"].items()}, int(data["halves"]),
            int(data["apart"]), int(data["sides"]),
        )  # fmt: skip
