"""Issue 4, must-show 2: at full size every key of a single file is placed and every parameter filled, none left.

The file's names and shapes come from `original_layouts`, the parameters from the model classes on the meta device.
"""

from __future__ import annotations

import json
import math
import warnings
from collections import Counter
from collections.abc import Mapping
from functools import cache
from typing import Any, ClassVar

import pytest
import torch

from engine.contracts.errors import BadInput
from engine.models.layouts import (
    apply,
    config_for,
    config_of,
    key_map,
    module_map,
    parts_in,
    placed_shape,
    variant_of,
    variants_of,
)  # fmt: skip
from tests.contract import original_layouts as original
from tests.contract.original_layouts import Layout, under

_SD = "model.diffusion_model."
_TRAINING: Layout = {
    "betas": (1000,), "alphas_cumprod": (1000,), "sqrt_one_minus_alphas_cumprod": (1000,), "model_ema.decay": (),
    "model_ema.num_updates": (), "model_ema.diffusion_modelinput_blocks00weight": (320, 4, 3, 3),
}  # fmt: skip
_SD15: Any = {"base": 320, "mults": (1, 2, 4, 4), "depths": (1, 1, 1, 0), "context": 768}
_SD2: Any = {"base": 320, "mults": (1, 2, 4, 4), "depths": (1, 1, 1, 0), "context": 1024, "flat": True}
_SDXL: Any = {"base": 320, "mults": (1, 2, 4), "depths": (0, 2, 10), "context": 2048, "flat": True}
_REFINER: Any = {
    "base": 384,
    "mults": (1, 2, 4, 4),
    "depths": (0, 4, 4, 0),
    "context": 1280,
    "flat": True,
    "label": 2560,
}


def _clip_l(**more: Any) -> Layout:
    return original.hf_clip(768, 12, 3072, **more)


def _clip_g_hf() -> Layout:
    return original.hf_clip(1280, 32, 5120, projection=1280)


def _qwen_vl(prefix: str = "model.", visual: str = "visual.") -> Layout:
    return original.language_model(prefix, 3584, 18944, 28, 152064, heads=28, groups=4, biased=True) | (
        original.qwen_vision(visual)
    )


def _qwen3(width: int = 2560, feed: int = 9728) -> Layout:
    return original.language_model("model.", width, feed, 36, 151936, heads=32, groups=8, normed=True)


def _mistral(layers: int = 40, *, last: bool = True) -> Layout:
    return original.language_model("model.", 5120, 32768, layers, 131072, heads=32, groups=8, last=last)


def _sd15(channels: int = 4) -> Layout:
    unet = original.unet(channels, **_SD15)
    text = under("cond_stage_model.transformer.", _clip_l())
    return {**under(_SD, unet), **under("first_stage_model.", original.kl(4)), **text, **_TRAINING}


def _sd2(channels: int = 4) -> Layout:
    text = under("cond_stage_model.model.", original.open_clip(1024, 24))
    vae = under("first_stage_model.", original.kl(4))
    return {**under(_SD, original.unet(channels, **_SD2)), **vae, **text, **_TRAINING}


def _sdxl(channels: int = 4, guidance: int = 0) -> Layout:
    return {
        **under(_SD, original.unet(channels, label=2816, guidance=guidance, **_SDXL)),
        **under("first_stage_model.", original.kl(4)),
        **under("conditioner.embedders.0.transformer.", _clip_l()),
        **under("conditioner.embedders.1.model.", original.open_clip(1280, 32)),
    }


def _refiner() -> Layout:
    return {
        **under(_SD, original.unet(4, **_REFINER)),
        **under("first_stage_model.", original.kl(4)),
        **under("conditioner.embedders.0.model.", original.open_clip(1280, 32)),
    }


def _sd3(transformer: Layout) -> Layout:
    return {
        **under(_SD, transformer),
        **under("first_stage_model.", original.kl(16, quant="")),
        **under("text_encoders.clip_l.transformer.", _clip_l(positions=False)),
        **under("text_encoders.clip_g.transformer.", _clip_g_hf()),
        **under("text_encoders.t5xxl.transformer.", original.t5()),
    }


def _flux(transformer: Layout) -> Layout:
    return {
        **under(_SD, transformer),
        **under("vae.", original.kl(16, quant="")),
        **under("text_encoders.clip_l.transformer.", _clip_l(projection=768)),
        **under("text_encoders.t5xxl.transformer.", original.t5()),
        "text_encoders.clip_l.logit_scale": (),
    }


