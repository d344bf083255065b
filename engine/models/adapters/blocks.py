"""Weights for single blocks of a model, as “block weight” extensions have them. Torch-free.

Blocks are called BASE (text encoders and what lies outside blocks), IN00…IN11, MID, OUT00…OUT11 in U-Nets, and
D00… (blocks of two streams), S00… (of one stream), L00… (plain layers) in transformers.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from engine.contracts.errors import InvalidRequest, clip

_DOWN = re.compile(r"^down_blocks\.(\d+)\.(resnets|attentions|downsamplers)\.(\d+)")
_UP = re.compile(r"^up_blocks\.(\d+)\.(resnets|attentions|upsamplers)\.(\d+)")
_LISTS = (
    ("D", re.compile(r"^transformer_blocks\.(\d+)\.")), ("S", re.compile(r"^single_transformer_blocks\.(\d+)\.")),
    ("L", re.compile(r"^layers\.(\d+)\.")),
)  # fmt: skip
_NAME = re.compile(r"^(ALL|BASE|MID|(?:IN|OUT|D|S|L)(\d{2}|\*))$")


def block_of(target: str) -> str:
    """The block that a module of diffusers' layout lies in."""
    down = _DOWN.match(target)
    if down:
        # As the original U-Net counts: IN00 is conv_in, each level has two layers and a downsampler.
        index = 3 * int(down[1]) + (3 if down[2] == "downsamplers" else int(down[3]) + 1)
        return f"IN{index:02d}"
    up = _UP.match(target)
    if up:
        return f"OUT{3 * int(up[1]) + (2 if up[2] == 'upsamplers' else int(up[3])):02d}"
    if target.startswith("mid_block."):
        return "MID"
    if target.startswith("conv_in"):
        return "IN00"
    for letter, pattern in _LISTS:
        match = pattern.match(target)
        if match:
            return f"{letter}{int(match[1]):02d}"
    return "BASE"


def weight_of_block(block: str, weights: Sequence[tuple[str, float]]) -> float:
    """The weight of a block: its own, else that of its kind (`IN*`), else ALL's, else 1."""
    named = dict(weights)
    for name in (block, re.sub(r"\d+$", "*", block), "ALL"):
        if name in named:
            return named[name]
    return 1.0


def read_blocks(text: str) -> tuple[tuple[str, float], ...]:
    """`IN*:0, MID:1, OUT03:0.5` → pairs. Raises InvalidRequest naming the piece that is wrong."""
    found: dict[str, float] = {}
    for piece in re.split(r"[,\n;]+", text):
        if not piece.strip():
            continue
        name, _, value = piece.partition(":")
        name = name.strip().upper()
        try:
            number = float(value)
        except ValueError:
            number = float("nan")
        if not _NAME.match(name) or not -100 <= number <= 100:
            raise InvalidRequest(
                f"“{clip(piece.strip())}” is no block with a weight", where="blocks",
                fix="Write them like “IN*:0, MID:1, OUT03:0.5”; blocks are ALL, BASE, MID, IN00, OUT00, D00, S00, L00",
            )  # fmt: skip
        found[name] = number
    return tuple(found.items())
