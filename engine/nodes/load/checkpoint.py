"""Load a checkpoint."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated

from engine.contracts.node_schema import Effects
from engine.contracts.references import STARTER_NAME, ModelRef
from engine.graph.node import In, NodeContext, node
from engine.graph.values import Checkpoint, Clip, Model, ModelHandle, TextEncoderHandle, Vae, VAEHandle


@node(
    "load.checkpoint",
    category="Load",
    outputs=("model", "clip", "vae"),
    effects=Effects(parallel_safe=False),
    search=("model", "CheckpointLoaderSimple"),
)
def checkpoint(
    ctx: NodeContext,
    checkpoint: Annotated[Checkpoint, In(model_kind="checkpoint")] = ModelRef(kind="checkpoint", name=STARTER_NAME),
) -> tuple[Model, Clip, Vae]:
    """Load a checkpoint: its denoiser, its text encoders and its autoencoder.

    checkpoint: which model
    """
    info = ctx.session.identify(checkpoint)
    ref = checkpoint if checkpoint.fingerprint else replace(checkpoint, fingerprint=info.fingerprint)
    if info.notice:
        ctx.log(info.notice)
    family = info.family
    return ModelHandle(ref, family), TextEncoderHandle(ref, family), VAEHandle(ref, family)
