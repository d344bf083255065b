"""Load the parts of an ordinary diffusers folder: offline, safetensors only."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from engine.contracts.errors import InvalidDocument, MissingModel, TesseraError, clip
from engine.memory.recovery import is_out_of_memory
from engine.models.assemble import fill, same_names, skeleton
from engine.models.fingerprint import check_safe, read_config, require_part, weight_files
from engine.models.weights import Weights, open_weights
from engine.sampling.flow_space import FlowSpace, Space
from engine.sampling.noise_space import NoiseSpace

_VAES = ("AutoencoderKL", "AutoencoderKLFlux2", "AutoencoderKLQwenImage")
_CONTROLNETS = ("ControlNetModel", "ControlNetUnionModel", "T2IAdapter", "SD3ControlNetModel", "FluxControlNetModel",
                "QwenImageControlNetModel", "ZImageControlNetModel")  # fmt: skip


def load_part(
    folder: Path, part: str, device: torch.device, dtype: torch.dtype, keep: torch.dtype | None = None
) -> Any:  # fmt: skip
    """One part ("unet", "vae", "text_encoder", "tokenizer", "scheduler"…) of a diffusers folder, ready to run.

    keep  the eight-bit type its matrices are kept in, see engine.models.fp8

    Raises MissingModel naming the part and the exact path that is missing, UnsafeModel for a malformed weight file,
    InvalidDocument when configuration and weights do not fit each other.
    """
    require_part(folder, part)
    if part == "scheduler":
        path = folder / part / "scheduler_config.json"
        return noise_space(read_config(path), str(path))
    class_name = class_of(folder, part)
    if part.startswith(("tokenizer", "processor")):
        return tokenizer(folder / part, class_name)
    return _network(folder / part, class_name, device, part_dtype(part, folder, dtype), keep)


def class_of(folder: Path, part: str) -> str:
    """The class that model_index.json names for a part. Raises MissingModel when it names none."""
    entry = read_config(folder / "model_index.json").get(part)
    if not isinstance(entry, list) or len(entry) != 2 or not isinstance(entry[1], str):
        raise MissingModel(f"this model has no {part}", where=str(folder), fix="Use a whole copy of the model")
    return entry[1]


def noise_space(config: Mapping[str, Any], where: str) -> Space:
    """The noise that a scheduler's configuration describes, discrete or flow. Raises InvalidDocument."""
    if str(config.get("_class_name", "")).startswith("FlowMatch"):
        return FlowSpace.from_config(config, where)
    return NoiseSpace.from_config(config, where)


def part_dtype(part: str, folder: Path | Mapping[str, Any], dtype: torch.dtype) -> torch.dtype:
    """The type a part runs in: an autoencoder whose numbers pass float16's range says so in its configuration."""
    if part != "vae" or dtype != torch.float16:
        return dtype
    config = folder if isinstance(folder, Mapping) else read_config(folder / part / "config.json")
    return torch.float32 if config.get("force_upcast") is True else dtype


def _network(folder: Path, class_name: str, device: torch.device, dtype: torch.dtype, keep: torch.dtype | None) -> Any:
    weights = open_weights(folder)
    try:
        module = skeleton(class_name, read_config(folder / "config.json"))
        placements = same_names(module, weights)
        if placements is None:
            return _by_library(folder, class_name, weights, device, dtype)
        return fill(module, weights, placements, device, dtype, keep=keep, what=folder.name)
    except (TesseraError, OSError, RuntimeError, ValueError, KeyError, TypeError) as error:
        if is_out_of_memory(error):
            raise
        if isinstance(error, TesseraError) and not isinstance(error, InvalidDocument):
            raise
        why = error.what if isinstance(error, TesseraError) else str(error)
        names = ", ".join(path.name for path in weight_files(folder.parent, folder.name))
        raise InvalidDocument(
            f"the {folder.name} can't be built from its config.json and {clip(names)} ({clip(why, 200)})",
            where=str(folder), fix="Get the model again from its source",
        ) from error  # fmt: skip


def _by_library(folder: Path, class_name: str, weights: Weights, device: torch.device, dtype: torch.dtype) -> Any:
    """A network whose file names tensors in an older way, which its own library knows."""
    weights.read_ahead(weights.shapes)
    variant = "fp16" if any(".fp16" in path.name for path in weight_files(folder.parent, folder.name)) else None
    import diffusers

    if hasattr(diffusers, class_name):
        module, report = getattr(diffusers, class_name).from_pretrained(
            folder, local_files_only=True, use_safetensors=True, variant=variant, dtype=dtype,
            low_cpu_mem_usage=True, output_loading_info=True,
        )  # fmt: skip
    else:
        import transformers
        from transformers.utils import logging

        logging.disable_progress_bar()
        module, report = getattr(transformers, class_name).from_pretrained(
            folder, local_files_only=True, use_safetensors=True, variant=variant, dtype=dtype,
            output_loading_info=True,
        )  # fmt: skip
    missing = sorted(report["missing_keys"])
    if missing:
        raise ValueError(f"{len(missing)} tensors are missing, the first “{missing[0]}”")
    module.requires_grad_(False)
    return module.eval().to(device)


def tokenizer(folder: Path, class_name: str, **told: Any) -> Any:
    """A tokenizer or processor of transformers from a folder of its own, `told` more. Raises MissingModel."""
    import transformers

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)
            return getattr(transformers, class_name).from_pretrained(folder, local_files_only=True, **told)
    except (OSError, ValueError, TypeError, KeyError, ImportError) as error:
        raise MissingModel(
            f"the {folder.name} can't be read ({clip(str(error), 160)})", where=str(folder),
            fix="It needs vocab.json and merges.txt, or tokenizer.json",
        ) from error  # fmt: skip


def load_vae(folder: Path, device: torch.device, dtype: torch.dtype) -> Any:
    """The autoencoder of a folder that is one, or of a whole model's folder. Raises as `load_part`."""
    return _checked_module(folder / "vae" if (folder / "vae").is_dir() else folder, "vae", _VAES, device, dtype)


def load_controlnet(folder: Path, device: torch.device, dtype: torch.dtype) -> Any:
    """The ControlNet or T2I-Adapter of a diffusers folder. Raises as `load_part`."""
    return _checked_module(folder, "controlnet", _CONTROLNETS, device, dtype)


def _checked_module(
    folder: Path, kind: str, classes: tuple[str, ...], device: torch.device, dtype: torch.dtype
) -> Any:  # fmt: skip
    if not folder.is_dir():
        raise MissingModel(
            f"there is no folder of a {kind} here", where=str(folder),
            fix="Choose a folder with config.json and safetensors weights",
        )  # fmt: skip
    check_safe(folder)
    require_part(folder.parent, folder.name)
    config = read_config(folder / "config.json")
    class_name = str(config.get("_class_name", ""))
    if class_name not in classes:
        raise InvalidDocument(f"it is a {clip(class_name) or 'nameless model'}, not a {classes[0]}", where=str(folder))
    return _network(folder, class_name, device, part_dtype(kind, config, dtype), None)


def bytes_of(part: Any) -> int:
    """How many bytes of memory a loaded part's weights take; 0 for what has none."""
    if hasattr(type(part), "components"):  # a whole pipeline
        return sum(bytes_of(item) for item in part.components.values())
    if not isinstance(part, torch.nn.Module):
        return 0
    tensors = {id(tensor): tensor for tensor in (*part.parameters(), *part.buffers())}
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors.values())
