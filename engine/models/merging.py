"""Models merged into one: weighted sums and added differences of checkpoints, LoRAs baked in.

Tensor by tensor, so that memory stays at a few tensors; float32 arithmetic, rounded once to the first file's type. What
is written says in its metadata what it was made from. Single files and diffusers folders, each with its like.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch

from engine.contracts.errors import BadInput, InvalidRequest, StorageError, clip
from engine.graph import interruption
from engine.models.adapters.apply import Applied, Share, shares_of, summed
from engine.models.family_parts import FAMILY_PARTS
from engine.models.fingerprint import read_config
from engine.models.layouts import key_map, parts_in
from engine.models.layouts.rule import Placement, apply
from engine.models.merging_file import TensorPlan, write_safetensors
from engine.models.weights import Weights, open_weights

PROVENANCE = "tessera.merge"
_KEPT = {"F64": torch.float64, "F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16}
Change = Callable[[torch.Tensor], torch.Tensor]  # a float32 tensor as it lies in the file → what becomes of it


@dataclass(frozen=True, eq=False)
class Recipe:
    """What to make of the model `first`.

    second      (1 − weight)·first + weight·second; with `difference`: first + weight·(second − difference)
    loras       laid on what results, each at its strength
    """

    first: Path
    second: Path | None = None
    weight: float = 0.5
    difference: Path | None = None
    loras: tuple[Applied, ...] = ()
    lora_files: tuple[Path, ...] = ()

    @property
    def method(self) -> str:
        if self.second is None:
            return "bake"
        return "weighted sum" if self.difference is None else "add difference"


@dataclass(frozen=True)
class Merged:
    """What was written: how many tensors were mixed, how many are the first model's alone, how many LoRAs changed."""

    path: Path
    mixed: int
    kept: int
    baked: int


def blended(
    mine: Mapping[str, torch.Tensor], theirs: Mapping[str, torch.Tensor], ratio: float, name: str
) -> dict[str, torch.Tensor]:
    """ratio·mine + (1 − ratio)·theirs of a part's parameters, float32, rounded once. Raises InvalidRequest."""
    strange = next((key for key in mine if key not in theirs or theirs[key].shape != mine[key].shape), "")
    if strange:
        raise InvalidRequest(
            f"“{clip(name, 60)}” is built otherwise: its “{clip(strange)}” is missing or of another shape",
            where="merge", fix="Merge models of the same family and variant",
        )  # fmt: skip
    return {
        key: torch.lerp(theirs[key].detach().float().to(value.device), value.detach().float(), ratio).to(value.dtype)
        for key, value in mine.items()
    }


def merge(recipe: Recipe, target: Path, family_of: Callable[[Path], str], studio: str = "") -> Merged:
    """Write the merged model at `target`, which must not exist: a file for files, a folder for folders.

    family_of  the family of a model's file or folder
    Raises InvalidRequest (families or shapes differ, a file beside a folder), StorageError, MissingModel, UnsafeModel.
    """
    if recipe.second is None and not recipe.loras:
        raise InvalidRequest("there is nothing to merge it with", where="merge", fix="Name a second model or a LoRA")
    others = [path for path in (recipe.second, recipe.difference) if path is not None]
    if any(path.is_dir() != recipe.first.is_dir() for path in others):
        raise InvalidRequest(
            "a single file and a diffusers folder can't be merged", where="merge",
            fix="Use two files, or two folders",
        )  # fmt: skip
    family = family_of(recipe.first)
    for path in others:
        other = family_of(path)
        if other != family:
            raise InvalidRequest(
                f"“{path.name}” is of the family {other} and “{recipe.first.name}” of {family}", where="merge",
                fix="Merge models of the same family",
            )  # fmt: skip
    if target.exists():
        raise StorageError(f"{target} is there already", fix="Choose another name")
    target.parent.mkdir(parents=True, exist_ok=True)
    about = {PROVENANCE: json.dumps(_provenance(recipe, studio), ensure_ascii=False)}
    if recipe.first.is_dir():
        return _merge_folders(recipe, target, family, about)
    parts = _single_file_shares(recipe, open_weights(recipe.first), family)
    return _merge_one(recipe.first, recipe.second, recipe.difference, recipe.weight, parts, target, about)


