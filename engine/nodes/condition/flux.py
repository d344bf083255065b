"""The prompt of Flux, with words of its own for each text encoder."""

from __future__ import annotations

from typing import Annotated

from engine.graph.node import In, NodeContext, node
from engine.graph.values import Clip, Conditioning
from engine.nodes.condition.several_encoders import LANE, Text, encoded
from engine.nodes.condition.shape import each, with_extra


@node("condition.encode_text_flux", category="Condition", outputs=("conditioning",), title="Encode text (Flux)",
      effects=LANE, search=("CLIPTextEncodeFlux",))  # fmt: skip
def encode_text_flux(
    ctx: NodeContext,
    clip: Clip,
    clip_l: Text = "",
    t5xxl: Text = "",
    guidance: Annotated[float, In(minimum=0.0, maximum=100.0, step=0.1)] = 3.5,
) -> Conditioning:
    """A prompt for Flux, with words of its own for each encoder.

    clip: Flux's text encoders
    clip_l: key words, for the small encoder
    t5xxl: whole sentences, for the large one
    guidance: how strongly the prompt is followed
    """
    entries = encoded(ctx, clip, {"clip_l": clip_l, "t5xxl": t5xxl}, ("flux",))
    return each(entries, lambda entry: with_extra(entry, "guidance", guidance))
