"""Conditioning for models that read a depth beside the latent (Stable Diffusion 2 depth)."""

from __future__ import annotations

from engine.contracts.errors import InvalidRequest
from engine.graph.node import NodeContext, node
from engine.graph.values import Conditioning, Image
from engine.nodes.condition.shape import each, with_extra
from engine.nodes.latent.empty import CELL


@node("condition.depth_model", category="Condition", outputs=("positive", "negative"), title="Condition a depth model",
      search=("depth2img", "Stable Diffusion 2 depth"))  # fmt: skip
def depth_model(
    ctx: NodeContext, positive: Conditioning, negative: Conditioning, depth: Image
) -> tuple[Conditioning, Conditioning]:
    """Give a depth model (Stable Diffusion 2 depth) the depths of the picture to make.

    positive: what the picture should show
    negative: what it should not
    depth: near is white; its size must be that of the picture to make
    """
    import torch
    import torch.nn.functional as F  # noqa: N812 - the field's own name for it

    rows, columns = depth.shape[1], depth.shape[2]
    if rows % CELL or columns % CELL:
        raise InvalidRequest(f"the depth is {columns}×{rows} pixels", where="depth", fix=f"Use multiples of {CELL}")
    grey = torch.tensor(depth[..., :3].mean(axis=-1), dtype=torch.float32)[:, None]
    cells = F.interpolate(grey, size=(rows // CELL, columns // CELL), mode="bicubic", align_corners=False)
    # Each picture's own nearest and farthest, as diffusers' StableDiffusionDepth2ImgPipeline lays them.
    low, high = cells.amin(dim=(1, 2, 3), keepdim=True), cells.amax(dim=(1, 2, 3), keepdim=True)
    spread = 2.0 * (cells - low) / (high - low).clamp(min=1e-8) - 1.0

    def told(conditioning: Conditioning) -> Conditioning:
        return each(conditioning, lambda entry: with_extra(entry, "channels", spread))

    return told(positive), told(negative)
