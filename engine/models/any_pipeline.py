"""Any other diffusers folder, run by diffusers' own pipeline class: safetensors only, no code of its own."""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from engine.contracts.errors import BadInput, InvalidDocument, TesseraError, UnsafeModel, clip
from engine.models.fingerprint import check_safe, parts_of, read_config
from engine.models.interruptible import watch_layers

# What a pipeline may have beside networks, tokenizers and schedulers, and that is left out: judges of the picture.
_LEFT_OUT = ("safety_checker", "watermarker")


def load_pipeline(folder: Path, device: torch.device, dtype: torch.dtype) -> Any:
    """The pipeline that model_index.json names, with its parts.

    Raises UnsafeModel when the folder could run code or names a class that is not diffusers' or transformers' own,
    MissingModel and InvalidDocument when parts of it are missing or damaged.
    """
    import diffusers
    import transformers

    check_safe(folder)
    index = read_config(folder / "model_index.json")
    name = str(index.get("_class_name", ""))
    found = getattr(diffusers, name, None)
    kind: Any = found
    if not (isinstance(found, type) and issubclass(found, diffusers.DiffusionPipeline)):
        raise UnsafeModel(f"this model is refused: diffusers has no pipeline “{clip(name)}”", where=str(folder),
                          fix="Use a model made for one of diffusers' own pipelines")  # fmt: skip
    for part, class_name in parts_of(folder, index).items():
        if not any(isinstance(getattr(library, class_name, None), type) for library in (diffusers, transformers)):
            raise UnsafeModel(
                f"this model is refused: its {clip(part)} is a “{clip(class_name)}”, which neither diffusers nor "
                "transformers has", where=str(folder), fix="Use a model whose parts are all of these libraries",
            )  # fmt: skip
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            pipeline = kind.from_pretrained(
                folder, local_files_only=True, use_safetensors=True, dtype=dtype, trust_remote_code=False,
                **{part: None for part in _LEFT_OUT if part in inspect.signature(kind).parameters},
            )  # fmt: skip
    except TesseraError:
        raise
    except (OSError, RuntimeError, ValueError, KeyError, TypeError, ImportError) as error:
        raise InvalidDocument(f"the {name} can't be loaded ({clip(str(error), 200)})", where=str(folder),
                              fix="Get the model again from its source") from error  # fmt: skip
    pipeline.set_progress_bar_config(disable=True)
    for part in pipeline.components.values():
        if isinstance(part, torch.nn.Module):
            part.requires_grad_(False)
            watch_layers(part.eval())
    return pipeline.to(device)


def run_pipeline(
    pipeline: Any, settings: Mapping[str, Any], seed: int, after_step: Callable[[int], None]
) -> tuple[npt.NDArray[np.float32], list[str]]:  # fmt: skip
    """(pictures float32 [B, H, W, 3] in 0..1, the settings it has no use for).

    settings    prompt, negative_prompt, width, height, num_inference_steps, guidance_scale, image; None: left out
    after_step  told how many steps are done; what it raises ends the run

    Raises BadInput for a pipeline that gives no pictures or lacks what it needs.
    """
    known = inspect.signature(pipeline.__call__).parameters
    given = {key: value for key, value in settings.items() if value is not None and key in known}
    unused = [key for key, value in settings.items() if value not in (None, "") and key not in known]
    lacking = [
        name for name, parameter in known.items()
        if parameter.default is inspect.Parameter.empty and name not in given and name != "self"
        and parameter.kind not in (inspect.Parameter.VAR_KEYWORD, inspect.Parameter.VAR_POSITIONAL)
    ]  # fmt: skip
    name = type(pipeline).__name__
    if lacking:
        raise BadInput(f"{name} needs “{lacking[0]}”, which this node does not give", where="pipeline",
                       fix="Use another model")  # fmt: skip

    def step(_: Any, index: int, timestep: Any, kept: dict[str, Any]) -> dict[str, Any]:
        after_step(index + 1)
        return kept

    if "callback_on_step_end" in known:
        given["callback_on_step_end"] = step
    elif "callback" in known:
        given["callback"] = lambda index, timestep, latents: after_step(index + 1)
    if "use_resolution_binning" in known:
        given["use_resolution_binning"] = False  # the size that was asked for, not the nearest of a list
    if "generator" in known:
        given["generator"] = torch.Generator("cpu").manual_seed(seed)
    try:
        with torch.no_grad(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            made = pipeline(**given, output_type="np")
    except (ValueError, TypeError) as error:
        raise BadInput(f"{name} can't do that ({clip(str(error), 200)})", where="pipeline",
                       fix="Change what it is given") from error  # fmt: skip
    pictures = getattr(made, "images", None)
    if pictures is None or np.ndim(pictures) != 4:
        raise BadInput(f"{name} makes something other than pictures", where="pipeline",
                       fix="Use a model that makes pictures")  # fmt: skip
    return np.ascontiguousarray(pictures, dtype=np.float32), unused
