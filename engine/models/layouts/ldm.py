"""The U-Net and ControlNet of the Latent Diffusion code (CompVis, Stability) → diffusers' names.

The original numbers its blocks in one row (openaimodel.py, cldm.py); diffusers groups them by resolution. The grouping
is read from the tensors themselves: a block that is a downsampler ends a level. Depth and widths play no part.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from engine.models.layouts.rule import Placement, Shapes

_RESNET = {
    "in_layers.0": "norm1", "in_layers.2": "conv1", "emb_layers.1": "time_emb_proj", "out_layers.0": "norm2",
    "out_layers.3": "conv2", "skip_connection": "conv_shortcut",
}  # fmt: skip
_TRANSFORMER = re.compile(
    r"norm|proj_in|proj_out"
    r"|transformer_blocks\.\d+\.(norm[123]|attn[12]\.to_(q|k|v|out\.0)|ff\.net\.(0\.proj|2))"
)
_INSIDE = (
    "norm1", "norm2", "norm3", "ff.net.0.proj", "ff.net.2",
    *(f"attn{number}.to_{name}" for number in (1, 2) for name in ("q", "k", "v", "out.0")),
)  # fmt: skip
_HINT = range(2, 14, 2)  # input_hint_block: convolutions at even places between activations, 0 and 14 at the ends


@dataclass(frozen=True)
class Level:
    """One resolution: how many residual blocks it has on the way down, and whether attention follows each."""

    layers: int
    down: bool
    up: bool


def place_unet(shapes: Shapes) -> dict[str, tuple[Placement, ...]]:
    """The placements of a U-Net's tensors."""
    return _placed(shapes, {**_ends(shapes), **_unet_blocks(_levels(shapes), _middle(shapes))})


def place_controlnet(shapes: Shapes) -> dict[str, tuple[Placement, ...]]:
    """The placements of a ControlNet's tensors (cldm.py)."""
    return _placed(shapes, {**_ends(shapes), **_control_blocks(_levels(shapes), _middle(shapes))})


def unet_modules(config: Mapping[str, Any], *, control: bool = False) -> dict[str, tuple[Placement, ...]]:
    """Every original module of a U-Net (or its ControlNet) of diffusers' configuration."""
    down = [kind.startswith("CrossAttn") for kind in config["down_block_types"]]
    layers = int(config["layers_per_block"])
    levels = [Level(layers, has, has) for has in down]
    depths = config.get("transformer_layers_per_block", 1)
    depth = list(depths) if isinstance(depths, list) else [depths] * len(down)
    text = config.get("addition_embed_type") == "text_time" or bool(config.get("class_embed_type"))
    blocks = _control_blocks(levels, attention=True) if control else _unet_blocks(levels, attention=True)
    present: dict[str, tuple[int, ...]] = {"label_emb.0.0.weight": ()} if text else {}
    if config.get("time_cond_proj_dim"):
        present["time_embed.cond_proj.weight"] = ()
    found: dict[str, tuple[Placement, ...]] = {
        source: (Placement(target),) for source, target in _ends(present, control=control).items()
    }
    widths = list(config["block_out_channels"])
    for source, (target, kind) in blocks.items():
        if kind == "plain":
            found[source] = (Placement(target),)
        elif kind == "resnet":
            found.update({
                f"{source}.{old}": (Placement(f"{target}.{new}"),) for old, new in _RESNET.items()
                if new != "conv_shortcut" or _widens(target, widths)
            })  # fmt: skip
        else:
            names = ["norm", "proj_in", "proj_out"]
            for number in range(_depth(target, depth)):
                names += [f"transformer_blocks.{number}.{inside}" for inside in _INSIDE]
            found.update({f"{source}.{name}": (Placement(f"{target}.{name}"),) for name in names})
    return found


def _widens(target: str, widths: list[int]) -> bool:
    """Whether a residual block has more outputs than inputs or the reverse; on the way up a skip is always joined."""
    where, level, _, layer = (*target.split("."), "")[:4]
    if where != "down_blocks":
        return where == "up_blocks"
    return layer == "0" and level != "0" and widths[int(level)] != widths[int(level) - 1]


def _depth(target: str, depths: list[int]) -> int:
    where, number = target.split(".")[:2]
    if where == "mid_block":
        return depths[-1]
    return depths[int(number)] if where == "down_blocks" else depths[::-1][int(number)]


def _ends(shapes: Shapes, *, control: bool | None = None) -> dict[str, str]:
    """What stands before and after the blocks."""
    names = {"time_embed.0": "time_embedding.linear_1", "time_embed.2": "time_embedding.linear_2",
             "input_blocks.0.0": "conv_in"}  # fmt: skip
    if control is None:
        control = "input_hint_block.0.weight" in shapes
    if not control:
        names |= {"out.0": "conv_norm_out", "out.2": "conv_out"}
    if "time_embed.cond_proj.weight" in shapes:
        names["time_embed.cond_proj"] = "time_embedding.cond_proj"
    if "label_emb.0.0.weight" in shapes:
        names |= {"label_emb.0.0": "add_embedding.linear_1", "label_emb.0.2": "add_embedding.linear_2"}
    return names


