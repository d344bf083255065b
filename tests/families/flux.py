"""Flux.1, tiny: dev, schnell, Fill, Kontext, the models with a second picture, and ControlNets."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import torch

from tests.families import room
from tests.families.room import Case, Ours, Picture

WIDTH = 32
GUIDANCE = 4.0


def tiny(folder: Path) -> Path:
    """A tiny dev beside a schnell, a Fill and a Depth of the same parts, and three ControlNets."""
    write(folder)
    _write_controlnet(folder / "nets" / "plain")
    _write_controlnet(folder / "nets" / "union", num_mode=5)
    _write_controlnet(folder / "nets" / "pixels", conditioning_embedding_channels=16, patch_size=2)
    write(folder.parent / f"{folder.name}-schnell", guidance=False, shifted=False)
    write(folder.parent / f"{folder.name}-fill", channels=64 * 6)
    write(folder.parent / f"{folder.name}-depth", channels=64 * 2)
    return folder


def write(folder: Path, *, guidance: bool = True, shifted: bool = True, channels: int = 64) -> Path:
    """One tiny Flux in diffusers' layout."""
    from diffusers import FluxTransformer2DModel

    room.write_clip(folder / "text_encoder", room.write_clip_tokenizer(folder / "tokenizer"), WIDTH)
    room.write_t5(folder / "text_encoder_2", room.write_t5_tokenizer(folder / "tokenizer_2"), WIDTH)
    room.write_autoencoder(folder / "vae", channels=16, **AUTOENCODER)
    transformer = FluxTransformer2DModel(in_channels=channels, out_channels=64, guidance_embeds=guidance, **_shape())
    room.lively(transformer).save_pretrained(folder / "transformer")
    scheduler = {
        "_class_name": "FlowMatchEulerDiscreteScheduler", "num_train_timesteps": 1000,
        "shift": 3.0 if shifted else 1.0, "use_dynamic_shifting": shifted,
    }  # fmt: skip
    room.write_json(folder / "scheduler" / "scheduler_config.json", scheduler)
    return room.write_index(folder, "FluxPipeline")


AUTOENCODER = {"scaling_factor": 0.3611, "shift_factor": 0.1159, "use_quant_conv": False, "use_post_quant_conv": False}


def _shape() -> dict[str, Any]:
    return {
        "num_layers": 2, "num_single_layers": 2, "attention_head_dim": 16, "num_attention_heads": 2,
        "joint_attention_dim": WIDTH, "pooled_projection_dim": WIDTH, "axes_dims_rope": (4, 6, 6),
    }  # fmt: skip


def _write_controlnet(folder: Path, **more: Any) -> None:
    from diffusers import FluxControlNetModel

    made = FluxControlNetModel(in_channels=64, guidance_embeds=True, **{**_shape(), "num_layers": 1}, **more)
    room.lively(made).save_pretrained(folder)


def cases(folder: Path) -> list[Case]:
    """Every task, ours beside diffusers' pipeline of that task."""
    ours = Ours(cfg=1.0)
    said = {"guidance_scale": 3.5, "negative_prompt": None, "max_sequence_length": 512}
    usual = room.standard_cases(
        folder, "flux",
        {"txt2img": "FluxPipeline", "img2img": "FluxImg2ImgPipeline", "inpaint": "FluxInpaintPipeline"},
        ours, said,
    )  # fmt: skip
    guided = {"guidance_scale": 3.5, "true_cfg_scale": 3.0, "max_sequence_length": 512}
    schnell = folder.parent / f"{folder.name}-schnell"
    true_cfg = room.standard_cases(folder, "flux", {"txt2img": "FluxPipeline"}, Ours(cfg=3.0), guided)
    few = room.standard_cases(
        schnell, "flux", {"txt2img": "FluxPipeline"}, ours, {"negative_prompt": None, "max_sequence_length": 256}
    )
    named = [replace(true_cfg[0], task="txt2img (true cfg)"), replace(few[0], task="txt2img (schnell)")]
    return [*usual, *named, _fill(folder), _depth(folder), _kontext(folder), *_controls(folder)]


def _prompt(tiny: room.Tiny, guidance: float = GUIDANCE) -> Any:
    from engine.nodes.condition.flux import encode_text_flux

    return encode_text_flux(tiny.ctx, tiny.handles()[1], room.PROMPT, room.PROMPT, guidance)


def _run(tiny: room.Tiny, positive: Any, latent: Any) -> Picture:
    return room.sampled(tiny, positive, (), latent, Ours(cfg=1.0))


def _empty(tiny: room.Tiny) -> Any:
    from engine.nodes.latent.empty import empty

    return empty(tiny.ctx, room.EDGE, room.EDGE, 1)