def _merge_folders(recipe: Recipe, target: Path, family: str, about: Mapping[str, str]) -> Merged:
    """A folder like the first, each part merged; it appears whole or not at all."""
    fresh = target.with_name(target.name + ".new")
    shutil.rmtree(fresh, ignore_errors=True)
    weights = [p for p in FAMILY_PARTS[family].with_weights if (recipe.first / p).is_dir()]
    shutil.copytree(
        recipe.first, fresh,
        ignore=lambda folder, names: [
            name for name in names
            if Path(folder).name in weights and (name.endswith((".safetensors", ".bin")) or ".index." in name)
        ],
    )  # fmt: skip
    mixed = kept = baked = 0
    for part in weights:
        own = open_weights(recipe.first / part)
        config = read_config(recipe.first / part / "config.json")
        class_name = str(config.get("_class_name") or config.get("architectures"))
        # transformers' files may keep an inner `text_model` that its modules dropped: layers are found either way.
        plan = {} if part == "vae" else shares_of(own.shapes, part, recipe.loras, family, class_name)
        changes: dict[str, Change] = {key: _whole(key, found) for key, found in plan.items()}
        name = ("model" if part.startswith("text_encoder") else "diffusion_pytorch_model") + ".safetensors"
        second, difference = (None if p is None else p / part for p in (recipe.second, recipe.difference))
        done = _merge_one(recipe.first / part, second, difference, recipe.weight, changes, fresh / part / name, about)
        mixed, kept, baked = mixed + done.mixed, kept + done.kept, baked + done.baked
    fresh.rename(target)
    return Merged(target, mixed, kept, baked)


def _merge_one(
    first: Path, second: Path | None, difference: Path | None, weight: float, changes: Mapping[str, Change],
    target: Path, about: Mapping[str, str],
) -> Merged:  # fmt: skip
    own = open_weights(first)
    theirs = None if second is None else open_weights(second)
    base = None if difference is None else open_weights(difference)
    _check_shapes(own, theirs, second)
    _check_shapes(own, base, difference)
    mixed = [name for name in own.shapes if theirs is not None and _is_mixed(own, name, theirs, base)]

    def made(name: str) -> torch.Tensor:
        interruption.check()
        if name not in mixed_names and name not in changes:
            return own.stored(name) if own.dtypes[name] in _KEPT or _is_whole(own, name) else _numbers(own, name)
        value = _numbers(own, name)
        if name in mixed_names:
            assert theirs is not None
            other = _numbers(theirs, name)
            value = value + weight * (other - _numbers(base, name)) if base is not None else value.lerp(other, weight)
        return changes[name](value) if name in changes else value

    mixed_names = frozenset(mixed)
    metadata = {**{k: v for k, v in own.metadata.items() if first.suffix != ".gguf"}, **about}
    plans = [TensorPlan(name, shape, _written(own, name)) for name, shape in own.shapes.items()]
    write_safetensors(target, plans, made, metadata)
    baked = sum(name in changes for name in own.shapes)
    return Merged(target, len(mixed), len(own.shapes) - len(mixed_names | changes.keys()), baked)


def _is_mixed(own: Weights, name: str, theirs: Weights, base: Weights | None) -> bool:
    return name in theirs.shapes and (base is None or name in base.shapes) and not _is_whole(own, name)


def _is_whole(own: Weights, name: str) -> bool:
    """Whether a tensor holds whole numbers, which are positions and never weights."""
    return own.dtypes[name] in ("I64", "I32", "I16", "I8", "U8", "BOOL")


