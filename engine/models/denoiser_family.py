"""Which family a diffusion model is of, as engine.models.identify tells; families' names for a person. Torch-free."""

from __future__ import annotations

from pathlib import Path

from engine.contracts.errors import BadInput

FAMILY_TITLES = {
    "sd15": "Stable Diffusion 1.5", "sd2": "Stable Diffusion 2", "sdxl": "SDXL", "sdxl_refiner": "SDXL refiner",
    "sd3": "Stable Diffusion 3", "svd": "Stable Video Diffusion", "flux": "Flux.1", "flux2": "Flux.2",
    "chroma": "Chroma", "wan": "Wan", "qwen_image": "Qwen-Image", "z_image": "Z-Image",
    "hunyuan_video": "HunyuanVideo", "ltx": "LTX-Video",
}  # fmt: skip


def title_of(family: str) -> str:
    """The family's name for a person."""
    return FAMILY_TITLES.get(family, family)


def denoiser_family(path: Path) -> str:
    """The family of the diffusion model in a file, or in the folder of a diffusers part; "" for a folder that does not
    tell.

    Raises UnsafeModel for a malformed file and BadInput for one that is no diffusion model known here.
    """
    if path.is_dir():
        from engine.models.sources import family_at

        return family_at(path)
    from engine.models.file_info import said
    from engine.models.identify import identify

    about = identify(path)
    if about.kind not in ("checkpoint", "diffusion_model"):
        raise BadInput(f"it is {said(about)}a diffusion model known here", where=path.name,
                       fix="Choose a diffusion model (not a LoRA, a VAE or a text encoder)")  # fmt: skip
    return about.family