def _reference(tiny: room.Tiny, pipeline: str, arguments: dict[str, Any], **parts: Any) -> Picture:
    usual = {
        "prompt": room.PROMPT, "num_inference_steps": room.STEPS, "guidance_scale": GUIDANCE, "width": room.EDGE,
        "height": room.EDGE,
    }  # fmt: skip
    made: Picture = room.called(tiny.pipeline(pipeline, **parts), usual | arguments)
    return made


def _hint(picture: Picture) -> torch.Tensor:
    """A picture as the control pipelines take a tensor: in −1..1, since they leave it as it is."""
    return room.as_tensor(picture) * 2 - 1


def _fill(folder: Path) -> Case:
    where = folder.parent / f"{folder.name}-fill"

    def ours(dtype: torch.dtype) -> Picture:
        from engine.nodes.condition.inpaint import inpaint_model

        tiny = room.opened(where, "flux", dtype)
        positive, _, latent = inpaint_model(
            tiny.ctx, _prompt(tiny), (), tiny.handles()[2], room.picture(), room.mask()
        )  # fmt: skip
        return _run(tiny, positive, latent)

    def reference(dtype: torch.dtype) -> Picture:
        mask = torch.from_numpy(room.mask())[:, None]
        arguments = {"image": room.as_tensor(room.picture()), "mask_image": mask}
        return _reference(room.opened(where, "flux", dtype), "FluxFillPipeline", arguments)

    return Case("fill", ours, reference)


def _depth(folder: Path) -> Case:
    where = folder.parent / f"{folder.name}-depth"

    def ours(dtype: torch.dtype) -> Picture:
        from engine.nodes.condition.family_options import edit_by_instruction

        tiny = room.opened(where, "flux", dtype)
        positive, _, latent = edit_by_instruction(tiny.ctx, _prompt(tiny), (), tiny.handles()[2], room.picture())
        return _run(tiny, positive, latent)

    def reference(dtype: torch.dtype) -> Picture:
        arguments = {"control_image": _hint(room.picture())}
        return _reference(room.opened(where, "flux", dtype), "FluxControlPipeline", arguments)

    return Case("control (depth)", ours, reference)


def _kontext(folder: Path) -> Case:
    def ours(dtype: torch.dtype) -> Picture:
        from engine.nodes.condition.shape import reference_latent
        from engine.nodes.latent.picture import encode_image

        tiny = room.opened(folder, "flux", dtype)
        shown = encode_image(tiny.ctx, tiny.handles()[2], room.picture())
        return _run(tiny, reference_latent(tiny.ctx, _prompt(tiny), shown), _empty(tiny))

    def reference(dtype: torch.dtype) -> Picture:
        arguments = {"image": room.as_tensor(room.picture()), "_auto_resize": False, "max_area": room.EDGE**2}
        return _reference(room.opened(folder, "flux", dtype), "FluxKontextPipeline", arguments)

    return Case("edit (kontext)", ours, reference)


def _controls(folder: Path) -> list[Case]:
    hints = {name: room.picture(seed=seed) for seed, name in enumerate(("plain", "union", "pixels"), start=7)}

    def ours(names: tuple[str, ...], dtype: torch.dtype) -> Picture:
        from engine.contracts.references import ModelRef
        from engine.graph.values import ControlHandle
        from engine.nodes.control.apply import control, control_type

        tiny = room.opened(folder, "flux", dtype)
        positive = _prompt(tiny)
        for name in names:
            handle = ControlHandle(ModelRef(name=name, kind="controlnet"), "flux")
            if name == "union":
                handle = control_type(tiny.ctx, handle, "depth")
            positive = control(tiny.ctx, positive, handle, hints[name], strength=0.7)
        return _run(tiny, positive, _empty(tiny))

    def reference(names: tuple[str, ...], dtype: torch.dtype) -> Picture:
        from diffusers import FluxMultiControlNetModel

        from engine.contracts.references import ModelRef

        tiny = room.opened(folder, "flux", dtype)
        nets = [tiny.other(ModelRef(name=name, kind="controlnet")) for name in names]
        pictures = [_hint(hints[name]) for name in names]
        if len(names) == 1:
            arguments: dict[str, Any] = {"control_image": pictures[0], "controlnet_conditioning_scale": 0.7}
            if names[0] == "union":
                arguments["control_mode"] = 2
            return _reference(tiny, "FluxControlNetPipeline", arguments, controlnet=nets[0])
        arguments = {
            "control_image": pictures, "controlnet_conditioning_scale": [0.7] * len(names), "control_mode": [None, 2]
        }  # fmt: skip
        return _reference(tiny, "FluxControlNetPipeline", arguments, controlnet=FluxMultiControlNetModel(nets))

    several = (
        ("control", ("plain",)), ("control (union)", ("union",)), ("control (XLabs)", ("pixels",)),
        ("control (two)", ("plain", "union")),
    )  # fmt: skip
    return [Case(task, partial(ours, names), partial(reference, names)) for task, names in several]
