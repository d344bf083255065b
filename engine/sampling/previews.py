"""A cheap look at a latent: one 4→3 linear map for each autoencoder, fitted by least squares on first use."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F  # noqa: N812 - the field's own name for it

from engine.families.protocol import Autoencoder

PREVIEW_PICTURES = 4


@dataclass(frozen=True)
class PreviewMap:
    """RGB = latent · matrix + bias, in 0..1; `matrix` float32 [C, 3], `bias` float32 [3]."""

    matrix: npt.NDArray[np.float32]
    bias: npt.NDArray[np.float32]

    @classmethod
    def fitted(cls, family: Autoencoder) -> PreviewMap:
        """Fit on soft random colour fields: encode them, and regress each cell's mean colour on its latent."""
        factor = family.latent_space.factor
        generator = torch.Generator("cpu").manual_seed(0)
        coarse = torch.rand((4, 3, 6, 6), generator=generator)
        pixels = F.interpolate(coarse, size=(8 * factor, 8 * factor), mode="bicubic", align_corners=False).clamp(0, 1)
        latents = family.encode(pixels * 2 - 1)
        cells = F.avg_pool2d(pixels, factor)
        rows = latents.permute(0, 2, 3, 1).reshape(-1, latents.shape[1]).double().numpy()
        wanted = cells.permute(0, 2, 3, 1).reshape(-1, 3).double().numpy()
        design = np.concatenate([rows, np.ones((len(rows), 1))], axis=1)
        solution = np.linalg.lstsq(design, wanted, rcond=None)[0].astype(np.float32)
        return cls(solution[:-1], solution[-1])

    @classmethod
    def plain(cls, channels: int) -> PreviewMap:
        """Shades of grey by the mean of the channels: for latents whose autoencoder is not here."""
        return cls(np.full((channels, 3), 0.5 / channels**0.5, np.float32), np.full(3, 0.5, np.float32))

    def frame(self, latents: torch.Tensor) -> npt.NDArray[np.uint8]:
        """uint8 [H, W, 3]: up to four pictures of latents [B, C, h, w], side by side in a square, one pixel a cell."""
        shown = latents[:PREVIEW_PICTURES].float().cpu().numpy().transpose(0, 2, 3, 1)
        colours = np.clip(shown @ self.matrix + self.bias, 0.0, 1.0)
        pictures = np.nan_to_num(colours * 255.0 + 0.5).astype(np.uint8)
        count, height, width, _ = pictures.shape
        columns = math.ceil(math.sqrt(count))
        rows = math.ceil(count / columns)
        sheet = np.zeros((rows * height, columns * width, 3), np.uint8)
        for i, picture in enumerate(pictures):
            top, left = (i // columns) * height, (i % columns) * width
            sheet[top : top + height, left : left + width] = picture
        return sheet
