"""What a diffusers folder of any family is, from its small files and headers. Torch-free.

`engine.models.fingerprint` reads the folders that the studio runs, with all their parts; this only says what it is.
"""

from __future__ import annotations

import hashlib
import math
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

from engine.contracts.errors import BadInput, UnsafeModel, clip
from engine.models.fingerprint import check_safe, read_card, read_config, sampled
from engine.models.model_file import ModelFile
from engine.models.safetensors_header import read_header

MODEL_INDEX = "model_index.json"

# Beginnings of diffusers' pipeline names → family; the longest that fits counts.
PIPELINES: Mapping[str, str] = MappingProxyType(
    {
        "StableDiffusion": "sd15", "LatentConsistencyModel": "sd15", "StableDiffusionXL": "sdxl",
        "StableDiffusion3": "sd3", "Flux": "flux", "Flux2": "flux2", "QwenImage": "qwen_image", "ZImage": "z_image",
        "Chroma": "chroma", "StableVideoDiffusion": "svd", "Wan": "wan", "Lumina2": "lumina2", "LTX": "ltx",
        "HunyuanVideo": "hunyuan_video", "HunyuanDiT": "hunyuan_dit", "CogVideoX": "cogvideox", "Mochi": "mochi",
        "PixArt": "pixart", "Sana": "sana", "AuraFlow": "auraflow", "HiDreamImage": "hidream",
        "StableCascade": "cascade", "Cosmos": "cosmos", "Kandinsky5": "kandinsky5", "AnimateDiff": "animatediff",
    }
)  # fmt: skip

_VARIANTS = (
    ("Inpaint", "inpaint"), ("InstructPix2Pix", "instruct"), ("Depth2Img", "depth"), ("Fill", "fill"),
    ("Kontext", "kontext"), ("Edit", "edit"), ("Layered", "layered"), ("Upscale", "x4-upscaler"),
    ("Control", "control"), ("ImageToVideo", "image to video"), ("VACE", "VACE"), ("LatentConsistency", "lcm"),
)  # fmt: skip


def identify_model_folder(path: Path) -> ModelFile:
    """What the diffusers folder `path` is.

    Raises MissingModel (no model_index.json, unreadable), UnsafeModel (it could run code), InvalidDocument (its JSON
    is damaged) or BadInput (no folder of a model).
    """
    if not (path / MODEL_INDEX).is_file():
        raise BadInput(
            f"this folder has no {MODEL_INDEX}, so it is not a diffusers model", where=str(path),
            fix="Name a model file in it, or the folder that holds model_index.json",
        )  # fmt: skip
    check_safe(path)
    index = read_config(path / MODEL_INDEX)
    pipeline = index.get("_class_name", "")
    if not isinstance(pipeline, str):
        raise UnsafeModel("model_index.json gives something other than text as “_class_name”", where=str(path))
    digest = hashlib.sha256(repr(sorted(index.items(), key=lambda item: item[0])).encode())
    counts: Counter[str] = Counter()
    size = parameters = 0
    for weights in sorted(path.rglob("*.safetensors")):
        header = read_header(weights)
        for piece in (str(weights.relative_to(path)).encode(), header.raw, *sampled(weights)):
            digest.update(len(piece).to_bytes(8, "little") + piece)
        for entry in header.tensors.values():
            counts[entry.dtype] += math.prod(entry.shape)
        size += weights.stat().st_size
        parameters += header.parameters
    family, variant = _pipeline(path, pipeline)
    card = read_card(path)
    precision = {"F32": "fp32", "F16": "fp16", "BF16": "bf16"}
    dtype = counts.most_common(1)[0][0] if counts else ""
    known = family != "unknown"
    stated = card.get("licence")
    return ModelFile(
        name=path.resolve().name,
        kind="checkpoint" if known else "unknown",
        family=family,
        fits=(family,) if known else (),
        variant=variant,
        layout="diffusers",
        container="folder",
        parts=_parts(index) if known else (),
        precision=precision.get(dtype, dtype),
        size_bytes=size,
        parameters=parameters,
        prediction=_prediction(path),
        title=str(card.get("name", "")) if isinstance(card.get("name", ""), str) else "",
        licence=stated if isinstance(stated, str) and stated else _readme_licence(path),
        preview=next((name for name in ("preview.png", "preview.jpg") if (path / name).is_file()), ""),
        fingerprint=digest.hexdigest(),
        details=MappingProxyType({"pipeline": clip(pipeline)}),
    )


def _pipeline(path: Path, name: str) -> tuple[str, str]:
    """(family, variant). SD 1.5 and SD 2 share their pipelines: the width of the text decides."""
    fitting = [beginning for beginning in PIPELINES if name.startswith(beginning)]
    if not fitting:
        return "unknown", ""
    family = PIPELINES[max(fitting, key=len)]
    variant = next((word for part, word in _VARIANTS if part in name.removeprefix("StableVideo")), "")
    if (path / "unet" / "config.json").is_file():
        config = read_config(path / "unet" / "config.json")
        width = config.get("cross_attention_dim")
        if family == "sd15":
            family = {768: "sd15", 1024: "sd2"}.get(width, "sd15") if isinstance(width, int) else "sd15"
        if family == "sdxl" and width == 1280:
            family = "sdxl_refiner"
        channels = {9: "inpaint", 8: "instruct", 5: "depth"}
        if family in ("sd15", "sd2", "sdxl") and config.get("in_channels") in channels:
            variant = channels[config["in_channels"]]
    return family, variant


def _parts(index: Mapping[str, Any]) -> tuple[str, ...]:
    words = {"unet": "diffusion model", "transformer": "diffusion model", "vae": "vae"}
    found: list[str] = []
    for key, value in index.items():
        if isinstance(value, list) and len(value) == 2 and None not in value:
            word = words.get(key, "text encoder" if key.startswith("text_encoder") else "")
            if word and word not in found:
                found.append(word)
    return tuple(found)


def _prediction(path: Path) -> str:
    config = path / "scheduler" / "scheduler_config.json"
    if not config.is_file():
        return ""
    stated = read_config(config).get("prediction_type")
    return {"epsilon": "epsilon", "v_prediction": "v"}.get(stated, "") if isinstance(stated, str) else ""


def _readme_licence(path: Path) -> str:
    """`license:` of a model card's front matter."""
    try:
        with (path / "README.md").open(encoding="utf-8", errors="replace") as file:
            lines = file.read(4096).splitlines()
    except OSError:
        return "unknown"
    if not lines or lines[0].strip() != "---":
        return "unknown"
    for line in lines[1:]:
        if line.strip() == "---":
            break
        if line.startswith("license:"):
            return clip(line.partition(":")[2].strip()) or "unknown"
    return "unknown"