_SD3_MEDIUM: Any = {"positions": 192, "normed": False}
_FILES: dict[str, tuple[str, str, Layout]] = {
    "sd15": ("sd15", "base", _sd15()),
    "sd15 inpaint": ("sd15", "inpaint", _sd15(9)),
    "sd15 instruct": ("sd15", "instruct", _sd15(8)),
    "sd2": ("sd2", "base", _sd2()),
    "sd2 inpaint": ("sd2", "inpaint", _sd2(9)),
    "sd2 depth": ("sd2", "depth", _sd2(5)),
    "sdxl": ("sdxl", "base", _sdxl()),
    "sdxl inpaint": ("sdxl", "inpaint", _sdxl(9)),
    "sdxl instruct": ("sdxl", "instruct", _sdxl(8)),
    "sdxl lcm": ("sdxl", "lcm", _sdxl(4, 256)),
    "sdxl refiner": ("sdxl_refiner", "base", _refiner()),
    "sd3 medium": ("sd3", "3-medium", _sd3(original.sd3(24, **_SD3_MEDIUM))),
    "sd3.5 medium": ("sd3", "3.5-medium", _sd3(original.sd3(24, positions=384, normed=True, dual=13))),
    "sd3.5 large": ("sd3", "3.5-large", _sd3(original.sd3(38, positions=192, normed=True))),
    "flux dev": ("flux", "dev", _flux(original.flux())),
    "flux schnell": ("flux", "schnell", original.flux(guided=False)),
    "flux fill": ("flux", "fill", original.flux(384)),
    "flux control": ("flux", "control", under(_SD, original.flux(128))),
    "flux lite": ("flux", "dev", original.flux(double=8)),
    "flux2 dev": ("flux2", "dev", original.flux2(6144, 8, 48, 15360, guided=True)),
    "flux2 klein 4B": ("flux2", "klein-4b", original.flux2(3072, 5, 20, 7680, guided=False)),
    "flux2 klein 9B": ("flux2", "klein-9b", under(_SD, original.flux2(4096, 8, 24, 12288, guided=False))),
    "chroma": ("chroma", "base", original.chroma()),
    "qwen image": ("qwen_image", "base", original.qwen_image()),
    "qwen image whole": ("qwen_image", "base", {
        **under(_SD, original.qwen_image()), **under("vae.", original.wan_vae()),
        **under("text_encoders.qwen25_7b.transformer.", _qwen_vl()),
    }),
    "z image": ("z_image", "base", original.z_image()),
    "z image whole": ("z_image", "base", {
        **under(_SD, original.z_image()), **under("vae.", original.kl(16, quant="")),
        **under("text_encoders.qwen3_4b.transformer.", _qwen3()),
    }),
    # Files that hold one part
    "vae of sdxl": ("sdxl", "base", original.kl(4)),
    "vae of flux": ("flux", "dev", original.kl(16, quant="")),
    "vae of chroma": ("chroma", "base", original.kl(16, quant="")),
    "vae of z image": ("z_image", "base", original.kl(16, quant="")),
    "vae of flux2": ("flux2", "dev", original.kl(32, quant="inside")),
    "vae of qwen image": ("qwen_image", "base", original.wan_vae()),
    "clip-l of flux": ("flux", "dev", _clip_l(projection=768)),
    "clip-l of sd3": ("sd3", "3.5-large", _clip_l(projection=768)),
    "clip-g of sdxl": ("sdxl", "base", _clip_g_hf()),
    "clip-g of sd3": ("sd3", "3.5-large", original.open_clip(1280, 32)),
    "clip-h of sd2": ("sd2", "base", original.open_clip(1024, 24)),
    "t5 of flux": ("flux", "dev", original.t5(words=("shared",))),
    "t5 of sd3": ("sd3", "3.5-large", original.t5(words=("encoder.embed_tokens",))),
    "t5 of chroma": ("chroma", "base", original.t5()),
    "qwen2.5-vl, early names": ("qwen_image", "base", _qwen_vl() | {"lm_head.weight": (152064, 3584)}),
    "qwen2.5-vl, late names": ("qwen_image", "base", _qwen_vl("model.language_model.", "model.visual.")),
    "qwen3 of z image": ("z_image", "base", _qwen3()),
    "qwen3 of klein 4B": ("flux2", "klein-4b", _qwen3()),
    "qwen3 of klein 9B": ("flux2", "klein-9b", _qwen3(4096, 12288)),
    "mistral of flux2": ("flux2", "dev", _mistral() | {"tekken_model": (19280963,)}),
    "mistral of flux2, cut": ("flux2", "dev", _mistral(30, last=False)),
}  # fmt: skip


