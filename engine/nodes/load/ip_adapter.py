"""Let pictures prompt a model: IP-Adapters."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated

import numpy as np

from engine.contracts.errors import InvalidRequest
from engine.contracts.node_schema import Effects
from engine.graph.node import In, NodeContext, node
from engine.graph.values import Checkpoint, ClipVision, Image, Mask, Model, PictureSeen
from engine.media.pixels import mask_batched
from engine.models.denoiser_family import title_of
from engine.nodes.model.patches import patched

Fraction = Annotated[float, In(minimum=0.0, maximum=1.0, step=0.01)]
FAMILIES = ("sd15", "sd2", "sdxl")


@node("model.ip_adapter", category="Model", outputs=("model",), title="IP-Adapter",
      effects=Effects(parallel_safe=False),
      search=("picture prompt", "IPAdapter", "IPAdapterAdvanced", "IPAdapterModelLoader"))  # fmt: skip
def ip_adapter(
    ctx: NodeContext,
    model: Model,
    ip_adapter: Annotated[Checkpoint, In(model_kind="ip_adapter")],
    clip_vision: ClipVision,
    image: Image,
    weight: Annotated[float, In(minimum=-5.0, maximum=5.0, step=0.01)] = 1.0,
    start: Fraction = 0.0,
    end: Fraction = 1.0,
    mask: Mask | None = None,
) -> Model:
    """Let pictures say what to make, beside the prompt, through an IP-Adapter. Several in a row add up.

    model: SD1.5, SD2 or SDXL
    ip_adapter: which one: plain, plus or full face
    clip_vision: the vision encoder it was made with, ViT-H for most
    image: the picture; several are read together
    weight: how much it counts; 0 not at all
    start: from this fraction of the run
    end: up to this fraction
    mask: where it counts, by its first mask; everywhere when left open
    """
    if end < start:
        raise InvalidRequest(f"the end {end:g} lies before the start {start:g}", where="ip_adapter", fix="Swap them")
    if model.family not in FAMILIES:
        raise InvalidRequest(
            f"IP-Adapters work on Stable Diffusion 1.5, 2 and SDXL, and this model is {title_of(model.family)}",
            where="model", fix="For Flux, use Redux: “Prompt with a picture (style model)”",
        )  # fmt: skip
    if not weight:
        return model
    import torch

    ref = ip_adapter if ip_adapter.fingerprint else replace(ip_adapter, fingerprint=ctx.session.fingerprint(ip_adapter))
    encoder = ctx.session.other(clip_vision.weights)
    pictures = torch.from_numpy(np.ascontiguousarray(image[..., :3], dtype=np.float32)).permute(0, 3, 1, 2)
    prepared = encoder.prepared(pictures)
    seen, blank = encoder.look(prepared), encoder.look(torch.zeros_like(prepared[:1]))
    where = None if mask is None else np.ascontiguousarray(mask_batched(mask)[0], dtype=np.float32)
    shown = PictureSeen(seen.embedding, seen.penultimate, blank.penultimate, where)
    return patched(model, "ip_adapter", weights=ref, picture=shown, weight=weight, start=start, end=end)
