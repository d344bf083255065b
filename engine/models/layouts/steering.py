"""ControlNets and T2I-Adapters of U-Nets in one file: diffusers' configuration, read from the tensors themselves.

A T2I-Adapter of the original code (TencentARC, ldm/modules/encoders/adapter.py) numbers its residual blocks in one row;
diffusers groups them by resolution, each group beginning where the width changes. Its light kind differs in names only.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from engine.models.layouts.rule import Placement, Shapes

_BLOCK = re.compile(r"body\.(\d+)\.(in_conv|block1|block2)\.(weight|bias)")
_LIGHT = re.compile(r"body\.(\d+)\.body\.(\d+)\.(block1|block2)\.(weight|bias)")
_OWN = "adapter."  # diffusers' prefix
_UNSHUFFLED = {64: 8, 192: 8, 256: 16, 768: 16}  # channels after the unshuffling → how much it scales down


def control_config(shapes: Shapes, unet: Mapping[str, Any]) -> dict[str, Any]:
    """The configuration of a ControlNet with `shapes` by diffusers' names; what they don't say is as in its `unet`."""
    widths = _in_a_row(shapes, "down_blocks.{}.resnets.0.conv1.weight")
    levels = range(len(widths))
    attends = [f"down_blocks.{level}.attentions.0.proj_in.weight" in shapes for level in levels]
    hint = _in_a_row(shapes, "controlnet_cond_embedding.blocks.{}.weight")
    first = shapes["controlnet_cond_embedding.conv_in.weight"]
    config = {
        **unet,
        "block_out_channels": widths,
        "layers_per_block": len(_in_a_row(shapes, "down_blocks.0.resnets.{}.conv1.weight")),
        "down_block_types": ["CrossAttnDownBlock2D" if here else "DownBlock2D" for here in attends],
        "conditioning_channels": first[1],
        "conditioning_embedding_out_channels": [first[0], *hint[1::2]],
    }
    if any(attends):
        deep = "down_blocks.{}.attentions.0.transformer_blocks"
        config["transformer_layers_per_block"] = [
            max(1, len(_in_a_row(shapes, f"{deep.format(level)}.{{}}.norm1.weight"))) for level in levels
        ]
        read = f"{deep.format(attends.index(True))}.0.attn2.to_k.weight"
        config["cross_attention_dim"] = shapes[read][1]
    for entry in ("attention_head_dim", "num_attention_heads"):  # one for each level, where they differ
        if isinstance(config.get(entry), (list, tuple)):
            config[entry] = list(config[entry])[: len(widths)]
    if "add_embedding.linear_1.weight" in shapes:
        config["projection_class_embeddings_input_dim"] = shapes["add_embedding.linear_1.weight"][1]
    if "task_embedding" in shapes:
        kinds, width = shapes["task_embedding"]
        config |= {
            "num_control_type": kinds, "num_trans_channel": width,
            "num_proj_channel": shapes["spatial_ch_projs.weight"][0],
            "num_trans_layer": len(_in_a_row(shapes, "transformer_layes.{}.ln_1.weight")),
            "addition_time_embed_dim": shapes["control_add_embedding.linear_1.weight"][1] // kinds,
        }  # fmt: skip
    return config


def place_adapter(shapes: Shapes) -> dict[str, tuple[Placement, ...]]:
    """Where the tensors of a T2I-Adapter go, of the original code or of diffusers."""
    if any(key.startswith(_OWN) for key in shapes):
        return {key: (Placement(key),) for key in shapes}
    group = _group(shapes)
    found: dict[str, tuple[Placement, ...]] = {}
    for key in shapes:
        light, block = _LIGHT.fullmatch(key), _BLOCK.fullmatch(key)
        target = key
        if light:
            target = f"body.{light[1]}.resnets.{light[2]}.{light[3]}.{light[4]}"
        elif block and group:
            number, place = divmod(int(block[1]), group)
            inner = block[2] if block[2] == "in_conv" else f"resnets.{place}.{block[2]}"
            target = f"body.{number}.{inner}.{block[3]}"
        found[key] = (Placement(_OWN + target),)
    return found


def adapter_config(shapes: Shapes) -> dict[str, Any]:
    """The configuration of a T2I-Adapter with `shapes` by diffusers' names."""
    blocks = len(_in_a_row(shapes, "adapter.body.0.resnets.{}.block1.weight"))
    light = _in_a_row(shapes, "adapter.body.{}.out_conv.weight")
    if light:
        inputs, widths, kind = shapes["adapter.body.0.in_conv.weight"][1], light[:-1], "light_adapter"
    else:
        inputs, widths = (
            shapes["adapter.conv_in.weight"][1],
            _in_a_row(shapes, "adapter.body.{}.resnets.0.block1.weight"),
        )
        kind = "full_adapter_xl" if _UNSHUFFLED.get(inputs) == 16 else "full_adapter"
    scale = _UNSHUFFLED.get(inputs, 8)
    return {
        "in_channels": inputs // scale**2, "channels": widths, "num_res_blocks": blocks, "downscale_factor": scale,
        "adapter_type": kind,
    }  # fmt: skip


def _group(shapes: Shapes) -> int:
    """How many residual blocks each resolution has: the second one begins with the first change of width."""
    changes = [int(found[1]) for key in shapes if (found := re.fullmatch(r"body\.(\d+)\.in_conv\.weight", key))]
    return 0 if any(_LIGHT.fullmatch(key) for key in shapes) else min(changes, default=0)


def _in_a_row(shapes: Shapes, pattern: str) -> list[int]:
    """The first dimension of `pattern` with 0, 1, … in it, as long as there is such a tensor."""
    found: list[int] = []
    while (name := pattern.format(len(found))) in shapes:
        found.append(shapes[name][0])
    return found
