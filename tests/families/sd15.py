"""Stable Diffusion 1.5: diffusers' StableDiffusion…Pipeline, with 4 and with 9 channels, and with a ControlNet."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import torch

from engine.contracts.references import ModelRef
from engine.graph.values import ControlHandle
from tests.benchmarks.tiny_models import write_tiny_sd15
from tests.families import room
from tests.families.room import Case, Ours, Picture, Tiny

SETTINGS = Ours(sampler="ddim")
PIPELINES = {
    "txt2img": "StableDiffusionPipeline",
    "img2img": "StableDiffusionImg2ImgPipeline",
    "inpaint": "StableDiffusionInpaintPipeline",
}


def tiny(folder: Path) -> Path:
    from diffusers import ControlNetModel

    write_tiny_sd15(folder)
    write_tiny_sd15(folder / "inpaint", channels=9)
    write_tiny_sd15(folder / "edit", channels=8)
    unet = room.load_module(folder / "unet", "diffusers", "UNet2DConditionModel", torch.float32)
    net = ControlNetModel.from_unet(unet, conditioning_embedding_out_channels=(4, 4, 8, 8))
    room.lively(net).save_pretrained(folder / "nets" / "edges")
    return folder


def cases(folder: Path) -> list[Case]:
    return [
        *room.standard_cases(folder, "sd15", PIPELINES, SETTINGS),
        inpaint_case(folder / "inpaint", "sd15", PIPELINES["inpaint"], SETTINGS),
        edit_case(folder / "edit"),
        control_case(folder, "sd15", "StableDiffusionControlNetPipeline", SETTINGS),
    ]


def inpaint_case(folder: Path, family: str, pipeline: str, settings: Ours) -> Case:
    """An in-painting model with channels for the masked picture."""

    def ours(dtype: torch.dtype) -> Picture:
        from engine.nodes.condition.inpaint import inpaint_model

        tiny = room.opened(folder, family, dtype)
        positive, negative = room.prompts(tiny, settings)
        vae = tiny.handles()[2]
        positive, negative, latent = inpaint_model(tiny.ctx, positive, negative, vae, room.picture(), room.mask())
        return room.sampled(tiny, positive, negative, latent, settings)

    return Case(
        "inpaint, 9 channels",
        ours,
        lambda dtype: room.run_pipeline(room.opened(folder, family, dtype), pipeline, "inpaint", settings),
    )


def control_case(
    folder: Path, family: str, pipeline: str, settings: Ours, net: str = "edges", hint: str = "image",
    signed: bool = False,
) -> Case:  # fmt: skip
    """txt2img with a ControlNet of the folder at strength 0.8.

    hint    what the pipeline calls its picture
    signed  whether it takes a tensor as it is, in −1..1
    """
    handle = ControlHandle(ModelRef(kind="controlnet", name=net))
    strength = 0.8

    def reference(dtype: torch.dtype) -> Picture:
        tiny = room.opened(folder, family, dtype)
        shown = room.as_tensor(room.picture())
        more = {hint: shown * 2 - 1 if signed else shown, "controlnet_conditioning_scale": strength}
        parts = {"controlnet": tiny.other(handle.weights)}
        return room.run_pipeline(tiny, pipeline, "control", settings, more=more, parts=parts)

    return Case(
        "control",
        lambda dtype: controlled(room.opened(folder, family, dtype), handle, strength, settings),
        reference,
    )


def controlled(tiny: Tiny, handle: ControlHandle, strength: float, settings: Ours) -> Picture:
    """A picture of ours that a ControlNet steers."""
    from engine.nodes.control.apply import control_pair
    from engine.nodes.latent.empty import empty

    positive, negative = room.prompts(tiny, settings)
    positive, negative = control_pair(tiny.ctx, positive, negative, handle, room.picture(), strength)
    return room.sampled(tiny, positive, negative, empty(tiny.ctx, room.EDGE, room.EDGE, 1), settings)


def edit_case(folder: Path) -> Case:
    """Instruct-Pix2Pix: guided towards the words by 5 and towards the picture by 1.5."""
    towards = 1.5

    def ours(dtype: torch.dtype) -> Picture:
        from engine.nodes.condition.family_options import edit_by_instruction
        from engine.nodes.latent.picture import decode_image
        from engine.nodes.sample.k_sampler import run_plan
        from engine.sampling.loop import SamplePlan

        tiny = room.opened(folder, "sd15", dtype)
        model, _, vae = tiny.handles()
        positive, nothing = room.prompts(tiny, SETTINGS)
        words, picture, latent = edit_by_instruction(tiny.ctx, positive, nothing, vae, room.picture())
        latent = replace(latent, space="any")  # made anew, not from the picture
        plan = SamplePlan(
            words, nothing, room.seed(), SETTINGS.steps, SETTINGS.cfg, SETTINGS.sampler, SETTINGS.scheduler,
            style="dual", middle=picture, cfg_2=towards,
        )  # fmt: skip
        return decode_image(tiny.ctx, vae, run_plan(tiny.ctx, model, latent, plan)[0])

    def reference(dtype: torch.dtype) -> Picture:
        tiny = room.opened(folder, "sd15", dtype)
        more = {"image": room.as_tensor(room.picture()), "image_guidance_scale": towards}
        return room.run_pipeline(tiny, "StableDiffusionInstructPix2PixPipeline", "edit", SETTINGS, more=more)

    return Case("edit by instruction", ours, reference)
