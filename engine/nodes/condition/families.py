"""Prompts for families with several text encoders, pictures as prompts, and prompts that edit.

The families that read them are named by the handles of their text encoders; a handle of another family is refused, and
so is one whose family this studio does not run, each in one sentence.
"""

from __future__ import annotations

from typing import Annotated

from engine.contracts.errors import BadInput, InvalidRequest
from engine.contracts.node_schema import Effects
from engine.graph.node import In, NodeContext, node
from engine.graph.values import (
    Clip,
    ClipVision,
    ClipVisionOutput,
    Conditioning,
    Image,
    TextEncoderHandle,
    Vae,
)
from engine.models.denoiser_family import cannot_run, title_of

LANE = Effects(parallel_safe=False)
Text = Annotated[str, In(multiline=True)]
Edge = Annotated[int, In(minimum=0, maximum=16384)]


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
    raise _refusal(clip, ("flux",))


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
    raise _refusal(clip, ("sdxl",))


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
    raise _refusal(clip, ("sd3",))


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
    raise _refusal(clip, ("qwen_image",))


@node("condition.encode_vision", category="Condition", outputs=("vision",), title="Encode picture for vision models",
      effects=LANE, search=("CLIPVisionEncode",))  # fmt: skip
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
    raise cannot_run("the vision encoder", clip_vision.weights.name, "vision encoders")


def _refusal(clip: TextEncoderHandle, families: tuple[str, ...]) -> BadInput:
    wanted = title_of(families[0])
    if clip.family not in families:
        return InvalidRequest(
            f"this prompt is written for {wanted}, and the text encoder is {title_of(clip.family)}’s", where="clip",
            fix=f"Connect the text encoders of {wanted}, or use “Encode text”",
        )  # fmt: skip
    return cannot_run("the text encoder", clip.weights.name, wanted)
