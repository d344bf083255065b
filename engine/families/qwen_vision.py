"""Pictures for the eyes of Qwen2.5-VL: cut into patches, and their places in the prompt (2502.13923).

The arithmetic is that of transformers' Qwen2VLImageProcessor: sizes in whole cells of merged patches, CLIP's mean and
spread, each patch twice in time.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812 - the field's own name for it

from engine.contracts.errors import MissingModel

IMAGE_PAD = "<|image_pad|>"
LEAST_PIXELS, MOST_PIXELS = 56 * 56, 12_845_056
_MEAN = (0.48145466, 0.4578275, 0.40821073)
_SPREAD = (0.26862954, 0.26130258, 0.27577711)


@dataclass(frozen=True, eq=False)
class Sight:
    """patches  float32 [all patches, 3 · 2 · edge²]
    grids    int64 [pictures, 3]: frames, rows and columns of patches of each
    counts   tokens that each picture takes in the prompt
    """

    patches: torch.Tensor
    grids: torch.Tensor
    counts: tuple[int, ...]

    @property
    def tokens(self) -> int:
        return sum(self.counts)

    def widened(self, text: str) -> str:
        """`text` with each picture's mark repeated once for each of its tokens."""
        first, *parts = text.split(IMAGE_PAD)
        return first + "".join(
            IMAGE_PAD * count + part for count, part in zip(self.counts, parts, strict=True)
        )  # fmt: skip

    def inputs(self, ids: torch.Tensor, encoder: Any, device: torch.device) -> dict[str, torch.Tensor]:
        """What the encoder is called with besides the ids [1, n]; which of them are pictures gives each its place."""
        if isinstance(getattr(encoder, "visual", None), torch.nn.Identity):
            raise MissingModel("this Qwen2.5-VL can’t see pictures, since its file has no vision part",
                               fix="Use its safetensors file to edit pictures")  # fmt: skip
        pictures = (ids == encoder.config.image_token_id).int()
        return {
            "pixel_values": self.patches.to(device, encoder.dtype),
            "image_grid_thw": self.grids.to(device),
            "mm_token_type_ids": pictures.to(device),
        }


def seen(images: Sequence[torch.Tensor], config: Any) -> Sight:
    """Pictures, float32 [1, 3, H, W] in 0..1 each, as the eyes with this vision config get them."""
    edge, merge, frames = int(config.patch_size), int(config.spatial_merge_size), int(config.temporal_patch_size)
    patches, grids, counts = [], [], []
    for image in images:
        height, width = whole_cells(image.shape[-2], image.shape[-1], edge * merge)
        picture = image[:, :3].float()
        if picture.shape[-2:] != (height, width):
            picture = F.interpolate(picture, (height, width), mode="bicubic", antialias=True).clamp(0, 1)
        mean, spread = (torch.tensor(values).view(1, 3, 1, 1) for values in (_MEAN, _SPREAD))
        rows, columns = height // edge, width // edge
        cut = ((picture - mean) / spread).reshape(3, rows // merge, merge, edge, columns // merge, merge, edge)
        cut = cut.permute(1, 4, 2, 5, 0, 3, 6)[:, :, :, :, :, None].expand(-1, -1, -1, -1, -1, frames, -1, -1)
        patches.append(cut.reshape(rows * columns, 3 * frames * edge * edge))
        grids.append([1, rows, columns])
        counts.append(rows * columns // merge**2)
    return Sight(torch.cat(patches), torch.tensor(grids), tuple(counts))


def whole_cells(height: int, width: int, cell: int) -> tuple[int, int]:
    """The nearest (height, width) in whole cells with a number of pixels that the eyes take (smart_resize)."""
    rows, columns = round(height / cell) * cell, round(width / cell) * cell
    if rows * columns > MOST_PIXELS:
        scale = math.sqrt(height * width / MOST_PIXELS)
        rows, columns = (max(cell, math.floor(length / scale / cell) * cell) for length in (height, width))
    elif rows * columns < LEAST_PIXELS:
        scale = math.sqrt(LEAST_PIXELS / (height * width))
        rows, columns = (math.ceil(length * scale / cell) * cell for length in (height, width))
    return rows, columns
