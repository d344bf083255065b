"""Vision encoders (CLIP, SigLIP): what they see in pictures. A file alone tells its network; a folder may say more.

The numbers of heads follow the widths of the published encoders; a folder's config.json goes before them.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812 - the field's own name for it

from engine.contracts.errors import BadInput
from engine.models.assemble import fill, skeleton
from engine.models.fingerprint import read_config
from engine.models.layouts.rule import Placement
from engine.models.weights import open_weights

CLIP_MEAN, CLIP_STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)
_HEADS = {768: 12, 1024: 16, 1280: 16, 1152: 16, 1664: 16}
_PATCHES = "embeddings.patch_embedding.weight"
_NAMES = ("model.safetensors", "model.fp16.safetensors")


@dataclass(frozen=True, eq=False)
class Sight:
    """What an encoder sees in B pictures, float32 on the CPU.

    embedding    [B, width] the summary
    last         [B, tokens, width] its last layer
    penultimate  [B, tokens, width] the layer before
    """

    embedding: torch.Tensor
    last: torch.Tensor
    penultimate: torch.Tensor


@dataclass(frozen=True, eq=False)
class VisionEncoder:
    """`module` at work on square pictures of `size` pixels. SigLIP has its own mean and spread, and no cropping."""

    module: Any
    size: int
    mean: Sequence[float]
    std: Sequence[float]

    def prepared(self, pictures: torch.Tensor, *, crop: bool = True) -> torch.Tensor:
        """float32 [B, 3, size, size] from pictures [B, 3, H, W] in 0..1: the middle square of them, or all of them."""
        rows, columns = pictures.shape[2:]
        if crop:
            short = min(rows, columns)
            shape = (self.size * rows // short, self.size * columns // short)
        else:
            shape = (self.size, self.size)
        scaled = F.interpolate(pictures.float(), shape, mode="bicubic", antialias=True).clamp(0, 1)
        top, left = (shape[0] - self.size) // 2, (shape[1] - self.size) // 2
        square = scaled[:, :, top : top + self.size, left : left + self.size]
        mean, std = (torch.tensor(values).reshape(1, 3, 1, 1) for values in (self.mean, self.std))
        return (square - mean) / std

    @torch.no_grad()
    def look(self, prepared: torch.Tensor) -> Sight:
        """What it sees in pictures that are `prepared`."""
        weight = next(self.module.parameters())
        found = self.module(prepared.to(weight.device, weight.dtype), output_hidden_states=True)
        summary = getattr(found, "image_embeds", None)
        summary = found.pooler_output if summary is None else summary
        return Sight(
            summary.float().cpu(), found.last_hidden_state.float().cpu(), found.hidden_states[-2].float().cpu()
        )


def load_vision(path: Path, device: torch.device, dtype: torch.dtype) -> VisionEncoder:
    """The vision encoder of a file or of a folder in transformers' layout. Raises BadInput for another model."""
    file = next((path / name for name in _NAMES if (path / name).is_file()), path) if path.is_dir() else path
    weights = open_weights(file)
    inner = {name.removeprefix("vision_model."): name for name in weights.shapes}
    if _PATCHES not in inner or "encoder.layers.0.self_attn.q_proj.weight" not in inner:
        raise BadInput(
            "it is no vision encoder known here", where=path.name,
            fix="Choose a CLIP or SigLIP vision model in transformers' layout",
        )  # fmt: skip
    config = _config({name: tuple(weights.shapes[key]) for name, key in inner.items()})
    told = path / "config.json"
    if path.is_dir() and told.is_file():
        read = read_config(told)
        config |= {name: value for name, value in read.get("vision_config", read).items() if name in _SETTINGS}
    siglip = "head.probe" in inner
    class_name = "SiglipVisionModel" if siglip else "CLIPVisionModelWithProjection"
    module = skeleton(class_name, config)
    own = {name for name, _ in module.named_parameters()}
    placements: dict[str, list[Placement]] = {}
    for name, key in inner.items():
        target = next((each for each in (name, f"vision_model.{name}") if each in own), "")
        if target:
            placements[key] = [Placement(target)]
    module = fill(module, weights, placements, device, dtype, what="vision encoder")
    if siglip:
        return VisionEncoder(module, int(config["image_size"]), (0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
    return VisionEncoder(module, int(config["image_size"]), CLIP_MEAN, CLIP_STD)


_SETTINGS = ("num_attention_heads", "hidden_act", "layer_norm_eps", "attention_dropout")


def _config(shapes: Mapping[str, tuple[int, ...]]) -> dict[str, Any]:
    """The settings that tensors' shapes tell, and for heads and activation those of the published encoders."""
    width, _, patch, _ = shapes[_PATCHES]
    classes = 1 if "embeddings.class_embedding" in shapes else 0
    side = math.isqrt(shapes["embeddings.position_embedding.weight"][0] - classes)
    layers = 1 + max(int(name.split(".")[2]) for name in shapes if name.startswith("encoder.layers."))
    found: dict[str, Any] = {
        "hidden_size": width, "patch_size": patch, "image_size": side * patch, "num_hidden_layers": layers,
        "intermediate_size": shapes["encoder.layers.0.mlp.fc1.weight"][0],
        "num_attention_heads": _HEADS.get(width, max(1, width // 64)),
    }  # fmt: skip
    if classes:
        projection = shapes.get("visual_projection.weight")
        found["projection_dim"] = projection[0] if projection else width
        found["hidden_act"] = "quick_gelu" if width in (768, 1024) else "gelu"  # OpenAI's; OpenCLIP's H and bigG
    return found
