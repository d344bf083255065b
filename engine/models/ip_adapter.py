"""The file of an IP-Adapter (2308.06721) for a U-Net: how a picture becomes words, and the layers that read them.

The original layout: `image_proj.*`, and for each cross-attention layer `ip_adapter.N.to_k_ip.weight`, `.to_v_ip.…`.
Three ways of a picture into words: a linear layer over CLIP's summary, a resampler over its tokens (“plus”), a layer
for each token (“full face”). What comes from a face recogniser (FaceID) is refused.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from engine.contracts.errors import BadInput, clip
from engine.models.weights import open_weights

_PAIR = re.compile(r"^ip_adapter\.(\d+)\.to_([kv])_ip\.weight$")
_WORDS = 4  # of the plain adapter
_HEAD = 64  # of the resampler, by its authors


@dataclass(frozen=True, eq=False)
class IPAdapter:
    """projection  diffusers' module: what a vision encoder sees → words [B, n, width]
    tokens      whether it reads the encoder's tokens (the layer before the last) or its summary
    layers      (keys, values), each [inner, width], in the U-Net's order
    """

    name: str
    projection: Any
    tokens: bool
    layers: tuple[tuple[torch.Tensor, torch.Tensor], ...]

    @property
    def sees(self) -> int:
        """How wide what it reads is."""
        first = self.projection.image_embeds if hasattr(self.projection, "image_embeds") else None
        if first is None:
            first = getattr(self.projection, "proj_in", None) or self.projection.ff.net[0].proj
        return int(first.in_features)

    @property
    def speaks(self) -> int:
        """How wide its words are."""
        return int(self.layers[0][0].shape[1])


def read_ip_adapter(path: Path) -> IPAdapter | dict[str, torch.Tensor]:
    """The IP-Adapter in a file; of another model that reads pictures (Flux Redux) its tensors by name.

    Raises BadInput for one that is not read here.
    """
    weights = open_weights(path)
    tensors = {name: weights.numbers(name, torch.float32, torch.device("cpu")).clone() for name in weights.shapes}
    return ip_adapter_of(tensors, path.stem) if any(_PAIR.match(name) for name in tensors) else tensors


def ip_adapter_of(tensors: Mapping[str, torch.Tensor], name: str) -> IPAdapter:
    """The adapter that these tensors are. Raises BadInput."""
    if any(key.startswith("ip_adapter.") and "_lora" in key for key in tensors) or any(
        key.startswith("image_proj.perceiver_resampler.") for key in tensors
    ):
        raise BadInput(
            "it is a FaceID adapter, which wants a face recogniser that this studio does not have", where=clip(name),
            fix="Use a plain, plus or full-face IP-Adapter",
        )  # fmt: skip
    pairs: dict[int, dict[str, torch.Tensor]] = {}
    for key, value in tensors.items():
        match = _PAIR.match(key)
        if match:
            pairs.setdefault(int(match[1]), {})[match[2]] = value
    if not pairs or any(pair.keys() != {"k", "v"} for pair in pairs.values()):
        raise BadInput("it is no whole IP-Adapter", where=clip(name), fix="Get the file again")
    layers = tuple((pairs[number]["k"], pairs[number]["v"]) for number in sorted(pairs))
    given = {key.removeprefix("image_proj."): value for key, value in tensors.items() if key.startswith("image_proj.")}
    try:
        projection, reads_tokens = _projection(given)
    except (KeyError, RuntimeError) as error:
        raise BadInput(
            "the way it turns pictures into words is not known here", where=clip(name),
            fix="Use a plain, plus or full-face IP-Adapter",
        ) from error  # fmt: skip
    return IPAdapter(name, projection.eval().requires_grad_(False), reads_tokens, layers)


def _projection(given: Mapping[str, torch.Tensor]) -> tuple[Any, bool]:
    from diffusers.models.embeddings import (
        ImageProjection,
        IPAdapterFullImageProjection,
        IPAdapterPlusImageProjection,
    )

    module: Any
    if "proj.weight" in given:
        weight = given["proj.weight"]
        module = ImageProjection(weight.shape[1], weight.shape[0] // _WORDS, _WORDS)
        module.load_state_dict({key.replace("proj.", "image_embeds."): value for key, value in given.items()})
        return module, False
    if "proj.3.weight" in given:
        module = IPAdapterFullImageProjection(given["proj.0.weight"].shape[0], given["proj.3.weight"].shape[0])
        names = {"proj.0": "ff.net.0.proj", "proj.2": "ff.net.2", "proj.3": "norm"}
        module.load_state_dict({names[key[:6]] + key[6:]: value for key, value in given.items()})
        return module, True
    queries, width = given["latents"].shape[1:]
    inner = given["layers.0.0.to_q.weight"].shape[0]
    module = IPAdapterPlusImageProjection(
        embed_dims=given["proj_in.weight"].shape[1], output_dims=given["proj_out.weight"].shape[0], hidden_dims=width,
        depth=1 + max(int(key.split(".")[1]) for key in given if key.startswith("layers.")), dim_head=_HEAD,
        heads=inner // _HEAD, num_queries=queries, ffn_ratio=given["layers.0.1.1.weight"].shape[0] / width,
    )  # fmt: skip
    module.load_state_dict(_resampler(given))
    return module, True


_RESAMPLER = (
    ("0.norm1.", "ln0."), ("0.norm2.", "ln1."), ("0.to_q.", "attn.to_q."), ("0.to_out.", "attn.to_out.0."),
    ("1.0.", "ff.0."), ("1.1.", "ff.1.net.0.proj."), ("1.3.", "ff.1.net.2."),
)  # fmt: skip


def _resampler(given: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The original Resampler's names as diffusers has them; keys and values come in one matrix."""
    found: dict[str, torch.Tensor] = {}
    for key, value in given.items():
        match = re.match(r"^layers\.(\d+)\.(.*)$", key)
        if not match:
            found[key] = value
            continue
        block, rest = f"layers.{match[1]}.", match[2]
        if rest == "0.to_kv.weight":
            found[f"{block}attn.to_k.weight"], found[f"{block}attn.to_v.weight"] = value.chunk(2)
            continue
        old, new = next(pair for pair in _RESAMPLER if rest.startswith(pair[0]))
        found[block + new + rest.removeprefix(old)] = value
    return found
