"""Enlarge pictures with a network."""

from __future__ import annotations

from engine.contracts.node_schema import Effects
from engine.graph.node import NodeContext, node
from engine.graph.values import Image, UpscaleModel
from engine.models.denoiser_family import cannot_run


@node("image.upscale_with_model", category="Image", outputs=("image",), title="Upscale with a model",
      effects=Effects(parallel_safe=False, dear=True), search=("ImageUpscaleWithModel", "ESRGAN"))  # fmt: skip
def upscale_with_model(ctx: NodeContext, upscale_model: UpscaleModel, image: Image) -> Image:
    """Enlarge a picture by as much as its upscaler was trained for.

    upscale_model: the network
    image: the picture
    """
    raise cannot_run("the upscaler", upscale_model.weights.name, "upscaling networks")
