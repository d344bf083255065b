"""Which layout a part of a file has, and where each of its tensors goes."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from engine.contracts.errors import BadInput, UnknownChoice
from engine.models.layouts import text
from engine.models.layouts.autoencoder import place_diffusers_kl, place_kl, place_wan
from engine.models.layouts.configs import config_of, default_variant
from engine.models.layouts.denoisers import TRANSFORMERS
from engine.models.layouts.ldm import place_controlnet, place_unet, unet_modules
from engine.models.layouts.parts import ENCODERS, UNETS, encoder_of, inside, llm_prefix, parts_in
from engine.models.layouts.rule import KeyMap, Placement, Rule, Shapes, Table

# Tensors that training leaves behind, or that the classes here compute: neither placed nor reported.
IGNORED = re.compile(
    r"(^|\.)(betas|alphas_cumprod(_prev)?|sqrt_\w+|log_one_minus_\w+|posterior_\w+|lvlb_weights|model_ema\..*|loss\..*"
    r"|logvar|edm_(mean|std|vpred.*)|v_pred|ztsnr|global_step|position_ids|logit_scale|rotary_emb\.inv_freq|inv_freq"
    r"|spiece_model|tekken_model|scaled_fp8|lm_head\.weight|__x0__|__32x32__|__index_timestep_zero__)$"
)
_SCALES = ("scale_weight", "weight_scale")
_CALCULATION = ("scale_input", "input_scale", "comfy_quant")
# What a family's models leave out although its files have it.
_LAST_OF_SD2 = re.compile(r"(transformer\.resblocks|text_model\.encoder\.layers)\.23\..*")  # it reads layer 22
_TEXT_ONLY = re.compile(
    r"(multi_modal_projector|vision_tower|lm_head|output)\..*|text_projection(\.weight)?|encoder\.embed_tokens\.weight"
)
_NORM_OF_Z_IMAGE = "norm_final.weight"


def key_map(family: str, part: str, shapes: Shapes) -> KeyMap:
    """Where each tensor of `part` goes, for the names and shapes of a whole file.

    Keys are those of the file, prefix and all; tensors of its other parts are left aside. Files with diffusers' own
    names are placed as they are. Raises BadInput when the file does not hold the part.
    """
    prefix = parts_in(shapes, family).get(part)
    if prefix is None:
        raise BadInput(f"the file holds no {part} of {family}", where=part,
                       fix="Choose a file that holds it, or name one for this part alone")  # fmt: skip
    own = inside(shapes, prefix)
    if not prefix:
        own = {key: shape for key, shape in own.items() if not _other(key)}
    placed = _place(family, part, own)
    scales = {
        weight: key
        for key in own
        if key.endswith(_SCALES) and (weight := f"{key.rpartition('.')[0]}.weight") in placed
    }  # fmt: skip
    bypassed = _bypassed(family, part, placed)
    norms = {key for key, value in placed.items() if "norm" in bypassed and value[0].target == "norm.weight"}
    known = placed.keys() | set(scales.values())
    placed = {key: value for key, value in placed.items() if key not in norms}
    unused = tuple(prefix + key for key in own if key not in known and not _ignored(family, part, key))
    identity = _identity(part, placed, own)
    return KeyMap({prefix + key: value for key, value in placed.items()}, unused,
                  {prefix + weight: prefix + key for weight, key in scales.items()}, identity,
                  bypassed)  # fmt: skip


def module_map(family: str, part: str, variant: str = "") -> Mapping[str, tuple[Placement, ...]]:
    """Every original module of a full-size part, without ".weight": what LoRA and ControlNet files name.

    `part` may be "controlnet" for the U-Net families. Raises UnknownChoice for a family or part without one.
    """
    config = config_of(family, variant or default_variant(family), "unet" if part == "controlnet" else part)
    if part in ("unet", "controlnet") and family in UNETS:
        return unet_modules(config, control=part == "controlnet")
    if part == "transformer" and family in TRANSFORMERS:
        return _transformer_modules(family, config)
    kind = ENCODERS.get(family, {}).get(part, "")
    if not kind:
        raise UnknownChoice("part", part, ["unet", "transformer", *ENCODERS.get(family, {})])
    if config["architectures"] == ["Qwen3Model"]:
        kind = "qwen3"
    inner = _text_config(config)
    width = int(inner.get("hidden_size") or inner["d_model"])
    full = {**inner, "vision_depth": _depth(config)}
    found = _text_table(kind, {}, config).expand(full, width, {})
    if kind in ("clip_h", "clip_g"):  # trainers name them as transformers does, whichever layout the checkpoint has
        found |= _text_table("clip_l", {}, config).expand(full, width, {})
    if kind == "t5xxl":  # only the first block learns where words stand
        found = {name: value for name, value in found.items()
                 if "relative_attention_bias" not in name or name.startswith("encoder.block.0.")}  # fmt: skip
    return found


def _transformer_modules(family: str, config: Mapping[str, Any]) -> Mapping[str, tuple[Placement, ...]]:
    width = int(config.get("dim") or config["num_attention_heads"] * config["attention_head_dim"])
    full = dict(config)
    found = dict(TRANSFORMERS[family].expand(full, width, {"single_blocks.*.linear1": 7 * width}))
    if family == "sd3":
        dual = config.get("dual_attention_layers") or ()
        for name in list(found):
            foreign = ".attn2." in name and int(name.split(".")[1]) not in dual
            if foreign or (".ln_" in name and not config.get("qk_norm")):
                del found[name]
    if not config.get("guidance_embeds", True):
        found = {name: value for name, value in found.items() if not name.startswith("guidance_in.")}
    return found


def _place(family: str, part: str, own: Shapes) -> dict[str, tuple[Placement, ...]]:
    if part == "unet":
        return place_unet(own) if "input_blocks.0.0.weight" in own else _as_it_is(own)
    if part == "controlnet":
        return place_controlnet(own) if "input_hint_block.0.weight" in own else _as_it_is(own)
    if part == "vae":
        if "decoder.middle.0.residual.0.gamma" in own:
            return place_wan(own)
        return place_kl(own) if "decoder.mid.block_1.conv1.weight" in own else place_diffusers_kl(own)
    if part == "transformer":
        table = TRANSFORMERS.get(family)
        if table is None:
            raise UnknownChoice("model family", family, TRANSFORMERS)
        return _best(table, own)
    if family == "sd2":
        own = {key: shape for key, shape in own.items() if not _LAST_OF_SD2.fullmatch(key)}
    kind = encoder_of(own)
    return _best(_text_table(kind, own, config_of(family, default_variant(family), part)), own)


def _best(table: Table, own: Shapes) -> dict[str, tuple[Placement, ...]]:
    """By the original names and, where those are not there, by diffusers' own; files may mix them (Z-Image does)."""
    placed = table.place(own)
    targets = {placement.target for value in placed.values() for placement in value}
    plain = table.own().place(own)
    return placed | {key: value for key, value in plain.items() if key not in placed and value[0].target not in targets}


