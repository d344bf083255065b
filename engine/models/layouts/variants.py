"""Which variant of a family a file is, and the configuration that its tensors ask for: by shapes alone."""

from __future__ import annotations

import re
from typing import Any

from engine.models.layouts.configs import config_of, default_variant, variants_of
from engine.models.layouts.parts import UNETS, inside, parts_in
from engine.models.layouts.rule import Shapes, placed_shape
from engine.models.layouts.table import key_map

# Input channels of a U-Net → what is joined to the latent; of Flux.1's packed latent likewise.
_UNET_CHANNELS = {9: "inpaint", 8: "instruct", 5: "depth"}
_FLUX_CHANNELS = {384: "fill", 128: "control"}
_FLUX2_WIDTHS = {6144: "dev", 4096: "klein-9b", 3072: "klein-4b"}
_FLUX2_TEXT = {5120: "dev", 4096: "klein-9b", 2560: "klein-4b"}

_BLOCKS = re.compile(
    r"^(?:text_model\.|language_model\.)?(?:encoder\.)?"
    r"(transformer_blocks|single_transformer_blocks|layers|noise_refiner|block)\.(\d+)\."
)
_COUNTS = {
    "transformer_blocks": "num_layers", "single_transformer_blocks": "num_single_layers", "block": "num_layers",
    "noise_refiner": "n_refiner_layers",
}  # fmt: skip


def variant_of(family: str, part: str, shapes: Shapes) -> str:
    """The variant that the part in this file is of; the family's usual one where its tensors leave it open."""
    own = inside(shapes, parts_in(shapes, family).get(part, ""))
    found = default_variant(family)
    if part == "unet":
        channels = _size(own, 1, "input_blocks.0.0.weight", "conv_in.weight")
        latent_consistency = "time_embed.cond_proj.weight" in own or "time_embedding.cond_proj.weight" in own
        found = _UNET_CHANNELS.get(channels, "lcm" if latent_consistency else "base")
    elif part == "transformer" and family == "sd3":
        found = _sd3(own)
    elif part == "transformer" and family == "flux":
        guided = any(key.startswith(("guidance_in.", "time_text_embed.guidance_embedder.")) for key in own)
        found = _FLUX_CHANNELS.get(_size(own, 1, "img_in.weight", "x_embedder.weight"), "dev" if guided else "schnell")
    elif family == "flux2" and part == "transformer":
        found = _FLUX2_WIDTHS.get(_size(own, 0, "img_in.weight", "x_embedder.weight"), found)
    elif family == "flux2" and part == "text_encoder":
        words = ("embed_tokens.weight", "token_embd.weight")
        width = next((shape[-1] for key, shape in own.items() if key.endswith(words)), 0)
        found = _FLUX2_TEXT.get(width, found)
    return found if found in variants_of(family) else default_variant(family)


def _sd3(own: Shapes) -> str:
    if "joint_blocks.37.x_block.attn.qkv.weight" in own or "transformer_blocks.37.attn.to_q.weight" in own:
        return "3.5-large"
    dual = "joint_blocks.0.x_block.attn2.qkv.weight" in own or "transformer_blocks.0.attn2.to_q.weight" in own
    return "3.5-medium" if dual else "3-medium"


def _size(shapes: Shapes, axis: int, *names: str) -> int:
    return next((shapes[name][axis] for name in names if name in shapes), 0)


def config_for(family: str, part: str, shapes: Shapes) -> dict[str, Any]:
    """The configuration of the part as it is in this file: its variant's, with the file's own number of blocks.

    So a model with fewer blocks than its family's (Flux.1 Lite, a text encoder cut after the last layer that is read)
    is built as small as it is. Raises BadInput when the file does not hold the part.
    """
    config = config_of(family, variant_of(family, part, shapes), part)
    if part == "vae" or family in UNETS:
        return config
    layout = key_map(family, part, shapes)
    if any(key.endswith("__index_timestep_zero__") for key in shapes):
        config["zero_cond_t"] = True  # ComfyUI's mark of Qwen-Image-Edit 2511, whose reference pictures have time 0
    last: dict[str, int] = {}
    for source, placed in layout.placements.items():
        for placement in placed:
            match = _BLOCKS.match(placement.target)
            if match:
                last[match[1]] = max(last.get(match[1], 0), int(match[2]))
            elif placement.target == "x_embedder.weight":
                config["in_channels"] = placed_shape(placement, shapes[source])[1]
    inner = config
    if "text_config" in config:
        inner = config["text_config"] = dict(config["text_config"])
    for blocks, highest in last.items():
        name = _COUNTS.get(blocks) or ("n_layers" if part == "transformer" else "num_hidden_layers")
        if name in inner:
            inner[name] = highest + 1
    return config
