"""The numbers of GGUF's quantised tensors, dequantised by vectorised torch code, equal to ggml's reference.

A tensor is a row of blocks; each block has its own scale (and, in the _1 and _K types, minimum) and small integers.
Layouts: https://github.com/ggml-org/llama.cpp/blob/master/ggml/src/ggml-common.h. The order of the float32 operations
is that of ggml's dequantize_row functions, so that results are equal to the last bit.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeAlias

import torch

from engine.models.gguf_header import TYPES

Blocks: TypeAlias = torch.Tensor  # uint8 [blocks, bytes of a block]

# What is not quantised; read as it lies.
PLAIN = {
    "F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16, "F64": torch.float64,
    "I8": torch.int8, "I16": torch.int16, "I32": torch.int32, "I64": torch.int64,
}  # fmt: skip
_SIZES = {name: (numbers, size) for name, numbers, size in TYPES.values()}
_NIBBLES = (0, 4)
_PAIRS = (0, 2, 4, 6)
_BITS = (0, 1, 2, 3, 4, 5, 6, 7)
_NONLINEAR = (-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113)


def dequantised(data: torch.Tensor, dtype: str, shape: Sequence[int]) -> torch.Tensor:
    """float32 of `shape` from the bytes `data` (uint8, one dimension, on any device) of a quantised type.

    Raises KeyError for a type that is not in `QUANTISED`.
    """
    blocks = data.reshape(-1, _SIZES[dtype][1])
    return QUANTISED[dtype](blocks).reshape(tuple(shape))


def _half(blocks: Blocks, at: int) -> torch.Tensor:
    """The float16 at byte `at` of each block, as float32 [blocks, 1]."""
    return blocks[:, at : at + 2].contiguous().view(torch.float16).float()


def _fields(data: torch.Tensor, run: int, shifts: Sequence[int], mask: int) -> torch.Tensor:
    """Bit fields of bytes [blocks, k]: of each `run` of bytes first all at the first shift, then at the next."""
    steps = torch.tensor(shifts, dtype=torch.uint8, device=data.device).reshape(1, 1, -1, 1)
    fields = (data.reshape(data.shape[0], -1, 1, run) >> steps) & mask
    return fields.reshape(data.shape[0], -1)


def _q8_0(blocks: Blocks) -> torch.Tensor:
    return blocks[:, 2:].contiguous().view(torch.int8).float() * _half(blocks, 0)


def _q4_0(blocks: Blocks) -> torch.Tensor:
    return _half(blocks, 0) * (_fields(blocks[:, 2:], 16, _NIBBLES, 15).float() - 8)


def _q4_1(blocks: Blocks) -> torch.Tensor:
    return _half(blocks, 0) * _fields(blocks[:, 4:], 16, _NIBBLES, 15).float() + _half(blocks, 2)


def _five_bits(low: torch.Tensor, high: torch.Tensor) -> torch.Tensor:
    """Four bits from 16 bytes and the fifth from four: number i of a block has bit i of them."""
    return (_fields(low, 16, _NIBBLES, 15) | (_fields(high, 1, _BITS, 1) << 4)).float()


def _q5_0(blocks: Blocks) -> torch.Tensor:
    return _half(blocks, 0) * (_five_bits(blocks[:, 6:], blocks[:, 2:6]) - 16)


def _q5_1(blocks: Blocks) -> torch.Tensor:
    return _half(blocks, 0) * _five_bits(blocks[:, 8:], blocks[:, 4:8]) + _half(blocks, 2)


def _iq4_nl(blocks: Blocks) -> torch.Tensor:
    values = torch.tensor(_NONLINEAR, dtype=torch.float32, device=blocks.device)
    return _half(blocks, 0) * values[_fields(blocks[:, 2:], 16, _NIBBLES, 15).long()]


def _iq4_xs(blocks: Blocks) -> torch.Tensor:
    low = _fields(blocks[:, 4:8], 1, _NIBBLES, 15)
    scales = (low | (_fields(blocks[:, 2:4], 1, _PAIRS, 3) << 4)).float() - 32
    values = torch.tensor(_NONLINEAR, dtype=torch.float32, device=blocks.device)
    numbers = values[_fields(blocks[:, 8:], 16, _NIBBLES, 15).long()]
    return _scaled(_half(blocks, 0) * scales, numbers)


def _scaled(scales: torch.Tensor, numbers: torch.Tensor, offsets: torch.Tensor | None = None) -> torch.Tensor:
    """Each group of a block's numbers times its scale, less its offset; scales and offsets [blocks, groups]."""
    grouped = scales[:, :, None] * numbers.reshape(*scales.shape, -1)
    if offsets is not None:
        grouped = grouped - offsets[:, :, None]
    return grouped.reshape(numbers.shape)


