"""Weights of linear layers in eight or four bits, made whole layer by layer as they are used.

Eight bits: each row r is q[r] · s[r], q int8 in −127..127, s[r] = max|w[r]| / 127 in float16.
Four bits: each run of 64 along a row is q · s + m, q in 0..15, two to a byte with the even place in the low half,
m the least number of the run and s = (most − least) / 15, both float16.
Undone in the type of the layer's input: q, s and m are each brought to that type first.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

RUN = 64
_LEAST = 6e-8  # below it a float16 is nothing


@dataclass(frozen=True, eq=False)
class Quantised:
    """data   int8 [rows, columns] or uint8 [rows, columns / 2]
    scale  float16 [rows, 1] or [rows, columns / 64, 2] of (s, m)
    """

    data: torch.Tensor
    scale: torch.Tensor

    @property
    def nbytes(self) -> int:
        return self.data.nbytes + self.scale.nbytes

    def to(self, device: torch.device) -> Quantised:
        return Quantised(self.data.to(device, copy=True), self.scale.to(device, copy=True))

    def whole(self, dtype: torch.dtype) -> torch.Tensor:
        """The weight, [rows, columns] in `dtype`."""
        if self.data.dtype == torch.int8:
            return self.data.to(dtype).mul_(self.scale.to(dtype))
        rows = self.data.shape[0]
        pairs = torch.stack((self.data & 15, self.data >> 4), dim=-1).reshape(rows, -1, RUN).to(dtype)
        scale, least = self.scale.to(dtype).unbind(-1)
        return pairs.mul_(scale[..., None]).add_(least[..., None]).reshape(rows, -1)


def can_quantise(layer: torch.nn.Module, name: str, tensor: torch.Tensor) -> bool:
    """Whether a layer's parameter may be kept in fewer bits: matrices of linear layers that are not so already."""
    if type(layer).__name__ == "NonDynamicallyQuantizableLinear":  # its weight is read without its forward
        return False
    return name == "weight" and isinstance(layer, torch.nn.Linear) and tensor.ndim == 2 and tensor.element_size() > 1


def quantise(weight: torch.Tensor, bits: int) -> Quantised:
    """`bits` 8 or 4; rows that are no whole number of runs are kept in eight."""
    numbers = weight.detach().float()
    if bits == 8 or numbers.shape[1] % RUN:
        scale = (numbers.abs().amax(1, keepdim=True) / 127).clamp_min(_LEAST).half()
        return Quantised((numbers / scale.float()).round_().clamp_(-127, 127).to(torch.int8), scale)
    runs = numbers.reshape(numbers.shape[0], -1, RUN)
    least = runs.amin(-1).half()
    step = ((runs.amax(-1) - least.float()) / 15).clamp_min(_LEAST).half()
    places = ((runs - least.float()[..., None]) / step.float()[..., None]).round_().clamp_(0, 15).to(torch.uint8)
    places = places.reshape(numbers.shape[0], -1, 2)
    return Quantised(places[..., 0] | (places[..., 1] << 4), torch.stack((step, least), dim=-1))
