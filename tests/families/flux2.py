"""Flux.2: diffusers' Flux2KleinPipeline (klein), with references and in-painting, and Flux2Pipeline (dev)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch

from tests.families import _language, room
from tests.families.room import Case, Ours, Picture

KLEIN = Ours(cfg=4.0, negative="")
DISTILLED = Ours(cfg=1.0, negative="")
TOLD = 2.5  # dev's embedded guidance


def tiny(folder: Path) -> Path:
    """Klein, and dev in its folder `dev`."""
    words = len(_language.write_qwen_tokenizer(folder / "tokenizer"))
    _language.write_qwen3(folder / "text_encoder", words, layers=28)
    _write_rest(folder, guidance=False)
    room.write_index(folder, "Flux2KleinPipeline", is_distilled=False)
    words = _language.write_mistral_tokenizer(folder / "dev" / "tokenizer")
    _language.write_mistral3(folder / "dev" / "text_encoder", words, layers=31)
    _write_rest(folder / "dev", guidance=True)
    room.write_index(folder / "dev", "Flux2Pipeline")
    return folder


def _write_rest(folder: Path, *, guidance: bool) -> None:
    from diffusers import AutoencoderKLFlux2, Flux2Transformer2DModel

    made = Flux2Transformer2DModel(
        in_channels=16, num_layers=1, num_single_layers=2, attention_head_dim=16, num_attention_heads=2,
        joint_attention_dim=3 * _language.WIDTH, timestep_guidance_channels=16, axes_dims_rope=(4, 4, 4, 4),
        guidance_embeds=guidance,
    )  # fmt: skip
    room.lively(made).save_pretrained(folder / "transformer")
    autoencoder = AutoencoderKLFlux2(
        sample_size=room.EDGE, block_out_channels=(8, 8, 8, 8), norm_num_groups=4, latent_channels=4,
        layers_per_block=1, down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
    )  # fmt: skip
    autoencoder.bn.running_mean.normal_(std=0.2)
    autoencoder.bn.running_var.uniform_(0.5, 2.0)
    autoencoder.save_pretrained(folder / "vae")
    scheduler = {
        "_class_name": "FlowMatchEulerDiscreteScheduler", "base_image_seq_len": 256, "base_shift": 0.5,
        "max_image_seq_len": 4096, "max_shift": 1.15, "num_train_timesteps": 1000, "shift": 3.0,
        "time_shift_type": "exponential", "use_dynamic_shifting": True,
    }  # fmt: skip
    room.write_json(folder / "scheduler" / "scheduler_config.json", scheduler)


def cases(folder: Path) -> list[Case]:
    return [
        *room.standard_cases(folder, "flux2", {"txt2img": "Flux2KleinPipeline"}, KLEIN),
        *_named(", distilled", room.standard_cases(folder, "flux2", {"txt2img": "Flux2KleinPipeline"}, DISTILLED)),
        img2img_case(folder),
        inpaint_case(folder),
        edit_case(folder, 1),
        edit_case(folder, 2),
        *_named(", dev", [dev_case(folder / "dev", 0), dev_case(folder / "dev", 1)]),
    ]


def _named(more: str, cases: list[Case]) -> list[Case]:
    return [Case(case.task + more, case.ours, case.reference) for case in cases]


def _prompts(tiny: room.Tiny, settings: Ours) -> tuple[Any, Any]:
    from engine.nodes.condition.text import encode_text

    _, clip, _ = tiny.handles()
    return encode_text(tiny.ctx, clip, settings.prompt), encode_text(tiny.ctx, clip, settings.negative)


def _referred(tiny: room.Tiny, prompts: tuple[Any, Any], pictures: list[Picture]) -> tuple[Any, Any]:
    """Both prompts with reference pictures."""
    from engine.nodes.condition.shape import reference_latent
    from engine.nodes.latent.picture import encode_image

    _, _, vae = tiny.handles()
    for picture in pictures:
        latent = encode_image(tiny.ctx, vae, picture)
        prompts = (reference_latent(tiny.ctx, prompts[0], latent), reference_latent(tiny.ctx, prompts[1], latent))
    return prompts


def img2img_case(folder: Path, strength: float = 0.6) -> Case:
    """diffusers has no such pipeline: its txt2img goes on from (1 − σ)·x₀ + σ·noise at the σ where ours starts."""

    def reference(dtype: torch.dtype) -> Picture:
        tiny = room.opened(folder, "flux2", dtype)
        start = tiny.family.noise_space.start_for(KLEIN.steps, strength)
        clean = tiny.family.encode(room.as_tensor(room.picture()) * 2 - 1)
        noise = torch.randn(clean.shape, generator=torch.Generator().manual_seed(room.seed()))
        sigma = float(tiny.family.noise_space.resolved(clean.shape, KLEIN.steps).own_sigmas(KLEIN.steps)[start])
        latents = (1 - sigma) * clean + sigma * noise
        times = np.linspace(1.0, 1 / KLEIN.steps, KLEIN.steps)[start:].tolist()
        return room.run_pipeline(
            tiny, "Flux2KleinPipeline", "txt2img", KLEIN, more={"latents": latents, "sigmas": times}
        )  # fmt: skip

    def ours(dtype: torch.dtype) -> Picture:
        return room.run_ours(room.opened(folder, "flux2", dtype), "img2img", KLEIN, strength)

    return Case("img2img", ours, reference)


def inpaint_case(folder: Path) -> Case:
    """diffusers shows the model the picture as a reference, and so does our side."""

    def ours(dtype: torch.dtype) -> Picture:
        from engine.nodes.latent.picture import encode_image, set_noise_mask

        tiny = room.opened(folder, "flux2", dtype)
        _, _, vae = tiny.handles()
        positive, negative = _referred(tiny, _prompts(tiny, KLEIN), [room.picture()])
        latent = set_noise_mask(tiny.ctx, encode_image(tiny.ctx, vae, room.picture()), room.mask())
        return room.sampled(tiny, positive, negative, latent, KLEIN, 0.6)

    def reference(dtype: torch.dtype) -> Picture:
        return room.run_pipeline(
            room.opened(folder, "flux2", dtype), "Flux2KleinInpaintPipeline", "inpaint", KLEIN, 0.6
        )  # fmt: skip

    return Case("inpaint", ours, reference)


def _quantised(count: int) -> list[Picture]:
    """Pictures as files hold them."""
    return [(np.round(room.picture(seed=5 + place) * 255) / 255).astype(np.float32) for place in range(count)]


def _edit(tiny: room.Tiny, settings: Ours, count: int, extra: float | None = None) -> Picture:
    from engine.nodes.condition.shape import guidance
    from engine.nodes.latent.empty import empty

    prompts = _referred(tiny, _prompts(tiny, settings), _quantised(count))
    if extra is not None:
        prompts = (guidance(tiny.ctx, prompts[0], extra), prompts[1])
    return room.sampled(tiny, *prompts, empty(tiny.ctx, room.EDGE, room.EDGE, 1), settings)


def _shown(count: int) -> Any:
    from PIL import Image

    return [Image.fromarray((image[0] * 255).round().astype(np.uint8)) for image in _quantised(count)] or None


def edit_case(folder: Path, count: int) -> Case:
    """A new picture with `count` references."""
    return Case(
        f"edit, {count} picture{'s' * (count > 1)}",
        lambda dtype: _edit(room.opened(folder, "flux2", dtype), KLEIN, count),
        lambda dtype: room.run_pipeline(
            room.opened(folder, "flux2", dtype), "Flux2KleinPipeline", "edit", KLEIN, more={"image": _shown(count)}
        ),
    )


def dev_case(folder: Path, count: int) -> Case:
    """dev, told its guidance, with `count` references."""
    return Case(
        "edit, 1 picture" if count else "txt2img",
        lambda dtype: _edit(room.opened(folder, "flux2", dtype), DISTILLED, count, TOLD),
        lambda dtype: room.run_pipeline(
            room.opened(folder, "flux2", dtype), "Flux2Pipeline", "edit", DISTILLED,
            more={"image": _shown(count), "guidance_scale": TOLD},
        ),
    )  # fmt: skip
