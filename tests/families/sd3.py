"""Stable Diffusion 3: three text encoders, with and without T5; a ControlNet."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from tests.families import room
from tests.families.room import Case, Ours, Picture, Tiny
from tests.families.sd15 import control_case

SETTINGS = Ours()
PIPELINES = {
    "txt2img": "StableDiffusion3Pipeline",
    "img2img": "StableDiffusion3Img2ImgPipeline",
    "inpaint": "StableDiffusion3InpaintPipeline",
}
L, G, T5 = 24, 40, 80  # widths of the three text encoders


def tiny(folder: Path) -> Path:
    write(folder)
    write(folder / "no_t5", t5=False)
    from diffusers import SD3ControlNetModel

    transformer = room.load_module(folder / "transformer", "diffusers", "SD3Transformer2DModel", torch.float32)
    net = SD3ControlNetModel.from_transformer(transformer, num_layers=1, num_extra_conditioning_channels=0)
    room.lively(net).save_pretrained(folder / "nets" / "edges")
    net.register_to_config(force_zeros_for_pooled_projection=False)
    net.save_pretrained(folder / "nets" / "shifted")
    return folder


def write(folder: Path, t5: bool = True) -> None:
    from diffusers import SD3Transformer2DModel

    SD3Transformer2DModel(
        sample_size=8, in_channels=16, out_channels=16, num_layers=2, attention_head_dim=8, num_attention_heads=4,
        joint_attention_dim=T5, caption_projection_dim=32, pooled_projection_dim=L + G, pos_embed_max_size=8,
        dual_attention_layers=(0,), qk_norm="rms_norm",
    ).save_pretrained(folder / "transformer")  # fmt: skip
    room.write_autoencoder(
        folder / "vae", channels=16, scaling_factor=1.5305, shift_factor=0.0609, use_quant_conv=False,
        use_post_quant_conv=False,
    )  # fmt: skip
    for suffix, width in (("", L), ("_2", G)):
        words = room.write_clip_tokenizer(folder / f"tokenizer{suffix}")
        room.write_clip(folder / f"text_encoder{suffix}", words, width, projection=width)
    if t5:
        room.write_t5(folder / "text_encoder_3", room.write_t5_tokenizer(folder / "tokenizer_3", limit=512), T5)
    room.write_json(
        folder / "scheduler" / "scheduler_config.json",
        {"_class_name": "FlowMatchEulerDiscreteScheduler", "num_train_timesteps": 1000, "shift": 3.0},
    )
    absent = {} if t5 else {"text_encoder_3": [None, None], "tokenizer_3": [None, None]}
    room.write_index(folder, PIPELINES["txt2img"], **absent)


def cases(folder: Path) -> list[Case]:
    *plain, inpaint = room.standard_cases(folder, "sd3", PIPELINES, SETTINGS)
    (bare,) = room.standard_cases(folder / "no_t5", "sd3", {"txt2img": PIPELINES["txt2img"]}, SETTINGS)
    return [
        *plain,
        Case(inpaint.task, inpaint.ours, lambda dtype: inpainted(room.opened(folder, "sd3", dtype))),
        Case("txt2img, no T5", bare.ours, bare.reference),
        *(controls(folder, net) for net in ("edges", "shifted")),
    ]


def inpainted(tiny: Tiny) -> Picture:
    """The in-painting pipeline's latent decoded as the other pipelines decode: it alone forgets the latent's shift."""
    more = {"output_type": "latent"}
    latent: Any = room.run_pipeline(tiny, PIPELINES["inpaint"], "inpaint", SETTINGS, room.STRENGTH, more)
    vae = tiny.module("vae")
    pixels = vae.decode(latent / vae.config.scaling_factor + vae.config.shift_factor, return_dict=False)[0]
    made: Picture = (pixels / 2 + 0.5).clamp(0, 1).permute(0, 2, 3, 1).float().numpy()
    return made


def controls(folder: Path, net: str) -> Case:
    case = control_case(
        folder, "sd3", "StableDiffusion3ControlNetPipeline", SETTINGS, net, hint="control_image", signed=True
    )
    return Case("control" if net == "edges" else f"control, {net}", case.ours, case.reference)
