"""Prompts into conditioning."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated

from engine.contracts.errors import clip as shortened
from engine.contracts.node_schema import Effects
from engine.graph.node import In, NodeContext, node
from engine.graph.values import Clip, Conditioning


@node(
    "condition.encode_text",
    category="Condition",
    outputs=("conditioning",),
    title="Encode text",
    effects=Effects(parallel_safe=False),
    search=("prompt", "CLIPTextEncode"),
)
def encode_text(ctx: NodeContext, clip: Clip, text: Annotated[str, In(multiline=True)] = "") -> Conditioning:
    """Turn a prompt into conditioning.

    clip: the text encoders of a checkpoint
    text: what the picture should show, or for the negative side what it should not
    """
    encoded = ctx.session.family(clip.weights).encode_text(text, clip.clip_skip)
    if encoded.ignored:
        ctx.log(
            f"The prompt has {encoded.tokens} tokens and this model reads {encoded.limit}; "
            f"it does not see “{shortened(encoded.ignored)}”.",
            level="warning",
        )
    entries: Conditioning = encoded.entries
    return entries


@node(
    "condition.clip_skip",
    category="Condition",
    outputs=("clip",),
    title="CLIP skip",
    search=("CLIPSetLastLayer",),
)
def clip_skip(ctx: NodeContext, clip: Clip, skip: Annotated[int, In(minimum=0, maximum=24)] = 1) -> Clip:
    """Leave out the last layers of the text encoder.

    clip: the text encoders of a checkpoint
    skip: how many layers to leave out, counted from the end; 0 uses all
    """
    return replace(clip, clip_skip=skip)


@node("condition.combine", category="Condition", outputs=("conditioning",), search=("ConditioningCombine",))
def combine(ctx: NodeContext, a: Conditioning, b: Conditioning) -> Conditioning:
    """Let two prompts hold at once; the model's answers to them are averaged.

    a: the first prompt
    b: the second prompt
    """
    return (*a, *b)
