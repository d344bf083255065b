"""Where a model's parts come from: a diffusers folder, one file, or several. Nothing is read before it is asked for."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, Protocol

import torch

from engine.contracts.errors import BadInput, InvalidRequest, TesseraError
from engine.models import layouts
from engine.models.denoiser_family import title_of
from engine.models.family_parts import FAMILY_PARTS
from engine.models.file_info import family_of_file, said
from engine.models.fingerprint import ModelInfo, identify_folder, sampled, weight_files
from engine.models.identify import identify
from engine.models.layouts.parts import encoder_of
from engine.models.loading import load_part
from engine.models.model_file import FAMILY_WORDS, ModelFile
from engine.models.single_file import FileSource, source_of_checkpoint, source_of_files
from engine.models.weights import open_weights

# The kinds that “Load text encoder” offers → family, where they are named otherwise; Z-Image is a Lumina 2 there.
_ENCODER_KINDS = {"lumina2": "z_image"}
# Latent space → the families whose latents those are, the one that gives it its name first.
_SPACES = {"sd15": ("sd15", "sd2"), "sdxl": ("sdxl",), "sd3": ("sd3",), "flux": ("flux", "chroma", "z_image"),
           "flux2": ("flux2",), "qwen_image": ("qwen_image",)}  # fmt: skip


class Source(Protocol):
    """A model of `family` as a session loads it; `title` in quotes, for sentences."""

    @property
    def family(self) -> str: ...

    @property
    def title(self) -> str: ...

    def has(self, part: str) -> bool:
        """Whether the part is here (a tokenizer is wherever its text encoder is)."""
        ...

    def key(self, part: str) -> tuple[str, ...]:
        """The same for the same part in any model."""
        ...

    def load(self, part: str, device: torch.device, dtype: torch.dtype, keep: torch.dtype | None = None) -> Any:
        """Raises MissingModel naming the part that is missing and how to give it."""
        ...


class FolderSource:
    """The parts of a diffusers folder."""

    def __init__(self, info: ModelInfo) -> None:
        self._info = info
        self._keys: dict[str, tuple[str, ...]] = {}

    @property
    def family(self) -> str:
        return self._info.family

    @property
    def title(self) -> str:
        return f"“{self._info.name}”"

    def has(self, part: str) -> bool:
        return part == "scheduler" or part in self._info.parts

    def key(self, part: str) -> tuple[str, ...]:
        if part not in FAMILY_PARTS[self.family].with_weights or not self.has(part):
            return (self._info.fingerprint, part)
        if part not in self._keys:
            folder = self._info.path
            digest = hashlib.sha256((folder / part / "config.json").read_bytes())
            for file in weight_files(folder, part):
                for piece in sampled(file):
                    digest.update(piece)
            self._keys[part] = (self._info.parts.get(part, ""), digest.hexdigest())
        return self._keys[part]

    def load(self, part: str, device: torch.device, dtype: torch.dtype, keep: torch.dtype | None = None) -> Any:
        return load_part(self._info.path, part, device, dtype, keep)


def of_checkpoint(info: ModelInfo) -> Source:
    """The parts of an identified checkpoint."""
    if info.path.is_dir():
        return FolderSource(info)
    return source_of_checkpoint(info.path, _identified(info.path, info.fingerprint))


@lru_cache(maxsize=64)
def _identified(path: Path, fingerprint: str) -> ModelFile:
    return identify(path)


def of_diffusion_model(paths: Sequence[Path]) -> Source:
    """A denoiser without text encoders and autoencoder: a file, or the part's folder of a diffusers model."""
    path = paths[0]
    family = family_at(path)
    if (path / "model_index.json").is_file():
        return FolderSource(identify_folder(path))
    if path.is_dir():
        return source_of_files(family, {path: (FAMILY_PARTS[family].denoiser,)}, f"“{path.name}”")
    about = identify(path)
    if about.kind not in ("checkpoint", "diffusion_model") or family not in FAMILY_PARTS:
        raise BadInput(
            f"it is {said(about)}a diffusion model that this studio runs", where=path.name,
            fix=f"Use one of: {', '.join(FAMILY_WORDS.get(name, name) for name in FAMILY_PARTS)}",
        )  # fmt: skip
    return source_of_checkpoint(path, about)