@cache
def _tensors(config: str) -> dict[str, tuple[int, ...]]:
    """Every tensor of the model of this configuration, built on the meta device."""
    import diffusers
    import transformers

    settings = json.loads(config)
    with torch.device("meta"), warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # diffusers' Chroma names a class by its old place
        if "_class_name" in settings:
            model = getattr(diffusers, settings["_class_name"]).from_config(settings)
        else:
            kind = getattr(transformers, settings["architectures"][0])
            model = kind(kind.config_class(**settings))
    return {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}


def _wanted(config: Mapping[str, Any]) -> dict[str, tuple[int, ...]]:
    return _tensors(json.dumps(config, sort_keys=True))


@pytest.mark.parametrize("name", list(_FILES))
def test_every_key_of_a_file_is_placed_and_every_parameter_filled_once(name: str) -> None:
    family, variant, file = _FILES[name]
    held = parts_in(file, family)
    assert held
    seen: set[str] = set()
    for part in held:
        layout = key_map(family, part, file)
        assert layout.unused == ()
        if part in ("unet", "transformer") or len(held) == 1:
            assert variant_of(family, part, file) == variant
        wanted = _wanted(config_for(family, part, file))
        filled = Counter((*layout.targets(), *layout.identity, *(f"{name}.weight" for name in layout.bypassed)))
        assert max(filled.values()) == 1
        assert filled.keys() == wanted.keys()
        for source, placements in layout.placements.items():
            for placement in placements:
                assert placed_shape(placement, file[source]) == wanted[placement.target], (source, placement)
        assert not seen & layout.placements.keys()
        seen |= layout.placements.keys()
    left = file.keys() - seen
    assert all(any(word in key for word in _LEFT) for key in left), sorted(left)[:8]


# The only tensors of the files above that no model has: training's, and layers that nothing reads.
_LEFT = (
    "betas", "alphas_cumprod", "model_ema.", "position_ids", "logit_scale", "lm_head", "tekken_model", "norm_final",
    "resblocks.23.", "text_projection", "encoder.embed_tokens",
)  # fmt: skip


def _labelled(shapes: Mapping[str, tuple[int, ...]]) -> dict[str, torch.Tensor]:
    """A tensor for each shape, its columns cut to three; no two rows are alike, nor any two tensors."""
    found = {}
    for number, (name, shape) in enumerate(shapes.items()):
        cut = (shape[0], min(shape[1], 3), *shape[2:]) if len(shape) > 1 else shape
        found[name] = torch.arange(math.prod(cut)).reshape(cut) + 10_000_000 * number
    return found


def _converted(family: str, part: str, shapes: Mapping[str, tuple[int, ...]]) -> dict[str, torch.Tensor]:
    tensors = _labelled(shapes)
    return {
        placement.target: apply(placement, tensors[source])
        for source, placements in key_map(family, part, shapes).placements.items()
        for placement in placements
    }


_UNET: Any = {"base": 32, "mults": (1, 2, 2, 2), "depths": (1, 1, 1, 0), "context": 768}
_KL = {"down_block_types": [""] * 4, "up_block_types": [""] * 4}
_LAYERS = {"layers_per_block": 2, "class_embed_type": None, "addition_embed_type": None}


class _Text:
    config: ClassVar[Mapping[str, int]] = {}


