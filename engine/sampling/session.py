"""Loaded models, kept between jobs. One session lives on the engine lane; only that lane touches it."""

from __future__ import annotations

from collections import OrderedDict
from pathlib import Path
from typing import Any, Protocol

import torch

from engine.contracts.errors import UnknownChoice
from engine.contracts.references import ModelRef
from engine.families.protocol import Family
from engine.families.sd15 import StableDiffusion15
from engine.models.fingerprint import ModelInfo, identify_folder
from engine.models.loading import bytes_of, load_part
from engine.sampling.previews import PreviewMap

DEFAULT_BUDGET = 12 * 1024**3

_FAMILIES = {"sd15": StableDiffusion15}


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

    def identify(self, ref: ModelRef) -> ModelInfo:
        """What the referenced model is. Raises MissingModel, UnsafeModel or InvalidDocument."""
        folder = self._models.locate(ref)
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
            build = _FAMILIES.get(info.family)
            if build is None:
                raise UnknownChoice("model family", info.family, _FAMILIES)
            found = build(lambda part: self._part(info, part), self._device, self._dtype, f"“{info.name}”")
            self._families[info.fingerprint] = found
        return found

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
        key = (info.fingerprint, part)
        if key in self._parts:
            self._parts.move_to_end(key)
            return self._parts[key]
        loaded = load_part(info.path, part, self._device, self._dtype)
        self._parts[key], self._sizes[key] = loaded, bytes_of(loaded)
        while self.resident_bytes > self._budget and len(self._parts) > 1:
            oldest, _ = self._parts.popitem(last=False)
            del self._sizes[oldest]
        return loaded


def _stamp(folder: Path) -> tuple[int, ...]:
    """Changes when a file of the folder is written, so that a replaced model is read anew."""
    files = [file for file in folder.glob("**/*") if file.is_file()] if folder.is_dir() else []
    return tuple(sorted(file.stat().st_mtime_ns ^ file.stat().st_size for file in files))