def _written(own: Weights, name: str) -> torch.dtype:
    """The type a tensor is written in: its own; eight bits and GGUF's blocks become float16."""
    if _is_whole(own, name):
        return own.stored(name).dtype
    return _KEPT.get(own.dtypes[name], torch.float16)


def _numbers(weights: Weights, name: str) -> torch.Tensor:
    return weights.numbers(name, torch.float32, torch.device("cpu"))


def _check_shapes(own: Weights, other: Weights | None, path: Path | None) -> None:
    if other is None or path is None:
        return
    shared = [name for name in own.shapes if name in other.shapes]
    strange = next((name for name in shared if own.shapes[name] != other.shapes[name]), "")
    if strange or len(shared) < len(own.shapes) / 2:
        why = f"its “{clip(strange)}” has another shape" if strange else "they share less than half of their tensors"
        raise InvalidRequest(
            f"“{path.name}” can't be merged with “{own.path.name}”: {why}", where="merge",
            fix="Merge models of the same family and variant, in the same layout",
        )  # fmt: skip


def _whole(key: str, shares: Sequence[Share]) -> Change:
    return lambda value: summed(value, key, shares)


def _single_file_shares(recipe: Recipe, own: Weights, family: str) -> dict[str, Change]:
    """What LoRAs do to the tensors of a single file, by the names and shapes that these have there."""
    if not recipe.loras:
        return {}
    found: dict[str, Change] = {}
    for part in parts_in(own.shapes, family):
        if part not in FAMILY_PARTS[family].with_weights or part == "vae":
            continue
        placements = key_map(family, part, own.shapes).placements
        shapes = {
            place.target: tuple(apply(place, torch.empty(own.shapes[key], device="meta")).shape)
            for key, places in placements.items() for place in places
        }  # fmt: skip
        class_name = "T5EncoderModel" if "shared.weight" in shapes else ""
        plan = shares_of(shapes, part, recipe.loras, family, class_name)
        for key, places in placements.items():
            touched = [(place, plan[place.target]) for place in places if place.target in plan]
            if touched:
                found[key] = _placed(touched)
    if not found:
        raise BadInput("none of the LoRA's layers is in this model", where=recipe.first.name,
                       fix="Use a LoRA made for this family")  # fmt: skip
    return found


def _placed(touched: Sequence[tuple[Placement, Sequence[Share]]]) -> Change:
    def change(value: torch.Tensor) -> torch.Tensor:
        value = value.clone()
        for place, shares in touched:
            rows = value if place.rows is None else value[place.rows[0] : place.rows[1]]
            new = summed(apply(place, value).contiguous(), place.target, shares)
            if place.transpose:
                new = new.transpose(0, 1)
            if place.swap_halves:
                new = new.roll(new.shape[0] // 2, 0)
            rows.copy_(new.reshape(rows.shape))
        return value

    return change


def _provenance(recipe: Recipe, studio: str) -> dict[str, Any]:
    sources = [("first", recipe.first), ("second", recipe.second), ("difference", recipe.difference)]
    about: dict[str, Any] = {
        "method": recipe.method, "date": datetime.now(UTC).isoformat(timespec="seconds"), "studio": studio,
        "sources": [
            {"role": role, "name": path.name, "sha256": content_hash(path)}
            for role, path in sources if path is not None
        ],
        "loras": [
            {"name": path.name, "sha256": content_hash(path), "strength": item.strength}
            for item, path in zip(recipe.loras, recipe.lora_files, strict=True)
        ],
    }  # fmt: skip
    if recipe.second is not None:
        about["weight"] = recipe.weight
    return about


def content_hash(path: Path) -> str:
    """sha256 of a file; of a folder, over those of its weight files, in the order of their names."""
    if path.is_file():
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    digest = hashlib.sha256()
    for file_path in sorted(path.glob("**/*.safetensors")):
        digest.update(f"{file_path.relative_to(path).as_posix()} {content_hash(file_path)}\n".encode())
    return digest.hexdigest()
