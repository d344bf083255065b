"""How alike two pictures are."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from engine.contracts.errors import BadInput


def psnr(one: npt.NDArray[np.float32], other: npt.NDArray[np.float32]) -> float:
    """Peak signal-to-noise ratio in decibels of two pictures [H, W, C] in 0..1; infinite where they are equal.

    Raises BadInput when their sizes differ.
    """
    if one.shape != other.shape:
        raise BadInput("the two pictures differ in size", fix="Compare pictures of one size")
    error = float(np.mean((one.astype(np.float64) - other) ** 2))
    return float("inf") if error == 0 else float(-10 * np.log10(error))
