"""Templates that change a picture: a part of it, around it, by masks of every kind."""

from __future__ import annotations

from engine.contracts.workflow import Link
from studio_app.workflows.gallery.drawing import (
    Drawing,
    Model,
    checkpoint,
    decode,
    negative,
    picture,
    prompt,
    sampler,
    save,
)  # fmt: skip

GROUP = "Editing"


def _masked(
    d: Drawing, m: Model, image: Link, mask: Link, text: str, denoise: float = 1.0, model: Link | None = None
) -> Link:
    """The masked part of a picture made anew, the rest kept to the pixel."""
    start = d.add("encode", "latent.encode_image", "Encode", vae=m.vae, image=image)
    held = d.add("hold", "latent.set_noise_mask", "Hold the rest", latent=start["latent"], mask=mask)
    p = prompt(d, "prompt", m.clip, text)
    made = sampler(d, model or m.model, p, negative(d, m.clip), held["latent"], denoise=denoise)
    image_made = decode(d, m.vae, made)
    whole = d.add("composite", "image.composite", "Composite", destination=image, source=image_made, mask=mask)
    return whole["image"]


def inpaint() -> Drawing:
    d = Drawing(
        "Inpaint",
        "Only the masked part is made anew. The mask here is a soft rectangle; connect a painted one in its place.",
        GROUP,
    )
    m = checkpoint(d)
    image = picture(d, "shapes.png")["image"]
    box = d.add(
        "mask", "mask.rectangle", "Mask", width=128, height=128, x=16, y=16, rectangle_width=96, rectangle_height=96
    )
    for name, label in (("x", "Left"), ("y", "Top"), ("rectangle_width", "Width"), ("rectangle_height", "Height")):
        d.show(box, name, label, group="Mask")
    soft = d.add("soften", "mask.blur", "Soften", mask=box["mask"])
    save(d, _masked(d, m, image, soft["mask"], "a large yellow star on a blue background"))
    return d


def outpaint() -> Drawing:
    d = Drawing(
        "Outpaint",
        "Room is made on both sides of a picture, and the model draws on into it. The old part keeps its pixels.",
        GROUP,
    )
    m = checkpoint(d)
    image = picture(d, "landscape.png")["image"]
    wide = d.add("pad", "image.pad", "Make room", image=image, left=32, right=32, feather=8, fill="edge")
    d.show(wide, "left", "Room on the left", group="Room")
    d.show(wide, "right", "Room on the right", group="Room")
    save(d, _masked(d, m, wide["image"], wide["mask"], "a house in front of mountains at sunset"))
    return d


def differential_diffusion() -> Drawing:
    d = Drawing(
        "Differential diffusion",
        "A grey mask says how much each place may change: here little on the left and everything on the right "
        "(arXiv 2306.00950).",
        GROUP,
    )
    m = checkpoint(d)
    image = picture(d, "landscape.png")["image"]
    ramp = d.add("ramp", "image.gradient", "Ramp", width=128, height=128, start="#000000", end="#ffffff")
    mask = d.add("mask", "mask.from_image", "Mask", image=ramp["image"], channel="red")
    patched = d.add("differential", "model.differential_diffusion", "Differential", model=m.model)
    text = "snowy mountains at night, the moon in the sky"
    save(d, _masked(d, m, image, mask["mask"], text, 0.9, patched["model"]))
    return d


def mask_tools() -> Drawing:
    d = Drawing(
        "Mask tools",
        "A mask by colour, cleaned and widened, softened and shown; then what lies under it is made anew.",
        GROUP,
    )
    m = checkpoint(d)
    image = picture(d, "shapes.png")["image"]
    found = d.add("by_colour", "mask.from_colour", "By colour", image=image, colour="#d22828", tolerance=0.35)
    d.show(found, "colour", "Colour", "What has this colour is made anew")
    d.show(found, "tolerance", "Tolerance")
    filled = d.add("fill", "mask.fill_holes", "Fill holes", mask=found["mask"])
    grown = d.add("grow", "mask.grow", "Widen", mask=filled["mask"], amount=6)
    soft = d.add("soften", "mask.blur", "Soften", mask=grown["mask"])
    d.add("shown", "mask.preview", "See the mask", mask=soft["mask"])
    save(d, _masked(d, m, image, soft["mask"], "a green square on a blue background"))
    return d


def recolour() -> Drawing:
    d = Drawing(
        "Recolour without a model",
        "Not everything needs a model: the colours of a masked part are turned, the rest keeps its pixels.",
        GROUP,
    )
    image = picture(d, "shapes.png")["image"]
    found = d.add("by_colour", "mask.from_colour", "By colour", image=image, colour="#d22828", tolerance=0.35)
    d.show(found, "colour", "Colour", "What has this colour is turned")
    soft = d.add("soften", "mask.blur", "Soften", mask=found["mask"])
    turned = d.add("turn", "image.hue_saturation", "Turn the colours", image=image, hue=140.0)
    d.show(turned, "hue", "Hue", "Degrees around the wheel")
    whole = d.add(
        "composite", "image.composite", "Composite", destination=image, source=turned["image"], mask=soft["mask"]
    )
    save(d, whole["image"])
    return d


def finishing() -> Drawing:
    d = Drawing(
        "Finishing",
        "What is done to a picture at the end: tones, colours, sharpness and a little grain.",
        GROUP,
    )
    image = picture(d, "landscape.png")["image"]
    tones = d.add("levels", "image.levels", "Levels", image=image, black=0.03, white=0.95)
    colours = d.add("colours", "image.hue_saturation", "Colours", image=tones["image"], saturation=0.15)
    d.show(colours, "saturation", "Colour", "Above 0 stronger, below 0 weaker")
    sharp = d.add("sharpen", "image.sharpen", "Sharpen", image=colours["image"], amount=0.6)
    d.show(sharp, "amount", "Sharpness")
    grain = d.add("grain", "image.noise", "Grain", image=sharp["image"], seed=1, amount=0.03)
    d.show(grain, "amount", "Grain")
    save(d, grain["image"])
    return d
