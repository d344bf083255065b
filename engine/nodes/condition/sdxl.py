"""The prompt of SDXL, with words of its own for each text encoder and the sizes it is told."""

from __future__ import annotations

from engine.graph.node import NodeContext, node
from engine.graph.values import Clip, Conditioning
from engine.nodes.condition.several_encoders import LANE, Edge, Text, refusal


@node("condition.encode_text_sdxl", category="Condition", outputs=("conditioning",), title="Encode text (SDXL)",
      effects=LANE, search=("CLIPTextEncodeSDXL",))  # fmt: skip
def encode_text_sdxl(
    ctx: NodeContext,
    clip: Clip,
    width: Edge = 1024,
    height: Edge = 1024,
    crop_w: Edge = 0,
    crop_h: Edge = 0,
    target_width: Edge = 1024,
    target_height: Edge = 1024,
    text_g: Text = "",
    text_l: Text = "",
) -> Conditioning:
    """A prompt for SDXL, with words of its own for each encoder and the sizes it was trained to be told.

    clip: SDXL's text encoders
    width: of the picture as if before cropping
    height: of the picture as if before cropping
    crop_w: as if cut off at the left
    crop_h: as if cut off at the top
    target_width: of the picture to make
    target_height: of the picture to make
    text_g: for the large encoder
    text_l: for the small one
    """
    raise refusal(clip, ("sdxl",))
