"""Reference-only: a model that looks at another picture while it draws, without any further weights."""

from __future__ import annotations

from typing import Annotated

from engine.contracts.errors import InvalidRequest
from engine.graph.node import In, NodeContext, node
from engine.graph.values import Latent, Model, ReferencePicture
from engine.nodes.model.patches import replaced

Fraction = Annotated[float, In(minimum=0.0, maximum=1.0, step=0.01)]


@node("control.reference_only", category="Control", outputs=("model",), title="Reference only",
      search=("reference_only", "style", "attention injection"))  # fmt: skip
def reference_only(
    ctx: NodeContext,
    model: Model,
    reference: Latent,
    strength: Fraction = 1.0,
    fidelity: Fraction = 0.5,
    start: Fraction = 0.0,
    end: Fraction = 1.0,
) -> Model:
    """Let a model with a U-Net look at a picture through its own attention, so that what it draws looks alike.

    model: SD1.5, SD2 or SDXL
    reference: the encoded picture; its first one is used
    strength: share of the attention layers that look, from the deepest on; 0 none
    fidelity: how strongly guidance stresses the likeness
    start: from this fraction of the run
    end: up to this fraction
    """
    if end < start:
        raise InvalidRequest(f"the end {end:g} lies before the start {start:g}", where="control", fix="Swap them")
    if not strength:
        return model
    held = ReferencePicture(reference)
    return replaced(
        model, "reference_only", reference=held, strength=strength, fidelity=fidelity, start=start, end=end
    )  # fmt: skip
