"""Stable Diffusion 2: OpenCLIP-H, v-prediction, linear projections; 4 and 9 channels; a ControlNet."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from tests.benchmarks.tiny_models import SCHEDULER
from tests.families import room
from tests.families.room import Case, Ours, Picture
from tests.families.sd15 import PIPELINES, control_case, inpaint_case

SETTINGS = Ours(sampler="ddim")


def tiny(folder: Path) -> Path:
    from diffusers import ControlNetModel

    write(folder)
    write(folder / "inpaint", channels=9)
    write(folder / "depth", channels=5)
    unet = room.load_module(folder / "unet", "diffusers", "UNet2DConditionModel", torch.float32)
    net = ControlNetModel.from_unet(unet, conditioning_embedding_out_channels=(4, 4, 8, 8))
    room.lively(net).save_pretrained(folder / "nets" / "edges")
    return folder


def write(folder: Path, channels: int = 4) -> None:
    from diffusers import UNet2DConditionModel

    UNet2DConditionModel(
        sample_size=8, in_channels=channels, out_channels=4, layers_per_block=1, block_out_channels=(16, 32),
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"), up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
        cross_attention_dim=48, attention_head_dim=(2, 4), norm_num_groups=4, use_linear_projection=True,
    ).save_pretrained(folder / "unet")  # fmt: skip
    room.write_autoencoder(folder / "vae")
    words = room.write_clip_tokenizer(folder / "tokenizer")
    room.write_clip(folder / "text_encoder", words, 48, hidden_act="gelu")
    scheduler = {**SCHEDULER, "prediction_type": "epsilon" if channels == 9 else "v_prediction"}
    room.write_json(folder / "scheduler" / "scheduler_config.json", scheduler)
    room.write_index(folder, PIPELINES["inpaint" if channels == 9 else "txt2img"])


def cases(folder: Path) -> list[Case]:
    return [
        *room.standard_cases(folder, "sd2", PIPELINES, SETTINGS),
        inpaint_case(folder / "inpaint", "sd2", PIPELINES["inpaint"], SETTINGS),
        depth_case(folder / "depth"),
        control_case(folder, "sd2", "StableDiffusionControlNetPipeline", SETTINGS),
    ]


def depth_case(folder: Path) -> Case:
    """A picture made anew over its depths."""

    def ours(dtype: torch.dtype) -> Picture:
        from engine.nodes.condition.depth_model import depth_model
        from engine.nodes.latent.picture import encode_image

        made = room.opened(folder, "sd2", dtype)
        positive, negative = depth_model(made.ctx, *room.prompts(made, SETTINGS), depths())
        latent = encode_image(made.ctx, made.handles()[2], room.picture())
        return room.sampled(made, positive, negative, latent, SETTINGS, room.STRENGTH)

    def reference(dtype: torch.dtype) -> Picture:
        made = room.opened(folder, "sd2", dtype)
        shown = {"depth_map": torch.from_numpy(depths()[..., 0])}
        parts = {"depth_estimator": None, "feature_extractor": None}
        return room.run_pipeline(
            made, "StableDiffusionDepth2ImgPipeline", "img2img", SETTINGS, room.STRENGTH, shown, parts
        )

    return Case("img2img, depth", ours, reference)


def depths() -> Picture:
    return np.repeat(room.picture(seed=8)[..., :1], 3, axis=-1)