def _levels(shapes: Shapes) -> list[Level]:
    levels: list[tuple[int, bool]] = []
    layers, attention = 0, False
    number = 1
    while True:
        block = f"input_blocks.{number}"
        if f"{block}.0.op.weight" in shapes:
            levels.append((layers, attention))
            layers, attention = 0, False
        elif f"{block}.0.in_layers.0.weight" in shapes:
            layers += 1
            attention = attention or f"{block}.1.norm.weight" in shapes
        else:
            break
        number += 1
    levels.append((layers, attention))
    return [Level(layers, attention, attention) for layers, attention in levels]


def _middle(shapes: Shapes) -> bool:
    return "middle_block.1.in_layers.0.weight" not in shapes


_Blocks = dict[str, tuple[str, str]]


def _down(levels: list[Level]) -> Iterator[tuple[str, str, str]]:
    """(original block, diffusers' block, kind) on the way down."""
    number = 1
    for index, level in enumerate(levels):
        for layer in range(level.layers):
            yield f"input_blocks.{number}.0", f"down_blocks.{index}.resnets.{layer}", "resnet"
            if level.down:
                yield f"input_blocks.{number}.1", f"down_blocks.{index}.attentions.{layer}", "attention"
            number += 1
        if index + 1 < len(levels):
            yield f"input_blocks.{number}.0.op", f"down_blocks.{index}.downsamplers.0.conv", "plain"
            number += 1


def _mid(attention: bool) -> Iterator[tuple[str, str, str]]:
    yield "middle_block.0", "mid_block.resnets.0", "resnet"
    if attention:
        yield "middle_block.1", "mid_block.attentions.0", "attention"
    yield f"middle_block.{2 if attention else 1}", "mid_block.resnets.1", "resnet"


def _up(levels: list[Level]) -> Iterator[tuple[str, str, str]]:
    number = 0
    for index, level in enumerate(reversed(levels)):
        for layer in range(level.layers + 1):
            yield f"output_blocks.{number}.0", f"up_blocks.{index}.resnets.{layer}", "resnet"
            if level.up:
                yield f"output_blocks.{number}.1", f"up_blocks.{index}.attentions.{layer}", "attention"
            if layer == level.layers and index + 1 < len(levels):
                place = 2 if level.up else 1
                yield f"output_blocks.{number}.{place}.conv", f"up_blocks.{index}.upsamplers.0.conv", "plain"
            number += 1


def _unet_blocks(levels: list[Level], attention: bool) -> _Blocks:
    blocks = (*_down(levels), *_mid(attention), *_up(levels))
    return {source: (target, kind) for source, target, kind in blocks}


def _control_blocks(levels: list[Level], attention: bool) -> _Blocks:
    blocks = [*_down(levels), *_mid(attention)]
    outputs = 1 + sum(level.layers for level in levels) + len(levels) - 1
    blocks += [(f"zero_convs.{n}.0", f"controlnet_down_blocks.{n}", "plain") for n in range(outputs)]
    blocks += [(f"input_hint_block.{place}", f"controlnet_cond_embedding.blocks.{n}", "plain")
               for n, place in enumerate(_HINT)]  # fmt: skip
    blocks += [
        ("middle_block_out.0", "controlnet_mid_block", "plain"),
        ("input_hint_block.0", "controlnet_cond_embedding.conv_in", "plain"),
        ("input_hint_block.14", "controlnet_cond_embedding.conv_out", "plain"),
    ]
    return {source: (target, kind) for source, target, kind in blocks}


def _placed(shapes: Shapes, blocks: Mapping[str, str | tuple[str, str]]) -> dict[str, tuple[Placement, ...]]:
    found: dict[str, tuple[Placement, ...]] = {}
    for key in shapes:
        target = _target(key, blocks)
        if target:
            found[key] = (Placement(target),)
    return found


def _target(key: str, blocks: Mapping[str, str | tuple[str, str]]) -> str:
    module, _, leaf = key.rpartition(".")
    if leaf not in ("weight", "bias"):
        return ""
    found = blocks.get(module)
    if isinstance(found, str):
        return f"{found}.{leaf}"
    if found and found[1] == "plain":
        return f"{found[0]}.{leaf}"
    block = ".".join(module.split(".")[: 2 if module.startswith("middle_block.") else 3])
    target, kind = "", ""
    entry = blocks.get(block)
    if isinstance(entry, tuple):
        target, kind = entry
    inner = module[len(block) + 1 :]
    if kind == "resnet" and inner in _RESNET:
        return f"{target}.{_RESNET[inner]}.{leaf}"
    if kind == "attention" and _TRANSFORMER.fullmatch(inner):
        return f"{target}.{inner}.{leaf}"
    return ""
