"""What is to be made, as far as memory is concerned. Torch-free."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True)
class Request:
    """Sizes in pixels.

    batch       pictures at once           guidance    whether a negative side is computed as well
    tokens      of the prompt, 0 for the family's usual length
    references  pictures to edit, each of the same size
    controls    ControlNets at once        adapters    LoRAs at once
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

    def to_json(self) -> dict[str, Any]:
        return asdict(self)
