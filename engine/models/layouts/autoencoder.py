"""Autoencoders: the KL autoencoder of the Latent Diffusion code (4, 16 and 32 channels), and Wan's for Qwen-Image."""

from __future__ import annotations

import re

from engine.models.layouts.rule import Placement, Shapes

_RESNET = {"norm1": "norm1", "conv1": "conv1", "norm2": "norm2", "conv2": "conv2", "nin_shortcut": "conv_shortcut",
           "conv_shortcut": "conv_shortcut"}  # fmt: skip
_ATTENTION = {"norm": "group_norm", "q": "to_q", "k": "to_k", "v": "to_v", "proj_out": "to_out.0",
              "to_q": "to_q", "to_k": "to_k", "to_v": "to_v", "to_out.0": "to_out.0",
              "group_norm": "group_norm"}  # fmt: skip
_ENDS = {
    "encoder.conv_in": "encoder.conv_in", "encoder.conv_out": "encoder.conv_out",
    "encoder.norm_out": "encoder.conv_norm_out", "decoder.conv_in": "decoder.conv_in",
    "decoder.conv_out": "decoder.conv_out", "decoder.norm_out": "decoder.conv_norm_out",
    "quant_conv": "quant_conv", "post_quant_conv": "post_quant_conv",
    # Flux.2's code keeps them inside the two halves.
    "encoder.quant_conv": "quant_conv", "decoder.post_quant_conv": "post_quant_conv",
}  # fmt: skip
_BLOCK = re.compile(r"(encoder|decoder)\.(down|up)\.(\d+)\.(?:block\.(\d+)\.(\w+)|(down|up)sample\.conv)")
_MIDDLE = re.compile(r"(encoder|decoder)\.mid\.(?:block_(\d)\.(\w+)|attn_1\.(\w+(?:\.0)?))")
_STATISTICS = ("bn.running_mean", "bn.running_var", "bn.num_batches_tracked")


def place_kl(shapes: Shapes) -> dict[str, tuple[Placement, ...]]:
    """The placements of a KL autoencoder's tensors (ldm/modules/diffusionmodules/model.py; Flux' ae is the same)."""
    levels = 1 + max(
        (int(match[3]) for key in shapes if (match := _BLOCK.match(key)) and match[2] == "up"), default=-1
    )  # fmt: skip
    found: dict[str, tuple[Placement, ...]] = {}
    for key, shape in shapes.items():
        if key in _STATISTICS:
            found[key] = (Placement(key),)
            continue
        module, _, leaf = key.rpartition(".")
        target = kl_module(module, levels) if leaf in ("weight", "bias") else ""
        if target:
            linear = ".attentions.0.to_" in target and len(shape) > 2
            found[key] = (Placement(f"{target}.{leaf}", squeeze=linear),)
    return found


# What diffusers called the middle's attention before its version 0.18.
_EARLY = {"query": "to_q", "key": "to_k", "value": "to_v", "proj_attn": "to_out.0"}


def place_diffusers_kl(shapes: Shapes) -> dict[str, tuple[Placement, ...]]:
    """The placements of an autoencoder that has diffusers' names, early or late."""
    found: dict[str, tuple[Placement, ...]] = {}
    for key, shape in shapes.items():
        module, _, leaf = key.rpartition(".")
        outer, _, name = module.rpartition(".")
        late = _EARLY.get(name) if outer.endswith("mid_block.attentions.0") else None
        linear = ".attentions.0.to_" in key or late is not None
        target = f"{outer}.{late}.{leaf}" if late else key
        found[key] = (Placement(target, squeeze=linear and len(shape) > 2 and "to_qkv" not in key),)
    return found


