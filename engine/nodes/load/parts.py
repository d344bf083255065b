"""Load parts by themselves: denoisers, text encoders, autoencoders, LoRAs, ControlNets and their like."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated, Any, TypeVar

from engine.contracts.node_schema import Effects
from engine.contracts.references import ModelRef
from engine.graph.node import In, NodeContext, node
from engine.graph.values import (
    Checkpoint,
    Clip,
    ClipVision,
    ControlHandle,
    ControlNet,
    Model,
    ModelHandle,
    Patch,
    TextEncoderHandle,
    UpscaleModel,
    UpscalerHandle,
    Vae,
    VAEHandle,
    VisionHandle,
)
from engine.models.adapters.blocks import read_blocks

Handle = TypeVar("Handle", ModelHandle, TextEncoderHandle)
LANE = Effects(parallel_safe=False)

DiffusionModel = Annotated[Checkpoint, In(model_kind="diffusion_model")]
Encoder = Annotated[Checkpoint, In(model_kind="text_encoder")]
LoraModel = Annotated[Checkpoint, In(model_kind="lora")]
Weight = Annotated[float, In(minimum=-100.0, maximum=100.0, step=0.01)]
Blocks = Annotated[str, In(advanced=True)]

DTYPES = ("default", "fp8_e4m3fn", "fp8_e4m3fn_fast", "fp8_e5m2")
ENCODER_KINDS = (
    "stable_diffusion", "sd3", "flux", "flux2", "chroma", "qwen_image", "lumina2", "wan", "hunyuan_video", "ltxv",
    "hidream", "hunyuan_image", "omnigen2", "cosmos", "mochi", "pixart", "stable_cascade", "stable_audio", "ace",
)  # fmt: skip
PAIR_KINDS = ("sdxl", "sd3", "flux", "hunyuan_video", "hidream", "hunyuan_image", "hunyuan_video_15", "kandinsky5")
VAE_FAMILIES = ("auto", "sd15", "sd2", "sdxl", "sd3", "flux", "flux2", "qwen_image", "z_image", "chroma")


@node(
    "load.diffusion_model", category="Load", outputs=("model",), title="Load diffusion model", effects=LANE,
    search=("UNETLoader", "transformer"),
)  # fmt: skip
def diffusion_model(
    ctx: NodeContext,
    diffusion_model: DiffusionModel,
    dtype: Annotated[str, In(choices=DTYPES, advanced=True)] = "default",
) -> Model:
    """Load a denoiser without text encoders and autoencoder. Its family is read from the file's header.

    diffusion_model: which file
    dtype: how its weights are kept; default as the file has them
    """
    from engine.models.denoiser_family import denoiser_family

    family = denoiser_family(ctx.session.locate(diffusion_model))
    patches = () if dtype == "default" else (Patch("dtype", (("dtype", dtype),)),)
    return ModelHandle(_known(ctx, diffusion_model), family, patches)


@node("load.text_encoder", category="Load", outputs=("clip",), title="Load text encoder", effects=LANE,
      search=("CLIPLoader",))  # fmt: skip
def text_encoder(
    ctx: NodeContext, encoder: Encoder, kind: Annotated[str, In(choices=ENCODER_KINDS)] = "stable_diffusion"
) -> Clip:
    """Load a text encoder by itself.

    encoder: which file
    kind: the family it is to serve
    """
    return _encoders(ctx, kind, encoder)


@node("load.text_encoder_pair", category="Load", outputs=("clip",), title="Load two text encoders", effects=LANE,
      search=("DualCLIPLoader",))  # fmt: skip
def text_encoder_pair(
    ctx: NodeContext, encoder_1: Encoder, encoder_2: Encoder, kind: Annotated[str, In(choices=PAIR_KINDS)] = "flux"
) -> Clip:
    """Load the two text encoders of a family that has two.

    encoder_1: the first file; which is which is seen from the files
    encoder_2: the second
    kind: the family they are to serve
    """
    return _encoders(ctx, kind, encoder_1, encoder_2)


@node("load.text_encoder_triple", category="Load", outputs=("clip",), title="Load three text encoders", effects=LANE,
      search=("TripleCLIPLoader",))  # fmt: skip
def text_encoder_triple(ctx: NodeContext, encoder_1: Encoder, encoder_2: Encoder, encoder_3: Encoder) -> Clip:
    """Load the three text encoders of Stable Diffusion 3.

    encoder_1: the first file; which is which is seen from the files
    encoder_2: the second
    encoder_3: the third
    """
    return _encoders(ctx, "sd3", encoder_1, encoder_2, encoder_3)


@node("load.text_encoder_quadruple", category="Load", outputs=("clip",), title="Load four text encoders", effects=LANE,
      search=("QuadrupleCLIPLoader", "HiDream"))  # fmt: skip
def text_encoder_quadruple(
    ctx: NodeContext, encoder_1: Encoder, encoder_2: Encoder, encoder_3: Encoder, encoder_4: Encoder
) -> Clip:
    """Load the four text encoders of HiDream.

    encoder_1: the first file; which is which is seen from the files
    encoder_2: the second
    encoder_3: the third
    encoder_4: the fourth
    """
    return _encoders(ctx, "hidream", encoder_1, encoder_2, encoder_3, encoder_4)


@node(
    "load.vae", category="Load", outputs=("vae",), title="Load VAE", effects=LANE, search=("VAELoader", "autoencoder")
)
def vae(
    ctx: NodeContext,
    vae: Annotated[Checkpoint, In(model_kind="vae")],
    family: Annotated[str, In(choices=VAE_FAMILIES, advanced=True)] = "auto",
) -> Vae:
    """Load an autoencoder by itself, instead of a checkpoint's own.

    vae: which one
    family: whose it is; auto reads it from the file, and where files look alike from the latent that is decoded
    """
    return VAEHandle(_known(ctx, vae), "" if family == "auto" else family)


@node("load.lora", category="Load", outputs=("model", "clip"), title="Load LoRA", effects=LANE, search=("LoraLoader",))
def lora(
    ctx: NodeContext,
    model: Model,
    clip: Clip,
    lora: LoraModel,
    strength_model: Weight = 1.0,
    strength_clip: Weight = 1.0,
    blocks: Blocks = "",
) -> tuple[Model, Clip]:
    """Lay a LoRA on a model and its text encoder. Several in a row add up.

    model: the denoiser
    clip: its text encoder
    lora: which one
    strength_model: how strongly it changes the denoiser; 0 not at all, below 0 the other way
    strength_clip: how strongly it changes the text encoder
    blocks: weights for single blocks, as “IN*:0, MID:1, OUT03:0.5”; BASE is the text encoder, ALL the others
    """
    ref, weights = _known(ctx, lora), read_blocks(blocks)
    return _with_lora(model, ref, strength_model, weights), _with_lora(clip, ref, strength_clip, weights)


@node("load.lora_model_only", category="Load", outputs=("model",), title="Load LoRA (model only)", effects=LANE,
      search=("LoraLoaderModelOnly",))  # fmt: skip
def lora_model_only(
    ctx: NodeContext, model: Model, lora: LoraModel, strength: Weight = 1.0, blocks: Blocks = ""
) -> Model:
    """Lay a LoRA on a model and leave its text encoder as it is.

    model: the denoiser
    lora: which one
    strength: how strongly it changes the denoiser; 0 not at all, below 0 the other way
    blocks: weights for single blocks, as “IN*:0, MID:1, OUT03:0.5”; ALL all others
    """
    return _with_lora(model, _known(ctx, lora), strength, read_blocks(blocks))


@node("load.controlnet", category="Load", outputs=("control_net",), title="Load ControlNet", effects=LANE,
      search=("ControlNetLoader",))  # fmt: skip
def controlnet(ctx: NodeContext, controlnet: Annotated[Checkpoint, In(model_kind="controlnet")]) -> ControlNet:
    """Load a ControlNet, which lets a picture steer another.

    controlnet: which one
    """
    return ControlHandle(_known(ctx, controlnet))


@node("load.clip_vision", category="Load", outputs=("clip_vision",), title="Load vision encoder", effects=LANE,
      search=("CLIPVisionLoader",))  # fmt: skip
def clip_vision(ctx: NodeContext, encoder: Encoder) -> ClipVision:
    """Load an encoder that reads pictures.

    encoder: which file
    """
    return VisionHandle(_known(ctx, encoder))


@node("load.upscale_model", category="Load", outputs=("upscale_model",), title="Load upscaler", effects=LANE,
      search=("UpscaleModelLoader", "ESRGAN"))  # fmt: skip
def upscale_model(ctx: NodeContext, upscaler: Annotated[Checkpoint, In(model_kind="upscaler")]) -> UpscaleModel:
    """Load a network that enlarges pictures.

    upscaler: which one
    """
    return UpscalerHandle(_known(ctx, upscaler))


@node("load.image_checkpoint", category="Load", outputs=("model", "clip_vision", "vae"),
      title="Load picture-only checkpoint", effects=LANE, search=("ImageOnlyCheckpointLoader", "video"))  # fmt: skip
def image_checkpoint(
    ctx: NodeContext, checkpoint: Annotated[Checkpoint, In(model_kind="checkpoint")]
) -> tuple[Model, ClipVision, Vae]:
    """Load a checkpoint that is told what to make by a picture, not by words (Stable Video Diffusion).

    checkpoint: which one
    """
    ref = _known(ctx, checkpoint)
    return ModelHandle(ref, "svd"), VisionHandle(ref), VAEHandle(ref, "svd")


def _known(ctx: NodeContext, ref: ModelRef) -> ModelRef:
    """The reference with what tells its file from others. Raises MissingModel when it is not on this machine."""
    known: ModelRef = ref if ref.fingerprint else replace(ref, fingerprint=ctx.session.fingerprint(ref))
    return known


def _encoders(ctx: NodeContext, kind: str, *refs: ModelRef) -> TextEncoderHandle:
    from engine.models.sources import encoder_family

    first, *more = [_known(ctx, ref) for ref in refs]
    family = encoder_family([ctx.session.locate(ref) for ref in refs], kind)
    return TextEncoderHandle(first, family, more=tuple(more))


def _with_lora(handle: Handle, ref: ModelRef, strength: float, blocks: tuple[tuple[str, float], ...]) -> Handle:
    if not strength:
        return handle
    settings: tuple[tuple[str, Any], ...] = (("weights", ref), ("strength", strength))
    if blocks:
        settings = (*settings, ("blocks", blocks))
    return replace(handle, patches=(*handle.patches, Patch("lora", settings)))
