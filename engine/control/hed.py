"""HED: holistically-nested edges (1504.06375) in the five-block form of ControlNet 1.1's annotator (Apache 2.0)."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F  # noqa: N812 - the field's own name for it
from torch import nn

from engine.media.pixels import batched, rgb

_BLOCKS = ((2, 64), (2, 128), (3, 256), (3, 512), (3, 512))


class _Block(nn.Module):
    def __init__(self, count: int, before: int, width: int) -> None:
        super().__init__()
        self.convs = nn.ModuleList(nn.Conv2d(before if n == 0 else width, width, 3, padding=1) for n in range(count))
        self.projection = nn.Conv2d(width, 1, 1)

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        for conv in self.convs:
            x = F.relu(conv(x))
        side: torch.Tensor = self.projection(x)
        return x, side


class HolisticEdges(nn.Module):
    """VGG-16's five blocks with an edge map from each; the result is the sigmoid of their mean."""

    def __init__(self, widths: tuple[tuple[int, int], ...] = _BLOCKS) -> None:
        super().__init__()
        self.norm = nn.Parameter(torch.zeros(1, 3, 1, 1))
        before = 3
        for number, (count, width) in enumerate(widths, 1):
            self.add_module(f"block{number}", _Block(count, before, width))
            before = width

    @classmethod
    def from_tensors(cls, tensors: Mapping[str, torch.Tensor]) -> HolisticEdges | None:
        """The network of a file's tensors, or None when they are not its own."""
        named = {name.removeprefix("netNetwork.").removeprefix("module."): value for name, value in tensors.items()}
        blocks: list[tuple[int, int]] = []
        while (first := named.get(f"block{len(blocks) + 1}.convs.0.weight")) is not None and len(blocks) < 8:
            prefix = f"block{len(blocks) + 1}.convs."
            count = sum(name.startswith(prefix) and name.endswith(".weight") for name in named)
            blocks.append((count, int(first.shape[0])))
        if not blocks:
            return None
        network = cls(tuple(blocks))
        own = network.state_dict()
        if own.keys() != named.keys() or any(own[name].shape != named[name].shape for name in own):
            return None
        network.load_state_dict(named)
        return network.requires_grad_(False).eval()

    @torch.no_grad()
    def edges(self, image: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """float32 [B, H, W] in 0..1 for pictures [B, H, W, C] in 0..1."""
        pixels = torch.tensor(rgb(batched(image)), dtype=self.norm.dtype, device=self.norm.device)
        x = pixels.permute(0, 3, 1, 2) * 255 - self.norm
        size = x.shape[-2:]
        sides = []
        for number, block in enumerate(child for child in self.children()):
            if number:
                x = F.max_pool2d(x, 2)
            x, side = block(x)
            sides.append(F.interpolate(side.float(), size, mode="bilinear", align_corners=False)[:, 0])
        return torch.sigmoid(torch.stack(sides).mean(dim=0)).cpu().numpy()
