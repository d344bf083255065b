"""Say what any model file is from its header alone. Torch-free; never opens weights, never guesses.

The order is that of the notes: what steers a model before models, since it repeats their tensors; LoRAs, embeddings;
denoisers, the special before the general; then VAEs, encoders and tools. What nothing describes is unknown.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Collection, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

from engine.models.contents import Contents, read_contents
from engine.models.details import licence, prediction, preview_beside, title, trigger_words
from engine.models.folders import MODEL_INDEX, identify_model_folder
from engine.models.lora_files import Lora, read_lora
from engine.models.model_file import FileKind, ModelFile
from engine.models.part_signatures import GGUF_DENOISERS, GGUF_TEXT_ENCODERS, TEXT_ENCODERS, TOOLS, VAES
from engine.models.signatures import CHANNEL_VARIANTS, DENOISERS, STEERING, Shapes, Signature, first

_WHOLE = "model.diffusion_model."
_DENOISER_PREFIXES = (_WHOLE, "diffusion_model.", "transformer.", "model.", "net.", "unet.", "")
_PART_PREFIXES = {
    "vae": ("first_stage_model.", "vae.", "vae_decoder."),
    "text encoder": ("cond_stage_model.", "conditioner.embedders.", "text_encoders.", "text_encoder."),
}
_VAE_PREFIXES = ("first_stage_model.", "vae.", "")
_TOOL_PREFIXES = ("", "params_ema.", "params.", "module.", "netNetwork.")

_PRECISION = {
    "F32": "fp32", "F16": "fp16", "BF16": "bf16", "F64": "fp64", "F8_E4M3": "fp8_e4m3", "F8_E5M2": "fp8_e5m2",
    "F8_E4M3FNUZ": "fp8_e4m3", "F8_E5M2FNUZ": "fp8_e5m2", "I8": "int8", "U8": "uint8", "F4": "fp4",
}  # fmt: skip


def identify(path: Path, *, siblings: Collection[str] | None = None) -> ModelFile:
    """What the file or diffusers folder `path` is. `siblings` are the names beside it, when they are known already.

    Raises MissingModel (it can't be read) or UnsafeModel (it is malformed or could run code), each in one sentence.
    """
    if path.is_dir():
        return identify_model_folder(path)
    contents = read_contents(path)
    found = _found(contents)
    return ModelFile(
        name=path.stem,
        container=contents.container,
        precision=_precision(contents),
        size_bytes=path.stat().st_size,
        parameters=sum(math.prod(shape) for shape in contents.shapes.values()),
        prediction=prediction(contents),
        trigger_words=trigger_words(contents.metadata),
        title=title(contents.metadata),
        licence=licence(contents.metadata),
        preview=preview_beside(path, contents.metadata, siblings),
        fingerprint=contents.fingerprint,
        **found,
    )


def _found(contents: Contents) -> dict[str, Any]:
    """kind, family, fits, variant, layout, parts and details."""
    shapes = contents.shapes
    steering = first(STEERING, shapes)
    if steering:
        return _of(steering)
    lora = read_lora(shapes, contents.metadata)
    if lora:
        return _of_lora(lora)
    embedding = _embedding(shapes)
    if embedding:
        return embedding
    if contents.container == "gguf":
        return _of_gguf(contents)
    return _of_denoiser(shapes) or _of_part(shapes) or {"kind": "unknown"}


def _of(signature: Signature, **more: Any) -> dict[str, Any]:
    family = signature.family
    fits = signature.fits or (() if family in ("several", "unknown") else (family,))
    return {
        "kind": signature.kind, "family": family, "fits": fits, "variant": signature.variant,
        "layout": signature.layout, **more,
    }  # fmt: skip


def _of_lora(lora: Lora) -> dict[str, Any]:
    details = {"form": lora.form, "layers": str(lora.unet_layers + lora.text_layers)}
    if lora.rank:
        details["rank"] = str(lora.rank)
    if lora.text_layers:
        details["text encoder layers"] = str(lora.text_layers)
    variant = " ".join(item for item in ("" if lora.form == "LoRA" else lora.form, "DoRA" if lora.dora else "") if item)
    fits = () if lora.family == "unknown" else (lora.family,)
    return {
        "kind": "lora", "family": lora.family, "fits": fits, "variant": variant, "layout": lora.layout,
        "details": MappingProxyType(details),
    }  # fmt: skip


def _embedding(shapes: Shapes) -> dict[str, Any] | None:
    """A textual inversion: a few vectors and nothing else."""
    names = set(shapes)
    if {"clip_l", "clip_g"} <= names <= {"clip_l", "clip_g", "t5xxl"}:
        family = "sd3" if "t5xxl" in names else "sdxl"
        return _vectors(family, shapes["clip_l"], "diffusers")
    if len(names) != 1:
        return None
    name, shape = next(iter(shapes.items()))
    if len(shape) not in (1, 2) or (name != "emb_params" and not (name.startswith("<") and name.endswith(">"))):
        return None
    layout = "a1111" if name == "emb_params" else "diffusers"
    return _vectors({768: "sd15", 1024: "sd2"}.get(shape[-1], "unknown"), shape, layout)


def _vectors(family: str, shape: tuple[int, ...], layout: str) -> dict[str, Any]:
    count = shape[0] if len(shape) == 2 else 1
    fits = () if family == "unknown" else (family,)
    return {
        "kind": "embedding", "family": family, "fits": fits, "layout": layout,
        "details": MappingProxyType({"vectors": str(count)}),
    }  # fmt: skip


def _of_denoiser(shapes: Shapes) -> dict[str, Any] | None:
    for prefix in _DENOISER_PREFIXES:
        inner = _without(shapes, prefix)
        signature = first(DENOISERS, inner) if inner else None
        if signature is None:
            continue
        variant = _variant(signature, inner, shapes)
        parts = [part for part, starts in _PART_PREFIXES.items() if any(key.startswith(starts) for key in shapes)]
        kind: FileKind = "checkpoint" if parts else "diffusion_model"
        found = _of(signature, parts=("diffusion model", *parts) if parts else ())
        return {**found, "kind": kind, "variant": variant}
    return None


def _variant(signature: Signature, inner: Shapes, whole: Shapes) -> str:
    """The variant, for a U-Net also by its input channels and by what only special ones have."""
    if signature.family not in ("sd15", "sd2", "sdxl", "sdxl_refiner") or signature.variant:
        return signature.variant
    channels = next((inner[key][1] for key in ("input_blocks.0.0.weight", "conv_in.weight") if key in inner), 0)
    variant = CHANNEL_VARIANTS.get(channels, f"{channels} input channels")
    if not variant and ("time_embed.cond_proj.weight" in inner or "time_embedding.cond_proj.weight" in inner):
        return "lcm"
    if not variant and "edm_mean" in whole:
        return "playground"
    if not variant and signature.family == "sdxl" and not any(
        key in inner for key in ("middle_block.1.norm.weight", "mid_block.attentions.0.norm.weight")
    ):  # fmt: skip
        return "distilled"  # SSD-1B and Vega leave the middle's attention out
    return variant


def _of_part(shapes: Shapes) -> dict[str, Any] | None:
    for prefix in _VAE_PREFIXES:
        signature = first(VAES, _whole(shapes, prefix))
        if signature:
            return _of(signature)
    for prefix in ("", "text_encoders.", "cond_stage_model.", "transformer."):
        signature = first(TEXT_ENCODERS, _whole(shapes, prefix))
        if signature:
            return _of(signature)
    for prefix in _TOOL_PREFIXES:
        inner = _whole(shapes, prefix)
        signature = first(TOOLS, inner)
        if signature:
            return _of(signature, details=MappingProxyType(_factor(signature, inner)))
    return None


def _factor(signature: Signature, shapes: Shapes) -> dict[str, str]:
    """How many times larger an upscaler makes a picture, where its layers tell."""
    if signature.variant == "ESRGAN" and "conv_first.weight" in shapes:
        factor = {3: 4, 12: 2, 48: 1}.get(shapes["conv_first.weight"][1])
        return {"factor": str(factor)} if factor else {}
    if signature.variant == "Compact":
        last = max(int(key.split(".")[1]) for key in shapes if key.startswith("body.") and key.endswith(".weight"))
        factor = math.isqrt(shapes[f"body.{last}.weight"][0] // 3)
        return {"factor": str(factor)} if 3 * factor * factor == shapes[f"body.{last}.weight"][0] else {}
    return {}


def _of_gguf(contents: Contents) -> dict[str, Any]:
    """GGUF states its architecture; the tensors must agree with it."""
    architecture = contents.metadata.get("general.architecture", "")
    for name, signature in GGUF_TEXT_ENCODERS:
        if name == architecture and signature.holds(contents.shapes):
            return _of(signature)
    found = _of_denoiser(contents.shapes)
    allowed = GGUF_DENOISERS.get(architecture, ())
    if found and (not architecture or architecture == "pig" or found["family"] in allowed):
        return {**found, "details": MappingProxyType({"architecture": architecture} if architecture else {})}
    return {"kind": "unknown"}


def _without(shapes: Shapes, prefix: str) -> Mapping[str, tuple[int, ...]]:
    if not prefix:
        return shapes
    return {key[len(prefix) :]: shape for key, shape in shapes.items() if key.startswith(prefix)}


def _whole(shapes: Shapes, prefix: str) -> Shapes:
    """As `_without`, but nothing when more than a few tensors lack the prefix: a part is not the whole file."""
    inner = _without(shapes, prefix)
    return inner if len(inner) >= 0.9 * len(shapes) else {}


def _precision(contents: Contents) -> str:
    """The type that most of the numbers have."""
    if any(key.endswith(("bitsandbytes__nf4", ".quant_state.bitsandbytes__fp4")) for key in contents.shapes):
        return "nf4"
    counts: Counter[str] = Counter()
    for name, dtype in contents.dtypes.items():
        counts[dtype] += math.prod(contents.shapes[name]) or 1
    if not counts:
        return ""
    dtype = counts.most_common(1)[0][0]
    return _PRECISION.get(dtype, dtype)


__all__ = ["MODEL_INDEX", "identify"]