def _q2_k(blocks: Blocks) -> torch.Tensor:
    packed = blocks[:, :16]
    scales, offsets = _half(blocks, 80) * (packed & 15).float(), _half(blocks, 82) * (packed >> 4).float()
    return _scaled(scales, _fields(blocks[:, 16:80], 32, _PAIRS, 3).float(), offsets)


def _q3_k(blocks: Blocks) -> torch.Tensor:
    low = _fields(blocks[:, 96:104], 8, _NIBBLES, 15)
    scales = (low | (_fields(blocks[:, 104:108], 4, _PAIRS, 3) << 4)).float() - 32
    numbers = _fields(blocks[:, 32:96], 32, _PAIRS, 3).float()
    # The offset is 4 where the mask's bit is 0.
    numbers = numbers - 4 * (1 - _fields(blocks[:, :32], 32, _BITS, 1).float())
    return _scaled(_half(blocks, 108) * scales, numbers)


def _scales_and_minima(packed: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Eight 6-bit scales and eight 6-bit minima of 12 bytes (ggml's get_scale_min_k4)."""
    scale, minimum, both = packed[:, :4], packed[:, 4:8], packed[:, 8:]
    scales = torch.cat([scale & 63, (both & 15) | ((scale >> 2) & 48)], dim=1)
    minima = torch.cat([minimum & 63, (both >> 4) | ((minimum >> 2) & 48)], dim=1)
    return scales.float(), minima.float()


def _q4_k(blocks: Blocks) -> torch.Tensor:
    scales, minima = _scales_and_minima(blocks[:, 4:16])
    numbers = _fields(blocks[:, 16:], 32, _NIBBLES, 15).float()
    return _scaled(_half(blocks, 0) * scales, numbers, _half(blocks, 2) * minima)


def _q5_k(blocks: Blocks) -> torch.Tensor:
    scales, minima = _scales_and_minima(blocks[:, 4:16])
    low, high = _fields(blocks[:, 48:], 32, _NIBBLES, 15), _fields(blocks[:, 16:48], 32, _BITS, 1)
    return _scaled(_half(blocks, 0) * scales, (low | (high << 4)).float(), _half(blocks, 2) * minima)


def _q6_k(blocks: Blocks) -> torch.Tensor:
    low, high = _fields(blocks[:, :128], 64, _NIBBLES, 15), _fields(blocks[:, 128:192], 32, _PAIRS, 3)
    scales = blocks[:, 192:208].contiguous().view(torch.int8).float()
    return _scaled(_half(blocks, 208) * scales, (low | (high << 4)).float() - 32)


QUANTISED: dict[str, Callable[[Blocks], torch.Tensor]] = {
    "Q8_0": _q8_0, "Q4_0": _q4_0, "Q4_1": _q4_1, "Q5_0": _q5_0, "Q5_1": _q5_1, "Q2_K": _q2_k, "Q3_K": _q3_k,
    "Q4_K": _q4_k, "Q5_K": _q5_k, "Q6_K": _q6_k, "IQ4_NL": _iq4_nl, "IQ4_XS": _iq4_xs,
}  # fmt: skip
