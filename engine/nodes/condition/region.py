"""Prompts for places: a region with its own words, LoRA and control; entities as EliGen has them."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated

import numpy as np

from engine.contracts.errors import InvalidRequest
from engine.contracts.node_schema import Effects
from engine.control.regions import feathered, first_mask, rectangle
from engine.graph.node import In, NodeContext, node
from engine.graph.values import Conditioning, ConditioningEntry, Control, Mask, Patch
from engine.media.resize import resize
from engine.nodes.condition.shape import Fraction, Strength, each, with_extra
from engine.nodes.load.parts import LoraModel, Weight

REGION = "region"  # marks the entries that belong to a place, so that further regions leave them as they are
Feather = Annotated[float, In(minimum=0.0, maximum=512.0, step=1.0)]


@node(
    "condition.region",
    category="Condition",
    outputs=("conditioning",),
    title="Region",
    search=("regional prompt", "attention couple", "area composition", "latent couple"),
)
def region(
    ctx: NodeContext,
    conditioning: Conditioning,
    prompt: Conditioning,
    mask: Mask | None = None,
    x: Fraction = 0.0,
    y: Fraction = 0.0,
    width: Fraction = 0.5,
    height: Fraction = 1.0,
    strength: Strength = 1.0,
    base: Fraction = 0.2,
    feather: Feather = 8.0,
) -> Conditioning:
    """Give a part of the picture a prompt of its own. Several in a row give several parts theirs.

    Controls and LoRAs that hang on the region's prompt act in the region only.

    conditioning: what holds everywhere, or the regions so far
    prompt: what the region should show
    mask: the region, painted; its first mask is used
    x: left edge of the region where no mask is given, as a share of the width
    y: its upper edge, as a share of the height
    width: its width, as a share
    height: its height, as a share
    strength: weight of its prompt against other regions'
    base: how much of what holds everywhere also counts in the region
    feather: how softly its edge fades, in pixels of the mask
    """
    here = feathered(_place(mask, x, y, width, height), feather)
    rest = 1 - here * np.float32(1 - base)

    def lessened(entry: ConditioningEntry) -> ConditioningEntry:
        if REGION in dict(entry.extras):
            return entry
        known = rest if entry.mask is None else entry.mask * _fitted(rest, entry.mask)
        return replace(entry, mask=known)

    def placed(entry: ConditioningEntry) -> ConditioningEntry:
        own = here if entry.mask is None else entry.mask * _fitted(here, entry.mask)
        kept = with_extra(replace(entry, mask=own, strength=entry.strength * strength), REGION, True)
        controls = dict(kept.extras).get("controls", ())
        return with_extra(kept, "controls", tuple(_within(c, here) for c in controls)) if controls else kept

    return (*each(conditioning, lessened), *each(prompt, placed))


@node(
    "condition.prompt_lora",
    category="Condition",
    outputs=("conditioning",),
    title="LoRA for a prompt",
    effects=Effects(parallel_safe=False),
    search=("regional LoRA",),
)
def prompt_lora(ctx: NodeContext, prompt: Conditioning, lora: LoraModel, strength: Weight = 1.0) -> Conditioning:
    """Lay a LoRA on the denoiser for one prompt only, such as that of a region.

    prompt: the prompt
    lora: which one
    strength: how strongly; 0 not at all
    """
    if not strength:
        return prompt
    known = lora if lora.fingerprint else replace(lora, fingerprint=ctx.session.fingerprint(lora))
    patch = Patch("lora", (("weights", known), ("strength", strength)))
    return each(prompt, lambda e: with_extra(e, "patches", (*dict(e.extras).get("patches", ()), patch)))


@node(
    "condition.entity",
    category="Condition",
    outputs=("conditioning",),
    title="Entity",
    search=("EliGen", "entity control", "regional attention"),
)
def entity(ctx: NodeContext, conditioning: Conditioning, prompt: Conditioning, mask: Mask) -> Conditioning:
    """Give a thing in the picture a prompt that only its place reads (EliGen), for Flux and Qwen-Image.

    conditioning: what the whole picture shows
    prompt: the thing; its first entry is used
    mask: where it stands; its first mask is used
    """
    if prompt[0].embedding.shape[-1] != conditioning[0].embedding.shape[-1]:
        raise InvalidRequest(
            "the entity's prompt was encoded by other text encoders than the picture's", where="prompt",
            fix="Encode both with the text encoders of one model",
        )  # fmt: skip
    added = (prompt[0].embedding, first_mask(mask))
    return each(conditioning, lambda e: with_extra(e, "regions", (*dict(e.extras).get("regions", ()), added)))


def _place(mask: Mask | None, x: float, y: float, width: float, height: float) -> Mask:
    if mask is not None:
        return first_mask(mask)
    if not width or not height:
        raise InvalidRequest("the region is empty", where="region", fix="Give it a width and a height, or a mask")
    return rectangle(x, y, width, height)


def _within(control: Control, here: Mask) -> Control:
    return replace(control, mask=here if control.mask is None else control.mask * _fitted(here, control.mask))


def _fitted(mask: Mask, like: Mask) -> Mask:
    fitted: Mask = resize(mask[None], like.shape[-1], like.shape[-2], "bilinear")[0]
    return fitted
