"""Run a model of a family that the studio has no loop of its own for."""

from __future__ import annotations

from typing import Annotated

import numpy as np

from engine.contracts.node_schema import Effects
from engine.graph.node import In, NodeContext, node
from engine.graph.values import Checkpoint, Image, ShapeInfo

MAX_SEED = 2**64 - 1
_WORDS = {"negative_prompt": "negative prompt", "guidance_scale": "guidance", "image": "picture"}
Edge = Annotated[int, In(minimum=16, maximum=8192, step=8)]


def _made(width: int, height: int, **_: object) -> ShapeInfo:
    return ShapeInfo(1, height, width, 3)


@node(
    "sample.diffusers_pipeline", category="Sample", outputs=("image",), title="Run a diffusers pipeline",
    effects=Effects(parallel_safe=False), search=("PixArt", "Sana", "Lumina", "Kandinsky", "HiDream", "any model"),
    shapes=_made,
)  # fmt: skip
def diffusers_pipeline(
    ctx: NodeContext,
    pipeline: Annotated[Checkpoint, In(model_kind="other")],
    prompt: Annotated[str, In(multiline=True)] = "",
    negative: Annotated[str, In(multiline=True)] = "",
    width: Edge = 1024,
    height: Edge = 1024,
    steps: Annotated[int, In(minimum=1, maximum=1000)] = 25,
    guidance: Annotated[float, In(minimum=0.0, maximum=100.0, step=0.1)] = 4.5,
    seed: Annotated[int, In(minimum=0, maximum=MAX_SEED, seed=True)] = 0,
    image: Image | None = None,
) -> Image:
    """Make a picture with any model in a diffusers folder, by the pipeline that diffusers has for it.

    The studio's samplers, patches and previews play no part; what the pipeline has no use for is said in the log.

    pipeline: the model's folder
    prompt: what to draw, in plain words
    negative: what to keep away from
    width: of the picture, in pixels
    height: of the picture, in pixels
    steps: how many
    guidance: how strongly the prompt is followed
    seed: of the noise
    image: a picture to start from, for pipelines that take one
    """
    from engine.models.any_pipeline import run_pipeline

    loaded = ctx.session.other(pipeline)
    settings = {
        "prompt": prompt, "negative_prompt": negative or None, "width": width, "height": height,
        "num_inference_steps": steps, "guidance_scale": guidance, "image": None if image is None else _picture(image),
    }  # fmt: skip

    def after_step(done: int) -> None:
        ctx.check_cancelled()
        ctx.progress(done, steps, f"step {done} of {steps}")

    ctx.progress(0, steps)
    made, unused = run_pipeline(loaded, settings, seed, after_step)
    for name in unused:
        ctx.log(f"{type(loaded).__name__} has no use for the {_WORDS.get(name, name)}.", level="warning")
    return made


def _picture(image: Image) -> object:
    """Pillow's form of the first picture, which every pipeline takes."""
    from PIL import Image as Pillow

    return Pillow.fromarray(np.rint(image[0, :, :, :3] * 255.0).astype(np.uint8))
