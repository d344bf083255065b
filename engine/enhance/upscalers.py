"""Upscaling networks: read from safetensors with spandrel (MIT), which knows their architectures by their tensors.

Only tensors are ever handed to spandrel, never a file: it would open pickles and TorchScript.
"""

from __future__ import annotations

import contextlib
import importlib.util
import sys
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

from engine.contracts.errors import BadInput, UnsafeModel
from engine.models.weights import open_weights

_PROBES = (64, 256, 1024)  # lengths of the strip on which the receptive field is measured, in pixels
_PROBE_HEIGHT = 16


class Upscaler(torch.nn.Module):
    """A network that enlarges float [1, 3, H, W] in 0..1 `scale` times.

    context   pixels to either side that a place depends on, as measured; `local` False where that is not all
    multiple  tiles begin at multiples of so many pixels (networks with windows)
    """

    def __init__(self, network: torch.nn.Module, scale: int, title: str, multiple: int = 1) -> None:
        super().__init__()
        self.network, self.scale, self.title, self.multiple = network, scale, title, multiple
        self.context, self.local = receptive_field(self)

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        enlarged: torch.Tensor = self.network(pixels)
        return enlarged


@torch.no_grad()
def receptive_field(network: torch.nn.Module) -> tuple[int, bool]:
    """(pixels to either side that an output depends on, whether that is all), by how far one not-a-number spreads.

    A network that mixes the whole picture, or more than 512 pixels of it, is said to see 64: what its neighbours then
    share is blended.
    """
    first = next(network.parameters(), torch.zeros(()))
    for length in _PROBES:
        strip = torch.full((1, 3, _PROBE_HEIGHT, length), 0.5, device=first.device, dtype=first.dtype)
        middle = length // 2
        scale = network(strip).shape[-1] // length
        strip[..., _PROBE_HEIGHT // 2, middle] = float("nan")
        reached = network(strip).isnan().flatten(0, 2).any(0).nonzero().flatten()
        if not len(reached):
            return 0, False
        low, high = int(reached[0]) // scale, int(reached[-1]) // scale
        if low > 0 and high < length - 1:
            return max(middle - low, high - middle), True
    return 64, False


def load_upscaler(path: Path, device: torch.device, dtype: torch.dtype) -> Upscaler:
    """An upscaler's file, in float32, or in half precision on a card where its architecture stands that.

    Raises UnsafeModel for a file that is not safetensors and BadInput for one that is no upscaler of three channels.
    """
    if path.suffix.lower() != ".safetensors":
        raise UnsafeModel(
            "it is not a safetensors file, and other kinds can hold programs", where=path.name,
            fix="Import it in Models: it is converted there, walled off",
        )  # fmt: skip
    weights = open_weights(path)
    tensors = {name: weights.numbers(name, torch.float32, torch.device("cpu")).clone() for name in weights.shapes}
    return of_tensors(tensors, path.name, device, dtype)


def of_tensors(tensors: dict[str, torch.Tensor], name: str, device: torch.device, dtype: torch.dtype) -> Upscaler:
    """See load_upscaler."""
    with _torchvision():
        import spandrel

        try:
            found = spandrel.ModelLoader(torch.device("cpu")).load_from_state_dict(tensors)
        except (spandrel.UnsupportedModelError, RuntimeError, KeyError, ValueError) as error:
            raise BadInput(
                "its tensors are those of no upscaler that is known", where=name,
                fix="Use Real-ESRGAN, SwinIR, DAT, HAT, SPAN or another that spandrel reads",
            ) from error  # fmt: skip
    if not isinstance(found, spandrel.ImageModelDescriptor) or found.input_channels != 3 or found.output_channels != 3:
        raise BadInput("it does not turn a colour picture into a larger one", where=name, fix="Choose an upscaler")
    half = device.type == "cuda" and dtype == torch.float16 and found.supports_half
    network: Any = found.model.eval().requires_grad_(False).to(device, torch.float16 if half else torch.float32)
    multiple = max(1, int(found.size_requirements.multiple_of or 1))
    return Upscaler(network, int(found.scale), str(found.architecture.name), multiple)


@contextlib.contextmanager
def _torchvision() -> Iterator[None]:
    """While inside, torchvision can be imported: where it is not installed, as an empty stand-in.

    Two of spandrel's architectures (LaMa and RestoreFormer, no upscalers) name functions of it that are never called
    here; the true one does not load beside torch's build for processors.
    """
    if "spandrel" in sys.modules or importlib.util.find_spec("torchvision") is not None:
        yield
        return
    names = ("torchvision", "torchvision.transforms", "torchvision.transforms.functional")
    for name in names:
        module = types.ModuleType(name)
        module.__path__ = []
        vars(module).update(InterpolationMode=None, rotate=None, normalize=None)
        sys.modules[name] = module
    try:
        yield
    finally:
        for name in names:
            del sys.modules[name]  # transformers must not believe that it is there
