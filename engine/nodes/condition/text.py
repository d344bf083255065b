"""Prompts into conditioning."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated

from engine.contracts.errors import clip as shortened
from engine.contracts.node_schema import Effects
from engine.contracts.references import ModelRef
from engine.graph.node import In, NodeContext, node
from engine.graph.values import Clip, Conditioning
from engine.nodes.condition.several_encoders import read
from engine.prompts.grammar import ParsedPrompt, literal, parse

SYNTAXES = ("studio", "plain")


@node(
    "condition.encode_text",
    category="Condition",
    outputs=("conditioning",),
    title="Encode text",
    effects=Effects(parallel_safe=False),
    search=("prompt", "CLIPTextEncode"),
)
def encode_text(
    ctx: NodeContext,
    clip: Clip,
    text: Annotated[str, In(multiline=True)] = "",
    steps: Annotated[int, In(minimum=0, maximum=1000, advanced=True)] = 0,
    syntax: Annotated[str, In(choices=SYNTAXES, advanced=True)] = "studio",
) -> Conditioning:
    """Turn a prompt into conditioning: (emphasis:1.2), [from:to:when], [a|b], BREAK and AND have their meaning.

    clip: the text encoders of a checkpoint
    text: what the picture should show, or for the negative side what it should not
    steps: the sampler's, for prompts that change on the way; 0 leaves such changes unread
    syntax: studio reads weights and schedules; plain takes every character as it is
    """
    prompt = parse(text, steps) if syntax == "studio" else literal(text)
    _warn(ctx, prompt, clip)
    return read(ctx, clip, prompt)


def _warn(ctx: NodeContext, prompt: ParsedPrompt, clip: Clip) -> None:
    """Say what the prompt asks for and this node can't give."""
    laid = {ref.name for patch in clip.patches if isinstance(ref := dict(patch.settings).get("weights"), ModelRef)}
    for lora in prompt.loras:
        if lora.name not in laid and lora.te:
            ctx.log(
                f"The prompt asks for the LoRA “{shortened(lora.name, 60)}”, and no node lays it on the model. Put "
                "“LoRAs of the prompt” between the checkpoint and what follows.",
                level="warning",
            )
    if prompt.unused:
        ctx.log(
            "The prompt changes on the way, and this node doesn't know the number of steps: the changes are not made. "
            "Give its input “steps” the sampler's number.",
            level="warning",
        )


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
