"""Which family a bare diffusion model is of, from its safetensors header alone. Torch-free; never guesses."""

from __future__ import annotations

from pathlib import Path

from engine.contracts.errors import BadInput
from engine.models.safetensors_header import Header, read_header

_PREFIX = "model.diffusion_model."

# (family, a tensor that only it has); the order matters: Flux.2 and Chroma also have what marks Flux.1.
_MARKS: tuple[tuple[str, str], ...] = (
    ("svd", "input_blocks.1.0.time_stack.in_layers.0.weight"),
    ("sd3", "joint_blocks.0.context_block.adaLN_modulation.1.bias"),
    ("flux2", "single_stream_modulation.lin.weight"),
    ("chroma", "distilled_guidance_layer.in_proj.bias"),
    ("flux", "double_blocks.0.img_attn.norm.key_norm.scale"),
    ("wan", "head.modulation"),
    ("qwen_image", "transformer_blocks.0.img_mod.1.weight"),
    ("z_image", "layers.0.adaLN_modulation.0.weight"),
)
_CROSS_ATTENTION = (
    "input_blocks.2.1.transformer_blocks.0.attn2.to_k.weight",
    "input_blocks.4.1.transformer_blocks.0.attn2.to_k.weight",
)
_BY_WIDTH = {768: "sd15", 1024: "sd2", 2048: "sdxl", 1280: "sdxl"}

FAMILY_TITLES = {
    "sd15": "Stable Diffusion 1.5", "sd2": "Stable Diffusion 2", "sdxl": "SDXL", "sd3": "Stable Diffusion 3",
    "svd": "Stable Video Diffusion", "flux": "Flux.1", "flux2": "Flux.2", "chroma": "Chroma", "wan": "Wan",
    "qwen_image": "Qwen-Image", "z_image": "Z-Image", "hunyuan_video": "HunyuanVideo", "ltx": "LTX-Video",
}  # fmt: skip


def title_of(family: str) -> str:
    """The family's name for a person."""
    return FAMILY_TITLES.get(family, family)


def family_of(header: Header) -> str:
    """The family whose denoiser has these tensors; "" when none is known to."""
    shapes = {name.removeprefix(_PREFIX): entry.shape for name, entry in header.tensors.items()}
    for family, mark in _MARKS:
        if mark in shapes:
            return family
    return next((_BY_WIDTH.get(shapes[name][-1], "") for name in _CROSS_ATTENTION if name in shapes), "")


def denoiser_family(path: Path) -> str:
    """The family of the diffusion model in a file, or in the folder of a diffusers part; "" for a folder that does not
    tell.

    Raises UnsafeModel for a malformed file and BadInput for one that is no diffusion model known here.
    """
    if path.is_dir():
        from engine.models.sources import family_at

        return family_at(path)
    if path.suffix.lower() != ".safetensors":
        from engine.models.file_info import family_of_file
        from engine.models.identify import identify

        about = identify(path)
        if about.kind not in ("checkpoint", "diffusion_model"):
            raise BadInput(f"it is {about.words()}", where=path.name, fix="Choose a diffusion model")
        return family_of_file(about)
    family = family_of(read_header(path))
    if not family:
        raise BadInput("its tensors are those of no diffusion model known here", where=path.name,
                       fix="Choose a diffusion model (not a LoRA, a VAE or a text encoder)")  # fmt: skip
    return family


def cannot_run(what: str, name: str, part: str) -> BadInput:
    """The one sentence for a model that loads by name now and whose family this studio does not run."""
    return BadInput(f"{what} “{name}” was found, but this studio does not run {part}", where="model",
                    fix="Use a Stable Diffusion 1.5 model in a diffusers folder")  # fmt: skip
