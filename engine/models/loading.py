"""Load the parts of an ordinary diffusers folder: offline, safetensors only."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import torch

from engine.contracts.errors import InvalidDocument, MissingModel, TesseraError, clip
from engine.models.fingerprint import check_safe, read_config, require_part, weights_of
from engine.models.interruptible import read_ahead
from engine.models.safetensors_header import read_header
from engine.sampling.noise_space import NoiseSpace

_CLASSES = {"unet": "UNet2DConditionModel", "vae": "AutoencoderKL", "controlnet": "ControlNetModel"}
# What is chosen where a ControlNet is: programs keep them in one folder, and one node loads them all.
_CONTROLS = ("ControlNetModel", "ControlNetUnionModel", "T2IAdapter")


def load_part(folder: Path, part: str, device: torch.device, dtype: torch.dtype) -> Any:
    """One part ("unet", "vae", "text_encoder", "tokenizer", "scheduler") of a diffusers folder, ready to run.

    Raises MissingModel naming the part and the exact path that is missing, UnsafeModel for a malformed weight file,
    InvalidDocument when configuration and weights do not fit each other.
    """
    require_part(folder, part)
    if part == "tokenizer":
        return _tokenizer(folder / part)
    if part == "scheduler":
        path = folder / part / "scheduler_config.json"
        return NoiseSpace.from_config(read_config(path), str(path))
    return _built(folder, part, part, device, dtype)


def _built(folder: Path, part: str, kind: str, device: torch.device, dtype: torch.dtype) -> Any:
    weights = weights_of(folder, part)
    read_header(weights)
    try:
        read_ahead(weights)
        module = _module(folder, part, kind, weights, dtype)
    except TesseraError:
        raise
    except (OSError, RuntimeError, ValueError, KeyError, TypeError) as error:
        raise InvalidDocument(
            f"the {part} can't be built from its config.json and {weights.name} ({clip(str(error), 160)})",
            where=str(folder / part), fix="Get the model again from its source",
        ) from error  # fmt: skip
    module.requires_grad_(False)
    return module.eval().to(device)


def _module(folder: Path, part: str, kind: str, weights: Path, dtype: torch.dtype) -> Any:
    variant = "fp16" if weights.name.endswith(".fp16.safetensors") else None
    if kind == "text_encoder":
        from transformers import CLIPTextModel
        from transformers.utils import logging

        logging.disable_progress_bar()
        return CLIPTextModel.from_pretrained(
            folder / part, local_files_only=True, use_safetensors=True, variant=variant, dtype=dtype
        )
    import diffusers

    module, report = getattr(diffusers, _CLASSES.get(kind, kind)).from_pretrained(
        folder / part, local_files_only=True, use_safetensors=True, variant=variant, torch_dtype=dtype,
        low_cpu_mem_usage=True, output_loading_info=True,
    )  # fmt: skip
    if report["missing_keys"]:
        raise ValueError(f"{len(report['missing_keys'])} tensors are missing, the first “{report['missing_keys'][0]}”")
    return module


def _tokenizer(folder: Path) -> Any:
    from transformers import CLIPTokenizer

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)
            return CLIPTokenizer.from_pretrained(folder, local_files_only=True)
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise MissingModel(
            f"the tokenizer can't be read ({clip(str(error), 160)})", where=str(folder),
            fix="It needs vocab.json and merges.txt, or tokenizer.json",
        ) from error  # fmt: skip


def load_vae(folder: Path, device: torch.device, dtype: torch.dtype) -> Any:
    """The AutoencoderKL of a folder that is one, or of a whole model's folder. Raises as `load_part`."""
    part, folder = ("vae", folder) if (folder / "vae").is_dir() else (folder.name, folder.parent)
    return _checked_module(folder, part, "vae", device, dtype)


def load_controlnet(folder: Path, device: torch.device, dtype: torch.dtype) -> Any:
    """The ControlNetModel, ControlNetUnionModel or T2IAdapter of a diffusers folder. Raises as `load_part`."""
    return _checked_module(folder.parent, folder.name, "controlnet", device, dtype)


def _checked_module(parent: Path, part: str, kind: str, device: torch.device, dtype: torch.dtype) -> Any:
    folder = parent / part
    if not folder.is_dir():
        raise MissingModel(
            f"a {kind} is loaded from a diffusers folder so far, and this is none", where=str(folder),
            fix="Choose a folder with config.json and safetensors weights",
        )  # fmt: skip
    check_safe(folder)
    require_part(parent, part)
    class_name = str(read_config(folder / "config.json").get("_class_name", ""))
    accepted = _CONTROLS if kind == "controlnet" else (_CLASSES[kind],)
    if class_name not in accepted:
        raise InvalidDocument(
            f"it is a {clip(class_name) or 'nameless model'}, not a {' or '.join(accepted)}", where=str(folder)
        )
    return _built(parent, part, class_name, device, dtype)


def bytes_of(part: Any) -> int:
    """How many bytes of memory a loaded part's weights take; 0 for what has none."""
    if not isinstance(part, torch.nn.Module):
        return 0
    tensors = [*part.parameters(), *part.buffers()]
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors)