# Name → (family, part, file, diffusers' converter, what it is told more).
_CONVERTERS: dict[str, tuple[str, str, Layout, str, tuple[Any, ...]]] = {
    "sd15": ("sd15", "unet", under(_SD, original.unet(4, **_UNET)), "convert_ldm_unet_checkpoint", (_LAYERS,)),
    "sdxl": ("sdxl", "unet", under(_SD, original.unet(4, 32, (1, 2, 2), (0, 2, 3), 2048, flat=True, label=96)),
             "convert_ldm_unet_checkpoint", ({**_LAYERS, "addition_embed_type": "text_time"},)),
    "controlnet": ("sd15", "controlnet", under("control_model.", original.controlnet(**_UNET)),
                   "convert_controlnet_checkpoint", (_LAYERS,)),
    "kl": ("sd15", "vae", original.kl(4, 16), "convert_ldm_vae_checkpoint", (_KL,)),
    "kl of flux": ("flux", "vae", original.kl(16, 16, quant=""), "convert_ldm_vae_checkpoint", (_KL,)),
    "wan vae": ("qwen_image", "vae", original.wan_vae(12, 4), "convert_wan_vae_to_diffusers", ()),
    "bigG": ("sdxl", "text_encoder_2", original.open_clip(1280, 2), "convert_open_clip_checkpoint", (_Text(), "")),
    "sd3": ("sd3", "transformer", original.sd3(3, positions=4, normed=True, dual=2, text=8),
            "convert_sd3_transformer_checkpoint_to_diffusers", ()),
    "flux": ("flux", "transformer", original.flux(double=2, single=2),
             "convert_flux_transformer_checkpoint_to_diffusers", ()),
    "flux2": ("flux2", "transformer", original.flux2(32, 2, 2, 48, guided=True),
              "convert_flux2_transformer_checkpoint_to_diffusers", ()),
    "chroma": ("chroma", "transformer", original.chroma(double=2, single=2),
               "convert_chroma_transformer_checkpoint_to_diffusers", ()),
    "z image": ("z_image", "transformer", original.z_image(24, 2, 8),
                "convert_z_image_transformer_checkpoint_to_diffusers", ()),
}  # fmt: skip


@pytest.mark.parametrize("name", list(_CONVERTERS))
def test_tensors_come_out_as_from_diffusers_own_converters(name: str) -> None:
    from diffusers.loaders import single_file_utils

    family, part, file, converter, more = _CONVERTERS[name]
    ours = _converted(family, part, file)
    tensors = _labelled(file)
    first = more[:1] if name == "bigG" else ()
    theirs = getattr(single_file_utils, converter)(*first, tensors, *more[len(first) :])
    theirs = {key: value for key, value in theirs.items() if value is not None}
    assert ours.keys() == theirs.keys()
    for key, value in theirs.items():
        assert torch.equal(ours[key], value), key


def test_a_controlnet_of_the_original_code_fills_diffusers_own() -> None:
    file = under("control_model.", original.controlnet(**_SD15))
    layout = key_map("sd15", "controlnet", file)
    from diffusers import ControlNetModel

    with torch.device("meta"):
        wanted = {
            name: tuple(value.shape) for name, value in ControlNetModel(cross_attention_dim=768).state_dict().items()
        }
    placed = {p.target: placed_shape(p, file[key]) for key, value in layout.placements.items() for p in value}
    assert layout.unused == ()
    assert placed == wanted


@pytest.mark.parametrize("name", ["sd15", "sd3.5 medium", "flux dev", "flux2 dev", "qwen image whole", "z image whole"])
def test_a_file_with_diffusers_names_is_placed_as_it_is(name: str) -> None:
    family, variant, file = _FILES[name]
    for part in parts_in(file, family):
        own = _wanted(config_for(family, part, file))
        layout = key_map(family, part, own)
        assert layout.unused == ()
        assert all(source == placement.target for source, (placement, *_) in layout.placements.items())
        assert set(layout.targets()) | {"encoder.embed_tokens.weight"} == own.keys() | {"encoder.embed_tokens.weight"}
        assert part not in ("unet", "transformer") or variant_of(family, part, own) == variant


@pytest.mark.parametrize("name", list(_FILES))
def test_a_stranger_in_a_part_is_reported_and_not_placed(name: str) -> None:
    family, _, file = _FILES[name]
    for part, prefix in parts_in(file, family).items():
        stranger = f"{prefix}something.new.weight"
        layout = key_map(family, part, {**file, stranger: (3, 3)})
        assert layout.unused == (stranger,)
        assert stranger not in layout.placements


@pytest.mark.parametrize("family", ["sd15", "sd2", "sdxl", "sdxl_refiner", "sd3", "flux", "flux2", "chroma",
                                    "qwen_image", "z_image"])  # fmt: skip
def test_every_original_module_of_the_full_model_names_a_module_that_is_there(family: str) -> None:
    for variant in variants_of(family):
        part = "unet" if family in ("sd15", "sd2", "sdxl", "sdxl_refiner") else "transformer"
        config = config_of(family, variant, part)
        wanted = _wanted(config)
        modules = {key.rpartition(".")[0] for key in wanted} - {"", "pos_embed"}
        found = [placement.target for value in module_map(family, part, variant).values() for placement in value]
        assert len(found) == len(set(found))
        assert set(found) == modules
        for placements in module_map(family, part, variant).values():
            for placement in placements:
                if placement.rows:
                    start, stop = placement.rows
                    assert stop - start == wanted[f"{placement.target}.weight"][0]