def family_at(path: Path) -> str:
    """The family of a file or folder that holds a denoiser or steers one; "" where it does not tell."""
    if path.is_dir():
        try:
            if (path / "model_index.json").is_file():
                return identify_folder(path).family
            shapes = open_weights(path).shapes
        except TesseraError:
            return ""
        return next((name for name, parts in FAMILY_PARTS.items() if parts.denoiser in layouts.parts_in(shapes, name)
                     and _class_at(path) in parts.classes[parts.denoiser]), "")  # fmt: skip
    return family_of_file(identify(path))


def _class_at(folder: Path) -> str:
    from engine.models.fingerprint import read_config

    return str(read_config(folder / "config.json").get("_class_name", ""))


def encoder_family(paths: Sequence[Path], kind: str) -> str:
    """The family that text encoders are to serve: as “Load text encoder” names it, or by which encoders they are."""
    if kind == "stable_diffusion":
        found = {encoder_of(open_weights(path).shapes) for path in paths if path.is_dir() or path.suffix != ".gguf"}
        return "sd2" if "clip_h" in found else "sdxl_refiner" if found == {"clip_g"} else "sd15"
    return _ENCODER_KINDS.get(kind, kind)


def of_text_encoders(paths: Sequence[Path], kind: str) -> Source:
    """The text encoders in files, for the family that “Load text encoder” names; which is which their headers say."""
    family = encoder_family(paths, kind)
    title = f"the text encoder “{paths[0].stem}”"
    if family not in FAMILY_PARTS:
        raise BadInput(f"{title} was found, but this studio does not run {title_of(family)}", where="clip",
                       fix=f"Use one of: {', '.join(title_of(name) for name in FAMILY_PARTS)}")  # fmt: skip
    encoders = FAMILY_PARTS[family].encoders
    return source_of_files(family, dict.fromkeys(paths, encoders), title)


def of_vae(path: Path, family: str) -> Source:
    """An autoencoder by itself. Files of several families look alike: then `family` says whose it is.

    family  a family, or the latent space that it is to decode; "" where neither is known

    Raises InvalidRequest when nothing says whose it is, BadInput when it is not that family's.
    """
    if (path / "vae").is_dir():
        path = path / "vae"
    fits = _fitting(path)
    known = family if family in FAMILY_PARTS else ""  # not that of an autoencoder trained apart
    wanted = next((name for name in _SPACES.get(family, ()) if name in fits), known)
    if not wanted and (len(fits) == 1 or any(set(fits) <= set(families) for families in _SPACES.values())):
        wanted = fits[0]  # whichever of them it is, its latents are the same
    if not wanted:
        raise InvalidRequest(
            f"the VAE “{path.stem}” could be that of {_either([title_of(name) for name in fits])}", where="vae",
            fix="Say which where it is loaded, under “family”",
        )  # fmt: skip
    if wanted not in fits:
        raise BadInput(f"the VAE “{path.stem}” is not one for {title_of(wanted)}", where="vae",
                       fix=f"It fits {_either([title_of(name) for name in fits])}")  # fmt: skip
    return source_of_files(wanted, {path: ("vae",)}, f"the VAE “{path.stem}”")


def _fitting(path: Path) -> list[str]:
    """The families whose autoencoder a file or folder can be."""
    if path.is_dir():
        config, found = _class_at(path), []
        scaling = _scaling(path)
        for name, parts in FAMILY_PARTS.items():
            own = layouts.config_of(name, layouts.default_variant(name), "vae")
            if config in parts.classes["vae"] and own.get("scaling_factor") == scaling:
                found.append(name)
        return found or [name for name, parts in FAMILY_PARTS.items() if config in parts.classes["vae"]][:1]
    about = identify(path)
    fits = [name for name in about.fits if name in FAMILY_PARTS and about.kind in ("vae", "checkpoint")]
    if not fits:
        raise BadInput(f"it is {said(about)}a VAE that this studio runs", where=path.name,
                       fix="Choose a VAE file")  # fmt: skip
    return fits


def _scaling(path: Path) -> Any:
    from engine.models.fingerprint import read_config

    return read_config(path / "config.json").get("scaling_factor")


def _either(names: Sequence[str]) -> str:
    return " or ".join(names) if len(names) < 3 else f"{', '.join(names[:-1])} or {names[-1]}"


__all__ = ["FileSource", "FolderSource", "Source"]
