"""The prompt of Stable Diffusion 3, with words of its own for each text encoder."""

from __future__ import annotations

from engine.graph.node import NodeContext, node
from engine.graph.values import Clip, Conditioning
from engine.nodes.condition.several_encoders import LANE, Text, encoded


@node("condition.encode_text_sd3", category="Condition", outputs=("conditioning",), title="Encode text (SD3)",
      effects=LANE, search=("CLIPTextEncodeSD3",))  # fmt: skip
def encode_text_sd3(
    ctx: NodeContext, clip: Clip, clip_l: Text = "", clip_g: Text = "", t5xxl: Text = ""
) -> Conditioning:
    """A prompt for Stable Diffusion 3, with words of its own for each encoder.

    clip: its text encoders
    clip_l: for the small CLIP encoder
    clip_g: for the large CLIP encoder
    t5xxl: for the T5 encoder
    """
    return encoded(ctx, clip, {"clip_l": clip_l, "clip_g": clip_g, "t5xxl": t5xxl}, ("sd3",))
