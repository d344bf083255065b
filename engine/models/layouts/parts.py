"""What a file holds: which parts of a model, under which prefixes; and which text encoders each family has."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from types import MappingProxyType

from engine.models.layouts.rule import Shapes

# Family → its text encoders' parts → which encoder each is.
ENCODERS: Mapping[str, Mapping[str, str]] = MappingProxyType(
    {
        "sd15": {"text_encoder": "clip_l"},
        "sd2": {"text_encoder": "clip_h"},
        "sdxl": {"text_encoder": "clip_l", "text_encoder_2": "clip_g"},
        "sdxl_refiner": {"text_encoder_2": "clip_g"},
        "sd3": {"text_encoder": "clip_l", "text_encoder_2": "clip_g", "text_encoder_3": "t5xxl"},
        "flux": {"text_encoder": "clip_l", "text_encoder_2": "t5xxl"},
        "flux2": {"text_encoder": "mistral"},
        "chroma": {"text_encoder": "t5xxl"},
        "qwen_image": {"text_encoder": "qwen25vl"},
        "z_image": {"text_encoder": "qwen3"},
    }
)
UNETS = ("sd15", "sd2", "sdxl", "sdxl_refiner")

# Where whole checkpoints keep them; the first that fits counts. "" is a file of its own.
DENOISER_PREFIXES = ("model.diffusion_model.", "diffusion_model.", "unet.", "transformer.", "net.", "")
VAE_PREFIXES = ("first_stage_model.", "vae.", "")
_TEXT_PREFIXES = (
    "cond_stage_model.transformer.", "cond_stage_model.model.", "conditioner.embedders.0.transformer.",
    "conditioner.embedders.1.model.", "conditioner.embedders.0.model.", "text_encoder.", "text_encoder_2.",
    "text_encoder_3.", "transformer.", "",
)  # fmt: skip
_CONTROL_PREFIXES = ("control_model.", "")

_DENOISERS = (
    "input_blocks.0.0.weight", "conv_in.weight", "joint_blocks.0.x_block.attn.qkv.weight",
    "double_blocks.0.img_attn.qkv.weight", "transformer_blocks.0.attn.to_q.weight", "layers.0.feed_forward.w1.weight",
)  # fmt: skip
_CONTROLNETS = ("zero_convs.0.0.weight", "controlnet_cond_embedding.conv_in.weight", "controlnet_blocks.0.weight")
_VAES = ("decoder.conv_in.weight", "decoder.conv1.weight")
_TOKENS = "text_model.embeddings.token_embedding.weight"
_LLM_PREFIXES = ("model.", "model.language_model.", "language_model.model.", "language_model.", "")
_WIDTHS = {768: "clip_l", 1024: "clip_h", 1280: "clip_g"}


def encoder_of(shapes: Shapes) -> str:
    """Which text encoder these tensors are, their prefix taken off: "clip_l", "t5xxl", …; "" for none known here."""
    for name in (_TOKENS, "embeddings.token_embedding.weight", "token_embedding.weight"):
        if name in shapes:
            return _WIDTHS.get(shapes[name][-1], "")
    if "encoder.block.0.layer.0.SelfAttention.q.weight" in shapes or "enc.blk.0.attn_q.weight" in shapes:
        return "t5xxl"
    if "blk.0.attn_q.weight" in shapes:
        return "qwen3" if "blk.0.attn_q_norm.weight" in shapes else "qwen25vl" if "blk.0.attn_q.bias" in shapes else ""
    prefix = llm_prefix(shapes)
    if prefix is None:
        return ""
    layer = f"{prefix}layers.0.self_attn."
    if f"{layer}q_norm.weight" in shapes:
        return "qwen3"
    return "qwen25vl" if f"{layer}q_proj.bias" in shapes else "mistral"


def llm_prefix(shapes: Shapes) -> str | None:
    """What stands before `layers` and `embed_tokens` of a language model."""
    return next((prefix for prefix in _LLM_PREFIXES if f"{prefix}layers.0.self_attn.q_proj.weight" in shapes), None)


def parts_in(shapes: Shapes, family: str = "") -> Mapping[str, str]:
    """Part → the prefix its tensors have in this file; "" where the file is that part and nothing else.

    The text encoders' parts are those of `family`; without one, those of the first family that has such an encoder.
    A ControlNet is the part "controlnet".
    """
    heads = _heads(shapes)
    for prefix in _CONTROL_PREFIXES:
        if any(prefix + name in shapes for name in _CONTROLNETS):
            return {"controlnet": prefix}
    found: dict[str, str] = {}
    for prefix in DENOISER_PREFIXES:
        if any(prefix + name in shapes for name in _DENOISERS) and not any(prefix + n in shapes for n in _CONTROLNETS):
            unet = f"{prefix}input_blocks.0.0.weight" in shapes or f"{prefix}conv_in.weight" in shapes
            found["unet" if unet else "transformer"] = prefix
            break
    for prefix in VAE_PREFIXES:
        if any(prefix + name in shapes for name in _VAES):
            found["vae"] = prefix
            break
    for prefix in (*(head for head in heads if head.startswith("text_encoders.")), *_TEXT_PREFIXES):
        kind = encoder_of(inside(shapes, prefix)) if prefix or not found else ""
        part = _part_of(kind, family) if kind else ""
        if part and part not in found:
            found[part] = prefix
    return found


def _heads(shapes: Iterable[str]) -> list[str]:
    """`text_encoders.<name>.transformer.` and the like, as ComfyUI saves checkpoints."""
    heads: dict[str, None] = {}
    for key in shapes:
        if key.startswith("text_encoders."):
            pieces = key.split(".")
            heads[".".join(pieces[: 3 if pieces[2] in ("transformer", "model") else 2]) + "."] = None
    return list(heads)


def _part_of(kind: str, family: str) -> str:
    families = [family] if family in ENCODERS else list(ENCODERS)
    for name in families:
        for part, encoder in ENCODERS[name].items():
            # Flux.2 reads text with Mistral (dev) or Qwen3 (klein).
            if encoder == kind or (name == "flux2" and family == "flux2" and kind == "qwen3"):
                return part
    return ""


def inside(shapes: Shapes, prefix: str) -> Shapes:
    """The tensors under a prefix, it taken off."""
    if not prefix:
        return shapes
    return {key[len(prefix) :]: shape for key, shape in shapes.items() if key.startswith(prefix)}
