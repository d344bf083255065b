"""Say what a model folder is from its small files and headers alone; never opens weights, never guesses. Torch-free.

A diffusers folder has `model_index.json`, which names the class of each part, and one sub-folder for each part with a
`config.json` and safetensors weights. A folder that could run code (Python files, `auto_map`, pickled weights,
classes outside diffusers and transformers) is refused before anything of it is loaded.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any

from engine.contracts.codec import parse_json
from engine.contracts.errors import BadInput, InvalidDocument, MissingModel, UnsafeModel, clip
from engine.contracts.references import ModelKind
from engine.families.defaults import FamilyDefaults, folder_variant, recommended, with_overrides
from engine.models.family_parts import FAMILY_PARTS, family_of_pipeline
from engine.models.safetensors_header import read_header

MAX_CONFIG_BYTES = 4 * 1024 * 1024
PICKLED = (".bin", ".ckpt", ".pt", ".pth", ".pkl", ".pickle", ".joblib", ".npy", ".npz")
CODE = (".py", ".pyc", ".so", ".pyd", ".dll", ".dylib", ".exe", ".sh", ".bat")
LIBRARIES = ("diffusers", "transformers", "stable_diffusion")

# part → weight file names, in the order of preference.
WEIGHT_NAMES = ("diffusion_pytorch_model.safetensors", "model.safetensors")

# The small file that each kind of part has; "config.json" where nothing else is said.
_CONFIGS: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "scheduler": ("scheduler_config.json",),
        "tokenizer": ("tokenizer_config.json", "processor_config.json"),
        "processor": ("preprocessor_config.json", "processor_config.json"),
    }
)

# diffusers saves some schedulers with numbers that JSON does not have ("lambda_min_clipped": -Infinity).
_INFINITE = re.compile(rb'(":\s*)(?:-?Infinity|NaN)(?=\s*[,}])')

# For a family that recommends nothing of its own.
GENERAL = FamilyDefaults(width=1024, height=1024, steps=25, cfg=4.0, sampler="euler", scheduler="simple", multiple=16)


class OtherPipeline(BadInput):
    """A sound diffusers folder of a family that the studio has no loop of its own for."""


@dataclass(frozen=True)
class ModelInfo:
    """What a model is and what it recommends.

    variant      "normal", or "inpaint" for U-Nets with 9 channels
    edition      of a single file: which of its family's configurations it has, as identify words it ("klein 4B")
    fingerprint  sha256 over the configs, the headers of the weights and samples of their bytes: identifies the model
                 on this machine without reading all of it; the same architecture trained anew gets another
    vocabulary   the words it knows, when it is a small model that knows only some; empty = any words
    """

    family: str
    kind: ModelKind
    name: str
    path: Path
    variant: str
    defaults: FamilyDefaults
    fingerprint: str
    size_bytes: int
    parameters: int
    notice: str = ""
    licence: str = "unknown"
    url: str = ""
    vocabulary: tuple[str, ...] = ()
    styles_supported: tuple[str, ...] = ()
    parts: Mapping[str, str] = field(default_factory=dict)
    edition: str = ""


def identify_folder(path: Path) -> ModelInfo:
    """What the diffusers folder `path` holds.

    Raises MissingModel (no such folder, or a part is not there), UnsafeModel (it could run code or is malformed) or
    InvalidDocument (a JSON file is wrong), each with one sentence naming the file.
    """
    if not path.is_dir():
        raise MissingModel("there is no model folder here", where=str(path))
    if not (path / "model_index.json").is_file():
        raise MissingModel(
            "this folder has no model_index.json, so it is not a diffusers model", where=str(path),
            fix="Choose the folder that holds model_index.json",
        )  # fmt: skip
    check_safe(path)
    index = read_config(path / "model_index.json")
    parts = parts_of(path, index)
    pipeline = index.get("_class_name")
    family = family_of_pipeline(str(pipeline))
    if family is None:
        raise OtherPipeline(
            f"it is a {clip(str(pipeline))}, which no family here loads", where=str(path),
            fix="Run it with the node “Run a diffusers pipeline”",
        )  # fmt: skip
    return _info(path, _narrowed(path, family, parts), parts)


def identify_pipeline(path: Path) -> ModelInfo:
    """What a diffusers folder is whose family the studio has no loop of its own for. Raises as identify_folder."""
    check_safe(path)
    index = read_config(path / "model_index.json")
    parts = parts_of(path, index)
    digest, size, parameters = hashlib.sha256((path / "model_index.json").read_bytes()), 0, 0
    for weights in sorted(path.rglob("*.safetensors")):
        header = read_header(weights)
        for piece in (str(weights.relative_to(path)).encode(), header.raw, *sampled(weights)):
            digest.update(len(piece).to_bytes(8, "little") + piece)
        size, parameters = size + weights.stat().st_size, parameters + header.parameters
    return ModelInfo(
        family=clip(str(index.get("_class_name", ""))), kind="other", name=path.resolve().name, path=path,
        variant="normal", defaults=GENERAL, fingerprint=digest.hexdigest(), size_bytes=size, parameters=parameters,
        parts=MappingProxyType(dict(parts)),
    )  # fmt: skip


def check_safe(path: Path) -> None:
    """Raises UnsafeModel when the folder holds code, a pickle, or a config that names remote code."""
    for file in sorted(path.rglob("*")):
        suffix, name = file.suffix.lower(), str(file.relative_to(path))
        if file.is_symlink() and not _inside_cache(file, path):
            raise _unsafe(path, f"{name} is a link that leads out of the folder")
        if suffix in CODE:
            raise _unsafe(path, f"it holds program code ({name})")
        if suffix in PICKLED:
            raise _unsafe(path, f"{name} is a pickle, which can run code when opened", "Convert it to safetensors")
        if suffix == ".json" and file.is_file():
            check_config(path, name, read_config(file, any_json=True))


def _inside_cache(link: Path, root: Path) -> bool:
    # The hub's cache stores each snapshot file as a link to ../../blobs/<hash>.
    target = link.resolve()
    blobs = root.resolve().parent.parent / "blobs"
    return target.is_relative_to(root.resolve()) or target.is_relative_to(blobs)


def check_config(path: Path, name: str, config: Any) -> None:
    """Raises UnsafeModel when a configuration asks to run code."""
    if not isinstance(config, dict):
        return
    for key in ("auto_map", "custom_pipeline", "custom_pipelines", "trust_remote_code"):
        if config.get(key):
            raise _unsafe(path, f"{name} asks to run remote code (“{key}”)")
    if not isinstance(config.get("_class_name", ""), str):
        raise _unsafe(path, f"{name} gives something other than text as “_class_name”")


def parts_of(path: Path, index: Mapping[str, Any]) -> dict[str, str]:
    """part → class name, of the parts that model_index.json says are there."""
    parts: dict[str, str] = {}
    for key, value in index.items():
        if key.startswith("_") or not isinstance(value, list):
            continue
        if len(value) != 2 or not all(item is None or isinstance(item, str) for item in value):
            raise _unsafe(path, f"model_index.json describes the part “{clip(key)}” in a form it must not have")
        library, class_name = value
        if library is None or class_name is None:
            continue
        if library not in LIBRARIES:
            raise _unsafe(path, f"the part “{clip(key)}” wants code from “{clip(library)}”")
        parts[key] = class_name
    return parts


def _narrowed(path: Path, family: str, parts: Mapping[str, str]) -> str:
    """The family among those that share a pipeline, by the width of the text that its U-Net reads."""
    config = path / "unet" / "config.json"
    if family == "sd15" and config.is_file() and read_config(config).get("cross_attention_dim") == 1024:
        return "sd2"
    if family == "sdxl" and ("text_encoder" not in parts or parts.get("tokenizer") is None):
        return "sdxl_refiner"
    return family


def _info(path: Path, family: str, parts: Mapping[str, str]) -> ModelInfo:
    known = FAMILY_PARTS[family]
    for part, classes in known.classes.items():
        if part in parts and parts[part] not in classes:
            raise BadInput(f"its {part} is a {clip(parts[part])}, not a {classes[0]}", where=str(path))
    digest, size, parameters = hashlib.sha256(), 0, 0
    there = [part for part in known.classes if part in parts or part not in known.may_lack]
    for part in there:
        require_part(path, part)
        if part not in known.with_weights:
            continue
        digest.update(part.encode() + (path / part / "config.json").read_bytes())
        for weights in weight_files(path, part):
            header = read_header(weights)
            for piece in (header.raw, *sampled(weights)):
                digest.update(len(piece).to_bytes(8, "little") + piece)
            size += weights.stat().st_size
            parameters += header.parameters
    require_part(path, "scheduler")
    denoiser = read_config(path / known.denoiser / "config.json")
    channels = denoiser.get("in_channels", 4)
    if known.denoiser == "unet" and channels not in (4, 5, 8, 9):
        raise BadInput(f"its unet reads {channels} channels; 4, 5, 8 and 9 are known", where=str(path))
    card = read_card(path)
    scheduler = read_config(path / "scheduler" / "scheduler_config.json")
    about = folder_variant(family, read_config(path / "model_index.json"), scheduler, denoiser)
    defaults = recommended(family, about, GENERAL)
    edge = denoiser.get("sample_size")
    if known.denoiser == "unet" and isinstance(edge, int) and not isinstance(edge, bool) and 8 <= edge <= 256:
        defaults = with_overrides(defaults, {"width": edge * 8, "height": edge * 8}, "unet/config.json")
    return ModelInfo(
        family=family,
        kind="checkpoint",
        name=_text(card, "name", path) or path.resolve().name,
        path=path,
        variant="inpaint" if known.denoiser == "unet" and channels == 9 else "normal",
        defaults=with_overrides(defaults, _object(card, "defaults", path), str(path / "tessera.json")),
        fingerprint=digest.hexdigest(),
        size_bytes=size,
        parameters=parameters,
        notice=_text(card, "notice", path),
        licence=_text(card, "licence", path) or "unknown",
        url=_text(card, "url", path),
        vocabulary=_words(card, "vocabulary", path),
        styles_supported=_words(card, "styles_supported", path),
        parts=MappingProxyType(dict(parts)),
    )


def sampled(weights: Path) -> list[bytes]:
    """The size of a file and 16 blocks of 4 KiB spread evenly over it."""
    size = weights.stat().st_size
    pieces = [str(size).encode()]
    with weights.open("rb") as file:
        for i in range(16):
            file.seek(max(0, size - 4096) * i // 15)
            pieces.append(file.read(4096))
    return pieces


def require_part(path: Path, part: str) -> None:
    """Raises MissingModel saying which part of the folder is not there, and where it should be."""
    needed = {
        "scheduler": ("scheduler_config.json",),
        "processor": ("preprocessor_config.json", "processor_config.json"),
    }
    tokens = ("tokenizer_config.json", "processor_config.json")
    names = needed.get(part, tokens if part.startswith("tokenizer") else ("config.json",))
    if not (path / part).is_dir():
        raise MissingModel(
            f"this folder has no {part}", where=str(path), fix=f"Put the model’s {part} folder at {path / part}"
        )
    if not any((path / part / name).is_file() for name in names):
        raise MissingModel(
            f"the {part} has no {names[0]}", where=str(path), fix=f"It belongs at {path / part / names[0]}"
        )


def weight_files(path: Path, part: str) -> list[Path]:
    """The safetensors files of a part: one, full precision before fp16, or the shards its index names.

    Raises MissingModel, or InvalidDocument for a wrong index.
    """
    for name in WEIGHT_NAMES:
        for candidate in (name, name.replace(".safetensors", ".fp16.safetensors")):
            if (path / part / candidate).is_file():
                return [path / part / candidate]
        for ending in ("index.json", "index.fp16.json"):
            if (path / part / f"{name}.{ending}").is_file():
                return _shards(path, part, path / part / f"{name}.{ending}")
    raise MissingModel(
        f"the {part} has no safetensors weights", where=str(path),
        fix=f"Put them at {path / part / WEIGHT_NAMES[part.startswith('text_encoder')]}",
    )  # fmt: skip


def _shards(path: Path, part: str, index: Path) -> list[Path]:
    listed = read_config(index).get("weight_map")
    names = sorted(set(map(str, listed.values()))) if isinstance(listed, dict) else []
    if not names or any(Path(name).name != name or not name.endswith(".safetensors") for name in names):
        raise InvalidDocument("“weight_map” must say which file of the folder each tensor is in", where=str(index))
    for name in names:
        if not (path / part / name).is_file():
            raise MissingModel(
                f"the {part} lacks {clip(name)}, one of its files",
                where=str(path),
                fix=f"Put it at {path / part / name}",
            )
    return [path / part / name for name in names]


def read_config(path: Path, *, any_json: bool = False) -> dict[str, Any]:
    """A JSON object from a file. Raises MissingModel or InvalidDocument. `any_json` lets other JSON pass as is."""
    try:
        if path.stat().st_size > MAX_CONFIG_BYTES and not any_json:
            raise InvalidDocument("it is too large for a configuration", where=str(path))
        data = parse_json(_INFINITE.sub(rb"\1null", path.read_bytes()), str(path))
    except OSError as error:
        raise MissingModel("it can't be read", where=str(path)) from error
    if not isinstance(data, dict) and not any_json:
        raise InvalidDocument("it is not a JSON object", where=str(path))
    return data  # type: ignore[no-any-return]


def read_card(path: Path) -> dict[str, Any]:
    """The folder's tessera.json, or {} when it has none."""
    card = path / "tessera.json"
    return read_config(card) if card.is_file() else {}


def _text(card: Mapping[str, Any], key: str, path: Path) -> str:
    value = card.get(key, "")
    if not isinstance(value, str):
        raise InvalidDocument(f"“{key}” must be text", where=str(path / "tessera.json"))
    return " ".join(value.split())


def _words(card: Mapping[str, Any], key: str, path: Path) -> tuple[str, ...]:
    value = card.get(key, [])
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        raise InvalidDocument(f"“{key}” must be a list of words", where=str(path / "tessera.json"))
    return tuple(value)


def _object(card: Mapping[str, Any], key: str, path: Path) -> Mapping[str, Any]:
    value = card.get(key, {})
    if not isinstance(value, dict):
        raise InvalidDocument(f"“{key}” must be an object", where=str(path / "tessera.json"))
    return value


def _unsafe(path: Path, why: str, fix: str = "Use a copy of the model with safetensors weights only") -> UnsafeModel:
    return UnsafeModel(f"this model is refused: {why}", where=str(path), fix=fix)
