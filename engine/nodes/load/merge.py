"""Two models as one: mixed beside their weights, which stay as they are."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated, TypeVar

from engine.contracts.errors import InvalidRequest
from engine.contracts.node_schema import Effects
from engine.graph.node import In, NodeContext, node
from engine.graph.values import Clip, Model, ModelHandle, Patch, TextEncoderHandle
from engine.models.denoiser_family import title_of

Handle = TypeVar("Handle", ModelHandle, TextEncoderHandle)
Share = Annotated[float, In(minimum=0.0, maximum=1.0, step=0.01)]


@node("model.merge", category="Model", outputs=("model",), title="Merge models", effects=Effects(parallel_safe=False),
      search=("ModelMergeSimple", "weighted sum", "mix"))  # fmt: skip
def merge_models(ctx: NodeContext, first: Model, second: Model, ratio: Share = 0.5) -> Model:
    """Mix the weights of two models of one family while they run; “models merge” writes such a mixture to a file.

    first: the model whose text encoder and settings are kept
    second: another of the same family
    ratio: the share of the first; 1 is the first alone, 0 the second
    """
    return _mixed(first, second, ratio)


@node("model.merge_clip", category="Model", outputs=("clip",), title="Merge text encoders",
      effects=Effects(parallel_safe=False), search=("CLIPMergeSimple",))  # fmt: skip
def merge_clips(ctx: NodeContext, first: Clip, second: Clip, ratio: Share = 0.5) -> Clip:
    """Mix the weights of the text encoders of two models of one family.

    first: the text encoders whose settings are kept
    second: others of the same family
    ratio: the share of the first; 1 is the first alone, 0 the second
    """
    return _mixed(first, second, ratio)


def _mixed(first: Handle, second: Handle, ratio: float) -> Handle:
    if first.family != second.family:
        raise InvalidRequest(
            f"the first model is {title_of(first.family)} and the second {title_of(second.family)}", where="merge",
            fix="Merge models of the same family",
        )  # fmt: skip
    if ratio == 1.0:
        return first
    patches = tuple(patch for patch in second.patches if patch.kind in ("lora", "merge"))
    settings = (("weights", second.weights), ("patches", patches), ("ratio", ratio))
    return replace(first, patches=(*first.patches, Patch("merge", settings)))
