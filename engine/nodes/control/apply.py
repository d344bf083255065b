"""Let pictures steer a run through ControlNets and T2I-Adapters."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Annotated

import numpy as np

from engine.contracts.errors import InvalidRequest
from engine.graph.node import In, NodeContext, node
from engine.graph.values import Conditioning, Control, ControlNet, Image, Mask, Vae
from engine.media.pixels import mask_batched
from engine.media.resize import resize
from engine.nodes.condition.shape import each, with_extra
from engine.nodes.latent.picture import pixels_of

if TYPE_CHECKING:
    import torch

Strength = Annotated[float, In(minimum=0.0, maximum=10.0, step=0.01)]
Fraction = Annotated[float, In(minimum=0.0, maximum=1.0, step=0.001)]

# The kinds of hint that union ControlNets tell apart, in ComfyUI's spelling.
KINDS = (
    "auto", "openpose", "depth", "hed/pidi/scribble/ted", "canny/lineart/anime_lineart/mlsd", "normal", "segment",
    "tile", "repaint",
)  # fmt: skip


@node("condition.control", category="Control", outputs=("conditioning",), title="Control", search=("ControlNetApply",))
def control(
    ctx: NodeContext,
    conditioning: Conditioning,
    control_net: ControlNet,
    image: Image,
    strength: Strength = 1.0,
    mask: Mask | None = None,
) -> Conditioning:
    """Let a picture steer what a prompt makes, and the negative side with it. Several in a row add up.

    conditioning: the prompt
    control_net: which ControlNet reads the picture
    image: the hint: edges, a pose, depths…
    strength: how strongly; 0 not at all
    mask: where it acts, by its first mask; everywhere when left open
    """
    return _controlled(conditioning, Control(control_net, _copied(image), strength, mask=_first(mask)))


@node("condition.control_pair", category="Control", outputs=("positive", "negative"), title="Control both sides",
      search=("ControlNetApplyAdvanced",))  # fmt: skip
def control_pair(
    ctx: NodeContext,
    positive: Conditioning,
    negative: Conditioning,
    control_net: ControlNet,
    image: Image,
    strength: Strength = 1.0,
    start: Fraction = 0.0,
    end: Fraction = 1.0,
    vae: Vae | None = None,
    mask: Mask | None = None,
) -> tuple[Conditioning, Conditioning]:
    """Let a picture steer both prompts of a run, for a part of it. Several in a row add up.

    positive: what the picture should show
    negative: what it should not
    control_net: which ControlNet reads the picture
    image: the hint: edges, a pose, depths…
    strength: how strongly; 0 not at all
    start: from this fraction of the run
    end: up to this fraction
    vae: for ControlNets that read latents (SD3, Flux, Qwen-Image, Z-Image) where the model came without its own
    mask: where it acts, by its first mask; everywhere when left open
    """
    if end < start:
        raise InvalidRequest(f"the end {end:g} lies before the start {start:g}", where="control", fix="Swap them")
    latent = _encoded(ctx, vae, image) if vae is not None and strength else None
    steering = Control(control_net, _copied(image), strength, (start, end), False, _first(mask), latent)
    return _controlled(positive, steering), _controlled(negative, steering)


@node("condition.control_type", category="Control", outputs=("control_net",), title="Kind of control",
      search=("SetUnionControlNetType",))  # fmt: skip
def control_type(
    ctx: NodeContext, control_net: ControlNet, kind: Annotated[str, In(choices=KINDS)] = "auto"
) -> ControlNet:
    """Tell a union ControlNet which kind of picture it gets.

    control_net: one that knows several kinds
    kind: what the picture is
    """
    return replace(control_net, kind="" if kind == "auto" else kind)


def _controlled(conditioning: Conditioning, control: Control) -> Conditioning:
    return each(
        conditioning, lambda e: with_extra(e, "controls", (*dict(e.extras).get("controls", ()), control))
    )  # fmt: skip


def _encoded(ctx: NodeContext, vae: Vae, image: Image) -> torch.Tensor | None:
    """The picture as a latent of whole tokens; None where ControlNets read pixels (those of U-Nets)."""
    from engine.memory.autoencoding import encoded

    autoencoder = ctx.session.autoencoder(vae)
    space = autoencoder.latent_space
    if space.channels <= 4:
        return None
    edge = 2 * space.factor
    rows, columns = (max(1, round(length / edge)) * edge for length in image.shape[1:3])
    return encoded(ctx, autoencoder, pixels_of(resize(_copied(image), columns, rows, "bilinear"), edge))


def _first(mask: Mask | None) -> Mask | None:
    return None if mask is None else np.ascontiguousarray(mask_batched(mask)[0], dtype=np.float32)


def _copied(image: Image) -> Image:
    return np.ascontiguousarray(image[..., :3], dtype=np.float32)
