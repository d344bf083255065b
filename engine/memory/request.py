"""What is to be made, as far as memory is concerned. Torch-free."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import Any, Literal, TypeAlias

Kernel: TypeAlias = Literal["flash", "plain"]
FACTOR = 8  # pixels for each latent cell of a denoiser's input, before packing
OVERLAP = 256  # pixels that windows share where nothing else is said: the tiled sampler's own


@dataclass(frozen=True)
class Request:
    """Sizes in pixels.

    batch       pictures at once           guidance    whether a negative side is computed as well
    tokens      of the prompt, 0 for the family's usual length
    references  pictures to edit, each of the same size
    controls    ControlNets at once        adapters    LoRAs at once
    prompts     IP-Adapters at once        frames      of a video, 1 for pictures
    window      edge of the windows that the picture is denoised in, 0 for whole; overlap: what they share
    kernel      of the attention: "flash" keeps its answer alone, "plain" two matrices of tokens by tokens
    """

    width: int = 1024
    height: int = 1024
    batch: int = 1
    guidance: bool = True
    tokens: int = 0
    references: int = 0
    controls: int = 0
    adapters: int = 0
    steps: int = 25
    prompts: int = 0
    frames: int = 1
    window: int = 0
    overlap: int = OVERLAP
    kernel: Kernel = "flash"

    @property
    def seen(self) -> tuple[int, int]:
        """(width, height) that the denoiser sees at once."""
        edge = self.window or max(self.width, self.height)
        return min(self.width, edge), min(self.height, edge)

    @property
    def windows(self) -> int:
        """How many windows one step goes through."""
        if not self.window:
            return 1
        return across(self.width, self.window, self.overlap) * across(self.height, self.window, self.overlap)

    def attended(self, *, fused: bool, half: bool) -> Request:
        """The request with the kernel that its attention has on a card: cards from before 2020 have no fused one for
        bfloat16, which the families run in that are not `half`."""
        return self if fused or half else replace(self, kernel="plain")

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def across(length: int, size: int, overlap: int) -> int:
    """How many windows of `size` lie along `length` when neighbours share at least `overlap`."""
    return 1 if length <= size else 1 - (-(length - size) // max(size - overlap, 1))