def _as_it_is(own: Shapes) -> dict[str, tuple[Placement, ...]]:
    """diffusers' own U-Nets and ControlNets, of which there are more kinds than there are tables here."""
    return {key: (Placement(key),) for key in own if not IGNORED.search(key)}


def _text_table(kind: str, own: Shapes, config: Mapping[str, Any]) -> Table:
    projected = "CLIPTextModelWithProjection" in config.get("architectures", ())
    if kind.startswith("clip"):
        original = any(key.startswith("transformer.resblocks.") for key in own) if own else kind != "clip_l"
        return text.open_clip(projected=projected) if original else text.clip(projected=projected)
    if kind == "t5xxl":
        return text.t5_cpp() if "enc.blk.0.attn_q.weight" in own else text.t5(own)
    target = "language_model." if kind == "qwen25vl" else ""
    if "blk.0.attn_q.weight" in own:
        return text.language_model_cpp(target)
    prefix = llm_prefix(own)
    source = "model." if prefix is None else prefix
    if kind == "qwen25vl":
        visual = next((key.partition("blocks.")[0] for key in own if "visual.blocks." in key), "visual.")
        return text.qwen_vl(source, visual)
    return text.language_model(source, target, normed=kind == "qwen3")


def _text_config(config: Mapping[str, Any]) -> Mapping[str, Any]:
    inner: Mapping[str, Any] = config.get("text_config", config)
    return inner


def _depth(config: Mapping[str, Any]) -> int:
    return int(config.get("vision_config", {}).get("depth", 0))


def _other(key: str) -> bool:
    return key.startswith(("first_stage_model.", "cond_stage_model.", "conditioner.", "text_encoders.", "vae."))


def _ignored(family: str, part: str, key: str) -> bool:
    if IGNORED.search(key) or key.endswith(_CALCULATION):
        return True
    if part.startswith("text_encoder"):
        return bool(_TEXT_ONLY.fullmatch(key)) or (family == "sd2" and bool(_LAST_OF_SD2.fullmatch(key)))
    return family == "z_image" and key == _NORM_OF_Z_IMAGE


def _bypassed(family: str, part: str, placed: Mapping[str, tuple[Placement, ...]]) -> tuple[str, ...]:
    """A Mistral of Flux.2 may end after layer 30, the last that is read, and so before its norm; Qwen2.5-VL in GGUF
    has no eyes.
    """
    targets = {placement.target for value in placed.values() for placement in value}
    if family == "flux2" and part == "text_encoder":
        whole = {"layers.30.self_attn.q_proj.weight", "layers.0.self_attn.q_norm.weight"}
        return () if targets & whole else ("norm",)
    if family == "qwen_image" and part == "text_encoder" and "visual.patch_embed.proj.weight" not in targets:
        return ("visual",)
    return ()


def _identity(part: str, placed: Mapping[str, tuple[Placement, ...]], own: Shapes) -> tuple[str, ...]:
    """CLIP-L's projection, which checkpoints of SD3 leave out, is the identity there."""
    targets = {placement.target for value in placed.values() for placement in value}
    if part.startswith("text_encoder") and "text_model.final_layer_norm.weight" in targets:
        return () if "text_projection.weight" in targets else ("text_projection.weight",)
    return ()


__all__ = ["IGNORED", "Rule", "key_map", "module_map"]
