"""FreeU v2 (2309.11497): the decoder's own features stronger, the low frequencies of its skips weaker."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch

THRESHOLD = 1  # cells around the zero frequency that are scaled


@dataclass(frozen=True)
class FreeU:
    """b1, s1 for the widest features (4 × the model's channels); b2, s2 for those half as wide."""

    b1: float
    b2: float
    s1: float
    s2: float


@contextlib.contextmanager
def freeu(unet: Any, settings: FreeU) -> Iterator[None]:
    """While inside, the UNet's decoder runs with FreeU. The network is as before afterwards."""
    width = int(unet.config.block_out_channels[0])
    factors = {4 * width: (settings.b1, settings.s1), 2 * width: (settings.b2, settings.s2)}
    handles = []
    try:
        for channels, resnet in _decoder(unet):
            if channels in factors:
                handles.append(resnet.register_forward_pre_hook(_hook(channels, *factors[channels])))
        yield
    finally:
        for handle in handles:
            handle.remove()


def _decoder(unet: Any) -> Iterator[tuple[int, Any]]:
    """(channels of the decoder's own features, resnet) of each resnet there; the rest of its input is a skip."""
    before = int(unet.config.block_out_channels[-1])
    for block in unet.up_blocks:
        for resnet in block.resnets:
            yield before, resnet
            before = int(resnet.out_channels)


def _hook(channels: int, backbone: float, skip: float) -> Any:
    def before(module: Any, args: tuple[Any, ...]) -> tuple[Any, ...]:
        both: torch.Tensor = args[0]
        own, skipped = both[:, :channels], both[:, channels:]
        return (torch.cat([stronger(own, backbone), low_scaled(skipped, skip)], dim=1), *args[1:])

    return before


def stronger(features: torch.Tensor, factor: float) -> torch.Tensor:
    """The first half of the channels scaled by up to `factor`, more where the mean over channels is high (v2)."""
    mean = features.mean(1, keepdim=True)
    flat = mean.flatten(1)
    low, high = (edge.reshape(-1, 1, 1, 1) for edge in (flat.amin(1), flat.amax(1)))
    gain = (factor - 1.0) * ((mean - low) / (high - low)) + 1.0
    half = features.shape[1] // 2
    return torch.cat([features[:, :half] * gain, features[:, half:]], dim=1)


def low_scaled(features: torch.Tensor, factor: float) -> torch.Tensor:
    """The lowest frequencies of each channel scaled by `factor`."""
    spectrum = torch.fft.fftshift(torch.fft.fftn(features.float(), dim=(-2, -1)), dim=(-2, -1))
    rows, columns = spectrum.shape[-2] // 2, spectrum.shape[-1] // 2
    weight = torch.ones(spectrum.shape[-2:], device=features.device)
    weight[rows - THRESHOLD : rows + THRESHOLD, columns - THRESHOLD : columns + THRESHOLD] = factor
    back: torch.Tensor = torch.fft.ifftn(torch.fft.ifftshift(spectrum * weight, dim=(-2, -1)), dim=(-2, -1)).real
    return back.to(features.dtype)
