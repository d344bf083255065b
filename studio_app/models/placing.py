"""Bringing model files into the studio's folder: which sub-folder, which name, copied whole or not at all."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import TypeAlias

from engine.contracts.errors import BadInput, Cancelled, StorageError
from engine.models.convert import convert_pickle
from engine.models.identify import identify
from engine.models.model_file import ModelFile
from studio_app.files import storage_error

# Sub-folder of the studio's model folder by kind, named as ComfyUI's so that either program can use them.
PLACES = {
    "checkpoint": "checkpoints", "diffusion_model": "diffusion_models", "text_encoder": "text_encoders", "vae": "vae",
    "lora": "loras", "embedding": "embeddings", "controlnet": "controlnet", "t2i_adapter": "controlnet",
    "ip_adapter": "ipadapter", "motion_adapter": "animatediff_models", "vision_encoder": "clip_vision",
    "upscaler": "upscale_models", "face_restorer": "facerestore_models", "annotator": "annotators", "unknown": "other",
}  # fmt: skip
BLOCK = 4 << 20
Step: TypeAlias = Callable[[int], bool]
_BESIDE = (".preview.png", ".preview.jpg", ".preview.jpeg", ".preview.webp", ".civitai.info")


def identified(source: Path) -> ModelFile:
    """What `source` is. Raises UnsafeModel or MissingModel, or BadInput when it is no model that is known."""
    about = identify(source)
    if about.kind == "unknown":
        raise BadInput("it is not a model that is known here", where=str(source), fix="Import a model file or folder")
    return about


def target_name(source: Path, about: ModelFile) -> str:
    """The name of the file or folder that `source` becomes."""
    if about.container == "pickle":
        return f"{source.stem}.safetensors"
    return source.resolve().name if about.container == "folder" else source.name


def put(
    source: Path, about: ModelFile, target: Path, *, move: bool = False, step: Step = lambda count: True
) -> Path:  # fmt: skip
    """Copy `source` to `target`, which is free; a pickle is converted, a file `move`d on the same disk.

    `step` is told the bytes copied since the last time and says whether to go on.
    Raises UnsafeModel, StorageError or Cancelled; then nothing is left at `target`.
    """
    if about.container == "pickle":
        convert_pickle(source, target)
        if move:
            source.unlink()
    elif about.container == "folder":

        def copy(one: str, to: str) -> None:
            copy_file(Path(one), Path(to), step)

        _guarded(lambda: shutil.copytree(source, target, symlinks=False, copy_function=copy), target)
    elif move:
        _guarded(lambda: os.replace(source, target), target)
    else:
        _guarded(lambda: copy_file(source, target, step), target)
    return target


def free_name(path: Path) -> Path:
    """`path`, or with a number when that name is taken."""
    candidate, number = path, 2
    while candidate.exists():
        candidate = path.with_name(f"{path.stem}-{number}{path.suffix}")
        number += 1
    return candidate


def files_beside(path: Path) -> list[Path]:
    """The preview pictures and notes that belong to a model file."""
    if path.is_dir():
        return []
    return [path.with_name(path.stem + end) for end in _BESIDE if path.with_name(path.stem + end).is_file()]


def copy_file(source: Path, target: Path, step: Step = lambda count: True) -> None:
    """Copy beside the target, sync, rename. Raises OSError, or Cancelled when `step` said so."""
    partial = target.with_name(f".{target.name}.part")
    try:
        with source.open("rb") as origin, partial.open("wb") as file:
            while block := origin.read(BLOCK):
                file.write(block)
                if not step(len(block)):
                    raise Cancelled
            file.flush()
            os.fsync(file.fileno())
        os.replace(partial, target)
    finally:
        partial.unlink(missing_ok=True)


def _guarded(copy: Callable[[], object], target: Path) -> None:
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        copy()
    except (OSError, shutil.Error, Cancelled) as error:
        if target.is_dir():
            shutil.rmtree(target, ignore_errors=True)
        if isinstance(error, Cancelled):
            raise
        if isinstance(error, shutil.Error):
            raise StorageError(f"{target} can't be written whole", fix="Check the disk and try again") from error
        raise storage_error(error, target) from error
