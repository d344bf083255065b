"""SDXL: two text encoders and told sizes; with 4 and with 9 channels, LCM, turbo and lightning, ControlNets."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from engine.contracts.references import ModelRef
from engine.graph.values import ControlHandle
from tests.benchmarks.tiny_models import SCHEDULER
from tests.families import room
from tests.families.room import Case, Ours, Picture
from tests.families.sd15 import control_case, controlled, inpaint_case

SETTINGS = Ours()
PIPELINES = {
    "txt2img": "StableDiffusionXLPipeline",
    "img2img": "StableDiffusionXLImg2ImgPipeline",
    "inpaint": "StableDiffusionXLInpaintPipeline",
}
TIME, POOLED = 8, 24  # numbers of each told size, and of the pooled prompt
KIND = "tile"


def tiny(folder: Path) -> Path:
    from diffusers import ControlNetModel, ControlNetUnionModel

    write(folder)
    write(folder / "inpaint", channels=9)
    write(folder / "turbo", timestep_spacing="trailing")
    write(folder / "lcm", scheduler="LCMScheduler", clip_sample=False, set_alpha_to_one=False)
    unet = room.load_module(folder / "unet", "diffusers", "UNet2DConditionModel", torch.float32)
    net = ControlNetModel.from_unet(unet, conditioning_embedding_out_channels=(4, 4, 8, 8))
    room.lively(net).save_pretrained(folder / "nets" / "edges")
    union = ControlNetUnionModel(
        layers_per_block=1, block_out_channels=(16, 32), down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
        cross_attention_dim=72, attention_head_dim=(2, 4), norm_num_groups=4, use_linear_projection=True,
        transformer_layers_per_block=(1, 2), addition_embed_type="text_time", addition_time_embed_dim=TIME,
        projection_class_embeddings_input_dim=6 * TIME + POOLED, conditioning_embedding_out_channels=(4, 4, 8, 8),
        num_control_type=8, num_trans_channel=16, num_trans_head=2, num_proj_channel=16,
    )  # fmt: skip
    room.lively(union).save_pretrained(folder / "nets" / "union")
    return folder


def write(folder: Path, channels: int = 4, scheduler: str = "EulerDiscreteScheduler", **settings: Any) -> Path:
    """A tiny sdxl model."""
    write_unet(folder / "unet", channels, numbers=6)
    room.write_autoencoder(folder / "vae", scaling_factor=0.13025)
    words = room.write_clip_tokenizer(folder / "tokenizer")
    write_second_encoder(folder, words)
    room.write_clip(folder / "text_encoder", words, 32)
    write_scheduler(folder, scheduler, **settings)
    pipeline = PIPELINES["inpaint" if channels == 9 else "txt2img"]
    return room.write_index(folder, pipeline, force_zeros_for_empty_prompt=True)


def write_unet(folder: Path, channels: int, numbers: int, width: int = 72) -> None:
    """A UNet that is told `numbers` sizes and scores."""
    from diffusers import UNet2DConditionModel

    UNet2DConditionModel(
        sample_size=8, in_channels=channels, out_channels=4, layers_per_block=1, block_out_channels=(16, 32),
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"), up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
        cross_attention_dim=width, attention_head_dim=(2, 4), norm_num_groups=4, use_linear_projection=True,
        transformer_layers_per_block=(1, 2), addition_embed_type="text_time", addition_time_embed_dim=TIME,
        projection_class_embeddings_input_dim=numbers * TIME + POOLED,
    ).save_pretrained(folder)  # fmt: skip


def write_second_encoder(folder: Path, words: int) -> None:
    """OpenCLIP-bigG, which pads with its first word instead of its last."""
    room.write_clip_tokenizer(folder / "tokenizer_2")
    path = folder / "tokenizer_2" / "tokenizer_config.json"
    config = room.read_json(path)
    room.write_json(path, {**config, "pad_token": "!"})
    room.write_clip(folder / "text_encoder_2", words, 40, projection=POOLED, hidden_act="gelu")


def write_scheduler(folder: Path, class_name: str, **settings: Any) -> None:
    config = {**SCHEDULER, "_class_name": class_name, "timestep_spacing": "leading", **settings}
    room.write_json(folder / "scheduler" / "scheduler_config.json", config)


def cases(folder: Path) -> list[Case]:
    turbo = Ours(cfg=1.0, steps=2)
    lcm = Ours(cfg=1.5, sampler="lcm", steps=4)
    few = {"txt2img": PIPELINES["txt2img"]}
    return [
        *room.standard_cases(folder, "sdxl", PIPELINES, SETTINGS),
        inpaint_case(folder / "inpaint", "sdxl", PIPELINES["inpaint"], SETTINGS),
        control_case(folder, "sdxl", "StableDiffusionXLControlNetPipeline", SETTINGS),
        union_case(folder),
        sizes_case(folder),
        zeroed_case(folder),
        *_named("turbo", room.standard_cases(folder / "turbo", "sdxl", few, turbo)),
        lightning_case(folder),
        *_named("lcm", room.standard_cases(folder / "lcm", "sdxl", few, lcm)),
    ]


def lightning_case(folder: Path) -> Case:
    """A model whose config says another spacing, on the steps that Lightning was distilled on."""
    few = Ours(cfg=1.0, scheduler="simple")

    def reference(dtype: torch.dtype) -> Picture:
        import diffusers

        config = room.read_json(folder / "scheduler" / "scheduler_config.json")
        trailing = diffusers.EulerDiscreteScheduler.from_config(config, timestep_spacing="trailing")
        made = room.opened(folder, "sdxl", dtype)
        return room.run_pipeline(made, PIPELINES["txt2img"], "txt2img", few, parts={"scheduler": trailing})

    return Case(
        "txt2img, lightning", lambda dtype: room.run_ours(room.opened(folder, "sdxl", dtype), "txt2img", few), reference
    )


def _named(kind: str, made: list[Case]) -> list[Case]:
    return [Case(f"{case.task}, {kind}", case.ours, case.reference) for case in made]


def union_case(folder: Path) -> Case:
    """A union ControlNet told which kind of picture it gets."""
    from engine.families.controls import UNION_KINDS

    handle = ControlHandle(ModelRef(kind="controlnet", name="union"), kind=KIND)

    def reference(dtype: torch.dtype) -> Picture:
        made = room.opened(folder, "sdxl", dtype)
        more = {
            "control_image": [room.as_tensor(room.picture())], "controlnet_conditioning_scale": 0.8,
            "control_mode": [UNION_KINDS.index(KIND)],
        }  # fmt: skip
        parts = {"controlnet": made.other(handle.weights)}
        return room.run_pipeline(
            made, "StableDiffusionXLControlNetUnionPipeline", "control", SETTINGS, more=more, parts=parts
        )

    return Case(
        "control, union", lambda dtype: controlled(room.opened(folder, "sdxl", dtype), handle, 0.8, SETTINGS), reference
    )


def sizes_case(folder: Path) -> Case:
    """Words of its own for each encoder, and told sizes, through SDXL's own prompt node."""
    small, large = "a red circle", "on a blue background"

    def ours(dtype: torch.dtype) -> Picture:
        from engine.nodes.condition.sdxl import encode_text_sdxl
        from engine.nodes.latent.empty import empty

        made = room.opened(folder, "sdxl", dtype)
        clip = made.handles()[1]
        sizes = {"width": 96, "height": 80, "crop_w": 8, "crop_h": 16, "target_width": 64, "target_height": 72}
        positive, negative = (
            encode_text_sdxl(made.ctx, clip, **sizes, text_g=second, text_l=first)
            for second, first in ((large, small), (SETTINGS.negative, SETTINGS.negative))
        )
        return room.sampled(made, positive, negative, empty(made.ctx, room.EDGE, room.EDGE, 1), SETTINGS)

    sizes = {"original_size": (80, 96), "crops_coords_top_left": (16, 8), "target_size": (72, 64)}
    words = {"prompt": small, "prompt_2": large}
    return Case(
        "txt2img, sizes",
        ours,
        lambda dtype: room.run_pipeline(
            room.opened(folder, "sdxl", dtype), PIPELINES["txt2img"], "txt2img", SETTINGS, more={**words, **sizes}
        ),
    )


def zeroed_case(folder: Path) -> Case:
    """No negative prompt: zeros, as SDXL's pipelines have it (force_zeros_for_empty_prompt)."""

    def ours(dtype: torch.dtype) -> Picture:
        from engine.nodes.condition.shape import zero_out
        from engine.nodes.latent.empty import empty

        made = room.opened(folder, "sdxl", dtype)
        positive, _ = room.prompts(made, SETTINGS)
        negative = zero_out(made.ctx, positive)
        return room.sampled(made, positive, negative, empty(made.ctx, room.EDGE, room.EDGE, 1), SETTINGS)

    def reference(dtype: torch.dtype) -> Picture:
        made = room.opened(folder, "sdxl", dtype)
        return room.run_pipeline(made, PIPELINES["txt2img"], "txt2img", SETTINGS, more={"negative_prompt": None})

    return Case("txt2img, no negative", ours, reference)
