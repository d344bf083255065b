"""Regions of a picture: masks with soft edges, and who sees whom in a transformer whose prompts belong to places.

Entity-level control after EliGen (2501.01097), as DiffSynth-Studio has it for Qwen-Image and Flux: the prompts of the
regions stand one behind the other, the global one last; each is read by the part of the picture that its mask covers.
Torch-free but for the functions that give tensors.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from engine.media.pixels import mask_batched

if TYPE_CHECKING:
    import torch

Mask = npt.NDArray[np.float32]


def feathered(mask: Mask, radius: float) -> Mask:
    """A mask [H, W] in 0..1 whose edge fades over `radius` pixels to either side; 0 leaves it as it is."""
    import cv2

    if radius <= 0:
        return mask
    soft = cv2.GaussianBlur(np.ascontiguousarray(mask, np.float32), (0, 0), radius / 2)
    return np.clip(np.asarray(soft, np.float32), 0, 1)


def rectangle(x: float, y: float, width: float, height: float, edge: int = 512) -> Mask:
    """A mask [edge, edge] that is 1 in a rectangle given as shares of the picture."""
    mask = np.zeros((edge, edge), np.float32)
    left, top = round(x * edge), round(y * edge)
    mask[top : max(top + 1, round((y + height) * edge)), left : max(left + 1, round((x + width) * edge))] = 1
    return mask


def first_mask(mask: Mask) -> Mask:
    """The first of a batch of masks, [H, W], contiguous."""
    return np.ascontiguousarray(mask_batched(mask)[0], dtype=np.float32)


def covered_tokens(masks: Sequence[Mask], rows: int, columns: int) -> torch.Tensor:
    """bool [regions, rows·columns]: the picture's tokens that a region covers at least in part."""
    import torch
    import torch.nn.functional as F  # noqa: N812 - the field's own name for it

    covered = [
        F.adaptive_max_pool2d(torch.tensor(mask, dtype=torch.float32)[None, None], (rows, columns)).flatten() > 0.5
        for mask in masks
    ]
    return torch.stack(covered) if covered else torch.zeros(0, rows * columns, dtype=torch.bool)


def attention_mask(lengths: Sequence[int], covered: torch.Tensor, *, pictures_first: bool = False) -> torch.Tensor:
    """bool [n, n], True where the row's token may look at the column's; n = text tokens + picture tokens.

    lengths   tokens of each prompt: of the regions in their order, of the global prompt last
    covered   bool [regions, picture tokens]
    pictures_first   whether the picture's tokens stand before the text's

    Prompts never see each other. A region's prompt and the picture's tokens in it see each other; the global prompt
    and the whole picture do; the picture sees itself whole.
    """
    import torch

    *regions, _ = lengths
    if len(regions) != covered.shape[0]:
        raise ValueError(f"{len(regions)} prompts for {covered.shape[0]} regions")
    words, pixels = sum(lengths), covered.shape[1]
    seen = torch.zeros(words + pixels, words + pixels, dtype=torch.bool)
    seen[words:, words:] = True
    start = 0
    for place, length in enumerate(lengths):
        stop = start + length
        seen[start:stop, start:stop] = True
        here = covered[place] if place < len(regions) else torch.ones(pixels, dtype=torch.bool)
        seen[start:stop, words:] = here[None, :]
        seen[words:, start:stop] = here[:, None]
        start = stop
    if pictures_first:
        order = torch.cat([torch.arange(words, words + pixels), torch.arange(words)])
        seen = seen[order][:, order]
    return seen
