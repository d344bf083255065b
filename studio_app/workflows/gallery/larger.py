"""Templates for larger pictures and for runs in stages."""

from __future__ import annotations

from engine.contracts.references import STARTER_CONTROLNET, ModelRef
from engine.contracts.workflow import InputValue, Link
from studio_app.workflows.gallery.drawing import (
    CFG,
    EDGE,
    Drawing,
    checkpoint,
    decode,
    empty,
    negative,
    picture,
    prompt,
    sampler,
    save,
)  # fmt: skip

GROUP = "Larger and finer"
NEEDS = ("controlnet",)
CONTROLNET = ModelRef(kind="controlnet", name=STARTER_CONTROLNET)


def _redrawn(
    d: Drawing, model: Link, words: tuple[Link, Link], latent: Link, guide: Link, *, strength: float, steps: int
) -> Link:
    """A second pass in windows of the starter's own size that follow a small latent of the same picture."""
    node = d.add(
        "second", "sample.tiled", "Second pass", model=model, positive=words[0], negative=words[1], latent=latent,
        guide=guide, seed=7, steps=steps, cfg=1.0, sampler="ddim", scheduler="simple", denoise=strength,
        tile_size=EDGE, overlap=EDGE // 2, guide_strength=0.9,
    )  # fmt: skip
    d.show(node, "denoise", "Strength", "How much is redrawn: 0 keeps the enlarged picture")
    d.show(node, "guide_strength", "Follow the small picture", group="Second pass", advanced=True)
    d.show(node, "steps", "Steps of the second pass", group="Second pass", advanced=True)
    return node["latent"]


def _no_words(d: Drawing, clip: Link) -> tuple[Link, Link]:
    """Windows that are told the prompt would each draw all of it."""
    nothing = d.add("no_words", "condition.encode_text", "Empty prompt", clip=clip, text="")["conditioning"]
    return nothing, nothing


def hires_fix() -> Drawing:
    d = Drawing(
        "Hires fix",
        "A picture is made at the model's own size and enlarged; a second pass redraws it in windows that follow the "
        "small picture, so that edges become clear and nothing is drawn twice.",
        GROUP,
    )
    m = checkpoint(d)
    p = prompt(d, "prompt", m.clip, "an autumn tree and a blue house in a field at dawn")
    first = sampler(d, m.model, p, negative(d, m.clip), empty(d), cfg=2.0, steps=25)
    small = decode(d, m.vae, first)
    larger = d.add("larger", "image.scale_by", "Enlarge", image=small, factor=2.0, method="lanczos")
    d.show(larger, "factor", "Enlarge by")
    start = d.add("encode", "latent.encode_image", "Encode", vae=m.vae, image=larger["image"])
    second = _redrawn(d, m.model, _no_words(d, m.clip), start["latent"], first, strength=0.04, steps=100)
    save(d, decode(d, m.vae, second, "decode_second"))
    return d


def tiled_upscale() -> Drawing:
    d = Drawing(
        "Tiled upscale",
        "A picture of yours is enlarged and redrawn window by window; its edges, read by a ControlNet, and its small "
        "copy hold everything in place. It is encoded and decoded in tiles too: memory does not grow with the picture.",
        GROUP, needs=NEEDS,
    )  # fmt: skip
    m = checkpoint(d)
    image = picture(d, "landscape.png")["image"]
    larger = d.add(
        "larger", "image.scale_to_megapixels", "Enlarge", image=image, megapixels=0.0625, method="lanczos", multiple=8
    )
    d.show(larger, "megapixels", "Megapixels", "How large it becomes; its shape is kept. 0.25 is 512×512")
    start = d.add(
        "encode", "latent.encode_image_tiled", "Encode in tiles", vae=m.vae, image=larger["image"],
        tile_size=192, overlap=96,
    )  # fmt: skip
    copy = d.add(
        "copy", "image.scale_to_megapixels", "Small copy", image=image, megapixels=EDGE * EDGE / 2**20,
        method="lanczos", multiple=8,
    )  # fmt: skip
    guide = d.add("guide", "latent.encode_image", "Encode small copy", vae=m.vae, image=copy["image"])
    edges = d.add("edges", "image.canny", "Canny edges", image=larger["image"], low_threshold=0.1, high_threshold=0.2)
    net = d.add("controlnet", "load.controlnet", "ControlNet", controlnet=CONTROLNET)
    words = _no_words(d, m.clip)
    held = d.add(
        "control", "condition.control_pair", "Hold the edges", positive=words[0], negative=words[1],
        control_net=net["control_net"], image=edges["image"], strength=1.0,
    )  # fmt: skip
    d.show(held, "strength", "Hold the edges", "How strongly the edges of the picture hold")
    second = _redrawn(
        d, m.model, (held["positive"], held["negative"]), start["latent"], guide["latent"], strength=0.15, steps=40
    )
    whole = d.add(
        "decode", "latent.decode_image_tiled", "Decode in tiles", vae=m.vae, latent=second, tile_size=192, overlap=96
    )
    save(d, whole["image"])
    return d


def two_stages() -> Drawing:
    d = Drawing(
        "Two stages",
        "Two samplers share one schedule: the first lays out with one prompt and hands its noisy latent on, the "
        "second finishes with another.",
        GROUP,
    )
    m = checkpoint(d)
    first = prompt(d, "prompt", m.clip, "mountains over the sea at dawn", "First prompt")
    second = prompt(d, "second_prompt", m.clip, "mountains over the sea at night, the moon", "Second prompt")
    n, latent = negative(d, m.clip), empty(d)
    steps = d.add("steps", "utility.integer", "Steps", value=20)
    d.show(steps, "value", "Steps", advanced=True)
    half = d.add("half", "maths.expression", "Half of them", expression="a // 2", a=steps["value"])
    common: dict[str, InputValue] = {"cfg": CFG, "sampler": "ddim", "scheduler": "simple"}
    a = d.add(
        "first", "sample.k_sampler_advanced", "First stage", model=m.model, positive=first, negative=n, latent=latent,
        seed=3, steps=steps["value"], end_step=half["whole"], return_with_leftover_noise=True, **common,
    )  # fmt: skip
    d.show(a, "seed", "Seed")
    b = d.add(
        "second", "sample.k_sampler_advanced", "Second stage", model=m.model, positive=second, negative=n,
        latent=a["latent"], add_noise=False, seed=3, steps=steps["value"], start_step=half["whole"], **common,
    )  # fmt: skip
    save(d, decode(d, m.vae, b["latent"]))
    return d