def kl_module(module: str, levels: int) -> str:
    """diffusers' name of one of its modules; "" for a stranger. The decoder counts its levels from the other end."""
    if module in _ENDS:
        return _ENDS[module]
    match = _MIDDLE.fullmatch(module)
    if match:
        half, block, layer, attention = match.groups()
        if attention:
            name = _ATTENTION.get(attention)
            return f"{half}.mid_block.attentions.0.{name}" if name else ""
        name = _RESNET.get(layer)
        return f"{half}.mid_block.resnets.{int(block) - 1}.{name}" if name else ""
    match = _BLOCK.fullmatch(module)
    if not match:
        return ""
    half, way, level, block, layer, sample = match.groups()
    number = int(level) if way == "down" else levels - 1 - int(level)
    if sample:
        return f"{half}.{way}_blocks.{number}.{way}samplers.0.conv"
    name = _RESNET.get(layer)
    return f"{half}.{way}_blocks.{number}.resnets.{block}.{name}" if name else ""


_WAN_RESIDUAL = {"residual.0": "norm1", "residual.2": "conv1", "residual.3": "norm2", "residual.6": "conv2",
                 "shortcut": "conv_shortcut"}  # fmt: skip
_WAN_ENDS = {
    "conv1": "quant_conv", "conv2": "post_quant_conv", "encoder.conv1": "encoder.conv_in",
    "decoder.conv1": "decoder.conv_in", "encoder.head.0": "encoder.norm_out", "encoder.head.2": "encoder.conv_out",
    "decoder.head.0": "decoder.norm_out", "decoder.head.2": "decoder.conv_out",
}  # fmt: skip
_WAN_MIDDLE = re.compile(r"(encoder|decoder)\.middle\.([012])\.(.+)")
_WAN_BLOCK = re.compile(r"(encoder\.downsamples|decoder\.upsamples)\.(\d+)\.(.+)")
_WAN_ATTENTION = ("norm", "to_qkv", "proj")
_WAN_RESAMPLE = ("resample.1", "time_conv")


def place_wan(shapes: Shapes) -> dict[str, tuple[Placement, ...]]:
    """The placements of Wan 2.1's autoencoder (wan/modules/vae.py), which Qwen-Image uses with weights of its own.

    The encoder keeps one row of blocks; the decoder's row is grouped: each upsampler ends a group.
    """
    groups = _wan_groups(shapes)
    found: dict[str, tuple[Placement, ...]] = {}
    for key in shapes:
        module, _, leaf = key.rpartition(".")
        target = _wan_module(module, groups) if leaf in ("weight", "bias", "gamma") else ""
        if target:
            found[key] = (Placement(f"{target}.{leaf}"),)
    return found


def _wan_groups(shapes: Shapes) -> dict[int, tuple[int, int]]:
    """Number in `decoder.upsamples` → (group, place in it); an upsampler's place is -1."""
    numbers = {int(match[2]) for key in shapes if (match := _WAN_BLOCK.match(key)) and key.startswith("decoder")}
    groups: dict[int, tuple[int, int]] = {}
    group = place = 0
    for number in sorted(numbers):
        if f"decoder.upsamples.{number}.resample.1.weight" in shapes:
            groups[number] = (group, -1)
            group, place = group + 1, 0
        else:
            groups[number] = (group, place)
            place += 1
    return groups


def _wan_module(module: str, groups: dict[int, tuple[int, int]]) -> str:
    if module in _WAN_ENDS:
        return _WAN_ENDS[module]
    match = _WAN_MIDDLE.fullmatch(module)
    if match:
        half, number, rest = match.groups()
        if number == "1":
            return f"{half}.mid_block.attentions.0.{rest}" if rest in _WAN_ATTENTION else ""
        name = _WAN_RESIDUAL.get(rest)
        return f"{half}.mid_block.resnets.{int(number) // 2}.{name}" if name else ""
    match = _WAN_BLOCK.fullmatch(module)
    if not match:
        return ""
    half, number, rest = match.groups()
    name = _WAN_RESIDUAL.get(rest) or (rest if rest in _WAN_RESAMPLE else None)
    if name is None:
        return ""
    if half.startswith("encoder"):
        return f"encoder.down_blocks.{number}.{name}"
    group, place = groups[int(number)]
    return f"decoder.up_blocks.{group}." + (f"upsamplers.0.{name}" if place < 0 else f"resnets.{place}.{name}")
