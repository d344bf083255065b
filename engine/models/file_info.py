"""What the studio makes of a model file: its family, what it recommends, why it can't be run. Torch-free."""

from __future__ import annotations

from pathlib import Path

from engine.contracts.errors import BadInput
from engine.contracts.references import ModelKind
from engine.families.defaults import recommended
from engine.models.family_parts import FAMILY_PARTS
from engine.models.fingerprint import GENERAL, ModelInfo, identify_folder
from engine.models.identify import identify
from engine.models.model_file import FAMILY_WORDS, ModelFile

# Kinds of files by the names that references have for them.
_REFERENCES: dict[str, ModelKind] = {
    "checkpoint": "checkpoint", "diffusion_model": "diffusion_model", "text_encoder": "text_encoder", "vae": "vae",
    "lora": "lora", "embedding": "embedding", "controlnet": "controlnet", "t2i_adapter": "controlnet",
    "ip_adapter": "ip_adapter", "motion_adapter": "motion_adapter", "vision_encoder": "text_encoder",
    "upscaler": "upscaler", "face_restorer": "face_restorer", "annotator": "other",
}  # fmt: skip

_IMPORT = "Make a safetensors copy of it with “main.py models import FILE”"


def info_of(path: Path, about: ModelFile) -> ModelInfo:
    """What the studio makes of any model file. Raises BadInput for what it can't use."""
    if about.kind == "checkpoint":
        return info_of_file(path, about)
    if about.kind == "unknown" or about.container == "pickle":
        raise BadInput(f"it is {said(about)}a file that this studio opens", where=path.name, fix=_IMPORT)
    return _info(path, about, _REFERENCES[about.kind], about.family)


def family_of_file(about: ModelFile) -> str:
    """The family of a checkpoint or diffusion model by what `identify` said of it; the refiner is one of its own."""
    return "sdxl_refiner" if about.family == "sdxl" and about.variant == "refiner" else str(about.family)


def identify_checkpoint(path: Path) -> ModelInfo:
    """What a checkpoint is, a folder or one file. Raises MissingModel, UnsafeModel, InvalidDocument or BadInput."""
    return identify_folder(path) if path.is_dir() else info_of_file(path, identify(path))


def info_of_file(path: Path, about: ModelFile) -> ModelInfo:
    """What the studio makes of a checkpoint in one file. Raises BadInput for a family it does not run."""
    family = family_of_file(about)
    if about.kind not in ("checkpoint", "diffusion_model") or family not in FAMILY_PARTS:
        raise BadInput(
            f"it is {said(about)}a checkpoint that this studio runs", where=path.name,
            fix=f"Use a checkpoint of one of: {', '.join(FAMILY_WORDS.get(name, name) for name in FAMILY_PARTS)}",
        )  # fmt: skip
    if about.container == "pickle":
        raise BadInput("it is a pickle, which is never opened here", where=path.name, fix=_IMPORT)
    if about.variant in ("instruct", "depth") or "input channels" in about.variant:
        raise BadInput(f"it is the variant “{about.variant}”, which this studio does not run", where=path.name,
                       fix="Use an ordinary or an in-painting model")  # fmt: skip
    return _info(path, about, "checkpoint", family)


def _info(path: Path, about: ModelFile, kind: ModelKind, family: str) -> ModelInfo:
    return ModelInfo(
        family=family, kind=kind, name=path.stem, path=path,
        variant="inpaint" if about.variant == "inpaint" else "normal",
        defaults=recommended(family, about.variant, GENERAL),
        fingerprint=about.fingerprint, size_bytes=about.size_bytes, parameters=about.parameters,
        notice=_notice(family, about) if kind == "checkpoint" else "", licence=about.licence, edition=about.variant,
    )  # fmt: skip


def said(about: ModelFile) -> str:
    """How a sentence begins that says what a file is and goes on with what it should be."""
    return "not " if about.kind == "unknown" else f"a {about.words()}, not "


def _notice(family: str, about: ModelFile) -> str:
    # SD 2 has models of both predictions whose tensors are alike.
    if family == "sd2" and not about.prediction:
        return ("This file does not say how it predicts; if its pictures are noise, "
                "set “v_prediction” with the node “Model prediction”.")  # fmt: skip
    return ""
