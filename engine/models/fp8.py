"""Weights kept in eight bits and made whole layer by layer.

A layer whose weight is kept as float8 e4m3 or e5m2 makes it whole for each call: weight.to(type of the input), times
its factor where the file has one (in float32, rounded once), then the layer's ordinary product. So the result is that
of the whole network with the rounded weights, bit for bit; only the memory is a half or a quarter. What is kept so are
the matrices and kernels of linear and convolution layers; vectors (biases, norms) and tables (embeddings) are not.
"""

from __future__ import annotations

import weakref
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812 - the field's own name for it

from engine.graph import interruption

FP8 = (torch.float8_e4m3fn, torch.float8_e5m2)
CHOICES = {
    "fp8_e4m3fn": torch.float8_e4m3fn,
    "fp8_e4m3fn_fast": torch.float8_e4m3fn,  # ComfyUI's products in eight bits; here the same as the one before
    "fp8_e5m2": torch.float8_e5m2,
}


def rounded(numbers: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    """`numbers` in float8; what lies beyond its range becomes its largest number, as in ComfyUI."""
    limit = torch.finfo(dtype).max
    return numbers.clamp(-limit, limit).to(dtype)


def can_hold(layer: torch.nn.Module, name: str) -> bool:
    """Whether the parameter `name` of a layer may be kept in eight bits."""
    return name == "weight" and isinstance(layer, (torch.nn.Linear, torch.nn.Conv2d))


def hold(layer: torch.nn.Module, weight: torch.Tensor, factor: torch.Tensor | None) -> None:
    """Give a layer an eight-bit weight and the factor (float32, shaped to multiply it) that belongs to it."""
    layer.weight = torch.nn.Parameter(weight, requires_grad=False)
    layer.forward = _Whole(layer, factor)


def whole(layer: torch.nn.Module, dtype: torch.dtype) -> torch.Tensor:
    """The weight of any linear or convolution layer as numbers of `dtype`; the parameter itself where it is such."""
    weight: torch.Tensor = layer.weight  # type: ignore[assignment]
    forward = vars(layer).get("forward")
    factor = forward.factor if isinstance(forward, _Whole) else None
    return _multiplied(weight, factor, dtype)


def _multiplied(weight: torch.Tensor, factor: torch.Tensor | None, dtype: torch.dtype) -> torch.Tensor:
    if weight.dtype not in FP8 or factor is None:
        return weight if weight.dtype == dtype else weight.to(dtype)
    return (weight.float() * factor).to(dtype)


class _Whole:
    """The forward of a layer whose weight is kept in eight bits; asks before it whether the job was cancelled."""

    __slots__ = ("_layer", "factor")

    def __init__(self, layer: torch.nn.Module, factor: torch.Tensor | None) -> None:
        self._layer, self.factor = weakref.ref(layer), factor

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        interruption.check()
        layer: Any = self._layer()
        weight = _multiplied(layer.weight, self.factor, x.dtype)
        if isinstance(layer, torch.nn.Conv2d):
            out: torch.Tensor = layer._conv_forward(x, weight, layer.bias)
            return out
        return F.linear(x, weight, layer.bias)

    def __deepcopy__(self, memo: dict[int, Any]) -> _Whole:
        return _Whole(memo[id(self._layer())], self.factor)
