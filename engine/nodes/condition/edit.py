"""A prompt that edits pictures, for Qwen-Image-Edit."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Annotated

import numpy as np

from engine.graph.node import In, NodeContext, node
from engine.graph.values import Clip, Conditioning, Image, Vae
from engine.media.resize import resize
from engine.nodes.condition.several_encoders import LANE, Text, refusal
from engine.nodes.condition.shape import each, with_extra
from engine.nodes.latent.picture import pixels_of

if TYPE_CHECKING:
    import torch

# Sizes that the model was trained to see and to edit, in pixels (diffusers' QwenImageEditPlusPipeline).
SEEN_PIXELS, EDITED_PIXELS = 384 * 384, 1024 * 1024
CELL = 32


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
    numbered: Annotated[bool, In(advanced=True)] = True,
    scale: Annotated[bool, In(advanced=True)] = True,
) -> Conditioning:
    """What to change in pictures, for Qwen-Image-Edit, which reads the pictures with the words.

    clip: Qwen-Image's text encoder
    prompt: what to change
    vae: its autoencoder, so that the pictures' details are kept
    image_1: the picture to edit
    image_2: another to take from
    image_3: another to take from
    numbered: pictures are called Picture 1, Picture 2…, as Qwen-Image-Edit-2509 and later know them; off for the first
    scale: bring the pictures to the sizes the model was trained with; off leaves them as they are
    """
    from engine.memory.autoencoding import encoded
    from engine.memory.read_prompts import encoded as read

    if clip.family != "qwen_image":
        raise refusal(clip, ("qwen_image",))
    pictures = [image[:1, ..., :3] for image in (image_1, image_2, image_3) if image is not None]
    seen_pixels = SEEN_PIXELS if numbered else EDITED_PIXELS
    seen = [_tensor(_scaled(picture, seen_pixels) if scale else picture) for picture in pictures]
    said = read(ctx.session, clip, prompt, images=seen, numbered=numbered)
    ctx.check_cancelled()
    entries: Conditioning = said.entries
    if vae is None or not pictures:
        return entries
    autoencoder = ctx.session.autoencoder(vae)
    factor = 2 * autoencoder.latent_space.factor  # whole tokens
    latents = tuple(
        encoded(ctx, autoencoder, pixels_of(_scaled(picture, EDITED_PIXELS) if scale else picture, factor))
        for picture in pictures
    )
    return each(entries, lambda entry: with_extra(entry, "references", latents))


def _scaled(picture: Image, pixels: int) -> Image:
    """`picture` with about that many pixels, its edges whole cells of 32 (diffusers' calculate_dimensions)."""
    ratio = picture.shape[2] / picture.shape[1]
    width = math.sqrt(pixels * ratio)
    columns, rows = (max(1, round(edge / CELL)) for edge in (width, width / ratio))
    return resize(picture, columns * CELL, rows * CELL, "lanczos")


def _tensor(picture: Image) -> torch.Tensor:
    """IMAGE [1, H, W, 3] → float32 tensor [1, 3, H, W] in 0..1."""
    import torch

    return torch.from_numpy(np.array(picture.transpose(0, 3, 1, 2), dtype=np.float32, order="C"))
