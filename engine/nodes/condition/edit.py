"""A prompt that edits pictures, for Qwen-Image-Edit."""

from __future__ import annotations

from engine.graph.node import NodeContext, node
from engine.graph.values import Clip, Conditioning, Image, Vae
from engine.nodes.condition.several_encoders import LANE, Text, refusal


@node("condition.encode_edit", category="Condition", outputs=("conditioning",), title="Encode edit (Qwen-Image)",
      effects=LANE, search=("TextEncodeQwenImageEdit", "instruction"))  # fmt: skip
def encode_edit(
    ctx: NodeContext,
    clip: Clip,
    prompt: Text = "",
    vae: Vae | None = None,
    image_1: Image | None = None,
    image_2: Image | None = None,
    image_3: Image | None = None,
) -> Conditioning:
    """What to change in pictures, for Qwen-Image-Edit, which reads the pictures with the words.

    clip: Qwen-Image's text encoder
    prompt: what to change
    vae: its autoencoder, so that the pictures' details are kept
    image_1: the picture to edit
    image_2: another to take from
    image_3: another to take from
    """
    raise refusal(clip, ("qwen_image",))
