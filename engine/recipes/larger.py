"""The nodes that enlarge a picture: through its pixels, then redrawn in one go or window by window.

Pixels, not the latent: an interpolated latent decodes to a blurred picture with fringes (docs/tiles.md has figures).
"""

from __future__ import annotations

from dataclasses import dataclass

from engine.contracts.workflow import InputValue, Link
from engine.recipes.drawing import Graph
from engine.recipes.enlarge import GUIDE_STRENGTH, Enlarge, Sizes


@dataclass(frozen=True)
class Before:
    """What there is when enlarging begins: the picture, and what made it. `guide` is its latent where that is whole."""

    picture: Link
    model: Link
    clip: Link
    seed: InputValue
    cfg: float
    sampler: str
    scheduler: str
    guide: Link | None


def add_enlarging(graph: Graph, enlarge: Enlarge, sizes: Sizes, before: Before) -> Link:
    """Where the enlarged picture comes out."""
    source = before.picture
    if enlarge.upscaler is not None:
        graph.add("upscaler", "load.upscale_model", "Upscaler", upscaler=enlarge.upscaler)
        graph.add(
            "upscale", "image.upscale_with_model", "Upscale",
            upscale_model=Link("upscaler", "upscale_model"), image=source,
        )  # fmt: skip
        source = Link("upscale", "image")
    _scale(graph, "enlarged", "Enlarge", source, (sizes.width, sizes.height))
    if not enlarge.redraws:
        return Link("enlarged", "image")
    vae = Link("checkpoint", "vae")
    graph.add("enlarged_latent", "latent.encode_image", "Encode enlarged", vae=vae, image=Link("enlarged", "image"))
    positive, negative, cfg = Link("prompt", "conditioning"), Link("negative", "conditioning"), before.cfg
    if not enlarge.prompt:
        graph.add("no_prompt", "condition.encode_text", "Empty prompt", clip=before.clip, text="")
        positive = negative = Link("no_prompt", "conditioning")
        cfg = 1.0  # both sides are the same
    assert enlarge.strength is not None  # the request is closed
    assert enlarge.steps is not None
    common: dict[str, InputValue] = {
        "model": before.model, "positive": positive, "negative": negative, "latent": Link("enlarged_latent", "latent"),
        "seed": before.seed, "steps": enlarge.steps, "cfg": cfg, "sampler": before.sampler,
        "scheduler": before.scheduler, "denoise": enlarge.strength,
    }  # fmt: skip
    if sizes.window:
        graph.add(
            "second", "sample.tiled", "Second pass in windows",
            guide=before.guide or _small_copy(graph, before.picture, sizes), tile_size=sizes.window,
            overlap=sizes.overlap, guide_strength=GUIDE_STRENGTH, **common,
        )  # fmt: skip
    else:
        graph.add("second", "sample.k_sampler", "Second pass", **common)
    graph.add("decode_second", "latent.decode_image", "Decode enlarged", vae=vae, latent=Link("second", "latent"))
    return Link("decode_second", "image")


def _small_copy(graph: Graph, picture: Link, sizes: Sizes) -> Link:
    """The latent of the picture at a size that the model knows."""
    _scale(graph, "small", "Small copy", picture, (sizes.first_width, sizes.first_height))
    graph.add(
        "small_latent", "latent.encode_image", "Encode small copy",
        vae=Link("checkpoint", "vae"), image=Link("small", "image"),
    )  # fmt: skip
    return Link("small_latent", "latent")


def _scale(graph: Graph, node_id: str, title: str, image: Link, size: tuple[int, int]) -> None:
    width, height = size
    graph.add(node_id, "image.scale", title, image=image, width=width, height=height, method="lanczos", crop="center")
