"""Low-rank changes of a module's weights that can be trained, and the file they are saved as.

LoRA (2106.09685) on linear layers and convolutions: W + (α/r)·B·A with A small and random, B nought at first, so that
training starts from the model as it is. The layout is kohya's, which every program reads.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import torch
from torch import nn
from torch.nn.utils import parametrize


class LowRankWeight(nn.Module):
    """A parametrisation: the weight with its low-rank change. down [r, in, …], up [out, r, 1, …]."""

    def __init__(self, weight: torch.Tensor, rank: int, alpha: float, generator: torch.Generator) -> None:
        super().__init__()
        inner = (rank, *weight.shape[1:])
        # The bound of nn.Linear's own start; B is nought.
        bound = weight[0].numel() ** -0.5
        down = (torch.rand(inner, generator=generator) * 2 - 1) * bound
        self.down = nn.Parameter(down)
        self.up = nn.Parameter(torch.zeros(weight.shape[0], rank, *[1] * (weight.ndim - 2)))
        self.alpha = alpha

    @property
    def rank(self) -> int:
        return int(self.down.shape[0])

    def forward(self, weight: torch.Tensor) -> torch.Tensor:
        change = (self.up.flatten(1) @ self.down.flatten(1)) * (self.alpha / self.rank)
        return weight + change.reshape(weight.shape)


class TrainableLoRA:
    """The low-rank changes of `module`, whose own weights are frozen.

    prefix   what kohya's layout puts before a layer's name: "lora_unet", "lora_te"
    chosen   which layers, by name; every linear layer and convolution when None
    """

    def __init__(
        self, module: nn.Module, prefix: str, rank: int, alpha: float | None = None, *,
        chosen: Callable[[str], bool] | None = None, seed: int = 0,
    ) -> None:  # fmt: skip
        generator = torch.Generator().manual_seed(seed)
        module.requires_grad_(False)
        self._module, self._prefix = module, prefix
        self.layers: dict[str, LowRankWeight] = {}
        for name, layer in list(module.named_modules()):
            if isinstance(layer, nn.Linear | nn.Conv2d) and (chosen is None or chosen(name)):
                change = LowRankWeight(layer.weight, rank, float(alpha or rank), generator)
                parametrize.register_parametrization(layer, "weight", change)
                self.layers[name] = change

    def parameters(self) -> list[nn.Parameter]:
        return [value for layer in self.layers.values() for value in (layer.down, layer.up)]

    def tensors(self, dtype: torch.dtype = torch.float16) -> dict[str, torch.Tensor]:
        """The file's tensors: `<prefix>_<layer with underscores>.lora_down.weight`, `.lora_up.weight`, `.alpha`."""
        found: dict[str, torch.Tensor] = {}
        for name, layer in self.layers.items():
            key = f"{self._prefix}_{name.replace('.', '_')}"
            found[f"{key}.lora_down.weight"] = layer.down.detach().to(dtype).contiguous()
            found[f"{key}.lora_up.weight"] = layer.up.detach().to(dtype).contiguous()
            found[f"{key}.alpha"] = torch.tensor(layer.alpha, dtype=dtype)
        return found

    def remove(self) -> None:
        """Leave the module as it was, bit for bit."""
        for name in self.layers:
            parametrize.remove_parametrizations(self._module.get_submodule(name), "weight", leave_parametrized=False)
        self.layers.clear()


def save_lora(path: Path, tensors: Mapping[str, torch.Tensor], metadata: Mapping[str, str]) -> None:
    """Write a safetensors file that appears whole or not at all."""
    from safetensors.torch import save_file

    fresh = path.with_name(path.name + ".new")
    save_file(dict(tensors), fresh, metadata=dict(metadata))
    fresh.replace(path)
