"""Models kept in files instead of folders: whole checkpoints, bare diffusion models, text encoders, autoencoders.

A `FileSource` is what one or more files give of a model of one family: its configurations and tokenizers come from
resources/, its tensors from the files, by the key maps of engine.models.layouts. Which part of which family a file
holds is read from its header. A file may carry configurations of its own (a merged checkpoint of an unusual model) as
JSON in the metadata entry `tessera.configs`: {part: config}.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from engine.contracts.errors import BadInput, InvalidDocument, MissingModel, TesseraError, clip
from engine.models import layouts
from engine.models.assemble import fill, skeleton
from engine.models.family_parts import FAMILY_PARTS, how_to_give
from engine.models.file_info import family_of_file
from engine.models.fingerprint import check_config
from engine.models.layouts.parts import ENCODERS, encoder_of, inside
from engine.models.loading import noise_space, part_dtype, tokenizer
from engine.models.weights import FP8, Weights, open_weights

CONFIGS = "tessera.configs"

# Text encoder → (tokenizer folder, its class, what it is told).
_TOKENIZERS: Mapping[str, tuple[str, str, Mapping[str, Any]]] = {
    "clip_l": ("clip", "CLIPTokenizer", {}),
    "clip_h": ("clip", "CLIPTokenizer", {"pad_token": "!"}),  # OpenCLIP pads with 0, which is "!"
    "clip_g": ("clip", "CLIPTokenizer", {"pad_token": "!"}),
    "t5xxl": ("t5", "T5TokenizerFast", {}),
    "qwen25vl": ("qwen2", "Qwen2TokenizerFast", {}),
    "qwen3": ("qwen3", "Qwen2TokenizerFast", {}),
    "mistral": ("mistral", "AutoTokenizer", {}),
}
ENCODER_WORDS = {
    "clip_l": "CLIP-L", "clip_h": "OpenCLIP-H", "clip_g": "OpenCLIP-G", "t5xxl": "T5-XXL",
    "qwen25vl": "Qwen2.5-VL", "qwen3": "Qwen3", "mistral": "Mistral",
}  # fmt: skip


@dataclass(frozen=True)
class PartReport:
    """What filling a part used of its file: for `doctor --check-model`."""

    part: str
    layout: str
    used: int
    unused: tuple[str, ...]
    dtype: str


@dataclass(frozen=True, eq=False)
class FileSource:
    """A model of `family` as far as files give it.

    held     part → the file that holds it
    variant  whose configurations it has
    title    in quotes, for sentences
    stated   "epsilon" or "v" where the denoiser's file says how it predicts
    """

    family: str
    variant: str
    title: str
    held: Mapping[str, Weights]
    configs: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    stated: str = ""
    zero_snr: bool = False

    def has(self, part: str) -> bool:
        """Whether the part is here (a tokenizer is wherever its text encoder is)."""
        encoder = part.replace("tokenizer", "text_encoder").replace("processor", "text_encoder")
        return part == "scheduler" or encoder in self.held

    def key(self, part: str) -> tuple[str, ...]:
        """The same for the same part in any file; a denoiser's, which models don't share, for this file only."""
        weights = self.held.get(part)
        if weights is None:
            return (self.family, self.variant, part, self.stated, str(self.zero_snr))
        if part == FAMILY_PARTS[self.family].denoiser:
            return (self.family, part, weights.identity())
        names, prefix = self._own(part)
        config = self.config(part)
        kind = str(config.get("_class_name") or config.get("architectures"))
        scaling = repr([config.get(name) for name in ("scaling_factor", "shift_factor")])
        return (kind, scaling, weights.content(names, prefix))

    def config(self, part: str) -> dict[str, Any]:
        """The configuration of a part. Raises UnknownChoice where neither the file nor resources/ has one."""
        own = self.configs.get(part)
        if own is not None:
            return dict(own)
        if part in self.held:
            return layouts.config_for(self.family, part, self.held[part].shapes)
        return layouts.config_of(self.family, self.variant, part)

    def load(self, part: str, device: torch.device, dtype: torch.dtype, keep: torch.dtype | None = None) -> Any:
        """A part, ready to run. `keep` is the eight-bit type its matrices are kept in.

        Raises MissingModel naming a part that the files lack and how to give it, InvalidDocument where one does not
        fit its family.
        """
        if part == "scheduler":
            return noise_space(self._noise_config(), f"the {self.family} {self.variant} configuration")
        if part.startswith(("tokenizer", "processor")):
            return self._tokenizer(part)
        if part in self.held:
            return self._network(part, device, dtype, keep)[0]
        missing = MissingModel(f"{self.title} has no {words_of(self.family, part)}", fix=how_to_give(part))
        if part.startswith("text_encoder") or part not in FAMILY_PARTS[self.family].classes:
            raise missing
        return Absent(self._class(part), self.config(part), missing)

    def report(self, part: str, device: torch.device, dtype: torch.dtype) -> tuple[Any, PartReport]:
        """A part and what was used of its file. Raises as `load`, but leaves what is not used to the report."""
        return self._network(part, device, dtype, None, strict=False)

    def _network(
        self, part: str, device: torch.device, dtype: torch.dtype, keep: torch.dtype | None, *, strict: bool = True
    ) -> tuple[Any, PartReport]:
        weights = self.held[part]
        mapped = layouts.key_map(self.family, part, weights.shapes)
        if mapped.unused and strict:
            many = len(mapped.unused)
            raise InvalidDocument(
                f"its {words_of(self.family, part)} has {many} tensor{'s'[: many > 1]} that no "
                f"{self._class(part)} has, the first is “{clip(mapped.unused[0])}”",
                where=weights.path.name, fix="This file needs another program",
            )  # fmt: skip
        config = self.config(part)
        module = skeleton(self._class(part), config)
        _identities(module, mapped.identity, device, part_dtype(part, config, dtype))
        for name in mapped.bypassed:
            module.set_submodule(name, torch.nn.Identity())
        if keep is None and part == FAMILY_PARTS[self.family].denoiser:
            keep = _kept_as_stored(weights, mapped.placements)
        module = fill(
            module, weights, mapped.placements, device, part_dtype(part, config, dtype), keep=keep,
            what=words_of(self.family, part),
        )  # fmt: skip
        layout = "diffusers" if all(p.target == k.removeprefix(self._own(part)[1]) for k, listed in
                                    mapped.placements.items() for p in listed) else "original"  # fmt: skip
        stored = sorted({weights.dtypes[name] for name in mapped.placements})
        return module, PartReport(part, layout, len(mapped.placements), mapped.unused, ", ".join(stored))

    def _class(self, part: str) -> str:
        config = self.config(part)
        named = config.get("_class_name") or (config.get("architectures") or [""])[0]
        known = FAMILY_PARTS[self.family].classes[part]
        allowed = (*known, "MistralModel", "Qwen3Model", "Qwen2_5_VLModel", "CLIPTextModelWithProjection")
        return str(named) if named in allowed else known[0]

    def _own(self, part: str) -> tuple[list[str], str]:
        """(names of a part's tensors in its file, the prefix they share)."""
        shapes = self.held[part].shapes
        prefix = layouts.parts_in(shapes, self.family).get(part, "")
        return [name for name in shapes if name.startswith(prefix)], prefix

    def _noise_config(self) -> dict[str, Any]:
        config = self.config("scheduler")
        if self.stated and not str(config.get("_class_name", "")).startswith("FlowMatch"):
            config["prediction_type"] = {"v": "v_prediction"}.get(self.stated, self.stated)
        if self.zero_snr:
            config |= {"rescale_betas_zero_snr": True, "timestep_spacing": "trailing"}
        return config

    def _tokenizer(self, part: str) -> Any:
        encoder = part.replace("tokenizer", "text_encoder").replace("processor", "text_encoder")
        kind = ENCODERS.get(self.family, {}).get(encoder, "")
        if encoder in self.held:
            shapes = self.held[encoder].shapes
            kind = encoder_of(inside(shapes, layouts.parts_in(shapes, self.family).get(encoder, ""))) or kind
        if kind not in _TOKENIZERS:
            raise MissingModel(f"{self.title} has no {part}", fix=how_to_give(part))
        name, class_name, told = _TOKENIZERS[kind]
        if part == "processor":
            class_name = FAMILY_PARTS[self.family].classes[part][0]
        return tokenizer(layouts.tokenizer_folder(name), class_name, **told)


class Absent:
    """Stands for a part that the files lack: its configuration is known, and asking it for work says what to do."""

    def __init__(self, class_name: str, config: Mapping[str, Any], missing: MissingModel) -> None:
        self.config = skeleton(class_name, config).config
        self._missing = missing

    def __getattr__(self, name: str) -> Any:
        raise self._missing


def source_of_checkpoint(path: Path, about: Any) -> FileSource:
    """A whole checkpoint, or a bare diffusion model, in one file. `about` is its engine.models.identify.identify.

    Raises BadInput for a family that this studio does not run.
    """
    return source_of_files(family_of_file(about), {path: None}, f"“{path.stem}”", about)


def source_of_files(
    family: str, files: Mapping[Path, Sequence[str] | None], title: str, about: Any = None
) -> FileSource:  # fmt: skip
    """What several files give of a model of `family`; of each, the parts that are named, or all that it holds.

    A folder with config.json is such a file too. Raises BadInput for one that holds nothing of the family.
    """
    if family not in FAMILY_PARTS:
        raise BadInput(
            f"{title} is {_article(family)} model, which this studio does not run", where="model",
            fix="Use a model of another family, or a diffusers folder with “Run a diffusers pipeline”",
        )  # fmt: skip
    held: dict[str, Weights] = {}
    configs: dict[str, Mapping[str, Any]] = {}
    for path, wanted in files.items():
        weights = open_weights(path)
        found = [part for part in layouts.parts_in(weights.shapes, family) if wanted is None or part in wanted]
        found = [part for part in found if part in FAMILY_PARTS[family].classes]
        if not found:
            raise _holds_nothing(path, family, wanted)
        held |= dict.fromkeys((part for part in found if part not in held), weights)
        configs |= own_configs(path, weights, found)
    denoiser = FAMILY_PARTS[family].denoiser
    variant = _variant(family, held, denoiser)
    shapes = held[denoiser].shapes if denoiser in held else {}
    stated = str(getattr(about, "prediction", ""))
    return FileSource(family, variant, title, held, configs, stated if stated in ("v", "epsilon") else "",
                      "ztsnr" in shapes)  # fmt: skip


def own_configs(path: Path, weights: Weights, parts: Sequence[str]) -> dict[str, Mapping[str, Any]]:
    """The configurations a file brings with it. Raises InvalidDocument or UnsafeModel."""
    if path.is_dir():
        from engine.models.fingerprint import read_config

        return {parts[0]: read_config(path / "config.json")} if len(parts) == 1 else {}
    text = weights.metadata.get(CONFIGS, "")
    if not text:
        return {}
    try:
        data = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise InvalidDocument(f"its metadata entry “{CONFIGS}” is not JSON", where=path.name) from error
    if not isinstance(data, dict) or not all(isinstance(config, dict) for config in data.values()):
        raise InvalidDocument(f"its metadata entry “{CONFIGS}” must give an object for each part", where=path.name)
    for part, config in data.items():
        check_config(path, f"{CONFIGS}.{clip(part)}", config)
    return data


def words_of(family: str, part: str) -> str:
    """A part in a person's words."""
    if part.startswith("text_encoder"):
        kind = ENCODERS.get(family, {}).get(part, "")
        return f"{ENCODER_WORDS[kind]} text encoder" if kind else "text encoder"
    return {"vae": "VAE", "unet": "diffusion model", "transformer": "diffusion model"}.get(part, part)


def _variant(family: str, held: Mapping[str, Weights], denoiser: str) -> str:
    """The variant whose configurations the parts that are not here have: the denoiser tells best."""
    for part in (denoiser, *(part for part in held if part != denoiser)):
        if part in held:
            try:
                return layouts.variant_of(family, part, held[part].shapes)
            except TesseraError:
                continue
    return layouts.default_variant(family)


def _kept_as_stored(weights: Weights, names: Mapping[str, Any]) -> torch.dtype | None:
    """The eight-bit type that most of a denoiser's numbers have in their file; None where they have another."""
    sizes: dict[torch.dtype, int] = {}
    spelled = {"F8_E4M3": FP8[0], "F8_E5M2": FP8[1]}
    for name in names:
        dtype = spelled.get(weights.dtypes[name], torch.float32)
        sizes[dtype] = sizes.get(dtype, 0) + torch.Size(weights.shapes[name]).numel()
    most = max(sizes, key=lambda dtype: sizes[dtype], default=torch.float32)
    return most if most in FP8 else None


def _identities(module: Any, names: Sequence[str], device: torch.device, dtype: torch.dtype) -> None:
    """Matrices that a file leaves out because they are the identity."""
    for name in names:
        place, _, last = name.rpartition(".")
        try:
            layer = module.get_submodule(place)
        except AttributeError:
            continue
        shape = layer._parameters[last].shape
        layer._parameters[last] = torch.nn.Parameter(torch.eye(*shape, device=device, dtype=dtype), requires_grad=False)


def _holds_nothing(path: Path, family: str, wanted: Sequence[str] | None) -> BadInput:
    parts = wanted or FAMILY_PARTS[family].with_weights
    names = list(dict.fromkeys(words_of(family, part) for part in parts if part in FAMILY_PARTS[family].classes))
    return BadInput(
        f"it holds no {' and no '.join(names)} of {_article(family, '').strip()}", where=path.name,
        fix="Choose another file, or another family where the file is loaded",
    )  # fmt: skip


def _article(family: str, article: str = "a") -> str:
    from engine.models.model_file import FAMILY_WORDS

    return f"{article} {FAMILY_WORDS.get(family, family)}"
