"""The prompts of SDXL and its refiner, with words of its own for each text encoder and the sizes they are told."""

from __future__ import annotations

from typing import Annotated

from engine.graph.node import In, NodeContext, node
from engine.graph.values import Clip, Conditioning
from engine.nodes.condition.several_encoders import LANE, Edge, Text, encoded
from engine.nodes.condition.shape import each, with_extra

FAMILIES = ("sdxl", "sdxl_refiner")


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
    entries = encoded(ctx, clip, {"clip_l": text_l, "clip_g": text_g}, FAMILIES)
    size = (width, height, crop_w, crop_h, target_width, target_height)
    return each(entries, lambda entry: with_extra(entry, "size", size))


@node("condition.encode_text_sdxl_refiner", category="Condition", outputs=("conditioning",),
      title="Encode text (SDXL refiner)", effects=LANE, search=("CLIPTextEncodeSDXLRefiner",))  # fmt: skip
def encode_text_sdxl_refiner(
    ctx: NodeContext,
    clip: Clip,
    aesthetic_score: Annotated[float, In(minimum=0.0, maximum=1000.0, step=0.01)] = 6.0,
    width: Edge = 1024,
    height: Edge = 1024,
    text: Text = "",
) -> Conditioning:
    """A prompt for SDXL's refiner, with the score it was trained to be told.

    clip: the refiner's text encoder
    aesthetic_score: how fine the picture should be; 6 for what it should show, 2.5 for what it should not
    width: of the picture
    height: of the picture
    text: what the picture should show
    """
    entries = encoded(ctx, clip, {"clip_g": text}, FAMILIES)
    size = (width, height, 0, 0, width, height)
    return each(entries, lambda entry: with_extra(with_extra(entry, "size", size), "aesthetic_score", aesthetic_score))
