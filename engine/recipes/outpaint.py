"""Outpainting: a picture made larger in any direction, its own pixels kept to the last bit.

The new part begins as the picture's edge drawn out, is redrawn under a noise mask that fades into the old picture, and
the old picture is laid back over the result where that mask is 0.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from engine.contracts.errors import InvalidRequest
from engine.contracts.job_spec import JobSpec
from engine.contracts.references import BlobRef
from engine.contracts.workflow import FormField, InputValue, Link, Node, Workflow
from engine.recipes.recommended import Recommended
from engine.recipes.request import ImageRequest

MOST = 4096  # new pixels on one side


@dataclass(frozen=True)
class Margins:
    """New pixels on each side."""

    left: int = 0
    top: int = 0
    right: int = 0
    bottom: int = 0


def outpaint(
    request: ImageRequest, picture: BlobRef, size: tuple[int, int], margins: Margins, model: Recommended,
    feather: int = 16,
) -> JobSpec:  # fmt: skip
    """The job that extends `picture` of `size` (width, height) by `margins`, widened so that the model can make it.

    `request` gives prompt, model, seed and sampling; its size is not read. `feather`: pixels of the old picture over
    which the new part fades in. Raises InvalidRequest when there is nothing to add or too much.
    """
    sides = (margins.left, margins.top, margins.right, margins.bottom)
    if not any(sides):
        raise InvalidRequest("there is no side to extend", where="outpainting", fix="Give one side some pixels")
    if not all(0 <= side <= MOST for side in sides):
        raise InvalidRequest("a side is extended by too much", where="outpainting", fix=f"Use 0 to {MOST} pixels")
    around = _widened(margins, size, model.multiple)
    checkpoint, prompt = Link("checkpoint", "clip"), Link("prompt", "conditioning")
    inputs: dict[str, tuple[str, dict[str, InputValue]]] = {
        "checkpoint": ("load.checkpoint", {"checkpoint": request.model}),
        "prompt": ("condition.encode_text", {"clip": checkpoint, "text": request.prompt}),
        "negative": ("condition.encode_text", {"clip": checkpoint, "text": request.negative}),
        "picture": ("image.load", {"image": picture}),
        "pad": ("image.pad", {
            "image": Link("picture", "image"), "left": around.left, "top": around.top, "right": around.right,
            "bottom": around.bottom, "feather": feather, "fill": "edge",
        }),
        "encode": ("latent.encode_image", {"vae": Link("checkpoint", "vae"), "image": Link("pad", "image")}),
        "latent": ("latent.set_noise_mask", {"latent": Link("encode", "latent"), "mask": Link("pad", "mask")}),
        "sampler": ("sample.k_sampler", {
            "model": Link("checkpoint", "model"), "positive": prompt, "negative": Link("negative", "conditioning"),
            "latent": Link("latent", "latent"), "seed": request.seed, "steps": request.steps or model.steps,
            "cfg": float(model.cfg if request.cfg is None else request.cfg),
            "sampler": request.sampler or model.sampler, "scheduler": request.scheduler or model.scheduler,
            "denoise": 1.0,
        }),
        "decode": ("latent.decode_image", {"vae": Link("checkpoint", "vae"), "latent": Link("sampler", "latent")}),
        "composite": ("image.composite", {
            "destination": Link("pad", "image"), "source": Link("decode", "image"), "mask": Link("pad", "mask"),
        }),
        "save": ("image.save", {"image": Link("composite", "image"), "file_format": request.file_format}),
    }  # fmt: skip
    nodes = [Node(id=name, type=kind, title=name.capitalize(), inputs=given) for name, (kind, given) in inputs.items()]
    placed = tuple(replace(item, position=(column * 320.0, 0.0)) for column, item in enumerate(nodes))
    form = (
        FormField(node="picture", input="image", label="Picture"),
        FormField(node="prompt", input="text", label="Prompt"),
        *(FormField(node="pad", input=side, label=side.capitalize()) for side in ("left", "top", "right", "bottom")),
        FormField(node="sampler", input="seed", label="Seed"),
    )
    return JobSpec(workflow=Workflow(name="Outpainting", nodes=placed, form=form), title=request.prompt[:60])


def _widened(margins: Margins, size: tuple[int, int], multiple: int) -> Margins:
    """Margins to a size that `multiple` divides: what lacks is added on a side that is extended, or to the right and
    below."""
    lacks_x = -(size[0] + margins.left + margins.right) % multiple
    lacks_y = -(size[1] + margins.top + margins.bottom) % multiple
    across = "left" if margins.left and not margins.right else "right"
    down = "top" if margins.top and not margins.bottom else "bottom"
    return replace(
        margins, **{across: getattr(margins, across) + lacks_x, down: getattr(margins, down) + lacks_y}
    )  # fmt: skip
