"""Issue 4, must-show 2: at full size every key of a single file is placed and every parameter filled, none left.

The file's names and shapes come from `original_layouts`, the parameters from the model classes on the meta device.
"""

from __future__ import annotations

import json
import warnings
from collections import Counter
from collections.abc import Mapping
from functools import cache
from typing import Any

import pytest

from engine.models.layouts import (
    apply, config_for, config_of, key_map, module_map, parts_in, placed_shape, variant_of, variants_of,
)  # fmt: skip
from tests.contract import original_layouts as original
from tests.contract.original_layouts import Layout, under

_SD = "model.diffusion_model."
_TRAINING: Layout = {
    "betas": (1000,), "alphas_cumprod": (1000,), "sqrt_one_minus_alphas_cumprod": (1000,), "model_ema.decay": (),
    "model_ema.num_updates": (), "model_ema.diffusion_modelinput_blocks00weight": (320, 4, 3, 3),
}  # fmt: skip
_SD15 = {"base": 320, "mults": (1, 2, 4, 4), "depths": (1, 1, 1, 0), "context": 768}
_SD2 = {"base": 320, "mults": (1, 2, 4, 4), "depths": (1, 1, 1, 0), "context": 1024, "flat": True}
_SDXL = {"base": 320, "mults": (1, 2, 4), "depths": (0, 2, 10), "context": 2048, "flat": True}
_REFINER = {"base": 384, "mults": (1, 2, 4, 4), "depths": (0, 4, 4, 0), "context": 1280, "flat": True, "label": 2560}


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


_SD3_MEDIUM = {"positions": 192, "normed": False}
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
    import torch
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
_LEFT = ("betas", "alphas_cumprod", "model_ema.", "position_ids", "logit_scale", "lm_head", "tekken_model", "norm_final",
         "resblocks.23.", "text_projection", "encoder.embed_tokens")  # fmt: skip
