"""Chroma, tiny: diffusers' Chroma…Pipeline, given the boolean masks that it means (see engine/families/chroma.py)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from tests.families import room
from tests.families.flux import AUTOENCODER, WIDTH
from tests.families.room import Case, Ours, Picture

SETTINGS = Ours(cfg=4.0)
PIPELINES = {"txt2img": "ChromaPipeline", "img2img": "ChromaImg2ImgPipeline", "inpaint": "ChromaInpaintPipeline"}
STRENGTH = 0.6


def tiny(folder: Path) -> Path:
    """A tiny Chroma in diffusers' layout."""
    from diffusers import ChromaTransformer2DModel

    room.write_t5(folder / "text_encoder", room.write_t5_tokenizer(folder / "tokenizer"), WIDTH)
    room.write_autoencoder(folder / "vae", channels=16, **AUTOENCODER)
    transformer = ChromaTransformer2DModel(
        in_channels=64, out_channels=64, num_layers=2, num_single_layers=2, attention_head_dim=16,
        num_attention_heads=2, joint_attention_dim=WIDTH, axes_dims_rope=(4, 6, 6), approximator_num_channels=64,
        approximator_hidden_dim=32, approximator_layers=2,
    )  # fmt: skip
    room.lively(transformer).save_pretrained(folder / "transformer")
    scheduler = {
        "_class_name": "FlowMatchEulerDiscreteScheduler", "num_train_timesteps": 1000, "shift": 1.0,
        "use_dynamic_shifting": False,
    }  # fmt: skip
    room.write_json(folder / "scheduler" / "scheduler_config.json", scheduler)
    return room.write_index(folder, "ChromaPipeline")


def cases(folder: Path) -> list[Case]:
    """Every task, ours beside diffusers' pipeline of that task."""
    return [_case(folder, task, name) for task, name in PIPELINES.items()]


def _case(folder: Path, task: str, name: str) -> Case:
    strength = 1.0 if task == "txt2img" else STRENGTH

    def ours(dtype: torch.dtype) -> Picture:
        return room.run_ours(room.opened(folder, "chroma", dtype), task, SETTINGS, strength)

    def reference(dtype: torch.dtype) -> Picture:
        made = _masking(room.opened(folder, "chroma", dtype).pipeline(name))
        arguments: dict[str, Any] = {
            "prompt": room.PROMPT, "negative_prompt": room.NEGATIVE, "num_inference_steps": SETTINGS.steps,
            "guidance_scale": SETTINGS.cfg, "width": room.EDGE, "height": room.EDGE,
        }  # fmt: skip
        if task != "txt2img":
            arguments |= {"image": room.as_tensor(room.picture()), "strength": strength}
        if task == "inpaint":
            arguments["mask_image"] = torch.from_numpy(room.mask())[:, None]
        picture: Picture = room.called(made, arguments)
        return picture

    return Case(task, ours, reference)


def _masking(pipeline: Any) -> Any:
    """The pipeline with its mask as the booleans that attention takes for a mask; inpainting asks for a missing key."""
    prepare = pipeline._prepare_attention_mask
    pipeline._prepare_attention_mask = lambda **given: prepare(**given).bool()
    pipeline.transformer.register_to_config(guidance_embeds=False)
    return pipeline
