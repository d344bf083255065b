"""Loaded models, kept between jobs. One session lives on the engine lane; only that lane touches it."""

from __future__ import annotations

import gc
import hashlib
import logging
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Protocol, TypeAlias

import torch

from engine.contracts.errors import BadInput, InvalidRequest, MissingModel, OutOfMemory
from engine.contracts.job_spec import JobSpec
from engine.contracts.references import ModelRef
from engine.families.patched import PatchedParts
from engine.families.protocol import Autoencoder, Family
from engine.families.table import family_class
from engine.graph import interruption
from engine.graph.values import ModelHandle, Patch, TextEncoderHandle, VAEHandle
from engine.memory.attention import usable
from engine.memory.choice import Chooser
from engine.memory.device import Card
from engine.memory.recovery import is_out_of_memory
from engine.memory.residency import Residency
from engine.memory.shelf import Shelf
from engine.memory.speed import Speed, prepare_card, prepare_part
from engine.memory.text_cache import TextCache
from engine.models import fp8, sources
from engine.models.contents import read_contents
from engine.models.family_parts import FAMILY_PARTS
from engine.models.file_info import identify_checkpoint
from engine.models.fingerprint import ModelInfo
from engine.models.interruptible import watch_layers
from engine.models.others import OTHERS
from engine.models.sources import Source
from engine.sampling.previews import PreviewMap
from engine.sampling.run_plans import RunPlans

log = logging.getLogger(__name__)
DEFAULT_BUDGET = 12 * 1024**3
# What is loaded into main memory and brought to the card as it runs.
_CARED = frozenset({"controlnet", *(name for about in FAMILY_PARTS.values() for name in about.classes)})
Key: TypeAlias = tuple[str, ...]
Stamp: TypeAlias = tuple[int, ...]


class Locator(Protocol):
    """Where the files of a model are on this machine."""

    def locate(self, ref: ModelRef) -> Path:
        """Raises MissingModel."""
        ...


