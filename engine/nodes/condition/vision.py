"""Pictures as prompts: what a vision encoder sees."""

from __future__ import annotations

from typing import Annotated

from engine.contracts.node_schema import Effects
from engine.graph.node import In, NodeContext, node
from engine.graph.values import ClipVision, ClipVisionOutput, Image, VisionOutput


@node("condition.encode_vision", category="Condition", outputs=("vision",), title="Encode picture for vision models",
      effects=Effects(parallel_safe=False), search=("CLIPVisionEncode",))  # fmt: skip
def encode_vision(
    ctx: NodeContext,
    clip_vision: ClipVision,
    image: Image,
    crop: Annotated[str, In(choices=("center", "none"))] = "center",
) -> ClipVisionOutput:
    """What a vision encoder sees in a picture.

    clip_vision: the encoder
    image: the picture
    crop: the middle square of it, or all of it pressed into a square
    """
    import numpy as np
    import torch

    encoder = ctx.session.other(clip_vision.weights)
    pictures = torch.from_numpy(np.ascontiguousarray(image[..., :3], dtype=np.float32)).permute(0, 3, 1, 2)
    seen = encoder.look(encoder.prepared(pictures, crop=crop == "center"))
    return VisionOutput(seen.embedding, seen.last)
