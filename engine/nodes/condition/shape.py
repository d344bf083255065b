"""Where, when and how strongly a prompt holds; prompts joined and averaged."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Annotated, Any

import numpy as np

from engine.contracts.errors import InvalidRequest
from engine.graph.node import In, NodeContext, node
from engine.graph.values import Conditioning, ConditioningEntry, Latent, Mask
from engine.nodes.latent.empty import CELL

Pixels = Annotated[int, In(minimum=0, maximum=16384, step=8)]
Fraction = Annotated[float, In(minimum=0.0, maximum=1.0, step=0.01)]
Strength = Annotated[float, In(minimum=0.0, maximum=10.0, step=0.01)]


@node(
    "condition.concat",
    category="Condition",
    outputs=("conditioning",),
    title="Join prompts",
    search=("ConditioningConcat",),
)
def concat(ctx: NodeContext, a: Conditioning, b: Conditioning) -> Conditioning:
    """Put the words of one prompt behind those of another, so that the model reads both at once.

    a: the prompt to extend
    b: the prompt whose first entry is appended
    """
    import torch

    tail = b[0].embedding
    _same_width(a, b)
    return each(a, lambda entry: replace(entry, embedding=torch.cat([entry.embedding, tail], dim=1)))


@node(
    "condition.average",
    category="Condition",
    outputs=("conditioning",),
    title="Average prompts",
    search=("ConditioningAverage", "blend"),
)
def average(ctx: NodeContext, a: Conditioning, b: Conditioning, weight: Fraction = 1.0) -> Conditioning:
    """A prompt between two others.

    a: the prompt at weight 1
    b: the prompt at weight 0
    weight: how much of the first
    """
    import torch

    _same_width(a, b)
    other = b[0]

    def mix(entry: ConditioningEntry) -> ConditioningEntry:
        tokens = entry.embedding.shape[1]
        second = other.embedding[:, :tokens]
        if second.shape[1] < tokens:
            second = torch.cat([second, torch.zeros(1, tokens - second.shape[1], second.shape[2])], dim=1)
        pooled = entry.pooled
        if pooled is not None and other.pooled is not None:
            pooled = pooled * weight + other.pooled * (1 - weight)
        return replace(entry, embedding=entry.embedding * weight + second * (1 - weight), pooled=pooled)

    return each(a, mix)


@node(
    "condition.set_area",
    category="Condition",
    outputs=("conditioning",),
    title="Set area",
    search=("ConditioningSetArea", "region"),
)
def set_area(
    ctx: NodeContext,
    conditioning: Conditioning,
    width: Pixels = 64,
    height: Pixels = 64,
    x: Pixels = 0,
    y: Pixels = 0,
    strength: Strength = 1.0,
) -> Conditioning:
    """Let a prompt hold in a rectangle only, in pixels.

    conditioning: the prompt
    width: of the rectangle
    height: of the rectangle
    x: its left edge
    y: its upper edge
    strength: its weight against other prompts that hold there
    """
    if not width or not height:
        raise InvalidRequest("the area is empty", where="area", fix="Give it a width and a height")
    area = (float(x // CELL), float(y // CELL), float(max(1, width // CELL)), float(max(1, height // CELL)))
    return each(conditioning, lambda entry: replace(entry, area=area, area_in_cells=True, strength=strength))


@node(
    "condition.set_area_fraction",
    category="Condition",
    outputs=("conditioning",),
    title="Set area (fractions)",
    search=("region",),
)
def set_area_fraction(
    ctx: NodeContext,
    conditioning: Conditioning,
    width: Fraction = 1.0,
    height: Fraction = 1.0,
    x: Fraction = 0.0,
    y: Fraction = 0.0,
    strength: Strength = 1.0,
) -> Conditioning:
    """Let a prompt hold in a rectangle only, in fractions of the picture.

    conditioning: the prompt
    width: of the rectangle
    height: of the rectangle
    x: its left edge
    y: its upper edge
    strength: its weight against other prompts that hold there
    """
    area = (x, y, width, height)
    return each(conditioning, lambda entry: replace(entry, area=area, area_in_cells=False, strength=strength))


@node("condition.set_strength", category="Condition", outputs=("conditioning",), title="Set strength")
def set_strength(ctx: NodeContext, conditioning: Conditioning, strength: Strength = 1.0) -> Conditioning:
    """Set the weight of a prompt against others that hold in the same place.

    conditioning: the prompt
    strength: its weight
    """
    return each(conditioning, lambda entry: replace(entry, strength=strength))


@node(
    "condition.set_mask",
    category="Condition",
    outputs=("conditioning",),
    title="Set mask",
    search=("ConditioningSetMask", "region"),
)
def set_mask(ctx: NodeContext, conditioning: Conditioning, mask: Mask, strength: Strength = 1.0) -> Conditioning:
    """Let a prompt hold only where a mask is white.

    conditioning: the prompt
    mask: its first mask is used
    strength: its weight against other prompts that hold there
    """
    chosen = np.ascontiguousarray(mask[0], dtype=np.float32)
    return each(conditioning, lambda entry: replace(entry, mask=chosen, strength=strength))


@node(
    "condition.set_steps",
    category="Condition",
    outputs=("conditioning",),
    title="Set steps",
    search=("ConditioningSetTimestepRange",),
)
def set_steps(ctx: NodeContext, conditioning: Conditioning, start: Fraction = 0.0, end: Fraction = 1.0) -> Conditioning:
    """Let a prompt hold in a part of the run only.

    conditioning: the prompt
    start: from this fraction of the steps
    end: up to this fraction
    """
    if end < start:
        raise InvalidRequest(f"the end {end:g} lies before the start {start:g}", where="steps", fix="Swap them")
    return each(conditioning, lambda entry: replace(entry, steps=(start, end)))


@node(
    "condition.zero_out",
    category="Condition",
    outputs=("conditioning",),
    title="Zero out",
    search=("ConditioningZeroOut", "empty"),
)
def zero_out(ctx: NodeContext, conditioning: Conditioning) -> Conditioning:
    """A prompt that says nothing: all numbers zero.

    conditioning: the prompt whose shape is kept
    """

    def zero(entry: ConditioningEntry) -> ConditioningEntry:
        pooled = entry.pooled * 0 if entry.pooled is not None else None
        return replace(entry, embedding=entry.embedding * 0, pooled=pooled)

    return each(conditioning, zero)


@node(
    "condition.guidance",
    category="Condition",
    outputs=("conditioning",),
    title="Embedded guidance",
    search=("FluxGuidance",),
)
def guidance(
    ctx: NodeContext,
    conditioning: Conditioning,
    guidance: Annotated[float, In(minimum=0.0, maximum=100.0, step=0.1)] = 3.5,
) -> Conditioning:
    """Tell a guidance-distilled model how strongly to follow the prompt. Models without that input don't see it.

    conditioning: the prompt
    guidance: 1 is free, 3.5 usual
    """
    return each(conditioning, lambda entry: with_extra(entry, "guidance", guidance))


@node(
    "condition.reference_latent",
    category="Condition",
    outputs=("conditioning",),
    title="Reference latent",
    search=("ReferenceLatent", "edit"),
)
def reference_latent(ctx: NodeContext, conditioning: Conditioning, latent: Latent | None = None) -> Conditioning:
    """Give an editing model a picture to look at. Several of these nodes in a row give it several.

    conditioning: the prompt
    latent: the encoded picture; nothing leaves the prompt as it is
    """
    if latent is None:
        return conditioning

    def add(entry: ConditioningEntry) -> ConditioningEntry:
        known = dict(entry.extras).get("references", ())
        return with_extra(entry, "references", (*known, latent.samples))

    return each(conditioning, add)


def each(conditioning: Conditioning, change: Callable[[ConditioningEntry], ConditioningEntry]) -> Conditioning:
    """Every entry changed."""
    return tuple(change(entry) for entry in conditioning)


def with_extra(entry: ConditioningEntry, name: str, value: Any) -> ConditioningEntry:
    """`entry` with one family-specific extra set."""
    kept = tuple(pair for pair in entry.extras if pair[0] != name)
    return replace(entry, extras=(*kept, (name, value)))


def _same_width(a: Conditioning, b: Conditioning) -> None:
    widths = {entry.embedding.shape[-1] for entry in (*a, *b)}
    if len(widths) > 1:
        first, second = sorted(widths)[:2]
        raise InvalidRequest(
            f"one prompt is encoded {first} wide and the other {second}", where="conditioning",
            fix="Encode both with the text encoder of one checkpoint",
        )  # fmt: skip