class Session:
    """Gives families by reference; keeps loaded parts, least recently used out first, with copies of `budget_bytes`.

    A part is kept by its content: two models with the same text encoder or autoencoder load it once. On a card parts
    are loaded into main memory, and `memory` brings them to the card as they run; elsewhere it is None. `texts` keeps
    prompts that were read.
    """

    def __init__(
        self, models: Locator, device: str = "cpu", budget_bytes: int = DEFAULT_BUDGET, card: Card | None = None,
        chooser: Chooser | None = None, speed: Speed | None = None, texts: TextCache | None = None,
    ) -> None:  # fmt: skip
        self._models, self.texts = models, texts
        self._device = torch.device(device)
        if card is None and self._device.type == "cuda":
            card, chooser = Card(self._device), chooser or Chooser()
        asked = speed or Speed()
        kernel, self.remark = usable(asked.attention, self._device.type)
        self._speed = replace(asked, attention=kernel)
        self.plans = RunPlans(self, chooser)
        if card is not None:
            prepare_card(card.device, self._speed, card.name)
        self.memory = Residency(card) if card is not None else None
        self._beside = torch.device("cpu") if self.memory is not None else self._device
        self._infos: dict[Path, tuple[Stamp, ModelInfo]] = {}
        self._prints: dict[Path, tuple[Stamp, str]] = {}
        self._sources: dict[tuple[Any, ...], Source] = {}
        self._families: dict[tuple[Any, ...], Family] = {}
        self.shelf = Shelf(budget_bytes)
        self._previews: dict[str, PreviewMap] = {}
        self._decoders: dict[str, Autoencoder] = {}
        self._merging: Family | None = None  # the denoiser that was last used: its merged adapters stay

    @property
    def speed(self) -> Speed:
        """What makes it faster, as far as this machine has it; `remark` says in a sentence what it lacks."""
        return self._speed

    @property
    def device(self) -> torch.device:
        return self._device

    @property
    def resident_bytes(self) -> int:
        """Bytes of weights that are loaded now, as copies or as views of mapped files."""
        return self.shelf.total

    def dtype_for(self, family: str) -> torch.dtype:
        """The type a family runs in: float32 on the CPU; on a card float16 for the U-Nets, bfloat16 for the others."""
        if self._device.type == "cpu":
            return torch.float32
        return torch.float16 if FAMILY_PARTS[family].half else torch.bfloat16

    def locate(self, ref: ModelRef) -> Path:
        """Where the file or folder of a model is. Raises MissingModel."""
        return self._models.locate(ref)

    def names(self, kind: str) -> tuple[str, ...]:
        """The names of the models of a kind on this machine, as far as the locator lists them."""
        listed = getattr(self._models, "list", None)
        return tuple(ref.name for ref in listed(kind)) if listed else ()

    def identify(self, ref: ModelRef) -> ModelInfo:
        """What the referenced checkpoint is. Raises MissingModel, UnsafeModel, InvalidDocument or BadInput."""
        path = self._models.locate(ref)
        stamp = _stamp(path)
        known = self._infos.get(path)
        if known is None or known[0] != stamp:
            known = self._infos[path] = (stamp, identify_checkpoint(path))
        return known[1]

    def family(self, ref: ModelRef, patches: Sequence[Patch] = ()) -> Family:
        """The referenced model, ready to run; its parts load as they are used."""
        if ref.kind == "diffusion_model":
            return self._family((ref.kind,), [self._models.locate(ref)], sources.of_diffusion_model, patches)
        if ref.kind != "checkpoint":
            raise InvalidRequest(f"“{ref.name}” is a {ref.kind.replace('_', ' ')}, not a checkpoint", where="model")
        info = self.identify(ref)
        key = (info.fingerprint, _kept(patches))
        if key not in self._families:
            self._families[key] = self._built(sources.of_checkpoint(info), _kept(patches))
        return self._families[key]

    def denoiser(self, handle: ModelHandle) -> Family:
        """The family whose denoiser a handle stands for."""
        self._merging = self.family(handle.weights, handle.patches)
        self._begin()
        return self._merging

    def text(self, handle: TextEncoderHandle) -> Family:
        """The family whose text encoders a handle stands for: a checkpoint's own, or those of files beside it."""
        self._begin()
        if handle.weights.kind != "text_encoder":
            return self.family(handle.weights)
        refs = (handle.weights, *handle.more)

        def source(paths: Sequence[Path]) -> Source:
            return sources.of_text_encoders(paths, handle.family)

        return self._family(("text", handle.family), [self._models.locate(ref) for ref in refs], source, ())

    def autoencoder(self, handle: VAEHandle) -> Autoencoder:
        """The autoencoder of a handle: a checkpoint's own, or one loaded apart.

        Raises InvalidRequest for a file that could be of several families where the handle does not say of which.
        """
        self._begin()
        ref = handle.weights
        if ref.kind != "vae":
            found: Autoencoder = self.family(ref)
        else:

            def source(paths: Sequence[Path]) -> Source:
                return sources.of_vae(paths[0], handle.family)

            found = self._family(("vae", handle.family), [self._models.locate(ref)], source, ())
        self._decoders[found.latent_space.id] = found
        self.plans.coder(found, ref)
        return found

    def other(self, ref: ModelRef) -> Any:
        """What is loaded by itself: the tensors of a LoRA, the module of a ControlNet… or another whole model."""
        if ref.kind in ("checkpoint", "diffusion_model"):
            return self.family(ref)
        path = self._models.locate(ref)
        load = OTHERS.get(ref.kind)
        if load is None:
            raise InvalidRequest(f"this studio can't load a model of kind {ref.kind} yet", where=ref.name)
        family = "" if self._device.type == "cpu" else sources.family_at(path)
        dtype = self.dtype_for(family if family in FAMILY_PARTS else "flux" if ref.kind == "other" else "sd15")
        # What the residency can't take care of, a whole pipeline for instance, is loaded to where it runs.
        device = self._beside if ref.kind == "controlnet" else self._device
        key = (self.fingerprint(ref), ref.kind)
        return self._load(key, lambda: load(path, device, dtype), ref.kind, f"ControlNet “{ref.name}”")

    def fingerprint(self, ref: ModelRef) -> str:
        """What tells the file or folder behind a reference from others, also from another of the same name."""
        path = self._models.locate(ref)
        stamp = _stamp(path)
        known = self._prints.get(path)
        if known is None or known[0] != stamp:
            found = (
                read_contents(path).fingerprint
                if path.is_file()
                else hashlib.sha256(f"{path.absolute()}{stamp}".encode()).hexdigest()
            )
            known = self._prints[path] = (stamp, found)
        return known[1]

    def identity(self, ref: ModelRef) -> str:
        """What tells a model from every other and from itself before its file was written to. Raises MissingModel."""
        path = self._models.locate(ref)
        return f"{path.absolute()} {_stamp(path)} {self.fingerprint(ref)}"

    def preview_map(self, ref: ModelRef) -> PreviewMap:
        """The cheap latent → RGB map of the model's autoencoder, fitted on first use.

        For a diffusion model without one: of the autoencoder that was last used for such latents.
        """
        family = self.family(ref)
        space = family.latent_space
        if space.id not in self._previews:
            try:
                self._previews[space.id] = PreviewMap.fitted(family)
            except MissingModel:
                other = self._decoders.get(space.id)
                if other is None:
                    return PreviewMap.plain(space.channels)
                self._previews[space.id] = PreviewMap.fitted(other)
        return self._previews[space.id]

    def warm(self, ref: ModelRef) -> None:
        """Load every part of a model now, so that the first picture does not wait for it."""
        info = self.identify(ref)
        source = sources.of_checkpoint(info)
        for part in (*FAMILY_PARTS[info.family].classes, "scheduler"):
            if source.has(part):
                self._begin()
                self._part(source, part, None)

    def network_of(self, family: Any) -> torch.nn.Module:
        """The network of a family that a sampler calls."""
        found: torch.nn.Module = family._parts(FAMILY_PARTS[family.name].denoiser)
        return found

    def numerics(self, spec: JobSpec) -> dict[str, str | int | bool]:
        """Of the arithmetic behind all of a job's pictures. What was not whole and exact is noted with the values
        (engine.graph.numerics)."""
        return {"device": self._device.type}

    def free(self) -> None:
        """Let go of every loaded part, on the card and in main memory, and of prompts that were read."""
        if self.texts is not None:
            self.texts.clear()
        if self.memory is not None:
            self.memory.free()
        self.shelf.clear()
        self._merging = None
        for kept in (self._families, self._sources, self._decoders):
            kept.clear()
        if self.memory is not None:
            self.memory.card.clean()

    def _family(
        self, kind: Key, paths: Sequence[Path], make: Callable[[Sequence[Path]], Source],
        patches: Sequence[Patch],
    ) -> Family:  # fmt: skip
        """A family over files; read again when one of them changes."""
        key = (kind, *((path, _stamp(path)) for path in paths))
        if key not in self._sources:
            self._sources[key] = make(paths)
        if (key, _kept(patches)) not in self._families:
            self._families[key, _kept(patches)] = self._built(self._sources[key], _kept(patches))
        return self._families[key, _kept(patches)]

    def _built(self, source: Source, keep: torch.dtype | None) -> Family:
        build = family_class(source.family)
        made: Family = build(
            lambda part: self._part(source, part, keep), self._device, self.dtype_for(source.family), source.title,
            self.other,
        )  # fmt: skip
        return made

    def _part(self, source: Source, part: str, keep: torch.dtype | None) -> Any:
        if part != FAMILY_PARTS[source.family].denoiser:
            keep = None
        dtype = self.dtype_for(source.family)
        key = (*source.key(part), str(dtype), str(keep))
        return self._load(
            key, lambda: source.load(part, self._beside, dtype, keep), part, f"{_said(part)} of {source.title}"
        )

    def _load(self, key: Key, load: Callable[[], Any], part: str = "", title: str = "") -> Any:
        known = self.shelf.get(key)
        if known is not None:
            return known
        interruption.check()
        loaded = self._loaded(load, title or part)
        watch_layers(loaded)
        prepare_part(loaded, part, self._device, self._speed)
        beside: Callable[[], int] = lambda: 0  # noqa: E731
        if self.memory is not None and part in _CARED:
            beside = self.memory.adopt(loaded, part, title)
        self.shelf.put(key, loaded, beside)
        return loaded

    def _loaded(self, load: Callable[[], Any], title: str) -> Any:
        """What `load` gives; where memory runs out, once more when nothing else is kept. Raises OutOfMemory."""
        for again in (False, True):
            try:
                return load()
            except (RuntimeError, MemoryError, OSError) as error:
                if not is_out_of_memory(error):
                    raise
            # Outside the except block: the exception held what was loaded so far.
            self._forget_all()
            if not again and self.memory is not None:
                self.memory.tell("Memory ran out while a model was loaded; it is loaded again with no other kept.")
        raise OutOfMemory(
            f"there is too little memory to load the {title}", where="memory",
            fix="Close other programs, or use a smaller model or one with fewer bits",
        )  # fmt: skip

    def _forget_all(self) -> None:
        """Let go of every model that nothing uses, and of all that is on the card."""
        self.shelf.clear()
        for family in self._families.values():
            _merged(family).forget()
        if self.memory is not None:
            self.memory.make_bare()
        else:
            gc.collect()

    def _begin(self) -> None:
        """A node is about to use a model: what is over the budget goes, merged adapters of other models first."""
        merged = [_merged(family) for family in self._families.values() if family is not self._merging]
        if self.shelf.copies + sum(each.bytes for each in merged) > self.shelf.budget:
            for each in merged:
                each.forget()
        self.shelf.begin()


