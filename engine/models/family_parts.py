"""Which parts a model of each family has and which classes may stand for them. Torch-free.

The names are those of diffusers' folders; a class is diffusers' or transformers'.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

_CLIP_TOKENIZER = ("CLIPTokenizer", "CLIPTokenizerFast")
_T5_TOKENIZER = ("T5Tokenizer", "T5TokenizerFast")
_QWEN_TOKENIZER = ("Qwen2Tokenizer", "Qwen2TokenizerFast", "AutoTokenizer")
_KL = ("AutoencoderKL",)
_T5 = ("T5EncoderModel",)


@dataclass(frozen=True)
class FamilyParts:
    """denoiser  "unet" or "transformer"
    classes   part → the classes that may stand for it; the first is what a single file becomes
    may_lack  parts that a model can do without
    half      whether float16 is its type on a graphics card, else bfloat16
    """

    denoiser: str
    classes: Mapping[str, tuple[str, ...]]
    may_lack: tuple[str, ...] = ()
    half: bool = False
    encoders: tuple[str, ...] = field(init=False)

    def __post_init__(self) -> None:
        encoders = tuple(part for part in self.classes if part.startswith("text_encoder"))
        object.__setattr__(self, "encoders", encoders)

    @property
    def with_weights(self) -> tuple[str, ...]:
        """The parts that have weights."""
        return (self.denoiser, "vae", *self.encoders)


def _unet(*encoders: tuple[str, tuple[str, ...]], may_lack: tuple[str, ...] = ()) -> FamilyParts:
    classes: dict[str, tuple[str, ...]] = {"unet": ("UNet2DConditionModel",), "vae": _KL}
    for part, names in encoders:
        classes |= {part: names, part.replace("text_encoder", "tokenizer"): _CLIP_TOKENIZER}
    return FamilyParts("unet", classes, may_lack, half=True)


_CLIP = ("CLIPTextModel",)
_PROJECTED = ("CLIPTextModelWithProjection",)

FAMILY_PARTS: Mapping[str, FamilyParts] = MappingProxyType(
    {
        "sd15": _unet(("text_encoder", _CLIP)),
        "sd2": _unet(("text_encoder", _CLIP)),
        "sdxl": _unet(("text_encoder", _CLIP), ("text_encoder_2", _PROJECTED)),
        "sdxl_refiner": _unet(("text_encoder_2", _PROJECTED)),
        "sd3": FamilyParts(
            "transformer",
            {
                "transformer": ("SD3Transformer2DModel",), "vae": _KL,
                "text_encoder": _PROJECTED, "tokenizer": _CLIP_TOKENIZER,
                "text_encoder_2": _PROJECTED, "tokenizer_2": _CLIP_TOKENIZER,
                "text_encoder_3": _T5, "tokenizer_3": _T5_TOKENIZER,
            },
            may_lack=("text_encoder_3", "tokenizer_3"),
        ),
        "flux": FamilyParts(
            "transformer",
            {
                "transformer": ("FluxTransformer2DModel",), "vae": _KL,
                "text_encoder": _CLIP, "tokenizer": _CLIP_TOKENIZER,
                "text_encoder_2": _T5, "tokenizer_2": _T5_TOKENIZER,
            },
        ),
        "flux2": FamilyParts(
            "transformer",
            {
                "transformer": ("Flux2Transformer2DModel",), "vae": ("AutoencoderKLFlux2",),
                "text_encoder": ("Mistral3ForConditionalGeneration", "Qwen3ForCausalLM"),
                "tokenizer": ("PixtralProcessor", "AutoProcessor", *_QWEN_TOKENIZER),
            },
        ),
        "qwen_image": FamilyParts(
            "transformer",
            {
                "transformer": ("QwenImageTransformer2DModel",), "vae": ("AutoencoderKLQwenImage",),
                "text_encoder": ("Qwen2_5_VLForConditionalGeneration",), "tokenizer": _QWEN_TOKENIZER,
                "processor": ("Qwen2VLProcessor", "Qwen2_5_VLProcessor", "AutoProcessor"),
            },
            may_lack=("processor",),
        ),
        "z_image": FamilyParts(
            "transformer",
            {
                "transformer": ("ZImageTransformer2DModel",), "vae": _KL,
                "text_encoder": ("Qwen3Model", "Qwen3ForCausalLM"), "tokenizer": _QWEN_TOKENIZER,
            },
        ),
        "chroma": FamilyParts(
            "transformer",
            {
                "transformer": ("ChromaTransformer2DModel",), "vae": _KL,
                "text_encoder": _T5, "tokenizer": _T5_TOKENIZER,
            },
        ),
    }
)  # fmt: skip


# diffusers' pipelines whose work the studio's own families do. SD 1.5 and SD 2 share theirs.
PIPELINES: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "sd15": ("StableDiffusionPipeline", "StableDiffusionInpaintPipeline", "StableDiffusionImg2ImgPipeline",
                 "LatentConsistencyModelPipeline", "StableDiffusionInstructPix2PixPipeline",
                 "StableDiffusionDepth2ImgPipeline"),
        "sdxl": ("StableDiffusionXLPipeline", "StableDiffusionXLImg2ImgPipeline", "StableDiffusionXLInpaintPipeline"),
        "sd3": ("StableDiffusion3Pipeline", "StableDiffusion3Img2ImgPipeline", "StableDiffusion3InpaintPipeline"),
        "flux": ("FluxPipeline", "FluxImg2ImgPipeline", "FluxInpaintPipeline", "FluxFillPipeline",
                 "FluxKontextPipeline", "FluxKontextInpaintPipeline", "FluxControlPipeline"),
        "flux2": ("Flux2Pipeline", "Flux2KleinPipeline", "Flux2KleinInpaintPipeline"),
        "qwen_image": ("QwenImagePipeline", "QwenImageImg2ImgPipeline", "QwenImageInpaintPipeline",
                       "QwenImageEditPipeline", "QwenImageEditInpaintPipeline", "QwenImageEditPlusPipeline"),
        "z_image": ("ZImagePipeline", "ZImageImg2ImgPipeline", "ZImageInpaintPipeline", "ZImageOmniPipeline"),
        "chroma": ("ChromaPipeline", "ChromaImg2ImgPipeline", "ChromaInpaintPipeline"),
    }
)  # fmt: skip


def family_of_pipeline(name: str) -> str | None:
    """The family whose work a pipeline of diffusers does; None for one that none here does."""
    return next((family for family, names in PIPELINES.items() if name in names), None)


def how_to_give(part: str) -> str:
    """What to do about a part that a file lacks, in one sentence without its full stop."""
    if part == "vae":
        return "Connect the VAE of another checkpoint or of “Load VAE”"
    if part.startswith(("text_encoder", "tokenizer", "processor")):
        return "Connect “Load text encoder” (or the node for two or three), with the family chosen there"
    return "Connect “Load diffusion model”"
