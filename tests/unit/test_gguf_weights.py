"""Quantised tensors of GGUF give the numbers that ggml's own reference gives, to the last bit."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from engine.models.gguf_header import TYPES
from engine.models.gguf_weights import QUANTISED, dequantised

gguf = pytest.importorskip("gguf", reason="the reference is in the test extra")

SIZES = {name: (numbers, size) for name, numbers, size in TYPES.values()}


@pytest.mark.parametrize("dtype", sorted(QUANTISED))
def test_dequantised_equals_the_reference_on_any_bytes(dtype: str) -> None:
    from gguf.quants import dequantize

    numbers, size = SIZES[dtype]
    data = np.random.default_rng(7).integers(0, 256, (64, 3 * size), dtype=np.uint8)
    with np.errstate(all="ignore"):
        wanted = dequantize(data, gguf.GGMLQuantizationType[dtype])
    found = dequantised(torch.from_numpy(data.reshape(-1)), dtype, (64, 3 * numbers))
    np.testing.assert_array_equal(found.numpy(), wanted)


@pytest.mark.parametrize("dtype", ["Q8_0", "Q5_1", "Q5_0", "Q4_1", "Q4_0"])
def test_a_quantised_tensor_comes_back_near_itself(dtype: str) -> None:
    from gguf.quants import quantize

    source = np.random.default_rng(3).standard_normal((16, 64), dtype=np.float32)
    data = quantize(source, gguf.GGMLQuantizationType[dtype])
    found = dequantised(torch.from_numpy(data.reshape(-1)), dtype, source.shape).numpy()
    bits = int(dtype[1])
    assert np.abs(found - source).max() <= np.abs(source).max() / 2 ** (bits - 1)
