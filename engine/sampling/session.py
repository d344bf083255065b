"""Loaded models, kept between jobs. One session lives on the engine lane; only that lane touches it."""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

import torch

from engine.contracts.errors import InvalidRequest
from engine.contracts.references import ModelRef
from engine.families.autoencoder import KLAutoencoder
from engine.families.protocol import Autoencoder, Family
from engine.families.table import family_class
from engine.graph import interruption
from engine.graph.values import ModelHandle, TextEncoderHandle, VAEHandle
from engine.models.adapters.read import read_adapter
from engine.models.denoiser_family import cannot_run, denoiser_family, title_of
from engine.models.fingerprint import ModelInfo, identify_folder
from engine.models.interruptible import watch_layers
from engine.models.loading import bytes_of, load_controlnet, load_part, load_vae
from engine.models.lora import fingerprint_of
from engine.sampling.previews import PreviewMap

DEFAULT_BUDGET = 12 * 1024**3
_OTHERS: dict[str, Callable[[Path, torch.device, torch.dtype], Any]] = {
    "lora": lambda path, device, dtype: read_adapter(path),
    "vae": load_vae,
    "controlnet": load_controlnet,
}


class Locator(Protocol):
    """Where the files of a model are on this machine."""

    def locate(self, ref: ModelRef) -> Path:
        """Raises MissingModel."""
        ...


class Session:
    """Gives families by reference; keeps loaded parts, least recently used out first, within `budget_bytes`."""

    def __init__(self, models: Locator, device: str = "cpu", budget_bytes: int = DEFAULT_BUDGET) -> None:
        self._models = models
        self._device = torch.device(device)
        self._dtype = torch.float32 if self._device.type == "cpu" else torch.float16
        self._budget = budget_bytes
        self._infos: dict[Path, tuple[tuple[int, ...], ModelInfo]] = {}
        self._parts: OrderedDict[tuple[str, str], Any] = OrderedDict()
        self._sizes: dict[tuple[str, str], int] = {}
        self._families: dict[str, Family] = {}
        self._previews: dict[str, PreviewMap] = {}

    @property
    def device(self) -> torch.device:
        return self._device

    @property
    def resident_bytes(self) -> int:
        """Bytes of weights that are loaded now."""
        return sum(self._sizes.values())

    def locate(self, ref: ModelRef) -> Path:
        """Where the file or folder of a model is. Raises MissingModel."""
        return self._models.locate(ref)

    def identify(self, ref: ModelRef) -> ModelInfo:
        """What the referenced model is. Raises MissingModel, UnsafeModel, InvalidDocument or BadInput."""
        folder = self._models.locate(ref)
        if ref.kind != "checkpoint" or folder.is_file():
            raise cannot_run(*_described(ref, folder))
        stamp = _stamp(folder)
        known = self._infos.get(folder)
        if known is None or known[0] != stamp:
            known = self._infos[folder] = (stamp, identify_folder(folder))
        return known[1]

    def family(self, ref: ModelRef) -> Family:
        """The referenced model, ready to run; its parts load as they are used."""
        info = self.identify(ref)
        found = self._families.get(info.fingerprint)
        if found is None:
            build = family_class(info.family)
            found = build(lambda part: self._part(info, part), self._device, self._dtype, f"“{info.name}”", self.other)
            self._families[info.fingerprint] = found
        return found

    def denoiser(self, handle: ModelHandle) -> Family:
        """The family whose denoiser a handle stands for."""
        return self.family(handle.weights)

    def text(self, handle: TextEncoderHandle) -> Family:
        """The family whose text encoders a handle stands for."""
        return self.family(handle.weights)

    def autoencoder(self, handle: VAEHandle) -> Autoencoder:
        """The autoencoder of a handle: a checkpoint's own, or one loaded apart."""
        ref = handle.weights
        if ref.kind != "vae":
            return self.family(ref)
        return KLAutoencoder(lambda part: self.other(ref), self._device)

    def other(self, ref: ModelRef) -> Any:
        """What is loaded by itself: the tensors of a LoRA, the module of a ControlNet or of an autoencoder."""
        path = self._models.locate(ref)
        key = (self.fingerprint(ref), ref.kind)
        load = _OTHERS.get(ref.kind)
        if load is None:
            raise InvalidRequest(f"this studio can't load a model of kind {ref.kind} yet", where=ref.name)
        return self._kept(key, lambda: load(path, self._device, self._dtype))

    def fingerprint(self, ref: ModelRef) -> str:
        """What tells the file or folder behind a reference from others, also from another of the same name."""
        path = self._models.locate(ref)
        if path.is_file() and path.suffix.lower() == ".safetensors":
            return fingerprint_of(path)
        return hashlib.sha256(f"{path.absolute()}{_stamp(path)}".encode()).hexdigest()

    def preview_map(self, ref: ModelRef) -> PreviewMap:
        """The cheap latent → RGB map of the model's autoencoder, fitted on first use."""
        key = self.identify(ref).fingerprint
        if key not in self._previews:
            self._previews[key] = PreviewMap.fitted(self.family(ref))
        return self._previews[key]

    def warm(self, ref: ModelRef) -> None:
        """Load every part of a model now, so that the first picture does not wait for it."""
        info = self.identify(ref)
        for part in ("tokenizer", "text_encoder", "scheduler", "unet", "vae"):
            self._part(info, part)

    def free(self) -> None:
        """Let go of every loaded part."""
        self._parts.clear()
        self._sizes.clear()
        self._families.clear()
        if self._device.type == "cuda":
            torch.cuda.empty_cache()

    def _part(self, info: ModelInfo, part: str) -> Any:
        return self._kept((info.fingerprint, part), lambda: load_part(info.path, part, self._device, self._dtype))

    def _kept(self, key: tuple[str, str], load: Callable[[], Any]) -> Any:
        if key in self._parts:
            self._parts.move_to_end(key)
            return self._parts[key]
        interruption.check()
        loaded = load()
        watch_layers(loaded)
        self._parts[key], self._sizes[key] = loaded, bytes_of(loaded)
        while self.resident_bytes > self._budget and len(self._parts) > 1:
            oldest, _ = self._parts.popitem(last=False)
            del self._sizes[oldest]
        return loaded


def _described(ref: ModelRef, path: Path) -> tuple[str, str, str]:
    """(what it is, its name, what of it can't be run) of a model that no family here loads."""
    if ref.kind == "checkpoint":
        return "the checkpoint", ref.name, "checkpoints in one file"
    if ref.kind == "diffusion_model":
        family = denoiser_family(path)
        return "the diffusion model", ref.name, f"{title_of(family)} from a file of its own" if family else "such files"
    return f"the {ref.kind.replace('_', ' ')}", ref.name, f"a {ref.kind.replace('_', ' ')} apart from its checkpoint"


def _stamp(folder: Path) -> tuple[int, ...]:
    """Changes when a file of the folder is written, so that a replaced model is read anew."""
    files = [file for file in folder.glob("**/*") if file.is_file()] if folder.is_dir() else []
    return tuple(sorted(file.stat().st_mtime_ns ^ file.stat().st_size for file in files))