def _merged(family: Any) -> PatchedParts:
    """What a family keeps of its parts as adapters change them."""
    found: PatchedParts = family.patched
    return found


def _said(part: str) -> str:
    """A part's name for a person."""
    words = {"unet": "denoiser", "transformer": "denoiser", "vae": "autoencoder"}
    return "text encoder" if part.startswith("text_encoder") else words.get(part, part)


def _kept(patches: Sequence[Patch]) -> torch.dtype | None:
    """The eight-bit type that the last "dtype" patch asks for."""
    asked = [str(dict(patch.settings)["dtype"]) for patch in patches if patch.kind == "dtype"]
    if not asked:
        return None
    if asked[-1] not in fp8.CHOICES:
        raise BadInput(f"weights can't be kept as “{asked[-1]}”", where="dtype",
                       fix=f"Use one of: {', '.join(fp8.CHOICES)}")  # fmt: skip
    return fp8.CHOICES[asked[-1]]


def _stamp(path: Path) -> Stamp:
    """Changes when the file, or one of the folder, is written, so that a replaced model is read anew."""
    try:
        files = [file for file in path.glob("**/*") if file.is_file()] if path.is_dir() else [path]
        return tuple(sorted(file.stat().st_mtime_ns ^ file.stat().st_size for file in files))
    except OSError as error:
        raise MissingModel("it can't be read", where=str(path), fix="Check the file and its permissions") from error
