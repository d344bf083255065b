"""What a model file is, as far as its header tells: one frozen document with a JSON form. Standard library only."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from types import MappingProxyType
from typing import Any, Literal, TypeAlias, cast, get_args

from engine.contracts.errors import InvalidDocument

FileKind: TypeAlias = Literal[
    "checkpoint", "diffusion_model", "text_encoder", "vae", "lora", "embedding", "controlnet", "t2i_adapter",
    "ip_adapter", "motion_adapter", "vision_encoder", "upscaler", "face_restorer", "annotator", "unknown",
]  # fmt: skip
Container: TypeAlias = Literal["safetensors", "gguf", "pickle", "onnx", "folder", "other"]
KINDS: tuple[str, ...] = get_args(FileKind)

KIND_WORDS: Mapping[str, str] = MappingProxyType(
    {
        "checkpoint": "checkpoint", "diffusion_model": "diffusion model without text encoder and VAE",
        "text_encoder": "text encoder", "vae": "VAE", "lora": "LoRA", "embedding": "embedding",
        "controlnet": "ControlNet", "t2i_adapter": "T2I-Adapter", "ip_adapter": "IP-Adapter",
        "motion_adapter": "motion adapter", "vision_encoder": "image encoder", "upscaler": "upscaler",
        "face_restorer": "face restorer", "annotator": "annotator for control pictures", "unknown": "unknown",
    }
)  # fmt: skip

FAMILY_WORDS: Mapping[str, str] = MappingProxyType(
    {
        "sd15": "SD 1.5", "sd2": "SD 2", "sdxl": "SDXL", "sdxl_refiner": "SDXL refiner", "sd3": "SD 3",
        "flux": "Flux.1", "flux2": "Flux.2", "qwen_image": "Qwen-Image", "z_image": "Z-Image", "chroma": "Chroma",
        "svd": "Stable Video Diffusion", "wan": "Wan", "lumina2": "Lumina 2", "ltx": "LTX-Video",
        "hunyuan_video": "HunyuanVideo", "hunyuan_dit": "Hunyuan-DiT", "cogvideox": "CogVideoX", "mochi": "Mochi",
        "pixart": "PixArt", "sana": "Sana", "auraflow": "AuraFlow", "hidream": "HiDream", "cascade": "Stable Cascade",
        "cosmos": "Cosmos", "kandinsky5": "Kandinsky 5", "omnigen2": "OmniGen 2", "animatediff": "AnimateDiff",
        "several": "several families", "unknown": "unknown",
    }
)  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class ModelFile:
    """One model file or folder.

    family       its base model; "several" when `fits` names more than one; "unknown" when the header does not tell
    fits         the families it works with, most often just `family`
    variant      "inpaint", "schnell", "3.5 large"… ; "" for the ordinary one
    layout       how its tensors are named: "ldm", "diffusers", "kohya", "peft"…
    parts        of a checkpoint: "diffusion model", "text encoder", "vae"
    precision    the type most of its numbers have: "fp16", "bf16", "fp8_e4m3", "Q4_K"…
    parameters   how many numbers it holds
    prediction   "epsilon", "v", "edm" or "" when the header does not say
    preview      the name of a picture beside it, "embedded" for one in the header, or ""
    fingerprint  sha256 over its header and samples of its bytes: the same content, on any machine
    details      further facts, such as the rank of a LoRA or the factor of an upscaler
    """

    name: str
    kind: FileKind = "unknown"
    family: str = "unknown"
    fits: tuple[str, ...] = ()
    variant: str = ""
    layout: str = ""
    container: Container = "other"
    parts: tuple[str, ...] = ()
    precision: str = ""
    size_bytes: int = 0
    parameters: int = 0
    prediction: str = ""
    trigger_words: tuple[str, ...] = ()
    title: str = ""
    licence: str = "unknown"
    preview: str = ""
    fingerprint: str = ""
    details: Mapping[str, str] = field(default_factory=dict)

    def words(self) -> str:
        """What it is, for a person: "LoRA for SDXL (kohya, fp16)"."""
        if self.kind == "unknown":
            return "not a model that is known here"
        said = KIND_WORDS[self.kind]
        if self.fits:
            said += f" for {' or '.join(FAMILY_WORDS.get(f, f) for f in self.fits)}"
        elif self.family != "unknown":
            said += f" for {FAMILY_WORDS.get(self.family, self.family)}"
        else:
            said += " for an unknown base model"
        more = [item for item in (self.variant, self.layout, self.precision) if item]
        return f"{said} ({', '.join(more)})" if more else said

    def to_json(self) -> dict[str, Any]:
        out: dict[str, Any] = {}
        for item in fields(self):
            value = getattr(self, item.name)
            out[item.name] = (
                list(value) if isinstance(value, tuple) else dict(value) if item.name == "details" else value
            )
        return out

    @classmethod
    def from_json(cls, data: Any) -> ModelFile:
        """Raises InvalidDocument when `data` is not what `to_json` gives. Unknown fields are passed over."""
        if not isinstance(data, dict) or data.get("kind") not in KINDS:
            raise InvalidDocument("it does not describe a model file", where="model file")
        values: dict[str, Any] = {}
        for item in fields(cls):
            if item.name not in data:
                continue
            value: Any = data[item.name]
            wanted: type = {"size_bytes": int, "parameters": int, "details": dict}.get(
                item.name, list if item.name in ("fits", "parts", "trigger_words") else str
            )
            if not isinstance(value, wanted):
                raise InvalidDocument(f"“{item.name}” has a value of the wrong type", where="model file")
            values[item.name] = value
        for name in ("fits", "parts", "trigger_words"):
            values[name] = tuple(values.get(name, ()))
        return cls(**cast(Any, values))
