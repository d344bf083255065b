"""Z-Image: diffusers' ZImage…Pipeline, and with a ControlNet."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from engine.contracts.references import ModelRef
from engine.graph.values import ControlHandle
from tests.families import _language, room
from tests.families.room import Case, Ours, Picture
from tests.families.sd15 import controlled

SETTINGS = Ours(cfg=4.0)
PIPELINES = {"txt2img": "ZImagePipeline", "img2img": "ZImageImg2ImgPipeline", "inpaint": "ZImageInpaintPipeline"}
MORE = {"guidance_scale": SETTINGS.cfg - 1}  # it adds g·(c − u) to c


def tiny(folder: Path) -> Path:
    from diffusers import ZImageControlNetModel, ZImageTransformer2DModel

    words = len(_language.write_qwen_tokenizer(folder / "tokenizer"))
    _language.write_qwen3(folder / "text_encoder", words, whole=False)
    sizes: dict[str, Any] = {"dim": 32, "n_refiner_layers": 1, "n_heads": 2, "n_kv_heads": 2}
    made = ZImageTransformer2DModel(
        **sizes, n_layers=2, cap_feat_dim=_language.WIDTH, axes_dims=[4, 6, 6], axes_lens=[1024, 64, 64]
    )  # fmt: skip
    room.lively(made).save_pretrained(folder / "transformer")
    room.write_autoencoder(folder / "vae", 16, scaling_factor=0.3611, shift_factor=0.1159)
    for name in ("edges", "depth"):
        net = ZImageControlNetModel(
            **sizes, control_layers_places=[0], control_refiner_layers_places=[0], control_in_dim=33,
            add_control_noise_refiner="control_noise_refiner",
        )  # fmt: skip
        room.lively(net).save_pretrained(folder / "nets" / name)
    room.write_json(folder / "scheduler" / "scheduler_config.json", {
        "_class_name": "FlowMatchEulerDiscreteScheduler", "num_train_timesteps": 1000, "shift": 3.0,
        "use_dynamic_shifting": False,
    })  # fmt: skip
    return room.write_index(folder, "ZImagePipeline")


def cases(folder: Path) -> list[Case]:
    return [
        *room.standard_cases(folder, "z_image", PIPELINES, SETTINGS, MORE),
        turbo_case(folder),
        limited_case(folder),
        control_case(folder),
    ]


def turbo_case(folder: Path) -> Case:
    """Without guidance, as Z-Image-Turbo runs: 9 steps, the negative prompt unread."""
    settings = Ours(cfg=1.0, steps=9)
    return Case(
        "txt2img, turbo",
        lambda dtype: room.run_ours(room.opened(folder, "z_image", dtype), "txt2img", settings),
        lambda dtype: room.run_pipeline(
            room.opened(folder, "z_image", dtype), "ZImagePipeline", "txt2img", settings, more={"guidance_scale": 0.0}
        ),
    )


def limited_case(folder: Path) -> Case:
    """Guidance normalised, and ended before the run ends."""
    longest, until = 0.8, 0.3
    more = MORE | {"cfg_normalization": longest, "cfg_truncation": until}

    def ours(dtype: torch.dtype) -> Picture:
        from engine.nodes.condition.text import encode_text
        from engine.nodes.latent.empty import empty
        from engine.nodes.latent.picture import decode_image
        from engine.nodes.model.patches import cfg_limit
        from engine.nodes.sample.k_sampler import k_sampler

        tiny = room.opened(folder, "z_image", dtype)
        model, clip, vae = tiny.handles()
        positive, negative = (encode_text(tiny.ctx, clip, text) for text in (SETTINGS.prompt, SETTINGS.negative))
        latent = k_sampler(
            tiny.ctx, cfg_limit(tiny.ctx, model, longest, until), positive, negative,
            empty(tiny.ctx, room.EDGE, room.EDGE, 1), seed=room.seed(), steps=SETTINGS.steps, cfg=SETTINGS.cfg,
            sampler=SETTINGS.sampler, scheduler=SETTINGS.scheduler,
        )  # fmt: skip
        return decode_image(tiny.ctx, vae, latent)

    def reference(dtype: torch.dtype) -> Picture:
        tiny = room.opened(folder, "z_image", dtype)
        return room.run_pipeline(tiny, "ZImagePipeline", "txt2img", SETTINGS, more=more)

    return Case("txt2img, guidance limited", ours, reference)


def control_case(folder: Path) -> Case:
    """txt2img with a ControlNet of the folder at strength 0.8."""
    handle, strength = ControlHandle(ModelRef(kind="controlnet", name="edges")), 0.8

    def reference(dtype: torch.dtype) -> Picture:
        tiny = room.opened(folder, "z_image", dtype)
        hint = room.as_tensor(room.picture()) * 2 - 1  # tensors are taken as they are
        more = MORE | {"control_image": hint, "controlnet_conditioning_scale": strength}
        # The pipeline joins the transformer's parts to the module it gets.
        net = room.load_module(folder / "nets" / "edges", "diffusers", "ZImageControlNetModel", dtype)
        return room.run_pipeline(
            tiny, "ZImageControlNetPipeline", "control", SETTINGS, more=more, parts={"controlnet": net}
        )  # fmt: skip

    return Case(
        "control",
        lambda dtype: controlled(room.opened(folder, "z_image", dtype), handle, strength, SETTINGS),
        reference,
    )