def test_an_autoencoder_with_diffusers_early_names_fills_the_same_model() -> None:
    own = _wanted(config_of("sd15", "base", "vae"))
    early = dict(zip(("to_q", "to_k", "to_v", "to_out.0"), ("query", "key", "value", "proj_attn"), strict=True))
    file = {}
    for key, shape in own.items():
        late = next((name for name in early if f".attentions.0.{name}." in key), "")
        file[key.replace(late, early[late]) if late else key] = shape
    layout = key_map("sd15", "vae", file)
    assert file.keys() != own.keys()
    assert sorted(layout.targets()) == sorted(own)
    assert layout.unused == ()


def test_the_mark_of_the_second_editing_model_is_read() -> None:
    file = original.qwen_image(layers=2)
    assert not config_for("qwen_image", "transformer", file).get("zero_cond_t")
    marked = {**file, "__index_timestep_zero__": (0,)}
    assert config_for("qwen_image", "transformer", marked)["zero_cond_t"] is True
    assert key_map("qwen_image", "transformer", marked).unused == ()


def test_the_scales_of_fp8_weights_are_told_beside_them() -> None:
    file = original.flux(double=1, single=1)
    weight = "single_blocks.0.linear1.weight"
    scaled = {**file, "single_blocks.0.linear1.scale_weight": (), "scaled_fp8": (0,),
              "single_blocks.0.linear1.scale_input": ()}  # fmt: skip
    layout = key_map("flux", "transformer", scaled)
    assert layout.scales == {weight: "single_blocks.0.linear1.scale_weight"}
    assert layout.unused == ()
    assert layout.placements[weight][3].rows == (9216, 21504)


def test_the_projection_that_sd3_leaves_out_is_the_identity() -> None:
    file = _FILES["sd3.5 large"][2]
    assert key_map("sd3", "text_encoder", file).identity == ("text_projection.weight",)
    assert key_map("sd3", "text_encoder_2", file).identity == ()


def test_a_text_encoder_cut_after_the_last_layer_read_passes_its_norm() -> None:
    for layers, last, bypassed in ((30, False, ("norm",)), (30, True, ("norm",)), (40, True, ())):
        file = _mistral(layers, last=last)
        assert key_map("flux2", "text_encoder", file).bypassed == bypassed
        assert config_for("flux2", "text_encoder", file)["num_hidden_layers"] == layers


def test_a_part_that_the_file_lacks_is_said_in_one_sentence() -> None:
    with pytest.raises(BadInput, match="no vae"):
        key_map("flux", "vae", original.flux(double=1, single=1))


def test_the_names_of_llama_cpp_fill_the_same_models() -> None:
    names = ("attn_q", "attn_k", "attn_v", "attn_norm", "ffn_gate", "ffn_up", "ffn_down", "ffn_norm")
    t5: Layout = {f"enc.blk.{n}.{name}.weight": (4, 4) for n in range(24) for name in (*names, "attn_o")}
    t5 |= {"enc.blk.0.attn_rel_b.weight": (64, 32), "enc.output_norm.weight": (4,), "token_embd.weight": (32128, 4)}
    layout = key_map("flux", "text_encoder_2", t5)
    assert layout.unused == ()
    assert set(layout.targets()) == _wanted(config_of("flux", "dev", "text_encoder_2")).keys()
    own = (*names, "attn_output", "attn_q_norm", "attn_k_norm")
    qwen: Layout = {f"blk.{n}.{name}.weight": (4, 4) for n in range(36) for name in own}
    qwen |= {"output_norm.weight": (4,), "token_embd.weight": (151936, 2560), "output.weight": (4, 4)}
    layout = key_map("z_image", "text_encoder", qwen)
    assert layout.unused == ()
    assert set(layout.targets()) == _wanted(config_of("z_image", "base", "text_encoder")).keys()
    sighted = config_of("qwen_image", "base", "text_encoder")
    blind: Layout = {f"blk.{n}.{name}.weight": (4, 4) for n in range(28) for name in (*names, "attn_output")}
    blind |= {f"blk.{n}.attn_{letter}.bias": (4,) for n in range(28) for letter in "qkv"}
    blind |= {"output_norm.weight": (4,), "token_embd.weight": (152064, 3584), "output.weight": (4, 4)}
    layout = key_map("qwen_image", "text_encoder", blind)
    assert (layout.unused, layout.bypassed) == ((), ("visual",))
    assert set(layout.targets()) == {key for key in _wanted(sighted) if not key.startswith("visual.")}
