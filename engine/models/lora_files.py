"""What a LoRA is for, from the names and widths of the layers it changes. Torch-free.

Every layout is first brought to one form: the changed layer's name with underscores, and its inputs and outputs. Then
a short list of rules names the base model; where the layers do not tell, the trainer's own metadata is asked; where
that says nothing either, the base stays unknown.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from engine.models.signatures import Shapes

# `<layer>.<role>`; the first group is the layer. Longest roles first.
_ROLES = (
    "lora_magnitude_vector", "hada_w1_a", "hada_w1_b", "hada_w2_a", "hada_w2_b", "hada_t1", "hada_t2", "lokr_w1_a",
    "lokr_w1_b", "lokr_w2_a", "lokr_w2_b", "lokr_t2", "lokr_w1", "lokr_w2", "lora_down", "lora_up", "lora_mid",
    "lora_A", "lora_B", "lora.down", "lora.up", "dora_scale", "oft_blocks", "oft_diag", "a1", "a2", "b1", "b2",
    "diff_b", "diff", "w_norm", "b_norm", "alpha",
)  # fmt: skip
_PATTERN = re.compile(
    r"^(?P<layer>.+?)[._](?P<role>"
    + "|".join(re.escape(role) for role in _ROLES)
    + r")(?:\.default(?:_\d+)?)?(?:\.weight)?$"
)
_PREFIXES = (
    "base_model.model.", "lora_unet_", "lora_transformer_", "lora_prior_unet_", "model.diffusion_model.",
    "diffusion_model.", "transformer.", "unet.",
)  # fmt: skip
_TEXT = ("lora_te", "text_encoder", "lora_prior_te", "text_encoders.")

# The role that proves each form; the ones further down build on those above.
_FORMS = (
    ("LoHa", {"hada_w1_a"}), ("LoKr", {"lokr_w1", "lokr_w1_a"}), ("OFT", {"oft_blocks", "oft_diag"}),
    ("GLoRA", {"a1", "b1"}), ("LoRA", {"lora_down", "lora_A", "lora.down"}), ("full difference", {"diff"}),
)  # fmt: skip

# Beginnings of what trainers write into `modelspec.architecture` and `ss_base_model_version` → family.
STATED = (
    ("stable-diffusion-v1", "sd15"), ("sd_v1", "sd15"), ("sd_1.5", "sd15"), ("stable-diffusion-v2", "sd2"),
    ("sd_v2", "sd2"), ("stable-diffusion-xl-v1-refiner", "sdxl_refiner"),
    ("stable-diffusion-xl", "sdxl"), ("sdxl", "sdxl"), ("stable-diffusion-v3", "sd3"),
    ("stable-diffusion-3", "sd3"), ("sd3", "sd3"), ("flux-2", "flux2"), ("flux2", "flux2"), ("flux.2", "flux2"),
    ("chroma", "chroma"), ("flux-1", "flux"), ("flux1", "flux"), ("flux.1", "flux"), ("qwen-image", "qwen_image"),
    ("qwen_image", "qwen_image"), ("z-image", "z_image"), ("z_image", "z_image"), ("zimage", "z_image"),
    ("wan", "wan"), ("hunyuan-video", "hunyuan_video"), ("hunyuan_video", "hunyuan_video"), ("lumina2", "lumina2"),
    ("lumina-2", "lumina2"), ("ltx", "ltx"),
)  # fmt: skip


def split_key(key: str) -> tuple[str, str] | None:
    """(layer as written, role) of a tensor of a LoRA; None for a tensor that is none."""
    match = _PATTERN.match(re.sub(r"\.lora_linear_layer\.(down|up)\.", r".lora.\1.", key))
    return (match["layer"], match["role"]) if match else None


@dataclass(frozen=True)
class Lora:
    """What the layers of a LoRA tell. `rank` is 0 where it has none or layers differ too much to say one number."""

    family: str
    form: str
    layout: str
    rank: int
    dora: bool
    unet_layers: int
    text_layers: int


@dataclass(frozen=True)
class _Layer:
    name: str
    inputs: int
    outputs: int
    text: bool


def read_lora(shapes: Shapes, metadata: Mapping[str, str]) -> Lora | None:
    """The LoRA that these tensors are, or None when they are none."""
    roles: dict[str, dict[str, tuple[int, ...]]] = {}
    matched = 0
    for key, shape in shapes.items():
        match = _PATTERN.match(key)
        if match:
            matched += 1
            roles.setdefault(match["layer"], {})[match["role"]] = shape
    found = {role for layer in roles.values() for role in layer}
    form = next((name for name, proof in _FORMS if proof & found), "")
    # A few strangers may stand in the file (a trained norm, an embedding); a model that merely has LoRAs may not pass.
    if not form or matched < 0.9 * len(shapes):
        return None
    layers = [_layer(name, parts) for name, parts in roles.items()]
    ranks = {shape[0] for parts in roles.values() for role, shape in parts.items()
             if role in ("lora_down", "lora_A", "lora.down", "hada_w1_b", "lokr_w2_b") and shape}  # fmt: skip
    return Lora(
        family=_family(layers, metadata),
        form=form,
        layout=_layout(roles),
        rank=ranks.pop() if len(ranks) == 1 else 0,
        dora=bool(found & {"dora_scale", "lora_magnitude_vector"}),
        unet_layers=sum(not layer.text for layer in layers),
        text_layers=sum(layer.text for layer in layers),
    )


def _layout(roles: Mapping[str, Mapping[str, object]]) -> str:
    names = list(roles)
    if any(name.startswith(("lora_unet_", "lora_te", "lora_transformer_", "lora_prior_")) for name in names):
        return "kohya"
    if any(name.startswith("base_model.model.") for name in names):
        return "peft"
    if any(name.startswith(("diffusion_model.", "model.diffusion_model.")) for name in names):
        return "original"
    return "diffusers"


def _layer(name: str, parts: Mapping[str, tuple[int, ...]]) -> _Layer:
    text = name.startswith(_TEXT) or name.startswith(tuple(f"base_model.model.{item}" for item in _TEXT))
    inputs, outputs = _widths(parts)
    canonical = name
    for prefix in _PREFIXES:
        canonical = canonical.removeprefix(prefix)
    return _Layer(canonical.replace(".", "_").replace("_processor_", "_"), inputs, outputs, text)


def _widths(parts: Mapping[str, tuple[int, ...]]) -> tuple[int, int]:
    """(inputs, outputs) of the layer that the pieces change; 0 where they do not tell."""

    def size(role: str, axis: int) -> int:
        shape = parts.get(role, ())
        return shape[axis] if axis < len(shape) else 0

    down = next((role for role in ("lora_down", "lora_A", "lora.down") if role in parts), "")
    up = next((role for role in ("lora_up", "lora_B", "lora.up") if role in parts), "")
    if down or up:
        return size(down, 1), size(up, 0)
    if "hada_w1_a" in parts:
        return (size("hada_w1_b", 1), 0) if "hada_t1" in parts else (size("hada_w1_b", 1), size("hada_w1_a", 0))
    if "lokr_w1" in parts or "lokr_w1_a" in parts:
        inputs = (size("lokr_w1", 1) or size("lokr_w1_b", 1)) * (size("lokr_w2", 1) or size("lokr_w2_b", 1))
        return inputs, (size("lokr_w1", 0) or size("lokr_w1_a", 0)) * (size("lokr_w2", 0) or size("lokr_w2_a", 0))
    if "diff" in parts:
        return size("diff", 1), size("diff", 0)
    return 0, 0


def _family(layers: list[_Layer], metadata: Mapping[str, str]) -> str:
    stated = stated_family(metadata)
    built = _unet_family([layer for layer in layers if not layer.text])
    if built == "flux" and stated == "chroma":
        return "chroma"  # most of Chroma's layers are Flux's
    if built != "unknown":
        return built
    if any(not layer.text for layer in layers) and stated == "unknown":
        return "unknown"
    if stated != "unknown":
        return stated
    return _text_family([layer for layer in layers if layer.text])


def stated_family(metadata: Mapping[str, str]) -> str:
    """The base model that the trainer wrote down."""
    for key in ("modelspec.architecture", "ss_base_model_version"):
        text = metadata.get(key, "").lower()
        for beginning, family in STATED:
            if text.startswith(beginning):
                return family
    return "unknown"


def _text_family(layers: list[_Layer]) -> str:
    if any(layer.inputs == 1280 and "te2" in layer.name for layer in layers):
        return "sdxl"
    plain = [layer for layer in layers if layer.name.startswith("lora_te_text_model") and "fc2" not in layer.name]
    widths = {layer.inputs for layer in plain}
    return {768: "sd15", 1024: "sd2"}.get(widths.pop(), "unknown") if len(widths) == 1 else "unknown"


_UNET = re.compile(r"^(input_blocks|output_blocks|middle_block|down_blocks|up_blocks|mid_block)_")
_CONTEXT = {768: "sd15", 1024: "sd2", 2048: "sdxl", 1280: "sdxl_refiner"}
_TRANSFORMER = re.compile(r"^transformer_blocks_(\d+)_")
_HIDDEN = re.compile(r"(attn_(to_q|to_k|to_v|add_q_proj|add_k_proj)|img_attn_(qkv|to_q)|attention_(qkv|to_q|to_k)"
                     r"|(self_attn|cross_attn)_(q|k|v)|attn1_to_(q|k|v)|attn2_to_q)$")  # fmt: skip


def _unet_family(layers: list[_Layer]) -> str:
    if any("motion_modules" in layer.name for layer in layers):
        return "animatediff"
    if any(_UNET.match(layer.name) for layer in layers):
        return _classic(layers)
    widths = {layer.inputs for layer in layers if _HIDDEN.search(layer.name)}
    names = [layer.name for layer in layers]
    if any(name.startswith("joint_blocks_") for name in names):
        return "sd3"
    if any(name.startswith("distilled_guidance_layer_") for name in names):
        return "chroma"
    if any(name.startswith(("double_blocks_", "single_blocks_")) for name in names):
        return _double(layers, widths)
    if any(_TRANSFORMER.match(name) or name.startswith("single_transformer_blocks_") for name in names):
        return _transformer(names, widths)
    if any(re.match(r"(layers|noise_refiner|context_refiner)_\d+_(attention|feed_forward|adaLN)", n) for n in names):
        return "z_image" if widths == {3840} else "lumina2" if widths == {2304} else "unknown"
    if any(re.match(r"blocks_\d+_(self_attn|cross_attn|attn1|attn2)_", n) for n in names):
        return "wan" if widths & {1536, 3072, 5120} and not any("_qkv" in n for n in names) else "unknown"
    return "unknown"


def _classic(layers: list[_Layer]) -> str:
    """A U-Net: by the width of the text that its cross-attention reads, else by depths only SDXL has."""
    families = {_CONTEXT.get(layer.inputs, "unknown") for layer in layers if layer.name.endswith("attn2_to_k")}
    if families:
        return families.pop() if len(families) == 1 else "unknown"
    deep = re.compile(
        r"(down_blocks_2|input_blocks_[78]_1|up_blocks_0|mid_block|middle_block_1).*transformer_blocks_[2-9]_"
    )
    return "sdxl" if any(deep.search(layer.name) for layer in layers) else "unknown"


def _double(layers: list[_Layer], widths: set[int]) -> str:
    outputs = {re.sub(r"\d+", "N", layer.name, count=1): layer.outputs for layer in layers}
    if widths & {4096, 6144} or outputs.get("double_blocks_N_img_mlp_N") == 18432:
        return "flux2"
    if outputs.get("double_blocks_N_img_mlp_0") == 18432 or outputs.get("single_blocks_N_linear1") == 27648:
        return "flux2"
    if any(layer.name.startswith(("double_blocks_19_", "single_blocks_39_")) for layer in layers):
        return "hunyuan_video"
    single = {layer.inputs for layer in layers if layer.name.endswith("linear1")}
    return "flux" if (widths | single) == {3072} else "unknown"


def _transformer(names: list[str], widths: set[int]) -> str:
    if any("to_qkv_mlp_proj" in name for name in names):
        return "flux2"
    last = max((int(match[1]) for name in names if (match := _TRANSFORMER.match(name))), default=-1)
    if any(name.startswith("single_transformer_blocks_") for name in names):
        if last == 19 or any(name.startswith("single_transformer_blocks_39_") for name in names):
            return "hunyuan_video"
        return "flux" if widths == {3072} else "flux2" if widths & {4096, 6144} else "unknown"
    if widths == {3072} and (last >= 19 or any("_img_mlp_" in name or "_img_mod_" in name for name in names)):
        return "qwen_image"
    if widths & {1536, 2432} and any("_attn_add_" in name for name in names):
        return "sd3"
    if widths == {2048} and any("_attn1_" in name or "_attn2_" in name for name in names):
        return "ltx"
    if widths == {1152} and any("_attn1_" in name for name in names):
        return "pixart"
    return "unknown"
